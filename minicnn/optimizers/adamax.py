"""Adamax: Adam with the largest gradient of late in place of the root of an average."""

from typing import Any

from minicnn.kernels.optimizers import Rate, adamax
from minicnn.optimizers.arguments import check_epsilon, check_fraction
from minicnn.optimizers.base import OPTIMIZERS, Optimizer
from minicnn.typing import Array


@OPTIMIZERS.register()
class Adamax(Optimizer):
    """m ← m + (1 - beta_1)(g - m), u ← max(beta_2 u, |g|),
    w ← w - lr / (1 - beta_1^t) · m / (u + epsilon) at step t = 1, 2, ...

    Args:
        learning_rate: lr, a float or a schedule.
        beta_1: how slowly the average m of gradients forgets.
        beta_2: how slowly the largest magnitude u forgets.
        epsilon: keeps the quotient finite.
        common: see `Optimizer`.

    Source: Kingma, Ba 2014, arXiv:1412.6980, algorithm 2.
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        **common: Any,
    ):
        self.beta_1 = check_fraction("Adamax", "beta_1", beta_1)
        self.beta_2 = check_fraction("Adamax", "beta_2", beta_2, below_one=False)
        self.epsilon = check_epsilon("Adamax", epsilon)
        super().__init__(learning_rate, **common)

    def slots(self) -> tuple[str, ...]:
        return ("momentum", "norm")

    def step_size(self, learning_rate: float) -> float:
        """The learning rate with the correction of the bias of m."""
        return learning_rate / (1 - self.beta_1 ** (self.iterations + 1))

    def update(
        self, w: Array, g: Array, slots: dict[str, Array], learning_rate: Rate, scratch: Array
    ) -> None:
        adamax(
            w, g, slots["momentum"], slots["norm"],
            learning_rate, self.beta_1, self.beta_2, self.epsilon, scratch,
        )  # fmt: skip
