"""Adam and AdamW: momentum, scaled by the recent size of the gradient."""

import math
from typing import Any

from minicnn.kernels.optimizers import Rate, adam
from minicnn.optimizers.arguments import check_epsilon, check_fraction
from minicnn.optimizers.base import OPTIMIZERS, Optimizer
from minicnn.typing import Array


class TwoAverages(Optimizer):
    """Adam and its kin: averages m of gradients and v of their squares.

    Args:
        learning_rate: lr, a float or a schedule.
        beta_1: how slowly m forgets.
        beta_2: how slowly v forgets.
        epsilon: keeps quotients finite.
        common: see `Optimizer`.
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        **common: Any,
    ):
        self.beta_1 = check_fraction(type(self).__name__, "beta_1", beta_1)
        self.beta_2 = check_fraction(type(self).__name__, "beta_2", beta_2)
        self.epsilon = check_epsilon(type(self).__name__, epsilon)
        super().__init__(learning_rate, **common)


@OPTIMIZERS.register()
class Adam(TwoAverages):
    """m ← m + (1 - beta_1)(g - m), v ← v + (1 - beta_2)(g² - v),
    w ← w - lr · sqrt(1 - beta_2^t) / (1 - beta_1^t) · m / (sqrt(v) + epsilon) at step t = 1, 2, ...

    Args:
        learning_rate: lr, a float or a schedule.
        beta_1: how slowly the average m of gradients forgets.
        beta_2: how slowly the average v of their squares forgets.
        epsilon: the "epsilon hat" of the paper's section 2: it is added before v's bias is
            corrected (PyTorch adds it after).
        amsgrad: use the largest v so far (Reddi et al. 2018, "On the convergence of Adam and
            beyond").
        common: see `Optimizer`.

    Source: Kingma, Ba 2014, arXiv:1412.6980.
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        **common: Any,
    ):
        self.amsgrad = amsgrad
        super().__init__(learning_rate, beta_1, beta_2, epsilon, **common)

    def slots(self) -> tuple[str, ...]:
        return ("momentum", "velocity", *(("velocity_hat",) if self.amsgrad else ()))

    def step_size(self, learning_rate: float) -> float:
        """The learning rate with the correction of the bias of both averages."""
        step = self.iterations + 1
        return learning_rate * math.sqrt(1 - self.beta_2**step) / (1 - self.beta_1**step)

    def update(
        self, w: Array, g: Array, slots: dict[str, Array], learning_rate: Rate, scratch: Array
    ) -> None:
        adam(
            w, g, slots["momentum"], slots["velocity"], slots.get("velocity_hat"),
            learning_rate, self.beta_1, self.beta_2, self.epsilon, scratch,
        )  # fmt: skip


@OPTIMIZERS.register()
class AdamW(Adam):
    """Adam with weight decay by default.

    Keras's decay of 0.004 is per unit of learning rate: weights shrink by 1 - 0.004 · lr per step.

    Args:
        learning_rate, beta_1, beta_2, epsilon, amsgrad: as for `Adam`.
        weight_decay, common: see `Optimizer`.

    Source: Loshchilov, Hutter 2017, arXiv:1711.05101, algorithm 2.
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        weight_decay: float = 0.004,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        **common: Any,
    ):
        if weight_decay is None:
            raise ValueError("AdamW needs a weight_decay; without one, use Adam")
        super().__init__(
            learning_rate, beta_1, beta_2, epsilon, amsgrad, weight_decay=weight_decay, **common
        )
