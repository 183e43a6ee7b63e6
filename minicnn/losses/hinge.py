"""Losses that are 0 once a prediction is right by a margin of 1."""

from typing import Any

from minicnn import backend
from minicnn.losses.base import LOSSES
from minicnn.losses.formula import ElementLoss, RowLoss
from minicnn.typing import Array, Shape


@LOSSES.register()
class Hinge(ElementLoss):
    """Mean over the last axis of max(1 - t p, 0): targets t are -1 or 1; of targets 0 and 1 the 0
    stands for -1."""

    def targets(self, t: Array) -> Array:
        return t - (t == 0)

    def element(self, xp: Any, t: Array, p: Array) -> Array:
        return xp.maximum(1.0 - t * p, 0.0)

    def slope(self, xp: Any, t: Array, p: Array) -> Array:
        """-t where t p < 1."""
        return -t * (t * p < 1.0)

    def check_targets(self, y: Array, output_shape: Shape) -> None:
        super().check_targets(y, output_shape)
        y = backend.to_numpy(y)
        if y.size and not (((y == 0) | (y == 1)).all() or (abs(y) == 1).all()):
            raise ValueError(
                f"{type(self).__name__} takes targets of -1 and 1, or of 0 and 1; they lie between "
                f"{y.min()} and {y.max()}"
            )


@LOSSES.register()
class SquaredHinge(Hinge):
    """Mean over the last axis of max(1 - t p, 0)²: targets t are -1 or 1; of targets 0 and 1 the 0
    stands for -1."""

    def element(self, xp: Any, t: Array, p: Array) -> Array:
        return xp.maximum(1.0 - t * p, 0.0) ** 2

    def slope(self, xp: Any, t: Array, p: Array) -> Array:
        """-2 t max(1 - t p, 0)."""
        return -2.0 * t * xp.maximum(1.0 - t * p, 0.0)


@LOSSES.register()
class CategoricalHinge(RowLoss):
    """max(1 + wrong - right, 0), with the score `right` = sum_c t_c p_c of the right class and the
    highest of the others, `wrong` = max_c (1 - t_c) p_c: targets t are one-hot (N, C).

    Source: Crammer and Singer 2001, JMLR 2, 265.
    """

    def formula(self, xp: Any, t: Array, p: Array) -> Array:
        wrong = ((1.0 - t) * p).max(axis=-1)
        return xp.maximum(1.0 + wrong - (t * p).sum(axis=-1), 0.0)

    def derivative(self, xp: Any, t: Array, p: Array) -> Array:
        """Where the loss is above 0: -t, and 1 - t more at the highest of the others."""
        highest = ((1.0 - t) * p).argmax(axis=-1)[..., None] == xp.arange(p.shape[-1])
        return ((1.0 - t) * highest - t) * (self.formula(xp, t, p) > 0)[..., None]
