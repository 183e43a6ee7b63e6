"""Constraints on weights: after each optimizer step a weight is led back to where it may be."""

import inspect
from typing import Any

from minicnn.backend import array_module
from minicnn.registry import Configurable, Registry, serialize
from minicnn.typing import Array

__all__ = [
    "CONSTRAINTS", "Constraint", "MaxNorm", "MinMaxNorm", "NonNeg", "UnitNorm", "deserialize",
    "get", "max_norm", "min_max_norm", "non_neg", "serialize", "unit_norm",
]  # fmt: skip

CONSTRAINTS = Registry("constraint")

_EPSILON = 1e-7  # Keras's, beside norms that may be 0


class Constraint(Configurable):
    """Base class. Your own defines `__call__`."""

    def __call__(self, w: Array) -> Array:
        """What takes the place of the weight `w`, of its shape."""
        raise NotImplementedError(f"{type(self).__name__} does not define __call__(w)")


class _OfFunction(Constraint):
    """What a function of the weight gives; it cannot be made again from its configuration.

    Args:
        function: that.
    """

    def __init__(self, function: Any):
        self.function = function

    def __call__(self, w: Array) -> Array:
        return self.function(w)

    def get_config(self) -> dict[str, Any]:
        raise ValueError(
            f"the function {self.function.__name__} was given as constraint and cannot be written "
            f"to a file; make it a class of your own, derived from minicnn.constraints.Constraint"
        )


class _OnNorms(Constraint):
    """w s(n) / (n + 1e-7), with the norm n of w along an axis, or several, and s(n) wanted."""

    axis: int | list[int]

    def __call__(self, w: Array) -> Array:
        axes = tuple(self.axis) if isinstance(self.axis, (list, tuple)) else self.axis
        norms = array_module(w).sqrt((w * w).sum(axis=axes, keepdims=True))
        return w * (self._wanted(norms) / (_EPSILON + norms))

    def _wanted(self, norms: Array) -> Any:
        raise NotImplementedError


@CONSTRAINTS.register()
class MaxNorm(_OnNorms):
    """Norms are at most `max_value`.

    Args:
        max_value: that.
        axis: along which norms are taken, an integer or several: 0 for the units of a Dense,
            [0, 1, 2] for the filters of a Conv2D.

    Source: Srivastava et al., "Dropout" (2014).
    """

    def __init__(self, max_value: float = 2, axis: Any = 0):
        self.max_value, self.axis = max_value, axis

    def _wanted(self, norms: Array) -> Array:
        return norms.clip(0, self.max_value)


@CONSTRAINTS.register()
class NonNeg(Constraint):
    """What is negative becomes 0."""

    def __call__(self, w: Array) -> Array:
        return array_module(w).maximum(w, 0)


@CONSTRAINTS.register()
class UnitNorm(_OnNorms):
    """Norms are 1.

    Args:
        axis: see `MaxNorm`.
    """

    def __init__(self, axis: Any = 0):
        self.axis = axis

    def _wanted(self, norms: Array) -> float:
        return 1.0


@CONSTRAINTS.register()
class MinMaxNorm(_OnNorms):
    """Norms lie between two values: n becomes rate clip(n) + (1 - rate) n.

    Args:
        min_value, max_value: those.
        rate: 1 keeps to them, less goes a part of the way at each step.
        axis: see `MaxNorm`.
    """

    def __init__(
        self, min_value: float = 0.0, max_value: float = 1.0, rate: float = 1.0, axis: Any = 0
    ):
        self.min_value, self.max_value, self.rate, self.axis = min_value, max_value, rate, axis

    def _wanted(self, norms: Array) -> Array:
        return self.rate * norms.clip(self.min_value, self.max_value) + (1 - self.rate) * norms


max_norm, non_neg, unit_norm, min_max_norm = MaxNorm, NonNeg, UnitNorm, MinMaxNorm


def get(identifier: Any) -> Constraint | None:
    """A constraint.

    Args:
        identifier: its name, configuration or class, or an instance; a function of the weight; None
            stays None.

    Raises:
        ValueError: an unknown name; the message lists the near matches.
        TypeError: something else.
    """
    if inspect.isfunction(identifier):
        return _OfFunction(identifier)
    return CONSTRAINTS.get(identifier)


def deserialize(config: Any, custom_objects: dict[str, type] | None = None) -> Constraint | None:
    """A constraint from what `serialize` returned.

    Args:
        config: that, {"class_name", "config"}.
        custom_objects: your own classes by name.
    """
    if isinstance(config, dict) and config.get("class_name") in (custom_objects or {}):
        return custom_objects[config["class_name"]](**config["config"])  # type: ignore[index]
    return get(config)
