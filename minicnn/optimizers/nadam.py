"""Nadam: Adam that looks ahead along its momentum."""

import math
from itertools import accumulate
from operator import mul
from typing import Any

from minicnn.kernels.optimizers import nadam
from minicnn.optimizers.adam import TwoAverages
from minicnn.optimizers.base import OPTIMIZERS
from minicnn.typing import Array

# The products of the first 1 - 0.96^i / 2 for i = 1, 2, ...: beyond a thousand, they are 1.
_WARM_UP = tuple(accumulate((1 - 0.5 * 0.96**i for i in range(1, 1000)), mul, initial=1.0))


@OPTIMIZERS.register()
class Nadam(TwoAverages):
    """m and v as in Adam, with momentum that grows: u_t = beta_1 (1 - 0.96^t / 2),

        m̂ = u_{t+1} m / (1 - u_1 ... u_{t+1}) + (1 - u_t) g / (1 - u_1 ... u_t)
        w ← w - lr · m̂ / (sqrt(v / (1 - beta_2^t)) + epsilon)     at step t = 1, 2, ...

    Args:
        learning_rate, beta_1, beta_2, epsilon, common: see `TwoAverages`.

    Source: Dozat 2016, "Incorporating Nesterov momentum into Adam", algorithm 8.
    """

    def slots(self) -> tuple[str, ...]:
        return ("momentum", "velocity")

    def derived_state(self) -> dict[str, float]:
        return {"u_product": self._product(self.iterations)}

    def _product(self, t: int) -> float:
        """u_1 ... u_t."""
        return self.beta_1**t * _WARM_UP[min(t, len(_WARM_UP) - 1)]

    def step_size(self, learning_rate: float) -> tuple[float, ...]:
        """What m, g and 1 are multiplied by, where the divisor is sqrt(v) + the last."""
        t = self.iterations + 1
        u, next_u = (self.beta_1 * (1 - 0.5 * 0.96**i) for i in (t, t + 1))
        root = math.sqrt(1 - self.beta_2**t)
        rate = learning_rate * root
        return (
            rate * next_u / (1 - self._product(t + 1)),
            rate * (1 - u) / (1 - self._product(t)),
            self.epsilon * root,
        )

    def update(
        self, w: Array, g: Array, slots: dict[str, Array], learning_rate: Any, scratch: Array
    ) -> None:
        nadam(
            w, g, slots["momentum"], slots["velocity"],
            learning_rate, self.beta_1, self.beta_2, scratch,
        )  # fmt: skip
