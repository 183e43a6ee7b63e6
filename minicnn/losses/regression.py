"""Distances between numbers: targets t and predictions p of the same shape (..., C)."""

import math
from typing import Any

from minicnn.losses.base import EPSILON, LOSSES
from minicnn.losses.formula import ElementLoss, RowLoss
from minicnn.typing import Array


@LOSSES.register("mse")
class MeanSquaredError(ElementLoss):
    """Mean over the last axis of (p - t)²."""

    def element(self, xp: Any, t: Array, p: Array) -> Array:
        difference = p - t
        return difference * difference

    def slope(self, xp: Any, t: Array, p: Array) -> Array:
        """2 (p - t)."""
        return 2.0 * (p - t)


@LOSSES.register("mae")
class MeanAbsoluteError(ElementLoss):
    """Mean over the last axis of |p - t|."""

    def element(self, xp: Any, t: Array, p: Array) -> Array:
        return xp.abs(p - t)

    def slope(self, xp: Any, t: Array, p: Array) -> Array:
        """sign(p - t)."""
        return xp.sign(p - t)


@LOSSES.register("mape")
class MeanAbsolutePercentageError(ElementLoss):
    """Mean over the last axis of 100 |p - t| / |t|, with at least 1e-7 below."""

    def element(self, xp: Any, t: Array, p: Array) -> Array:
        return 100.0 * xp.abs(p - t) / xp.maximum(xp.abs(t), EPSILON)

    def slope(self, xp: Any, t: Array, p: Array) -> Array:
        """100 sign(p - t) / |t|."""
        return 100.0 * xp.sign(p - t) / xp.maximum(xp.abs(t), EPSILON)


@LOSSES.register("msle")
class MeanSquaredLogarithmicError(ElementLoss):
    """Mean over the last axis of (log(1 + p) - log(1 + t))², both p and t at least 1e-7."""

    def element(self, xp: Any, t: Array, p: Array) -> Array:
        return self._difference(xp, t, p) ** 2

    def slope(self, xp: Any, t: Array, p: Array) -> Array:
        """2 (log(1 + p) - log(1 + t)) / (1 + p), 0 for p below 1e-7."""
        return 2.0 * self._difference(xp, t, p) / (1.0 + p) * (p > EPSILON)

    def _difference(self, xp: Any, t: Array, p: Array) -> Array:
        return xp.log1p(xp.maximum(p, EPSILON)) - xp.log1p(xp.maximum(t, EPSILON))


@LOSSES.register()
class Huber(ElementLoss):
    """Mean over the last axis of d² / 2 where |d| <= delta, else delta |d| - delta² / 2; d = p - t.

    Args:
        delta: where the parabola goes over into straight lines.
        reduction, name, dtype: see `Loss`.

    Source: Huber 1964, Robust estimation of a location parameter, doi:10.1214/aoms/1177703732.
    """

    def __init__(
        self,
        delta: float = 1.0,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "huber_loss",
        dtype: Any = None,
    ):
        super().__init__(reduction, name, dtype)
        self.delta = delta

    def element(self, xp: Any, t: Array, p: Array) -> Array:
        d = xp.abs(p - t)
        inside = xp.minimum(d, self.delta)  # both branches in one: of delta² / 2 nothing overflows
        return inside * (d - 0.5 * inside)

    def slope(self, xp: Any, t: Array, p: Array) -> Array:
        """p - t, kept between -delta and delta."""
        return xp.clip(p - t, -self.delta, self.delta)


@LOSSES.register()
class LogCosh(ElementLoss):
    """Mean over the last axis of log cosh(p - t), as |d| + log(1 + exp(-2 |d|)) - log 2."""

    def element(self, xp: Any, t: Array, p: Array) -> Array:
        d = xp.abs(p - t)
        return d + xp.log1p(xp.exp(-2.0 * d)) - math.log(2.0)

    def slope(self, xp: Any, t: Array, p: Array) -> Array:
        """tanh(p - t)."""
        return xp.tanh(p - t)


@LOSSES.register()
class CosineSimilarity(RowLoss):
    """-t·p / (|t| |p|) along one axis: from -1, the same direction, to 1; lengths below 1e-7 count
    as 1e-7.

    Args:
        axis: of the vectors.
        reduction, name, dtype: see `Loss`.

    Raises:
        ValueError: an axis of 0, that of the batch.
    """

    def __init__(
        self,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
    ):
        super().__init__(reduction, name, dtype)
        self.axis = self.checked_axis(axis)

    def formula(self, xp: Any, t: Array, p: Array) -> Array:
        return -(t * p).sum(axis=-1) / (_length(xp, t) * _length(xp, p))[..., 0]

    def derivative(self, xp: Any, t: Array, p: Array) -> Array:
        """(c p / |p| - t / |t|) / |p| with the cosine c, that without its first term where |p| is
        below 1e-7."""
        length = _length(xp, p)
        t, p = t / _length(xp, t), p / length
        cosine = (t * p).sum(axis=-1, keepdims=True) * (length > EPSILON)
        return (cosine * p - t) / length


def _length(xp: Any, v: Array) -> Array:
    return xp.maximum(xp.sqrt((v * v).sum(axis=-1, keepdims=True)), EPSILON)
