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
from minicnn.optimizers.gradients import clipped_on_device, collected
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
    rates = rates_of(optimizer)
    flat: Mapping[Arena, Array] = {
        arena: arena.gather([gradients[weight] for weight in arena.weights])
        for arena in arenas_of(optimizer, gradients)
    }
    flat, finite = collected(
        optimizer, flat, scale, lambda arena: arena.slots["gradient_accumulator"]
    )
    apply_if = None if optimizer.gradient_accumulation_steps else finite
    with overflows_expected(apply_if is not None):
        flat = clipped_on_device(optimizer, flat)
    for arena, g in flat.items():
        arena.set_rates(*rates)
        if is_library_code(optimizer.update) and device.on_cuda(g):
            of_step = Rates(arena.rates, arena.decaying.size, apply_if)
            optimizer.update(arena.w, g, arena.slots, of_step, None)
        else:
            _update(optimizer, arena, g, apply_if)
    return True if finite is None else finite


def rates_of(optimizer: "Optimizer") -> tuple[float, ...]:
    """(the factor of the next step of `optimizer`, that of the weights that decay before it, and
    the step's further factors, if any, then what averages of weights keep)."""
    rate = float(optimizer.learning_rate)
    first, *others = _listed(optimizer.step_size(rate))
    kept_average = [optimizer._kept_average()] if optimizer.use_ema else []
    return (first, 1.0 - rate * (optimizer.weight_decay or 0.0), *others, *kept_average)


def _listed(step_size: Any) -> list[Any]:
    return list(step_size) if isinstance(step_size, tuple) else [step_size]


def _update(optimizer: "Optimizer", arena: Arena, g: Array, apply_if: Array | None) -> None:
    """What the kernels in CUDA C do at once: weight decay, `update`, and back where the step is to
    be left out."""
    xp = array_module(g)
    changing = [arena.w, *arena.slots.values()]
    before = [] if apply_if is None else [array.copy() for array in changing]
    if arena.decaying.size:
        arena.decaying *= arena.rates[1:2]
    # an `update` of your own gets a number; the library's take one that lies on the device
    rate = optimizer.step_size(float(optimizer.learning_rate))
    if is_library_code(optimizer.update):
        places = [0, *range(2, 1 + len(_listed(rate)))]
        one, *others = [arena.rates[place : place + 1] for place in places]
        rate = (one, *others) if others else one
    with overflows_expected(apply_if is not None):
        optimizer.update(arena.w, g, arena.slots, rate, xp.empty_like(g))
    for array, old in zip(changing, before, strict=False):
        array[...] = xp.where(apply_if, array, old)


def arenas_of(optimizer: "Optimizer", weights: Iterable[Any]) -> list[Arena]:
    """The arenas of the `optimizer`, one per dtype, that hold just these `weights`: those of an
    earlier step, or new ones where other weights learn now, or these changed shape, dtype or
    decay."""
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
    made = [Arena(of_dtype, slots, len(rates_of(optimizer))) for of_dtype in by_dtype.values()]
    optimizer._arenas += made
    return made
