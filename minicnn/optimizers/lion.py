"""Lion: steps of one size, in the direction of the sign of the momentum."""

from typing import Any

from minicnn.kernels.optimizers import Rate, lion
from minicnn.optimizers.arguments import check_fraction
from minicnn.optimizers.base import OPTIMIZERS, Optimizer
from minicnn.typing import Array


@OPTIMIZERS.register()
class Lion(Optimizer):
    """w ← w - lr · sign(beta_1 m + (1 - beta_1) g), then m ← beta_2 m + (1 - beta_2) g.

    Every weight moves by lr, so lr should be 3 to 10 times smaller than for AdamW, and the weight
    decay as much larger.

    Args:
        learning_rate: lr, a float or a schedule.
        beta_1: how much of the direction is momentum; above 0.
        beta_2: how slowly the momentum m, an average of gradients, forgets.
        common: see `Optimizer`.

    Raises:
        ValueError: a beta out of range; with a beta_1 of 0 nothing of m would be used.

    Source: Chen et al. 2023, "Symbolic discovery of optimization algorithms", arXiv:2302.06675.
    """

    def __init__(
        self, learning_rate: Any = 0.001, beta_1: float = 0.9, beta_2: float = 0.99, **common: Any
    ):
        self.beta_1 = check_fraction("Lion", "beta_1", beta_1, below_one=False)
        if beta_1 == 0:
            raise ValueError("Lion needs a beta_1 above 0: with 0 it is SGD by the sign alone")
        self.beta_2 = check_fraction("Lion", "beta_2", beta_2, below_one=False)
        super().__init__(learning_rate, **common)

    def slots(self) -> tuple[str, ...]:
        return ("momentum",)

    def update(
        self, w: Array, g: Array, slots: dict[str, Array], learning_rate: Rate, scratch: Array
    ) -> None:
        lion(w, g, slots["momentum"], learning_rate, self.beta_1, self.beta_2, scratch)
