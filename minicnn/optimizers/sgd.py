"""Stochastic gradient descent."""

from typing import Any

from minicnn.backend import array_module
from minicnn.kernels.cuda import optimizers as cuda
from minicnn.optimizers.base import OPTIMIZERS, Optimizer, check_fraction


@OPTIMIZERS.register()
class SGD(Optimizer):
    """w ← w - lr · g, or with momentum m ← momentum · m - lr · g, w ← w + m.

    Args:
        momentum: how much of the last step goes into the next, from 0 to 1.
        nesterov: w ← w + momentum · m - lr · g instead: the gradient is taken to belong to the
            point the momentum leads to.
        **common: see `Optimizer`.

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
        self, w: Any, g: Any, slots: dict[str, Any], learning_rate: float, scratch: Any
    ) -> None:
        xp = array_module(w)
        step = xp.multiply(g, learning_rate, out=scratch)
        if not self.momentum:
            w -= step
            return
        m = slots["momentum"]
        m *= self.momentum
        m -= step
        if not self.nesterov:
            w += m
            return
        w -= step
        w += xp.multiply(m, self.momentum, out=scratch)

    def update_on_cuda(self, step: cuda.Step, slots: dict[str, Any]) -> None:
        cuda.sgd(step, slots.get("momentum"), self.momentum, self.nesterov)
