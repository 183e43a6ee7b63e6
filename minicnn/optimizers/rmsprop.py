"""RMSprop: each weight's step is scaled by the recent size of its gradient."""

from typing import Any

from minicnn.kernels.optimizers import Rate, rmsprop
from minicnn.optimizers.arguments import check_epsilon, check_fraction
from minicnn.optimizers.base import OPTIMIZERS, Optimizer
from minicnn.typing import Array


@OPTIMIZERS.register()
class RMSprop(Optimizer):
    """v ← rho · v + (1 - rho) g², w ← w - lr · g / sqrt(v + epsilon).

    Args:
        learning_rate: lr, a float or a schedule.
        rho: how slowly the average of g² forgets.
        momentum: above 0, steps are added up: m ← momentum · m + step, w ← w - m.
        epsilon: stands under the root (PyTorch adds it outside).
        centered: divide by the root of the variance v - ḡ² + epsilon instead, ḡ being the average
            of g (Graves 2013, arXiv:1308.0850, equations 38 to 45).
        common: see `Optimizer`.

    Source: Hinton 2012, "Neural networks for machine learning", lecture 6e.
    """

    paired_slots = 1

    def __init__(
        self,
        learning_rate: Any = 0.001,
        rho: float = 0.9,
        momentum: float = 0.0,
        epsilon: float = 1e-7,
        centered: bool = False,
        **common: Any,
    ):
        self.rho = check_fraction("RMSprop", "rho", rho)
        self.momentum = check_fraction("RMSprop", "momentum", momentum, below_one=False)
        self.epsilon = check_epsilon("RMSprop", epsilon)
        self.centered = centered
        super().__init__(learning_rate, **common)

    def slots(self) -> tuple[str, ...]:
        return (
            "velocity",
            *(("momentum",) if self.momentum else ()),
            *(("average_gradient",) if self.centered else ()),
        )

    def update(
        self, w: Array, g: Array, slots: dict[str, Array], learning_rate: Rate, scratch: Array
    ) -> None:
        rmsprop(
            w, g, slots["velocity"], slots.get("momentum"), slots.get("average_gradient"),
            learning_rate, self.rho, self.momentum, self.epsilon, scratch,
        )  # fmt: skip
