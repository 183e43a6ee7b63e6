"""Adamax: Adam with the largest gradient of late in place of the root of an average."""

from minicnn.kernels.optimizers import Rate, adamax
from minicnn.optimizers.adam import TwoAverages
from minicnn.optimizers.base import OPTIMIZERS
from minicnn.typing import Array


@OPTIMIZERS.register()
class Adamax(TwoAverages):
    """m ← m + (1 - beta_1)(g - m), u ← max(beta_2 u, |g|),
    w ← w - lr / (1 - beta_1^t) · m / (u + epsilon) at step t = 1, 2, ...

    Args:
        learning_rate, beta_1, beta_2, epsilon, common: see `TwoAverages`; u stands for v.

    Source: Kingma, Ba 2014, arXiv:1412.6980, algorithm 2.
    """

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
