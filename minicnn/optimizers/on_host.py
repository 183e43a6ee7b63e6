"""An optimizer step on the CPU: weight by weight, block by block."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from minicnn.optimizers.gradients import clipped_on_host, collected
from minicnn.parallel import split_work
from minicnn.typing import Array

if TYPE_CHECKING:
    from minicnn.optimizers.base import Optimizer

# On the CPU an update runs over this many elements at a time, so that the ten or so passes of a
# formula find weight, gradient and slots in the cache and read main memory once. With a quarter of
# it two threads are no faster than one: passes of 5 microseconds leave them waiting for Python's
# interpreter lock.
BLOCK = 131072

# Averages of a gradient that has become 0 (a dead ReLU) decay into denormal numbers, which many
# processors handle a hundred times as slowly. Below this they count as 0, looked at now and then.
# GPUs are as fast with denormals as with others.
_TINY = 1e-30
_FLUSH_EVERY = 100


def step_on_host(
    optimizer: "Optimizer", gradients: Mapping[Any, Array], scale: Array | None
) -> bool:
    """One optimizer step on weights on the host, on each in turn.

    Args:
        optimizer: which.
        gradients, scale: as for `Optimizer.apply`.

    Returns:
        Whether weights and slots changed.
    """
    gradients, finite = collected(
        optimizer, gradients, scale, lambda w: optimizer._slots_of(w)["gradient_accumulator"]
    )
    taken = finite is None or bool(finite)
    if not taken and not optimizer.gradient_accumulation_steps:
        return False
    rate = float(optimizer.learning_rate)
    flush = optimizer.iterations % _FLUSH_EVERY == _FLUSH_EVERY - 1
    for weight, gradient in clipped_on_host(optimizer, gradients).items():
        _update_weight(optimizer, weight, gradient, rate)
        if flush:
            for slot in optimizer._slots_of(weight).values():
                slot *= np.abs(slot) > _TINY
    return taken


def _update_weight(optimizer: "Optimizer", weight: Any, gradient: Array, rate: float) -> None:
    """One weight's step, block by block, on several threads where it is large."""
    if not weight.value.flags.c_contiguous:
        weight.value = np.ascontiguousarray(weight.value)
    w = weight.value.reshape(-1)
    g = gradient.astype(w.dtype, copy=False).reshape(-1)
    slots = {name: slot.reshape(-1) for name, slot in optimizer._slots_of(weight).items()}
    block = max(1, min(BLOCK, w.size))
    step_size = optimizer.step_size(rate)
    decay = rate * (optimizer.weight_decay or 0.0) if optimizer._decays(weight) else 0.0

    def update(span: slice) -> None:
        scratch = np.empty(block, w.dtype)
        for start in range(span.start, span.stop, block):
            piece = slice(start, min(start + block, span.stop))
            weights = w[piece]
            if decay:
                weights *= 1.0 - decay
            pieces = {name: slot[piece] for name, slot in slots.items()}
            optimizer.update(weights, g[piece], pieces, step_size, scratch[: weights.size])

    split_work(w.size, update)
