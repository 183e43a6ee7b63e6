"""Batches for the training loop: from arrays, or from any iterator of batches.

Arrays stay as they are (bytes stay bytes); only a batch is ever converted.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from pathlib import Path
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
        numbers: the `TrainingNumbers` that orders come from; None for the library's generator.

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
        if self.sample_weight is not None and self.sample_weight.shape[1:] == (1,):
            self.sample_weight = self.sample_weight[:, 0]
        self.shuffle = shuffle
        self.samples = len(self.xs[0])
        self.batch_size = check_integer("batch_size", 32 if batch_size is None else batch_size)
        check_whole(self.xs, self.y, self.sample_weight, dtype or backend.floatx())
        whole = -(-self.samples // self.batch_size)
        self.steps = whole if steps is None else min(whole, steps)
        self.numbers: Any = None
        self._asked = steps
        self._resumes = resumes
        self._warned = False
        self._start = 0  # the first image of the next batch
        self._done = 0  # batches that the next pass has had already
        self._epoch = 0  # that the order is of
        self._orders: dict[Any, Array] = {}  # the host's, and a copy where arrays lie on a device

    def __iter__(self) -> Iterator[Batch]:
        count, self._done = self._done, 0
        if count == 0 and (not self._resumes or self._start >= self.samples):
            self._start = 0
        if self.shuffle and (self._start == 0 or not self._orders):
            self._put_in_order()

        def batch_of(array: Array | None) -> Array | None:
            if array is None:
                return None
            if not self.shuffle:
                return array[start:stop]
            return array[self._orders[backend.array_module(array)][start:stop]]

        for start in range(self._start, self.samples, self.batch_size)[: self.steps - count]:
            self._start = stop = min(start + self.batch_size, self.samples)
            xs = [batch_of(a) for a in self.xs]
            yield xs, batch_of(self.y), batch_of(self.sample_weight)
            count += 1
        if self._asked is not None and not self._warned:
            self._warned = _warn_if_short(count, self._asked)

    def position(self) -> dict[str, Any]:
        """The place that the last batch was taken from, for `go_to`."""
        return {"start": self._start, "epoch": self._epoch}

    def go_to(self, position: dict[str, Any], done: int) -> None:
        """Let the next pass go on elsewhere.

        Args:
            position: of which `position` told.
            done: how many of its batches the pass has had by then; 0 for a new one.
        """
        self._start, self._epoch, self._done = position["start"], position["epoch"], done
        self._orders = {}

    def _put_in_order(self) -> None:
        if self.numbers is None:
            order = random.host_generator().permutation(self.samples)
        else:
            if self._start == 0:
                self._epoch = self.numbers.epoch
            order = self.numbers.order(self._epoch, self.samples)
        arrays = [a for a in (*self.xs, self.y, self.sample_weight) if a is not None]
        modules = {backend.array_module(a) for a in arrays}
        self._orders = {xp: xp.asarray(order) for xp in modules}

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
            they do not fit the model; gives the inputs as they go on. None for nothing.

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
        self.on_batch: Callable[[list[Array], Array | None], list[Array]] | None = None
        self._class_weight: tuple[dict[int, float], Any, int | None] | None = None
        self._by_number = hasattr(source, "__len__") and hasattr(source, "__getitem__")
        self._by_number &= not isinstance(source, Mapping)
        self._is_iterator = not isinstance(source, Dataset) and iter(source) is source
        self._resumes = resumes and steps is not None or self._is_iterator and not self._by_number
        self._goes_round = resumes and self._is_iterator and self._by_number
        self._warned = False
        self._running: Iterator[Any] | None = None
        self._done = 0  # batches that the next pass has had already
        self._taken = 0  # of the source's pass that runs, or ran last
        self._passes_ended = 0
        self._before: Any = None  # the state of the source when that pass began

    def __iter__(self) -> Iterator[Batch]:
        count, self._done = self._done, 0
        for item in self._items(count):
            count += 1
            xs, y, sample_weight = _as_batch(item, self.dtype)
            if self.on_batch is not None:
                xs = self.on_batch(xs, y)
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

    def _items(self, count: int) -> Iterator[Any]:
        """What the source gives in one pass that has had `count` batches."""
        iterator, resumed = self._running, self._running is not None
        while self.steps is None or count < self.steps:
            if iterator is None:
                iterator = self._from_source()
            self._running = iterator if self._resumes else None
            try:
                item = next(iterator)
            except StopIteration:
                if not resumed or count:
                    return
                iterator, resumed = None, False  # the last pass had stopped just at the end
                continue
            count += 1
            self._taken += 1
            yield item

    def _from_source(self, taken: int = 0) -> Iterator[Any]:
        """A pass of the source, from the batch on before which it has given `taken`."""
        if self._by_number or not self._is_iterator:  # which has one pass only
            self._taken = 0
        self._taken += taken
        self._before = self._state()
        if self._by_number:
            return self._numbered(taken)
        if isinstance(self.source, Dataset) and taken:  # it can begin anywhere
            self.source.passes += 1
            return self.source.iterate(self.source.passes - 1, taken)
        iterator = iter(self.source)
        for _ in range(taken):
            next(iterator, None)
        return iterator

    def _numbered(self, first: int = 0) -> Iterator[Any]:
        while length := len(self.source):  # type: ignore[arg-type]
            if hasattr(self.source, "on_epoch_begin") and not first:
                self.source.on_epoch_begin()
            start = first % length if self._goes_round else first
            for index, item in enumerate(self._read(start, length), start):
                if self._is_iterator and index == length - 1:
                    self._end_of_pass()
                yield item
            if not self._goes_round:
                return
            first = 0

    def _read(self, start: int, length: int) -> Iterator[Any]:
        """The batches from number `start` on, by the threads that a `PyDataset` asks for."""
        source: Any = self.source
        workers = getattr(source, "workers", 1)
        if workers > 1 or (workers and getattr(source, "use_multiprocessing", False)):
            most = max(1, source.max_queue_size)
            return mapped_ahead(source.__getitem__, range(start, length), workers, most)
        return (source[index] for index in range(start, length))

    def _end_of_pass(self) -> None:
        self._passes_ended += 1
        if hasattr(self.source, "on_epoch_end"):
            self.source.on_epoch_end()

    def _state(self) -> Any:
        return self.source.state() if hasattr(self.source, "state") else None

    def position(self) -> dict[str, Any]:
        """The place behind the last batch, for `go_to`."""
        return {
            "taken": self._taken, "runs": self._running is not None,
            "passes_ended": self._passes_ended, "state": self._state(), "before": self._before,
        }  # fmt: skip

    def go_to(self, position: dict[str, Any], done: int) -> None:
        """As that of `ArrayBatches`, with a source that has given nothing yet.

        Args:
            position, done: as there.
        """
        self._done, self._passes_ended = done, position["passes_ended"]
        in_a_pass = done > 0 or position["runs"]
        if hasattr(self.source, "restore"):
            from_start = in_a_pass and not self._by_number
            self.source.restore(position["before" if from_start else "state"])
        elif hasattr(self.source, "on_epoch_end"):
            for _ in range(self._passes_ended):
                self.source.on_epoch_end()
        if in_a_pass:
            self._running = self._from_source(position["taken"])

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
    if isinstance(x, Mapping):
        as_array(x, "x")  # which says what to give instead
    if not hasattr(x, "__iter__") or isinstance(x, (str, bytes)):
        hint = ""
        if isinstance(x, (str, bytes, Path)):
            hint = f" {str(x)!r}: utils.img_to_array(utils.load_img(path, target_size=...))[None]"
        elif hasattr(x, "size") and hasattr(x, "mode"):  # of Pillow
            hint = ": numpy.asarray(image)[None]"
        raise TypeError(
            f"x must be an array, a list of arrays or an iterator of batches, not "
            f"{type(x).__name__}{hint}"
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
    if is_array_like(x) and len(x) == 0:
        raise ValueError(f"validation_data holds no images (shape {tuple(x.shape)})")
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
