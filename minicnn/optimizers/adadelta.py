"""Adadelta: steps as long as the last ones were, whatever the size of the gradients."""

from typing import Any

from minicnn.kernels.optimizers import Rate, adadelta
from minicnn.optimizers.arguments import check_epsilon, check_fraction
from minicnn.optimizers.base import OPTIMIZERS, Optimizer
from minicnn.typing import Array


@OPTIMIZERS.register()
class Adadelta(Optimizer):
    """a ← rho a + (1 - rho) g², step = sqrt(d + epsilon) / sqrt(a + epsilon) · g,
    d ← rho d + (1 - rho) step², w ← w - lr · step.

    Args:
        learning_rate: lr, a float or a schedule; the paper takes 1.
        rho: how slowly the averages a of g² and d of step² forget.
        epsilon: stands under both roots; from it the first steps get their length.
        common: see `Optimizer`.

    Source: Zeiler 2012, arXiv:1212.5701, algorithm 1.
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        rho: float = 0.95,
        epsilon: float = 1e-7,
        **common: Any,
    ):
        self.rho = check_fraction("Adadelta", "rho", rho)
        self.epsilon = check_epsilon("Adadelta", epsilon)
        super().__init__(learning_rate, **common)

    def slots(self) -> tuple[str, ...]:
        return ("accumulated_grad", "accumulated_delta_var")

    def update(
        self, w: Array, g: Array, slots: dict[str, Array], learning_rate: Rate, scratch: Array
    ) -> None:
        adadelta(
            w, g, slots["accumulated_grad"], slots["accumulated_delta_var"],
            learning_rate, self.rho, self.epsilon, scratch,
        )  # fmt: skip
