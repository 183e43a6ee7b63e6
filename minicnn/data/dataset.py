"""`Dataset`: elements from a source, through steps chained to it, as in `tf.data`."""

import itertools
import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from minicnn import random
from minicnn.data import element as el
from minicnn.data.ahead import Pass, mapped_ahead, prefetched
from minicnn.data.cache import kept_in_file, kept_in_memory
from minicnn.data.element import for_user, mapped, plain
from minicnn.parallel.counts import num_threads

AUTOTUNE = -1  # for num_parallel_calls and buffer sizes: let the library choose
INFINITE_CARDINALITY = -1
UNKNOWN_CARDINALITY = -2

# Which pass over a data set this is: its number; behind a `repeat` the round, too.
Key = tuple[int, ...]
Begin = Callable[[Key, int], Iterator[Any]]


class Dataset:
    """Elements one after the other, each an array, or a tuple or dictionary of arrays.

        dataset = Dataset.from_tensor_slices((x, y)).shuffle(1000).batch(32).prefetch(2)
        model.fit(dataset, epochs=10)

    `for element in dataset` is a pass over it. A step gives a new data set and leaves this one as
    it was; nothing is computed before a pass asks for it. The passes are numbered, and all random
    numbers follow from the seeds, the number of the pass and the place of the element: any place
    can be reached again, see `iterate` and `state`.

    Elements come as NumPy arrays with a method `numpy()`. Those that the data set keeps (slices of
    your arrays, a cache) are read-only: copy them to change them.

    Args:
        begin: called with the number of a pass (a tuple: behind a `repeat` there is the round, too)
            and that of its first element; gives an iterator over elements.
        length: how many elements, INFINITE_CARDINALITY or UNKNOWN_CARDINALITY.
        inputs: the data sets that `begin` reads.
        seed: of what is random in `begin`, which finds it in the attribute `seed`; None where
            nothing is.

    Attributes:
        passes: how many have been begun, so the number of the next one; it can be set.
    """

    def __init__(
        self,
        begin: Begin,
        length: int = UNKNOWN_CARDINALITY,
        inputs: Sequence["Dataset"] = (),
        seed: int | None = None,
    ):
        self.passes = 0
        self.seed = seed
        self._begin = begin
        self._length = length
        self._inputs = tuple(inputs)

    # Passes

    def __iter__(self) -> Pass:
        self.passes += 1
        return self.iterate(self.passes - 1)

    def iterate(self, number: int, start: int = 0) -> Pass:
        """A pass of your choice; those that `iter` begins are numbered on as before.

        Args:
            number: of the pass, from 0 on.
            start: its first element. What lies before it is not computed where that is possible.
        """
        return Pass(self._begin((number,), start), for_user)

    def as_numpy_iterator(self) -> Pass:
        """The next pass, as plain arrays, numbers and bytes."""
        self.passes += 1
        return Pass(self._begin((self.passes - 1,), 0), el.as_numpy)

    def state(self) -> dict[str, Any]:
        """What `restore` needs for the next passes to be those that come next here: the number of
        passes and all seeds, ready for JSON."""
        return {"passes": self.passes, "seeds": [node.seed for node in self._nodes()]}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where a data set made in the same way was.

        Args:
            state: of it, see `state`.

        Raises:
            ValueError: it is from a data set of other steps.
        """
        nodes = self._nodes()
        if [seed is None for seed in state["seeds"]] != [node.seed is None for node in nodes]:
            raise ValueError(
                f"the state is that of a data set of {len(state['seeds'])} steps, or of other "
                f"ones; this one has {len(nodes)}"
            )
        self.passes = state["passes"]
        for node, seed in zip(nodes, state["seeds"], strict=True):
            node.seed = seed

    def _nodes(self) -> list["Dataset"]:
        return [self, *(node for given in self._inputs for node in given._nodes())]

    def __len__(self) -> int:
        if self._length < 0:
            what = "infinite" if self._length == INFINITE_CARDINALITY else "not known beforehand"
            raise TypeError(f"the length of this data set is {what}")
        return self._length

    def __bool__(self) -> bool:
        return True

    def cardinality(self) -> Any:
        """The number of elements, INFINITE_CARDINALITY or UNKNOWN_CARDINALITY."""
        return for_user(np.int64(self._length))

    @property
    def element_spec(self) -> Any:
        """Shape and dtype of the first element, which is computed for this."""
        return mapped(el.TensorSpec.of, next(self._begin((self.passes,), 0)))

    # Sources

    @staticmethod
    def from_tensor_slices(tensors: Any) -> "Dataset":
        """The entries of `tensors` along their first axis: of an array (a list, too, also of file
        names), or of a tuple or dictionary of arrays of the same length."""
        arrays = mapped(el.read_only, plain(tensors))
        length = el.common_length(arrays)
        return Dataset(lambda key, start: (el.at(arrays, i) for i in range(start, length)), length)

    @staticmethod
    def from_generator(
        generator: Callable[..., Iterable[Any]],
        output_types: Any = None,
        output_shapes: Any = None,
        args: Sequence[Any] | None = None,
        output_signature: Any = None,
    ) -> "Dataset":
        """What a generator yields; each pass calls it again.

        Args:
            generator: a function that returns an iterable.
            output_types: dtypes to convert to, in the structure of an element.
            output_shapes: not used: arrays know their shapes.
            args: what to call it with.
            output_signature: in place of output_types, a `TensorSpec` for each array.
        """
        if not callable(generator):
            raise TypeError(
                "generator is a function that returns an iterable, so that each pass can begin "
                f"anew; got {type(generator).__name__}"
            )
        types = output_types
        convert: Callable[[Any, Any], Any] = el.cast
        if output_signature is not None:
            types, convert = output_signature, el.fitted

        def begin(key: Key, start: int) -> Iterator[Any]:
            for value in itertools.islice(generator(*(args or ())), start, None):
                if isinstance(types, tuple):
                    value = tuple(value)
                value = plain(value)
                yield value if types is None else mapped(convert, types, value)

        return Dataset(begin)

    @staticmethod
    def range(*args: int, output_type: Any = "int64") -> "Dataset":
        """Whole numbers in dtype `output_type`; `args` are those of Python's `range`."""
        numbers, dtype = range(*map(operator.index, args)), np.dtype(output_type)
        return Dataset(lambda key, start: map(dtype.type, numbers[start:]), len(numbers))

    @staticmethod
    def zip(*args: Any, datasets: Any = None) -> "Dataset":
        """Elements of several data sets side by side; the shortest decides when it ends. `args`, or
        `datasets`, are data sets, or one tuple or dictionary of them."""
        given = datasets if datasets is not None else args[0] if len(args) == 1 else args
        inputs = el.leaves(given)
        for dataset in inputs:
            if not isinstance(dataset, Dataset):
                raise TypeError(f"zip takes data sets, not {type(dataset).__name__}")

        def begin(key: Key, start: int) -> Iterator[Any]:
            for parts in zip(*(d._begin(key, start) for d in inputs), strict=False):
                in_order = iter(parts)
                yield mapped(lambda _: next(in_order), given)  # noqa: B023 - called at once

        finite = [d._length for d in inputs if d._length != INFINITE_CARDINALITY]
        return Dataset(begin, min(finite) if finite else INFINITE_CARDINALITY, inputs)

    # Steps

    def map(
        self,
        map_func: Callable[..., Any],
        num_parallel_calls: int | None = None,
        deterministic: bool | None = None,
    ) -> "Dataset":
        """Each element passed through a function; the order stays.

        What the library's random layers and functions draw within it follows from the seed, the
        pass and the element's place, in whichever thread they run.

        Args:
            map_func: called with an element, or with its parts where it is a tuple.
            num_parallel_calls: threads; default: the one that asks for elements. AUTOTUNE for as
                many as the library works with.
            deterministic: not used: the order is always kept.
        """
        threads = _threads(num_parallel_calls)

        def begin(key: Key, start: int) -> Iterator[Any]:
            def call(numbered: tuple[int, Any]) -> Any:
                number, element = numbered
                with random.at_place(made.seed or 0, *key, number):
                    try:
                        return plain(el.called(map_func, element))
                    except Exception as error:
                        if hasattr(error, "add_note"):  # from Python 3.11 on
                            error.add_note(f"in map, element {number}: {str(element)[:200]}")
                        raise

            items = enumerate(self._begin(key, start), start)
            return mapped_ahead(call, items, threads, 2 * threads) if threads else map(call, items)

        made = self._then(begin, self._length, _new_seed())
        return made

    def filter(self, predicate: Callable[..., Any]) -> "Dataset":
        """The elements for which `predicate`, called as the function of `map`, is true."""

        def begin(key: Key, start: int) -> Iterator[Any]:
            chosen = (e for e in self._begin(key, 0) if el.called(predicate, e))
            return itertools.islice(chosen, start, None)

        return self._then(begin, self._unknown_length)

    def batch(
        self,
        batch_size: int,
        drop_remainder: bool = False,
        num_parallel_calls: int | None = None,
        deterministic: bool | None = None,
    ) -> "Dataset":
        """Elements put together, `batch_size` of them, along a new first axis.

        Args:
            drop_remainder: leave out a last batch that would be smaller.
            num_parallel_calls: if given, batches are put together ahead, in a thread.
            deterministic: not used: the order is always kept.
        """
        size = _count("batch_size", batch_size, 1)

        def begin(key: Key, start: int) -> Iterator[Any]:
            elements = self._begin(key, start * size)
            while batch := list(itertools.islice(elements, size)):
                if len(batch) == size or not drop_remainder:
                    yield el.stacked(batch)

        whole = self._length // size if drop_remainder else -(-self._length // size)
        made = self._then(begin, whole if self._length >= 0 else self._length)
        return made if num_parallel_calls is None else made.prefetch(AUTOTUNE)

    def unbatch(self) -> "Dataset":
        """The entries of each element along its first axis, one by one."""

        def begin(key: Key, start: int) -> Iterator[Any]:
            entries = (el.at(b, i) for b in self._begin(key, 0) for i in range(el.common_length(b)))
            return itertools.islice(entries, start, None)

        return self._then(begin, self._unknown_length)

    def shuffle(
        self,
        buffer_size: int,
        seed: int | None = None,
        reshuffle_each_iteration: bool | None = True,
    ) -> "Dataset":
        """Another order: each element is drawn from a buffer of `buffer_size`, which the next one
        of the input refills. With a buffer as large as the data set all orders are equally likely.

        Args:
            seed: default: drawn from the library's generator.
            reshuffle_each_iteration: whether each pass has an order of its own.
        """
        size = _count("buffer_size", buffer_size, 1)

        def begin(key: Key, start: int) -> Iterator[Any]:
            if reshuffle_each_iteration is False:
                key = (0,)
            rng = np.random.default_rng([made.seed or 0, *key])
            return itertools.islice(el.shuffled(self._begin(key, 0), size, rng), start, None)

        root = _new_seed() if seed is None else abs(int(seed))
        made = self._then(begin, self._length, root)
        return made

    def repeat(self, count: int | None = None) -> "Dataset":
        """The data set `count` times; None or -1: for ever."""
        rounds = -1 if count is None else _count("count", count, -1)

        def elements(key: Key, start: int) -> Iterator[Any]:
            first, start = divmod(start, self._length) if self._length > 0 else (0, 0)
            for number in itertools.count(first) if rounds < 0 else range(first, rounds):
                empty = True
                for element in self._begin((*key, number), start):
                    empty = False
                    yield element
                if empty:
                    return
                start = 0

        def begin(key: Key, start: int) -> Iterator[Any]:
            if self._length > 0:
                return elements(key, start)
            return itertools.islice(elements(key, 0), start, None)

        if rounds == 0 or self._length == 0:
            return self._then(begin, 0)
        if rounds < 0:
            return self._then(begin, INFINITE_CARDINALITY)
        return self._then(begin, self._length * rounds if self._length > 0 else self._length)

    def take(self, count: int) -> "Dataset":
        """The first `count` elements; -1: all."""
        most = _count("count", count, -1)

        def begin(key: Key, start: int) -> Iterator[Any]:
            rest = None if most < 0 else max(0, most - start)
            return itertools.islice(self._begin(key, start), rest)

        if most < 0 or self._length == UNKNOWN_CARDINALITY and most:
            return self._then(begin, self._length)
        return self._then(begin, most if self._length < 0 else min(self._length, most))

    def skip(self, count: int) -> "Dataset":
        """All but the first `count` elements; -1: none."""
        skipped = _count("count", count, -1)
        if skipped < 0:
            return self.take(0)
        length = max(0, self._length - skipped) if self._length >= 0 else self._length
        return self._then(lambda key, start: self._begin(key, start + skipped), length)

    def shard(self, num_shards: int, index: int) -> "Dataset":
        """Elements `index`, `index + num_shards` ...: the share of one of several processes."""
        shards, first = _count("num_shards", num_shards, 1), _count("index", index, 0)
        if first >= shards:
            raise ValueError(f"index is below num_shards, {shards}; got {index}")

        def begin(key: Key, start: int) -> Iterator[Any]:
            return itertools.islice(self._begin(key, start * shards + first), 0, None, shards)

        length = self._length if self._length < 0 else -(-max(0, self._length - first) // shards)
        return self._then(begin, length)

    def enumerate(self, start: int = 0) -> "Dataset":
        """Pairs (number, element), numbered from `start` on."""

        def begin(key: Key, skipped: int) -> Iterator[Any]:
            numbered = enumerate(self._begin(key, skipped), start + skipped)
            return ((np.int64(number), element) for number, element in numbered)

        return self._then(begin, self._length)

    def concatenate(self, dataset: "Dataset") -> "Dataset":
        """The elements of this data set, then those of another `dataset`."""

        def begin(key: Key, start: int) -> Iterator[Any]:
            beyond = max(0, start - self._length) if self._length >= 0 else 0
            own = start - beyond if self._length >= 0 else 0
            chained = itertools.chain(self._begin(key, own), dataset._begin(key, beyond))
            return itertools.islice(chained, start - own - beyond, None)

        lengths = [self._length, dataset._length]
        length = sum(lengths) if min(lengths) >= 0 else max(n for n in lengths if n < 0)
        return Dataset(begin, length, [self, dataset])

    def cache(self, filename: Any = "") -> "Dataset":
        """Elements kept from the first pass that reads all of them. All passes are that one.

        Args:
            filename: a file to keep them in; if it is there already, its elements are used,
                whatever the steps before are. Default: in memory.
        """
        if self._length == INFINITE_CARDINALITY:
            raise ValueError("an infinite data set cannot be kept; call cache before repeat")
        make = partial(self._begin, (0,), 0)
        keeper = kept_in_file(filename, make) if filename else kept_in_memory(make)
        return self._then(lambda key, start: keeper(start), self._length)

    def prefetch(self, buffer_size: int) -> "Dataset":
        """Elements made ahead in a thread, while the last ones are being used: `buffer_size` wait
        at most, with AUTOTUNE 2."""
        most = _count("buffer_size", buffer_size, AUTOTUNE)
        most = 2 if most == AUTOTUNE else most

        def begin(key: Key, start: int) -> Iterator[Any]:
            elements = self._begin(key, start)
            return prefetched(elements, most) if most else elements

        return self._then(begin, self._length)

    @property
    def _unknown_length(self) -> int:
        """The length after a step that may leave elements out, or make more of them."""
        endless = self._length == INFINITE_CARDINALITY
        return INFINITE_CARDINALITY if endless else UNKNOWN_CARDINALITY

    def _then(self, begin: Begin, length: int, seed: int | None = None) -> "Dataset":
        """A data set that reads this one."""
        return Dataset(begin, length, [self], seed)


def _new_seed() -> int:
    return int(random.host_generator().integers(2**63))


def _count(argument: str, value: Any, least: int) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if number < least or isinstance(value, bool):
        raise ValueError(f"{argument} should be an integer from {least} on, not {value!r}")
    return number


def _threads(num_parallel_calls: Any) -> int:
    """How many a `map` uses, 0 for none."""
    if num_parallel_calls is None:
        return 0
    threads = _count("num_parallel_calls", num_parallel_calls, AUTOTUNE)
    return max(2, num_threads()) if threads == AUTOTUNE else threads
