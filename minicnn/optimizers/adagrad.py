"""Adagrad: weights that have moved much move less."""

from typing import Any

from minicnn.kernels.optimizers import Rate, adagrad
from minicnn.optimizers.arguments import check_epsilon, check_not_negative
from minicnn.optimizers.base import OPTIMIZERS, Optimizer
from minicnn.typing import Array


@OPTIMIZERS.register()
class Adagrad(Optimizer):
    """a ← a + g², w ← w - lr · g / sqrt(a + epsilon).

    Args:
        learning_rate: lr, a float or a schedule; the paper takes 1.
        initial_accumulator_value: a before the first step, 0 or above.
        epsilon: stands under the root (PyTorch adds it outside).
        common: see `Optimizer`.

    Source: Duchi, Hazan, Singer 2011, "Adaptive subgradient methods for online learning and
    stochastic optimization", figure 1.
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        initial_accumulator_value: float = 0.1,
        epsilon: float = 1e-7,
        **common: Any,
    ):
        self.initial_accumulator_value = check_not_negative(
            "Adagrad", "initial_accumulator_value", initial_accumulator_value
        )
        self.epsilon = check_epsilon("Adagrad", epsilon)
        super().__init__(learning_rate, **common)

    def slots(self) -> tuple[str, ...]:
        return ("accumulator",)

    def first_value(self, slot: str) -> float:
        return self.initial_accumulator_value

    def update(
        self, w: Array, g: Array, slots: dict[str, Array], learning_rate: Rate, scratch: Array
    ) -> None:
        adagrad(w, g, slots["accumulator"], learning_rate, self.epsilon, scratch)
