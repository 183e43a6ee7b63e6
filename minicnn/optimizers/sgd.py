"""Stochastic gradient descent."""

from typing import Any

from minicnn.kernels.optimizers import Rate, sgd
from minicnn.optimizers.arguments import check_fraction
from minicnn.optimizers.base import OPTIMIZERS, Optimizer
from minicnn.typing import Array


@OPTIMIZERS.register()
class SGD(Optimizer):
    """w ← w - lr · g, or with momentum m ← momentum · m - lr · g, w ← w + m.

    Args:
        learning_rate: lr, a float or a schedule.
        momentum: how much of the last optimizer step goes into the next, from 0 to 1.
        nesterov: w ← w + momentum · m - lr · g instead: the gradient is taken to belong to the
            point the momentum leads to.
        common: see `Optimizer`.

    Source: Sutskever et al. 2013, "On the importance of initialization and momentum in deep
    learning", equations 1 to 4.
    """

    def __init__(
        self,
        learning_rate: Any = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        **common: Any,
    ):
        self.momentum = check_fraction("SGD", "momentum", momentum, below_one=False)
        self.nesterov = nesterov
        super().__init__(learning_rate, **common)

    def slots(self) -> tuple[str, ...]:
        return ("momentum",) if self.momentum else ()

    def update(
        self, w: Array, g: Array, slots: dict[str, Array], learning_rate: Rate, scratch: Array
    ) -> None:
        m = slots.get("momentum")
        sgd(w, g, m, learning_rate, self.momentum, self.nesterov, scratch)
