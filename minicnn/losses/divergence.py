"""Distances between distributions: targets t and predictions p of the same shape (..., C)."""

from typing import Any

from minicnn.losses.base import EPSILON, LOSSES
from minicnn.losses.formula import ElementLoss, RowLoss
from minicnn.typing import Array


@LOSSES.register("kld", "kullback_leibler_divergence")
class KLDivergence(RowLoss):
    """Sum over the last axis of t log(t / p), both t and p clipped to [1e-7, 1].

    Source: Kullback and Leibler 1951, On information and sufficiency, doi:10.1214/aoms/1177729694.
    """

    def formula(self, xp: Any, t: Array, p: Array) -> Array:
        t = xp.clip(t, EPSILON, 1.0)
        return (t * xp.log(t / xp.clip(p, EPSILON, 1.0))).sum(axis=-1)

    def derivative(self, xp: Any, t: Array, p: Array) -> Array:
        """-t / p, 0 where p was clipped."""
        clipped = xp.clip(p, EPSILON, 1.0)
        return -xp.clip(t, EPSILON, 1.0) / clipped * (clipped == p)


@LOSSES.register()
class Poisson(ElementLoss):
    """Mean over the last axis of p - t log(p + 1e-7): the negative logarithm of the chance of
    counts t where p are expected, without what does not depend on p."""

    def element(self, xp: Any, t: Array, p: Array) -> Array:
        return p - t * xp.log(p + EPSILON)

    def slope(self, xp: Any, t: Array, p: Array) -> Array:
        """1 - t / (p + 1e-7)."""
        return 1.0 - t / (p + EPSILON)
