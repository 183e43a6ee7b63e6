"""Optimizers, and what they are given, that the tests share."""

import inspect
import re
import textwrap

from minicnn.backend import array_module
from minicnn.optimizers import (
    SGD,
    Adadelta,
    Adagrad,
    Adam,
    Adamax,
    AdamW,
    Lion,
    Nadam,
    Optimizer,
    RMSprop,
)

RULES = {
    "sgd": lambda **k: SGD(0.1, **k),
    "momentum": lambda **k: SGD(0.1, momentum=0.9, **k),
    "nesterov": lambda **k: SGD(0.1, momentum=0.9, nesterov=True, **k),
    "rmsprop": lambda **k: RMSprop(0.01, **k),
    "rmsprop_all": lambda **k: RMSprop(0.01, rho=0.8, momentum=0.9, centered=True, **k),
    "adam": lambda **k: Adam(0.01, **k),
    "amsgrad": lambda **k: Adam(0.01, amsgrad=True, **k),
    "adamw": lambda **k: AdamW(0.01, **k),
    "lion": lambda **k: Lion(0.01, **k),
    "nadam": lambda **k: Nadam(0.01, **k),
    "adamax": lambda **k: Adamax(0.01, **k),
    "adagrad": lambda **k: Adagrad(0.1, **k),
    "adadelta": lambda **k: Adadelta(1.0, **k),
}
# With what goes on before and after an update
CASES = {
    **RULES,
    "averaged": lambda **k: Adam(
        0.01, **{**k, "use_ema": True, "ema_momentum": 0.7, "ema_overwrite_frequency": 3}
    ),
    "accumulated": lambda **k: SGD(0.1, momentum=0.9, gradient_accumulation_steps=2, **k),
    "all_together": lambda **k: Adagrad(
        0.1, use_ema=True, gradient_accumulation_steps=2, ema_overwrite_frequency=2, **k
    ),
}


class FakeWeight:
    """As much of a layer's weight as an optimizer sees."""

    def __init__(self, value, name="kernel"):
        self.value = value
        self.name = name


class Recorder(Optimizer):
    """Moves no weight, but keeps the gradients of the last step."""

    def apply(self, gradients, trainable_variables=None, *, scale=None):
        self.gradients = dict(gradients)
        self.iterations += 1
        return True


def documented_optimizer():
    """The class that the documentation of `Optimizer` shows, made from its very lines."""
    lines = inspect.getdoc(Optimizer).partition("\n\n")[2].partition("\n\nArgs:")[0]
    names = {"Optimizer": Optimizer, "array_module": array_module, "__name__": __name__}
    exec(textwrap.dedent(lines), names)
    (name,) = re.findall(r"class (\w+)", lines)
    return names[name]
