"""What is done to gradients before an optimizer step: loss scaling undone, sums over several
batches, and clipping.

Gradients come as {owner: array}: on the host the owner is a weight, on a device an `Arena`, whose
array holds the gradients of all its weights.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from minicnn.backend import array_module
from minicnn.dtypes import overflows_expected
from minicnn.typing import Array

if TYPE_CHECKING:
    from minicnn.optimizers.base import Optimizer

Gradients = Mapping[Any, Array]


def collected(
    optimizer: "Optimizer",
    gradients: Gradients,
    scale: Array | None,
    accumulator: Callable[[Any], Array],
) -> tuple[Gradients, Array | None]:
    """(the gradients to move the weights with, whether those of this batch are finite; None where
    nobody asked). There are none before the last batch of an accumulation; those of a batch that
    are not finite do not get into the sum.

    Args:
        optimizer, gradients: see the module.
        scale: see `Optimizer.apply`.
        accumulator: gives the sum of an owner's gradients so far.
    """
    finite = None
    if scale is not None:
        gradients, finite = unscaled(gradients, scale)
    elif optimizer.loss_scale_factor is not None:
        gradients = {owner: g / optimizer.loss_scale_factor for owner, g in gradients.items()}
    steps = optimizer.gradient_accumulation_steps
    if not steps:
        return gradients, finite
    for owner, g in gradients.items():
        sums = accumulator(owner)
        sums += g if finite is None else array_module(g).where(finite, g, 0)
    if optimizer.batches % steps != steps - 1:
        return {}, finite
    means = {owner: accumulator(owner) / steps for owner in gradients}
    for owner in gradients:
        accumulator(owner).fill(0)
    return means, finite


def unscaled(gradients: Gradients, scale: Array) -> tuple[Gradients, Array]:
    """(the gradients divided by `scale`, whether all of them are finite: a boolean of no axes)."""
    finite: Array | None = None
    divided = {}
    with overflows_expected():
        for owner, g in gradients.items():
            xp = array_module(g)
            divided[owner] = g / scale
            here = xp.isfinite(divided[owner]).all()
            finite = here if finite is None else xp.logical_and(finite, here)
    return divided, finite


def clipped_on_host(optimizer: "Optimizer", gradients: Gradients) -> Gradients:
    """`gradients` of weights, no larger than the `optimizer` allows."""
    return _clipped(
        optimizer,
        gradients,
        square=lambda g: np.vdot(g, g),
        factors=lambda weight, g, limit: _shrink(np.vdot(g, g), limit),
    )


def clipped_on_device(optimizer: "Optimizer", gradients: Gradients) -> Gradients:
    """`gradients` of arenas, no larger than the `optimizer` allows."""
    return _clipped(
        optimizer,
        gradients,
        # no dot products, which cuBLAS refuses to make while a CUDA graph is captured
        square=lambda g: (g * g).sum(),
        factors=lambda arena, g, limit: arena.spread(_shrink(arena.squares(g), limit)),
    )


def _clipped(
    optimizer: "Optimizer",
    gradients: Gradients,
    square: Callable[[Array], Array],
    factors: Callable[[Any, Array, float], Array],
) -> Gradients:
    """The gradients, clipped in the way that the optimizer says, if any.

    Args:
        square: the sum of squares of an array.
        factors: what an owner's array is multiplied by, so that the gradient of no weight is longer
            than a limit.
    """
    if optimizer.clipvalue is not None:
        limit = optimizer.clipvalue
        return {o: array_module(g).clip(g, -limit, limit) for o, g in gradients.items()}
    if optimizer.clipnorm is not None:
        limit = optimizer.clipnorm
        return {o: g * factors(o, g, limit) for o, g in gradients.items()}
    if optimizer.global_clipnorm is not None and gradients:
        total = sum(square(g) for g in gradients.values())
        factor = _shrink(total, optimizer.global_clipnorm)
        return {o: g * factor.astype(g.dtype) for o, g in gradients.items()}
    return gradients


def _shrink(square: Array, limit: float) -> Array:
    """limit / max(norm, limit): 1 for gradients that are short enough."""
    xp = array_module(square)
    return limit / xp.maximum(xp.sqrt(square), limit)
