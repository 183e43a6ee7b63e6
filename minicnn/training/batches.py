"""Batches for the training loop: from arrays, or from any iterator of batches.

Arrays stay as they are (bytes stay bytes); only a batch is ever converted.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from typing import Any, TypeAlias

from minicnn import backend, random
from minicnn.data import INFINITE_CARDINALITY, Dataset
from minicnn.data.ahead import mapped_ahead
from minicnn.training.class_weight import weighed
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
        resumes: go on where the last pass stopped, as long as something is left; else each pass
            begins with the first batch.
        dtype: the model's, by name, in which data have to be finite; default: `backend.floatx()`.

    Attributes:
        xs, y, sample_weight: the arrays that batches are taken from.
        samples: images in all.

    Raises:
        ValueError: no data, different lengths, a batch size below 1, NaN, infinity, or numbers that
            become infinite in the model's dtype.
    """

    def __init__(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        batch_size: int | None = 32,
        shuffle: bool = False,
        steps: int | None = None,
        resumes: bool = False,
        dtype: str | None = None,
    ):
        self.xs = [as_array(a, "x") for a in (x if is_list_of_arrays(x) else [x])]
        self.y = None if y is None else as_array(y, "y")
        self.sample_weight = (
            None if sample_weight is None else as_array(sample_weight, "sample_weight")
        )
        self.shuffle = shuffle
        self.samples = len(self.xs[0])
        self.batch_size = check_integer("batch_size", 32 if batch_size is None else batch_size)
        check_whole(self.xs, self.y, self.sample_weight, dtype or backend.floatx())
        whole = -(-self.samples // self.batch_size)
        self.steps = whole if steps is None else min(whole, steps)
        self._asked = steps
        self._resumes = resumes
        self._warned = False
        self._start = 0  # the first image of the next batch
        self._orders: dict[Any, Array] = {}  # the host's, and a copy where arrays lie on a device

    def __iter__(self) -> Iterator[Batch]:
        if not self._resumes or self._start >= self.samples:
            self._start = 0
        if self.shuffle and self._start == 0:
            order = random.host_generator().permutation(self.samples)
            arrays = [a for a in (*self.xs, self.y, self.sample_weight) if a is not None]
            modules = {backend.array_module(a) for a in arrays}
            self._orders = {xp: xp.asarray(order) for xp in modules}

        def batch_of(array: Array | None) -> Array | None:
            if array is None:
                return None
            if not self.shuffle:
                return array[start:stop]
            return array[self._orders[backend.array_module(array)][start:stop]]

        count = 0
        for start in range(self._start, self.samples, self.batch_size)[: self.steps]:
            self._start = stop = min(start + self.batch_size, self.samples)
            xs = [batch_of(a) for a in self.xs]
            yield xs, batch_of(self.y), batch_of(self.sample_weight)
            count += 1
        if self._asked is not None and not self._warned:
            self._warned = _warn_if_short(count, self._asked)

    def weigh_classes(
        self, class_weight: dict[int, float] | None, dtype: Any, classes: int | None = None
    ) -> None:
        """Multiply the weight of each sample by that of its class.

        Args:
            class_weight: {label: weight}; None for nothing to do.
            dtype: of the products.
            classes: how many there are; None if that is not known.
        """
        if class_weight is not None:
            self.sample_weight = weighed(self.y, self.sample_weight, class_weight, dtype, classes)

    @property
    def samples_used(self) -> int:
        """Those that batches are taken from, the first ones; the rest is beyond the last batch."""
        if self.shuffle or self._resumes:
            return self.samples
        return min(self.samples, self.steps * self.batch_size)


class IteratorBatches:
    """Batches from an iterable of x, (x, y) or (x, y, sample_weight).

    What has a length and gives its batches by number (`PyDataset`, `ImageDataGenerator.flow`) is
    asked for number 0, 1 ..., so that where its own iterator stands does not matter.

    Args:
        source: an iterable (a fresh pass per epoch, ended by itself or after `steps`), or a
            generator that goes on from epoch to epoch.
        steps: batches per epoch; needed for endless generators.
        resumes: go on where the last pass stopped, if that was because of `steps`; and a source
            that is endless (a `flow`) goes round within a pass. Else each pass begins anew and
            ends with the data at the latest.
        dtype: as for `ArrayBatches`.

    Attributes:
        on_batch: called with the inputs and the targets of each batch as it comes, to raise where
            they do not fit the model; None for nothing.

    Raises:
        ValueError: a batch of another form, or NaN or infinity in it; a source that is empty.
    """

    def __init__(
        self,
        source: Iterable[Any],
        steps: int | None = None,
        resumes: bool = False,
        dtype: str | None = None,
    ):
        self.source = source
        self.dtype = dtype or backend.floatx()
        self.steps = steps
        if steps is None and isinstance(source, Sized):
            self.steps = _length_of(source)  # also where the source itself goes round for ever
        self.on_batch: Callable[[list[Array], Array | None], None] | None = None
        self._class_weight: tuple[dict[int, float], Any, int | None] | None = None
        self._by_number = hasattr(source, "__len__") and hasattr(source, "__getitem__")
        self._by_number &= not isinstance(source, Mapping)
        self._is_iterator = not isinstance(source, Dataset) and iter(source) is source
        self._resumes = resumes and steps is not None or self._is_iterator and not self._by_number
        self._goes_round = resumes and self._is_iterator and self._by_number
        self._warned = False
        self._running: Iterator[Any] | None = None

    def __iter__(self) -> Iterator[Batch]:
        count = 0
        for item in self._items():
            count += 1
            xs, y, sample_weight = _as_batch(item, self.dtype)
            if self.on_batch is not None:
                self.on_batch(xs, y)
            if self._class_weight is not None:
                sample_weight = weighed(y, sample_weight, *self._class_weight)
            yield xs, y, sample_weight
        if count == 0:
            raise ValueError(
                "the iterator of batches gave none; a generator can be used up only once: pass an "
                "iterable that starts anew each epoch, or steps_per_epoch with an endless one"
            )
        if self.steps is not None and not self._warned:
            self._warned = _warn_if_short(count, self.steps)
        if not (self._is_iterator and self._by_number):  # whose passes are not ours
            self._end_of_pass()

    def _items(self) -> Iterator[Any]:
        """What the source gives in one pass."""
        iterator, resumed = self._running, self._running is not None
        self._running = None
        count = 0
        while self.steps is None or count < self.steps:
            if iterator is None:
                iterator = self._numbered() if self._by_number else iter(self.source)
            try:
                item = next(iterator)
            except StopIteration:
                if not resumed or count:
                    return
                iterator, resumed = None, False  # the last pass had stopped just at the end
                continue
            count += 1
            if self._resumes:
                self._running = iterator
            yield item

    def _numbered(self) -> Iterator[Any]:
        while length := len(self.source):  # type: ignore[arg-type]
            for index, item in enumerate(self._read(length)):
                if self._is_iterator and index == length - 1:
                    self._end_of_pass()
                yield item
            if not self._goes_round:
                return

    def _read(self, length: int) -> Iterator[Any]:
        """All batches by number, by the threads that a `PyDataset` asks for."""
        source: Any = self.source
        workers = getattr(source, "workers", 1)
        if workers > 1 or (workers and getattr(source, "use_multiprocessing", False)):
            most = max(1, source.max_queue_size)
            return mapped_ahead(source.__getitem__, range(length), workers, most)
        return (source[index] for index in range(length))

    def _end_of_pass(self) -> None:
        if hasattr(self.source, "on_epoch_end"):
            self.source.on_epoch_end()

    def weigh_classes(
        self, class_weight: dict[int, float] | None, dtype: Any, classes: int | None = None
    ) -> None:
        """The same as for `ArrayBatches`, batch by batch as they come.

        Args:
            class_weight, dtype, classes: as there.
        """
        self._class_weight = None if class_weight is None else (class_weight, dtype, classes)


def make_batches(
    x: Any,
    y: Any = None,
    sample_weight: Any = None,
    batch_size: int | None = None,
    shuffle: bool = False,
    steps: int | None = None,
    resumes: bool = True,
    dtype: str | None = None,
) -> ArrayBatches | IteratorBatches:
    """Batches from what `fit`, `evaluate` or `predict` was given.

    Args:
        x: an array, a list of arrays, or an iterable of batches.
        y, sample_weight, batch_size, shuffle: see `ArrayBatches`; y and sample_weight None where x
            is an iterable.
        steps: batches at most per epoch; None for all.
        resumes: whether an epoch goes on where the last one stopped (training) or begins anew.
        dtype: the model's; see `ArrayBatches`.
    """
    if x is None:
        raise ValueError("no data: x is None; pass images, or an iterator of batches")
    if steps is not None and steps < 1:
        raise ValueError(f"the number of steps must be above 0, or None for all; got {steps}")
    if is_array_like(x) or isinstance(x, (list, tuple)):
        return ArrayBatches(x, y, sample_weight, batch_size, shuffle, steps, resumes, dtype)
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
    return IteratorBatches(x, steps, resumes, dtype)


def validation_batches(
    data: Any, batch_size: int | None, steps: int | None, dtype: str | None = None
) -> ArrayBatches | IteratorBatches:
    """Batches from what `fit` takes as `validation_data`.

    Args:
        data: (x, y), (x, y, sample_weight) or an iterator of batches.
        batch_size: images per batch, for arrays.
        steps: batches at most; None for all.
        dtype: the model's; see `ArrayBatches`.
    """
    if not isinstance(data, (tuple, list)):
        return make_batches(data, steps=steps, resumes=False, dtype=dtype)
    if len(data) not in (2, 3):
        raise ValueError(
            f"validation_data is (x, y), (x, y, sample_weight) or an iterator of batches; got "
            f"{len(data)} parts"
        )
    x, y, sample_weight = (*data, None)[:3]
    return make_batches(x, y, sample_weight, batch_size, steps=steps, resumes=False, dtype=dtype)


def _warn_if_short(count: int, steps: int) -> bool:
    """Whether a pass of `count` batches had fewer than the `steps` it should have; says so."""
    if count < steps:
        warnings.warn(
            f"the data ran out after {count} of the {steps} steps of this epoch, which ends here; "
            f"give fewer steps, or more batches than steps times epochs",
            stacklevel=3,
        )
    return count < steps


def _length_of(source: Sized) -> int | None:
    """How many batches there are; None where the source does not know."""
    if not isinstance(source, Dataset):
        return len(source)
    length = int(source.cardinality())
    if length == INFINITE_CARDINALITY:
        raise ValueError(
            "the data set is infinite: say how many batches make an epoch, with steps_per_epoch "
            "or validation_steps (steps in evaluate and predict), or leave out repeat()"
        )
    return length if length >= 0 else None


def batch_length(xs: Sequence[Array]) -> int:
    """Images in a batch of one array per input, xs."""
    return len(xs[0])


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


def _as_batch(item: Any, dtype: str) -> Batch:
    """What an iterator gave, checked for a model of this `dtype`."""
    parts = item if isinstance(item, (tuple, list)) else (item,)
    if not 1 <= len(parts) <= 3:
        raise ValueError(f"a batch is x, (x, y) or (x, y, sample_weight); got {len(parts)} parts")
    x, y, weight = (*parts, None, None)[:3]
    xs = [as_array(a, "x") for a in (x if is_list_of_arrays(x) else [x])]
    y = None if y is None else as_array(y, "y")
    weight = None if weight is None else as_array(weight, "sample_weight")
    check_batch(xs, y, weight, dtype)
    return xs, y, weight
