"""Batches for the training loop: from arrays, or from any iterator of batches.

Arrays stay as they are (bytes stay bytes); only a batch is ever converted.
"""

from collections.abc import Callable, Iterable, Iterator, Sized
from typing import Any

import numpy as np

from minicnn import backend, random

Batch = tuple[Any, Any, Any]  # x (an array or a list of them), y or None, sample weights or None


class ArrayBatches:
    """Batches cut from arrays in memory.

    Args:
        x: (N, ...), or a list of such for a model with several inputs.
        y: (N, ...) or None.
        sample_weight: (N,) or None.
        batch_size: images in a batch; the last one may be smaller.
        shuffle: a new order each time.
        steps: batches taken at most each time; all where not given.

    Raises:
        ValueError: no data, different lengths, a batch size below 1, NaN or infinity.
    """

    def __init__(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        batch_size: int | None = 32,
        shuffle: bool = False,
        steps: int | None = None,
    ):
        self.many_inputs = isinstance(x, (list, tuple)) and len(x) > 0 and _is_array_like(x[0])
        self.xs = [_as_array(a, "x") for a in (x if self.many_inputs else [x])]
        self.y = None if y is None else _as_array(y, "y")
        self.sample_weight = (
            None if sample_weight is None else _as_array(sample_weight, "sample_weight")
        )
        self.shuffle = shuffle
        self.samples = len(self.xs[0])
        if self.samples == 0:
            raise ValueError(f"x holds no images (shape {tuple(self.xs[0].shape)})")
        self.batch_size = check_integer("batch_size", 32 if batch_size is None else batch_size)
        whole = -(-self.samples // self.batch_size)
        self.steps = whole if steps is None else min(whole, steps)
        for name, array in [
            *((f"x[{i}]", a) for i, a in enumerate(self.xs[1:], 1)),
            ("y", self.y),
            ("sample_weight", self.sample_weight),
        ]:
            if array is not None and len(array) != self.samples:
                raise ValueError(
                    f"x has {self.samples} images and {name} has {len(array)} entries; they must "
                    f"be as many"
                )
        if self.sample_weight is not None and self.sample_weight.ndim != 1:
            raise ValueError(
                f"sample_weight holds one number an image, shape ({self.samples},); got shape "
                f"{self.sample_weight.shape}"
            )
        for array in self.xs:
            check_finite(array)
        for name, array in (("y", self.y), ("sample_weight", self.sample_weight)):
            if array is not None:
                check_finite(array, name)

    def __iter__(self) -> Iterator[Batch]:
        order = random.host_generator().permutation(self.samples) if self.shuffle else None
        for start in range(0, self.samples, self.batch_size)[: self.steps]:
            stop = min(start + self.batch_size, self.samples)
            index = slice(start, stop) if order is None else order[start:stop]
            xs = [a[index] for a in self.xs]
            yield (
                xs if self.many_inputs else xs[0],
                None if self.y is None else self.y[index],
                None if self.sample_weight is None else self.sample_weight[index],
            )


class IteratorBatches:
    """Batches from an iterable of x, (x, y) or (x, y, sample_weight).

    Args:
        source: an iterable (a fresh pass an epoch, ended by itself or after `steps`), or a
            generator that goes on from epoch to epoch.
        steps: batches an epoch; needed for endless generators.

    Attributes:
        check: called with the list of inputs and the targets of each batch as it comes, to raise
            where they do not fit the model; None for no check.

    Raises:
        ValueError: a batch of another form, or NaN or infinity in it; a source that is empty.
    """

    def __init__(self, source: Iterable[Any], steps: int | None = None):
        self.source = source
        self.steps = steps
        if steps is None and isinstance(source, Sized):
            self.steps = len(source)  # also where the source itself goes round for ever
        self.check: Callable[[list[Any], Any], None] | None = None
        self._running = iter(source) if iter(source) is source else None

    def __iter__(self) -> Iterator[Batch]:
        iterator = self._running if self._running is not None else iter(self.source)
        count = 0
        while self.steps is None or count < self.steps:
            try:
                item = next(iterator)
            except StopIteration:
                break
            count += 1
            x, y, sample_weight = _as_batch(item)
            if self.check is not None:
                self.check(x if isinstance(x, list) else [x], y)
            yield x, y, sample_weight
        if count == 0:
            raise ValueError(
                "the iterator of batches gave none; a generator can be used up only once: pass an "
                "iterable that starts anew each epoch, or steps_per_epoch with an endless one"
            )
        if hasattr(self.source, "on_epoch_end"):
            self.source.on_epoch_end()


def make_batches(
    x: Any,
    y: Any = None,
    sample_weight: Any = None,
    batch_size: int | None = None,
    shuffle: bool = False,
    steps: int | None = None,
) -> ArrayBatches | IteratorBatches:
    """Batches from what `fit`, `evaluate` or `predict` was given."""
    if x is None:
        raise ValueError("no data: x is None; pass images, or an iterator of batches")
    if steps is not None and steps < 1:
        raise ValueError(f"the number of steps must be above 0, or None for all; got {steps}")
    if _is_array_like(x) or isinstance(x, (list, tuple)):
        return ArrayBatches(x, y, sample_weight, batch_size, shuffle, steps)
    if not hasattr(x, "__iter__"):
        raise TypeError(
            f"x must be an array, a list of arrays or an iterator of batches, not "
            f"{type(x).__name__}"
        )
    if y is not None or sample_weight is not None:
        raise ValueError(
            "y and sample_weight come with the batches where x is an iterator: let it give "
            "(x, y) or (x, y, sample_weight)"
        )
    return IteratorBatches(x, steps)


def check_integer(argument: str, value: Any, allow_zero: bool = False) -> int:
    """`value` as an int.

    Raises:
        ValueError: it is no integer, or too small; the message names the argument.
    """
    if isinstance(value, bool) or not hasattr(value, "__index__") or value < (not allow_zero):
        bound = "of at least 0" if allow_zero else "above 0"
        raise ValueError(f"{argument} must be an integer {bound}, not {value!r}")
    return int(value)


def check_finite(x: Any, name: str = "x") -> None:
    """Raise if floating-point data hold NaN or infinity; the message says where."""
    if x.dtype.kind != "f":
        return
    xp = backend.array_module(x)
    for start in range(0, len(x), 1024):
        part = x[start : start + 1024]
        # a sum is NaN or infinite if any number is: one pass, no array of flags
        with np.errstate(over="ignore", invalid="ignore"):
            total = part.sum(dtype="float64")
        if not bool(xp.isfinite(total)) and not bool(xp.isfinite(part).all()):
            flags = backend.to_numpy(xp.isfinite(part).reshape(len(part), -1).all(axis=1))
            what = "image" if name == "x" else "entry"
            raise ValueError(
                f"{what} {start + int(flags.argmin())} of {name} holds NaN or infinity; clean the "
                f"data first, for instance with numpy.nan_to_num"
            )


def class_weights(y: Any, class_weight: dict[int, float]) -> np.ndarray:
    """The weight of each sample from that of its class; classes not named weigh 1.

    Args:
        y: labels (N,) or (N, 1), or one-hot rows (N, classes).
    """
    if not isinstance(class_weight, dict):
        raise TypeError(f"class_weight is {{label: weight}}, not {class_weight!r}")
    y = backend.to_numpy(y)
    labels = y.argmax(-1) if y.ndim > 1 and y.shape[-1] > 1 else y.reshape(-1)
    weights = np.ones(len(labels), "float32")
    for label, weight in class_weight.items():
        weights[labels == label] = weight
    return weights


def split(
    x: Any, y: Any, sample_weight: Any, fraction: float
) -> tuple[tuple[Any, Any, Any], tuple[Any, Any, Any]]:
    """The last `fraction` of arrays as validation data, as Keras cuts it: before any shuffling."""
    if not 0 < fraction < 1:
        raise ValueError(f"validation_split must be above 0 and below 1, not {fraction!r}")
    if not (_is_array_like(x) or isinstance(x, (list, tuple))):
        raise ValueError("validation_split needs arrays; with an iterator, pass validation_data")
    many = isinstance(x, (list, tuple)) and len(x) > 0 and _is_array_like(x[0])
    samples = len(x[0]) if many else len(x)
    cut = int(samples * (1 - fraction))
    if cut == 0 or cut == samples:
        raise ValueError(
            f"validation_split={fraction} of {samples} images leaves nothing on one side"
        )

    def part(a: Any, index: slice) -> Any:
        return None if a is None else a[index]

    sides = []
    for index in (slice(0, cut), slice(cut, None)):
        xs = [a[index] for a in x] if many else x[index]
        sides.append((xs, part(y, index), part(sample_weight, index)))
    return sides[0], sides[1]


def _is_array_like(x: Any) -> bool:
    return backend.is_array(x) or (hasattr(x, "__array__") and hasattr(x, "shape"))


def _as_array(x: Any, name: str) -> Any:
    if backend.is_array(x):
        array = x
    else:
        array = np.asarray(x)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{name} must hold numbers; got dtype {array.dtype}")
    if array.ndim == 0:
        raise ValueError(f"{name} must have a batch axis; got the single value {array}")
    return array


def _as_batch(item: Any) -> Batch:
    if isinstance(item, (tuple, list)):
        if not 1 <= len(item) <= 3:
            raise ValueError(
                f"a batch is x, (x, y) or (x, y, sample_weight); got {len(item)} parts"
            )
        x, y, weight = (*item, None, None)[:3]
    else:
        x, y, weight = item, None, None
    many = isinstance(x, (list, tuple)) and len(x) > 0 and _is_array_like(x[0])
    xs = [_as_array(a, "x") for a in (x if many else [x])]
    for array in xs:
        check_finite(array)
    if len(xs[0]) == 0:
        raise ValueError(f"a batch holds no images (shape {tuple(xs[0].shape)})")
    y = None if y is None else _as_array(y, "y")
    weight = None if weight is None else _as_array(weight, "sample_weight")
    for name, array in (("labels", y), ("sample weights", weight)):
        if array is not None and len(array) != len(xs[0]):
            raise ValueError(f"a batch has {len(xs[0])} images and {len(array)} {name}")
    for name, array in (("y", y), ("sample_weight", weight)):
        if array is not None:
            check_finite(array, name)
    return (xs if many else xs[0]), y, weight
