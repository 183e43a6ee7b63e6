"""What losses of a formula share: a subclass is its formula and, beside it, its derivative."""

from typing import Any

from minicnn.backend import array_module
from minicnn.losses.base import Loss, check_same_shape
from minicnn.typing import Array, Shape


class RowLoss(Loss):
    """A loss of targets t and predictions p of the same shape (..., C).

    A subclass defines `formula` and `derivative`, and may change the targets in `targets`. Where
    it takes an `axis`, that one is moved to the end before, and back after.

    Args:
        reduction, name, dtype: see `Loss`.
    """

    axis = -1

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
    ):
        super().__init__(name, reduction, dtype)

    def formula(self, xp: Any, t: Array, p: Array) -> Array:
        """The losses (...).

        Args:
            xp: NumPy or CuPy.
            t, p: targets and predictions (..., C).
        """
        raise NotImplementedError(f"{type(self).__name__} does not define formula(xp, t, p)")

    def derivative(self, xp: Any, t: Array, p: Array) -> Array:
        """d loss / dp in a new array (..., C), from `formula`'s xp, t and p."""
        raise NotImplementedError(f"{type(self).__name__} does not define derivative(xp, t, p)")

    def targets(self, t: Array) -> Array:
        """What the formula takes as t, made of the targets given."""
        return t

    def rows(self, y_true: Array, y_pred: Array) -> tuple[Array, Array]:
        """t and p (..., C), made of y_true and y_pred."""
        if y_true.size != y_pred.size:
            raise ValueError(
                f"targets of shape {tuple(y_true.shape)} do not fit predictions of shape "
                f"{tuple(y_pred.shape)}; give one value per output"
            )
        t = self.targets(y_true.astype(y_pred.dtype, copy=False).reshape(y_pred.shape))
        return self.moved(t, self.axis, -1), self.moved(y_pred, self.axis, -1)

    def moved(self, a: Array, source: int, to: int) -> Array:
        """The array `a` with the axis `source` at the place `to`."""
        return a if self.axis == -1 else array_module(a).moveaxis(a, source, to)

    def per_sample(self, y_true: Array, y_pred: Array) -> tuple[Array, Any]:
        t, p = self.rows(y_true, y_pred)
        return self.formula(array_module(p), t, p), (t, p)

    def per_sample_gradient(self, kept: Any, scale: Any) -> Array:
        gradient = self.derivative(array_module(kept[0]), *kept)
        gradient *= scale
        return self.moved(gradient, -1, self.axis)

    def check_targets(self, y: Array, output_shape: Shape) -> None:
        check_same_shape(self, y, output_shape)

    def checked_axis(self, axis: int) -> int:
        """The `axis` unless it is that of the batch: then a ValueError."""
        if isinstance(axis, bool) or not isinstance(axis, int) or axis == 0:
            raise ValueError(
                f"{type(self).__name__} goes along one axis of each prediction, such as -1; the "
                f"axis must not be {axis!r}"
            )
        return axis


class ElementLoss(RowLoss):
    """The mean over the last axis of what `element` gives each element, with its `slope`."""

    def element(self, xp: Any, t: Array, p: Array) -> Array:
        """The loss of each element, from `formula`'s xp, t and p."""
        raise NotImplementedError(f"{type(self).__name__} does not define element(xp, t, p)")

    def slope(self, xp: Any, t: Array, p: Array) -> Array:
        """d element / dp in a new array, from `formula`'s xp, t and p."""
        raise NotImplementedError(f"{type(self).__name__} does not define slope(xp, t, p)")

    def formula(self, xp: Any, t: Array, p: Array) -> Array:
        return self.element(xp, t, p).mean(axis=-1)

    def derivative(self, xp: Any, t: Array, p: Array) -> Array:
        gradient = self.slope(xp, t, p)
        gradient /= p.shape[-1]
        return gradient
