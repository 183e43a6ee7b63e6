"""An optimizer step on a GPU: all weights of a dtype at once, in their arena.

What changes from one optimizer step to the next is calculated on the host and reaches the device
through `Arena.rates`, so that a training step can be captured as a CUDA graph, which replays all
else as it was.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from minicnn.backend import array_module
from minicnn.dtypes import overflows_expected
from minicnn.kernels import device
from minicnn.kernels.optimizers import Rates
from minicnn.optimizers.arena import Arena
from minicnn.optimizers.gradients import clipped_on_device, unscaled
from minicnn.registry import is_library_code
from minicnn.typing import Array

if TYPE_CHECKING:
    from minicnn.optimizers.base import Optimizer


def step_on_device(
    optimizer: "Optimizer", gradients: Mapping[Any, Array], scale: Array | None
) -> Array | bool:
    """One optimizer step on weights on a device.

    Args:
        optimizer: the arenas of its weights are made where they are missing.
        gradients, scale: as for `Optimizer.apply`.

    Returns:
        Whether weights and slots changed: True, or a 0-d array on the device.
    """
    step_size, kept = rates_of(optimizer)
    flat: Mapping[Arena, Array] = {
        arena: arena.gather([gradients[weight] for weight in arena.weights])
        for arena in _arenas_of(optimizer, gradients)
    }
    apply_if = None
    if scale is not None:
        flat, apply_if = unscaled(flat, scale)
    with overflows_expected(scale is not None):
        flat = clipped_on_device(optimizer, flat)
    for arena, g in flat.items():
        arena.set_rates(step_size, kept)
        if is_library_code(optimizer.update) and device.on_cuda(g):
            rates = Rates(arena.rates, arena.decaying.size, apply_if)
            optimizer.update(arena.w, g, arena.slots, rates, None)
        else:
            _update(optimizer, arena, g, apply_if)
    return True if apply_if is None else apply_if


def rates_of(optimizer: "Optimizer") -> tuple[float, float]:
    """(the factor of the next step of `optimizer`, that of the weights that decay before it)."""
    rate = optimizer.learning_rate
    return optimizer.step_size(rate), 1.0 - rate * (optimizer.weight_decay or 0.0)


def _update(optimizer: "Optimizer", arena: Arena, g: Array, apply_if: Array | None) -> None:
    """What the kernels in CUDA C do at once: weight decay, `update`, and back where the step is to
    be left out."""
    xp = array_module(g)
    changing = [arena.w, *arena.slots.values()]
    before = [] if apply_if is None else [array.copy() for array in changing]
    if arena.decaying.size:
        arena.decaying *= arena.rates[1:]
    # an `update` of your own gets a number; the library's take one that lies on the device
    rate = arena.rates[:1] if is_library_code(optimizer.update) else rates_of(optimizer)[0]
    with overflows_expected(apply_if is not None):
        optimizer.update(arena.w, g, arena.slots, rate, xp.empty_like(g))
    for array, old in zip(changing, before, strict=False):
        array[...] = xp.where(apply_if, array, old)


def _arenas_of(optimizer: "Optimizer", weights: Iterable[Any]) -> list[Arena]:
    """The arenas, one per dtype, that hold just these weights: those of an earlier step, or new
    ones where other weights learn now, or these changed shape, dtype or decay."""
    decays = {w: optimizer._decays(w) for w in weights}
    found = [a for a in optimizer._arenas if not decays.keys().isdisjoint(a.decays)]
    known = {w: decay for a in found for w, decay in a.decays.items()}
    if known == decays and all(a.take_in() for a in found):
        return found
    by_dtype: dict[Any, dict[Any, bool]] = {}
    for weight, decay in decays.items():
        by_dtype.setdefault(weight.value.dtype, {})[weight] = decay
    slots = {weight: optimizer._slots_of(weight) for weight in decays}
    for arena in found:
        arena.release(decays)
        optimizer._arenas.remove(arena)
    made = [Arena(of_dtype, slots) for of_dtype in by_dtype.values()]
    optimizer._arenas += made
    return made
