"""Batches for the training loop: from arrays, or from any iterator of batches.

Arrays stay as they are (bytes stay bytes); only a batch is ever converted.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from typing import Any, TypeAlias

import numpy as np

from minicnn import backend, random
from minicnn.training.data_checks import (
    as_array,
    check_batch,
    check_integer,
    check_whole,
    is_array_like,
    is_list_of_arrays,
)
from minicnn.typing import Array

# One array per input of the model, the targets, sample weights. What a user hands over, one array
# or a list of them, becomes a list here and nowhere else.
Batch: TypeAlias = tuple[list[Array], Array | None, Array | None]


class ArrayBatches:
    """Batches cut from arrays in memory.

    Args:
        x: (N, ...), or a list of such for a model with several inputs.
        y: (N, ...) or None.
        sample_weight: (N,) or None.
        batch_size: images per batch; the last one may be smaller.
        shuffle: a new order each time.
        steps: batches taken at most each time; default: all.

    Attributes:
        xs, y, sample_weight: the arrays that batches are taken from.
        samples: images in all.

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
        self.xs = [as_array(a, "x") for a in (x if is_list_of_arrays(x) else [x])]
        self.y = None if y is None else as_array(y, "y")
        self.sample_weight = (
            None if sample_weight is None else as_array(sample_weight, "sample_weight")
        )
        self.shuffle = shuffle
        self.samples = len(self.xs[0])
        self.batch_size = check_integer("batch_size", 32 if batch_size is None else batch_size)
        check_whole(self.xs, self.y, self.sample_weight)
        whole = -(-self.samples // self.batch_size)
        self.steps = whole if steps is None else min(whole, steps)

    def __iter__(self) -> Iterator[Batch]:
        orders: dict[Any, Array] = {}  # the host's, and a copy where arrays lie on a device
        if self.shuffle:
            order = random.host_generator().permutation(self.samples)
            arrays = [a for a in (*self.xs, self.y, self.sample_weight) if a is not None]
            orders = {xp: xp.asarray(order) for xp in {backend.array_module(a) for a in arrays}}

        def batch_of(array: Array | None) -> Array | None:
            if array is None:
                return None
            if not self.shuffle:
                return array[start:stop]
            return array[orders[backend.array_module(array)][start:stop]]

        for start in range(0, self.samples, self.batch_size)[: self.steps]:
            stop = min(start + self.batch_size, self.samples)
            xs = [batch_of(a) for a in self.xs]
            yield xs, batch_of(self.y), batch_of(self.sample_weight)

    def weigh_classes(self, class_weight: dict[int, float] | None, dtype: Any) -> None:
        """Multiply the weight of each sample by that of its class.

        Args:
            class_weight: {label: weight}; None for nothing to do.
            dtype: of the products.
        """
        if class_weight is not None:
            self.sample_weight = _weighed(self.y, self.sample_weight, class_weight, dtype)

    @property
    def samples_used(self) -> int:
        """Those that batches are taken from, the first ones; the rest is beyond the last batch."""
        return self.samples if self.shuffle else min(self.samples, self.steps * self.batch_size)


class IteratorBatches:
    """Batches from an iterable of x, (x, y) or (x, y, sample_weight).

    Args:
        source: an iterable (a fresh pass per epoch, ended by itself or after `steps`), or a
            generator that goes on from epoch to epoch.
        steps: batches per epoch; needed for endless generators.

    Attributes:
        on_batch: called with the inputs and the targets of each batch as it comes, to raise where
            they do not fit the model; None for nothing.

    Raises:
        ValueError: a batch of another form, or NaN or infinity in it; a source that is empty.
    """

    def __init__(self, source: Iterable[Any], steps: int | None = None):
        self.source = source
        self.steps = steps
        if steps is None and isinstance(source, Sized):
            self.steps = len(source)  # also where the source itself goes round for ever
        self.on_batch: Callable[[list[Array], Array | None], None] | None = None
        self._class_weight: tuple[dict[int, float], Any] | None = None
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
            xs, y, sample_weight = _as_batch(item)
            if self.on_batch is not None:
                self.on_batch(xs, y)
            if self._class_weight is not None:
                sample_weight = _weighed(y, sample_weight, *self._class_weight)
            yield xs, y, sample_weight
        if count == 0:
            raise ValueError(
                "the iterator of batches gave none; a generator can be used up only once: pass an "
                "iterable that starts anew each epoch, or steps_per_epoch with an endless one"
            )
        if hasattr(self.source, "on_epoch_end"):
            self.source.on_epoch_end()

    def weigh_classes(self, class_weight: dict[int, float] | None, dtype: Any) -> None:
        """The same as for `ArrayBatches`, batch by batch as they come.

        Args:
            class_weight, dtype: as there.
        """
        self._class_weight = None if class_weight is None else (class_weight, dtype)


def make_batches(
    x: Any,
    y: Any = None,
    sample_weight: Any = None,
    batch_size: int | None = None,
    shuffle: bool = False,
    steps: int | None = None,
) -> ArrayBatches | IteratorBatches:
    """Batches from what `fit`, `evaluate` or `predict` was given.

    Args:
        x: an array, a list of arrays, or an iterable of batches.
        y, sample_weight, batch_size, shuffle: see `ArrayBatches`; y and sample_weight None where x
            is an iterable.
        steps: batches at most per epoch; None for all.
    """
    if x is None:
        raise ValueError("no data: x is None; pass images, or an iterator of batches")
    if steps is not None and steps < 1:
        raise ValueError(f"the number of steps must be above 0, or None for all; got {steps}")
    if is_array_like(x) or isinstance(x, (list, tuple)):
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


def validation_batches(
    data: Any, batch_size: int | None, steps: int | None
) -> ArrayBatches | IteratorBatches:
    """Batches from what `fit` takes as `validation_data`.

    Args:
        data: (x, y), (x, y, sample_weight) or an iterator of batches.
        batch_size: images per batch, for arrays.
        steps: batches at most; None for all.
    """
    if not isinstance(data, (tuple, list)):
        return make_batches(data, steps=steps)
    if len(data) not in (2, 3):
        raise ValueError(
            f"validation_data is (x, y), (x, y, sample_weight) or an iterator of batches; got "
            f"{len(data)} parts"
        )
    x, y, sample_weight = (*data, None)[:3]
    return make_batches(x, y, sample_weight, batch_size, steps=steps)


def batch_length(xs: Sequence[Array]) -> int:
    """Images in a batch of one array per input, xs."""
    return len(xs[0])


def class_weights(y: Any, class_weight: dict[int, float]) -> np.ndarray:
    """The weight of each sample from that of its class; classes not named weigh 1.

    Args:
        y: labels (N,) or (N, 1), or one-hot rows (N, classes).
        class_weight: {label: weight}.
    """
    if not isinstance(class_weight, dict):
        raise TypeError(f"class_weight is {{label: weight}}, not {class_weight!r}")
    y = backend.to_numpy(y)
    labels = y.argmax(-1) if y.ndim > 1 and y.shape[-1] > 1 else y.reshape(-1)
    weights = np.ones(len(labels), "float32")
    for label, weight in class_weight.items():
        weights[labels == label] = weight
    return weights


def _weighed(y: Any, sample_weight: Any, class_weight: dict[int, float], dtype: Any) -> np.ndarray:
    """The weight of each sample times that of its class."""
    by_class = class_weights(y, class_weight).astype(dtype, copy=False)
    if sample_weight is None:
        return by_class
    return backend.to_numpy(sample_weight).astype(dtype, copy=False) * by_class


def split(
    x: Any, y: Any, sample_weight: Any, fraction: float
) -> tuple[tuple[Any, Any, Any], tuple[Any, Any, Any]]:
    """(the first, the last) samples, to train and to validate on, cut before any shuffling as Keras
    does.

    Args:
        x: an array, or a list of arrays.
        y, sample_weight: arrays or None.
        fraction: how much is for validation.

    Raises:
        ValueError: x is no array, or nothing is left on one side.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"validation_split must be above 0 and below 1, not {fraction!r}")
    if not (is_array_like(x) or isinstance(x, (list, tuple))):
        raise ValueError("validation_split needs arrays; with an iterator, pass validation_data")
    many = is_list_of_arrays(x)
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


def _as_batch(item: Any) -> Batch:
    """What an iterator gave, checked."""
    parts = item if isinstance(item, (tuple, list)) else (item,)
    if not 1 <= len(parts) <= 3:
        raise ValueError(f"a batch is x, (x, y) or (x, y, sample_weight); got {len(parts)} parts")
    x, y, weight = (*parts, None, None)[:3]
    xs = [as_array(a, "x") for a in (x if is_list_of_arrays(x) else [x])]
    y = None if y is None else as_array(y, "y")
    weight = None if weight is None else as_array(weight, "sample_weight")
    check_batch(xs, y, weight)
    return xs, y, weight
