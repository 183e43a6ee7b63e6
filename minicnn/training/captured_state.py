"""What the host keeps of a training step that has been captured as a CUDA graph: the arrays that
outlive a step, and all that the graph holds as it was (see `training/capture.py`)."""

import operator
import re
import types
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import numpy as np

from minicnn import backend
from minicnn.kernels.cuda.random import CounterGenerator
from minicnn.registry import Configurable, is_library_code
from minicnn.typing import Array

# compared by ==, and set back by `Watched.restore`
_SIMPLE = (bool, int, float, str, type(None), re.Pattern)


class Kept:
    """An array that outlives a step: where Python keeps it, and where the graph finds it.

    Args:
        place: gives the dict that Python keeps it in.
        key: its key there.
        array: the graph's.
    """

    def __init__(self, place: Callable[[], dict[str, Any]], key: str, array: Array):
        self.place = place
        self.key = key
        self._array = array

    def settle(self) -> bool:
        """Copy in what has taken the array's place, 0 for nothing, as where a metric was reset.
        False where that is of another shape, dtype or device."""
        place = self.place()
        present = place.get(self.key)
        if present is self._array:
            return True
        if present is None:
            self._array.fill(0)
        elif not _alike(present, self._array):
            return False
        else:
            self._array[...] = present
        place[self.key] = self._array
        return True

    def copy_back(self) -> None:
        """Within a capture: let the step end with what it has left in the array's place."""
        present = self.place().get(self.key)
        if present is self._array:
            return
        if present is None or not _alike(present, self._array):
            raise RuntimeError(f"the step leaves another kind of {self.key!r} behind")
        self._array[...] = present

    def put_back(self) -> None:
        """After a capture, in which nothing was computed."""
        self.place()[self.key] = self._array


def _alike(a: Array, b: Array) -> bool:
    same_library = backend.array_module(a) is backend.array_module(b)
    return same_library and a.shape == b.shape and a.dtype == b.dtype


def kept_arrays(model: Any, components: Iterable[Any]) -> list[Kept]:
    """The weights of a `model`, and what other arrays its `components`, such as layers, generators
    and optimizers, keep as attributes.

    Weights outside the arenas of the optimizer, such as moving statistics, get arrays that nobody
    else can have.
    """
    learning = {weight for weight in model.weights if weight.trainable}
    for weight in model.weights:
        if weight not in learning:
            weight.value = weight.value.copy()
    places = [vars(owner) for owner in (*model.weights, *components)]
    return [
        Kept(lambda place=place: place, key, value)  # type: ignore[misc]
        for place in places
        for key, value in place.items()
        if _is_on_device(value)
    ]


def kept_sums(sums: Iterable[tuple[Any, str, Array]]) -> list[Kept]:
    """The sums of metrics; they start from what is there, or 0."""
    made = []
    for metric, key, like in sums:
        array = backend.array_module(like).zeros(like.shape, like.dtype)
        kept = Kept(lambda metric=metric: metric._sums, key, array)  # type: ignore[misc]
        if not kept.settle():
            raise RuntimeError(f"the sum {key!r} of the metric {metric.name!r} changes its kind")
        made.append(kept)
    return made


def device_sums(metrics: Iterable[Any]) -> list[tuple[Any, str, Array]]:
    """(metric, key, sum) of those sums of `metrics` that lie on the device."""
    return [
        (metric, key, value)
        for metric in metrics
        for key, value in metric._sums.items()
        if _is_on_device(value)
    ]


class Watched:
    """The attributes of what takes part in a training step, arrays left out.

    What changes from step to step is not among them: the count and learning rate of the
    optimizer, which reach a graph through `Optimizer.set_rates`, and the sums of metrics.

    Args:
        components: see `components_of`.
    """

    _CHANGING = ("batches", "_learning_rate", "_slots", "_sums", "_read")

    def __init__(self, components: Iterable[Any]):
        self._rows = []
        for component in components:
            values = {
                key: _snapshot(value)
                for key, value in vars(component).items()
                if key not in self._CHANGING and _is_comparable(value)
            }
            if values:
                # all at once: this runs before every launch
                get = operator.itemgetter(*values)
                self._rows.append((component, values, get, get(values)))

    def changed(self) -> str:
        """The first attribute that is no longer what it was; "" where there is none."""
        for component, values, get, expected in self._rows:
            now = vars(component)
            with suppress(KeyError):
                if get(now) == expected:
                    continue
            for key, value in values.items():
                if key not in now or now[key] != value:
                    return f"{key} of {type(component).__name__}"
        return ""

    def restore(self) -> None:
        """Set numbers and the like to what they were."""
        for component, values, _, _ in self._rows:
            vars(component).update({k: v for k, v in values.items() if isinstance(v, _SIMPLE)})


def _is_comparable(value: Any) -> bool:
    """Whether == tells if a value has changed, without a look at arrays."""
    if isinstance(value, (list, tuple, set, frozenset)):
        return all(map(_is_comparable, value))
    if isinstance(value, dict):
        return all(map(_is_comparable, value.values()))
    return isinstance(value, _SIMPLE) or type(value).__eq__ is object.__eq__


def _snapshot(value: Any) -> Any:
    return value.copy() if isinstance(value, (list, set, dict)) else value


def components_of(model: Any) -> list[Any]:
    """The model, its layers, loss, optimizer, metrics and what these consist of, each once."""
    found: dict[int, Any] = {}

    def visit(value: Any) -> None:
        if isinstance(value, (list, tuple)):
            for inner in value:
                visit(inner)
        elif isinstance(value, dict):
            visit(list(value.values()))
        elif isinstance(value, (Configurable, CounterGenerator)) and id(value) not in found:
            found[id(value)] = value
            for key, inner in vars(value).items():
                # initial weights and learning rates are found on the host, outside the step
                if not key.endswith("_initializer") and key != "_learning_rate":
                    visit(inner)

    visit(model)
    return list(found.values())


def has_foreign(components: Iterable[Any]) -> bool:
    """Whether a class or a function from elsewhere than this package is among the `components`."""
    functions = (types.FunctionType, types.MethodType, types.BuiltinFunctionType)
    used: list[Any] = []
    for component in components:
        own = vars(component).values()
        used += [type(component), *(value for value in own if isinstance(value, functions))]
    return not all(map(is_library_code, used))


def _is_on_device(value: Any) -> bool:
    return backend.is_array(value) and backend.array_module(value) is not np
