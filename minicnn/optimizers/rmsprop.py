"""RMSprop: each weight's step is scaled by the recent size of its gradient."""

from typing import Any

from minicnn.backend import array_module
from minicnn.kernels.cuda import optimizers as cuda
from minicnn.optimizers.base import OPTIMIZERS, Optimizer, check_fraction


@OPTIMIZERS.register()
class RMSprop(Optimizer):
    """v ← rho · v + (1 - rho) g², w ← w - lr · g / sqrt(v + epsilon).

    Args:
        rho: how slowly the average of g² forgets.
        momentum: above 0, steps are added up: m ← momentum · m + step, w ← w - m.
        epsilon: stands under the root (PyTorch adds it outside).
        centered: divide by the root of the variance v - ḡ² + epsilon instead, ḡ being the average
            of g (Graves 2013, arXiv:1308.0850, equations 38 to 45).
        **common: see `Optimizer`.

    Source: Hinton 2012, "Neural networks for machine learning", lecture 6e.
    """

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
        self.epsilon = epsilon
        self.centered = centered
        super().__init__(learning_rate, **common)

    def slots(self) -> tuple[str, ...]:
        return (
            "velocity",
            *(("momentum",) if self.momentum else ()),
            *(("average_gradient",) if self.centered else ()),
        )

    def update(
        self, w: Any, g: Any, slots: dict[str, Any], learning_rate: float, scratch: Any
    ) -> None:
        xp = array_module(w)
        t = scratch
        v = slots["velocity"]
        v *= self.rho
        xp.multiply(g, g, out=t)
        t *= 1.0 - self.rho
        v += t
        if self.centered:
            average = slots["average_gradient"]
            average *= self.rho
            average += xp.multiply(g, 1.0 - self.rho, out=t)
            xp.multiply(average, average, out=t)
            xp.subtract(v, t, out=t)
            t += self.epsilon
        else:
            xp.add(v, self.epsilon, out=t)
        xp.sqrt(t, out=t)
        xp.divide(g, t, out=t)
        t *= learning_rate
        if self.momentum:
            m = slots["momentum"]
            m *= self.momentum
            m += t
            w -= m
        else:
            w -= t

    def update_on_cuda(self, step: cuda.Step, slots: dict[str, Any]) -> None:
        cuda.rmsprop(
            step, slots["velocity"], slots.get("momentum"), slots.get("average_gradient"),
            self.rho, self.momentum, self.epsilon,
        )  # fmt: skip
