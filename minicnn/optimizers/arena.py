"""Weights one after the other in one array, so that an optimizer step is a few operations in all.

On a GPU every operation is a kernel launch, and launching takes longer than working through most
weights: 8 operations on each of 60 weights are 480 launches, on all weights in one array 8. (On a
CPU a call costs little, and blocks that stay in the cache pay.)
"""

from collections.abc import Collection, Iterable, Mapping
from math import prod
from typing import Any

from minicnn.backend import array_module
from minicnn.kernels.optimizers import gather
from minicnn.typing import Array

# Weights begin at multiples of this many bytes: a thread of a GPU loads up to 16 at once, from such
# addresses only, and matrix products whose operands lie elsewhere take slower kernels.
_ALIGNMENT = 16


class Arena:
    """The weights of one dtype, and their slots: a flat array each.

    From now on `weight.value` is a view into the array of all weights, and each slot of the weight
    a view into the array of that slot. In all of these, and in those that `gather` makes, a weight
    has the same place; between two weights may lie a few elements, at first 0, that mean nothing.

    Args:
        decays: {weight: whether it decays}.
        slots: {weight: {name: array}}; the inner dicts are kept, and get the views.
        rates: how many there are.

    Attributes:
        w: all weights, (elements,).
        slots: {name: (elements,)}.
        decaying: the part of `w` that decays; those weights lie in front.
        rates: what changes from one optimizer step to the next, (2 or more,); see
            `on_device.rates_of`.
        weights: in the order of their places.
        decays: as given.
    """

    def __init__(
        self, decays: dict[Any, bool], slots: Mapping[Any, dict[str, Array]], rates: int = 2
    ):
        self.decays = decays
        self.weights = sorted(decays, key=lambda weight: not decays[weight])
        values = [weight.value for weight in self.weights]
        self._xp, self._dtype = array_module(values[0]), values[0].dtype
        self._shapes = [value.shape for value in values]
        unit = _ALIGNMENT // self._dtype.itemsize
        self._places, stop = [], 0
        for value in values:
            start, stop = stop, stop + value.size + -value.size % unit
            self._places.append(slice(start, stop))

        self.w = self.gather(values)
        last = sum(decays.values())
        self.decaying = self.w[: self._places[last - 1].stop if last else 0]
        self._views = self._cut(self.w)
        for weight, view in zip(self.weights, self._views, strict=True):
            weight.value = view

        self.rates = self._xp.empty(rates, self._dtype)
        self._rates_set: list[float | None] = [None] * rates
        self._owners: Array | None = None
        self._slots_by_weight = [slots[weight] for weight in self.weights]
        self.slots: dict[str, Array] = {}
        for name in self._slots_by_weight[0]:
            flat = self.gather([of_one[name] for of_one in self._slots_by_weight])
            for of_one, view in zip(self._slots_by_weight, self._cut(flat), strict=True):
                of_one[name] = view
            self.slots[name] = flat

    def gather(self, arrays: Iterable[Array]) -> Array:
        """One of `arrays` for each of `weights`, such as its gradient, to a new flat one,
        (elements,).

        Raises:
            ValueError: an array of another size than its weight.
        """
        fitting = []
        for weight, shape, array in zip(self.weights, self._shapes, arrays, strict=True):
            if array.size != prod(shape):  # all that follow would be moved
                raise ValueError(f"an array of shape {tuple(array.shape)} is not one for {weight}")
            fitting.append(array.astype(self._dtype, copy=False))
        flat = self._xp.empty(self._places[-1].stop, self._dtype)
        gather(flat, fitting, self._places)
        return flat

    def set_rates(self, *rates: float) -> None:
        """Write the `rates` of the next optimizer step where they have changed.

        The host does not wait; and a step whose rates have been set before is left with nothing to
        write, so that it can be captured as a CUDA graph, which then reads the rates of each
        replay.
        """
        for place, rate in enumerate(rates):
            if rate != self._rates_set[place]:
                self.rates[place : place + 1].fill(rate)
                self._rates_set[place] = rate

    def _cut(self, flat: Array) -> list[Array]:
        """The views of a flat array that have the shapes of the weights."""
        return [
            flat[place.start : place.start + prod(shape)].reshape(shape)
            for place, shape in zip(self._places, self._shapes, strict=True)
        ]

    def take_in(self) -> bool:
        """Copy in what weights have been assigned since their `value` was a view, and make it one
        again. False where a shape or dtype has changed, so that the weight needs another place."""
        for weight, view in zip(self.weights, self._views, strict=True):
            value = weight.value
            if value is view:
                continue
            if value.shape != view.shape or value.dtype != view.dtype:
                return False
            view[...] = value
            weight.value = view
        return True

    def release(self, staying: Collection[Any]) -> None:
        """Give the weights that are not among those `staying` arrays of their own: a single view
        would keep the whole flat array in memory."""
        rows = zip(self.weights, self._views, self._slots_by_weight, strict=True)
        for weight, view, slots in rows:
            if weight in staying:
                continue
            if weight.value is view:
                weight.value = view.copy()
            slots.update({name: slot.copy() for name, slot in slots.items()})

    def squares(self, flat: Array) -> Array:
        """The sum of squares of each weight's part of the array `flat`, (weights,).

        Neither dot products, which cuBLAS refuses to make while a CUDA graph is captured, nor
        `stack`, which copies a table of addresses from the host.
        """
        products = flat * flat
        sums = self._xp.empty(len(self._places), self._dtype)
        for k, place in enumerate(self._places):
            products[place].sum(out=sums[k : k + 1].reshape(()))
        return sums

    def spread(self, factors: Array) -> Array:
        """From `factors`, one per weight, (weights,), to one per place in a flat array,
        (elements,).

        Which weight an element belongs to is kept: only clipping by the norm of each weight asks.
        """
        if self._owners is None:
            self._owners = self._xp.empty(self.w.shape, "int32")
            for k, place in enumerate(self._places):
                self._owners[place] = k
        return factors[self._owners]
