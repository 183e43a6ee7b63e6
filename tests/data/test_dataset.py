"""Chains of steps give what the same steps on a Python list give, from any element on."""

import os
import threading
import time

import numpy as np
import pytest
from children import in_a_child
from hypothesis import given
from hypothesis import strategies as st

from minicnn import random
from minicnn.data import (
    AUTOTUNE,
    INFINITE_CARDINALITY,
    UNKNOWN_CARDINALITY,
    Dataset,
    TensorSpec,
)  # fmt: skip
from minicnn.utils import set_random_seed


def plain(element):
    """An element as Python's own values."""
    if isinstance(element, tuple):
        return tuple(plain(part) for part in element)
    if isinstance(element, dict):
        return {key: plain(part) for key, part in element.items()}
    return np.asarray(element).tolist()


def listed(dataset, number=None, start=0):
    elements = iter(dataset) if number is None else dataset.iterate(number, start)
    return [plain(element) for element in elements]


def batched(values, size, drop):
    batches = [values[i : i + size] for i in range(0, len(values), size)]
    return [b for b in batches if len(b) == size or not drop]


small = st.integers(0, 4)
# A step: its method with arguments, and the same on a list. All keep numbers numbers.
STEPS = st.one_of(
    st.builds(lambda n: (lambda d: d.take(n), lambda v: v[:n]), small),
    st.builds(lambda n: (lambda d: d.skip(n), lambda v: v[n:]), small),
    st.builds(lambda n: (lambda d: d.repeat(n), lambda v: v * n), small),
    st.builds(
        lambda n, i: (lambda d: d.shard(n + i, i), lambda v: v[i :: n + i]),
        st.integers(1, 3), small,
    ),
    st.builds(
        lambda n, p: (
            lambda d: d.map(lambda x: x + n, num_parallel_calls=p),
            lambda v: [x + n for x in v],
        ),
        small, st.sampled_from([None, 1, 3, AUTOTUNE]),
    ),
    st.builds(
        lambda n: (
            lambda d: d.filter(lambda x: x % n == 0),
            lambda v: [x for x in v if x % n == 0],
        ),
        st.integers(1, 3),
    ),
    st.builds(lambda n: (lambda d: d.prefetch(n), lambda v: v), st.integers(-1, 3)),
    st.builds(
        lambda n: (lambda d: d.concatenate(Dataset.range(n)), lambda v: v + list(range(n))), small
    ),
    st.builds(
        lambda n, drop: (
            lambda d: d.batch(n, drop).unbatch(),
            lambda v: [x for b in batched(v, n, drop) for x in b],
        ),
        st.integers(1, 4), st.booleans(),
    ),
    st.builds(
        lambda n: (
            lambda d: d.enumerate(n).map(lambda i, x: i - x),
            lambda v: [i - x for i, x in enumerate(v, n)],
        ),
        small,
    ),
    st.builds(
        lambda n: (
            lambda d: Dataset.zip((d, Dataset.range(n))).map(lambda x, y: x * y),
            lambda v: [x * y for x, y in zip(v, range(n), strict=False)],
        ),
        small,
    ),
    st.just((lambda d: d.cache(), lambda v: v)),
)  # fmt: skip


@given(st.integers(0, 12), st.lists(STEPS, max_size=5), st.integers(0, 6))
def test_a_chain_is_the_same_chain_on_a_list_from_any_element_on(n, steps, start):
    dataset, expected = Dataset.range(n), list(range(n))
    for on_dataset, on_list in steps:
        dataset, expected = on_dataset(dataset), on_list(expected)
    assert listed(dataset, 0, start) == expected[start:]
    assert listed(dataset) == expected == listed(dataset)
    assert dataset.cardinality() in (len(expected), UNKNOWN_CARDINALITY)


@given(st.integers(0, 12), st.integers(1, 15), st.integers(0, 5), st.integers(0, 14), st.booleans())
def test_shuffle_is_a_permutation_which_seed_and_pass_decide(n, size, seed, start, always):
    def make():
        return Dataset.range(n).shuffle(size, seed, reshuffle_each_iteration=always).repeat(2)

    dataset, again = make(), make()
    first, second = listed(dataset), listed(dataset)
    assert first == listed(again, 0) and second == listed(again, 1)
    assert listed(again, 1, start) == second[start:]
    assert sorted(first[:n]) == sorted(second[n:]) == list(range(n))
    # nothing can come earlier than the buffer lets it
    assert all(place >= value - size + 1 for place, value in enumerate(first[:n]))
    if not always:
        assert first[:n] == first[n:] and first == second


def test_passes_and_rounds_have_orders_of_their_own():
    dataset = Dataset.range(50).shuffle(50, seed=3).repeat(2)
    passes = [listed(dataset) for _ in range(2)]
    orders = {tuple(p[half]) for p in passes for half in (slice(50), slice(50, None))}
    assert len(orders) == 4


def test_all_orders_are_equally_likely():
    dataset = Dataset.range(3).shuffle(3, seed=0)
    found = [tuple(listed(dataset)) for _ in range(1200)]
    counts = [found.count(order) for order in set(found)]
    assert len(counts) == 6 and min(counts) > 140 and max(counts) < 260  # 200 +- 13


def test_the_librarys_seed_governs_orders_and_random_maps():
    def drawn():
        set_random_seed(5)
        noise = Dataset.range(20).map(
            lambda x: x + random.host_generator().random(2), num_parallel_calls=3
        )
        return listed(noise.shuffle(20).batch(3))

    assert drawn() == drawn()


def test_random_numbers_in_map_follow_from_the_place_of_the_element():
    dataset = Dataset.range(12).map(
        lambda x: random.host_generator().random(), num_parallel_calls=4
    )
    first, second = listed(dataset), listed(dataset)
    assert len({*first, *second}) == 24
    assert listed(dataset, 1, 5) == second[5:]
    set_random_seed(0)
    expected = random.host_generator().random()
    set_random_seed(0)
    listed(dataset)
    assert random.host_generator().random() == expected  # the others' numbers are as before


def test_state_goes_on_where_another_was():
    def make():
        return Dataset.range(30).shuffle(30).map(lambda x: x + random.host_generator().random())

    dataset, other = make(), make()
    for _ in range(2):
        listed(dataset)
    state = dataset.state()
    assert listed(other) != listed(dataset.cache(), 0)
    other.restore(state)
    assert other.passes == 2
    assert listed(other) == listed(dataset)
    with pytest.raises(ValueError, match="of a data set of 3 steps"):
        Dataset.range(3).restore(state)


def test_structures():
    x, y = np.arange(6).reshape(3, 2), np.array([0.5, 1.5, 2.5])
    dataset = Dataset.from_tensor_slices(({"image": x, "name": ["a", "b", "c"]}, y))
    element = next(iter(dataset.skip(1)))
    assert plain(element) == ({"image": [2, 3], "name": "b"}, 1.5)
    assert element[0]["name"].numpy() == b"b" and element[0]["name"] == "b"
    batch = next(iter(dataset.batch(2)))
    assert plain(batch) == ({"image": [[0, 1], [2, 3]], "name": ["a", "b"]}, [0.5, 1.5])
    assert listed(dataset.batch(2).unbatch()) == listed(dataset)
    assert dataset.element_spec[0]["image"] == TensorSpec((2,), np.dtype("int64"))


def test_elements_have_numpy():
    images, labels = next(iter(Dataset.from_tensor_slices((np.ones((4, 2, 2)), range(4))).batch(4)))
    assert type(images.numpy()) is np.ndarray and images[0].numpy().shape == (2, 2)
    assert labels[2].numpy() == 2 and isinstance(labels[2].numpy(), np.int32)
    assert [label.numpy() for label in labels] == [0, 1, 2, 3]
    assert ["a", "b", "c", "d"][labels[1]] == "b"
    assert (images / 2).numpy().sum() == 8
    x, y = Dataset.from_tensor_slices((np.ones((4, 2)), range(4))).as_numpy_iterator().next()
    assert type(x) is np.ndarray and isinstance(y, np.int32)


def test_dtypes():
    def dtype(value):
        return np.asarray(next(iter(Dataset.from_tensor_slices(value)))).dtype

    assert dtype([1.0, 2.0]) == "float32" and dtype([1, 2]) == "int32" and dtype([2**40]) == "int64"
    assert dtype(np.ones(2)) == "float64" and dtype([np.ones(2)]) == "float64"
    assert dtype([True]) == "bool"
    images = Dataset.from_tensor_slices(np.ones((2, 2), "float32")).map(lambda x: x / 255)
    assert next(iter(images)).dtype == np.float32
    assert next(iter(Dataset.range(2))).dtype == np.int64
    with pytest.raises(TypeError, match="got object"):
        next(iter(Dataset.range(2).map(lambda x: object())))


def test_what_is_kept_cannot_be_changed():
    def in_place(x):
        x *= 2
        return x

    x = np.ones((3, 2))
    for dataset in (Dataset.from_tensor_slices(x), Dataset.range(4).batch(2).cache()):
        listed(dataset)
        with pytest.raises(ValueError, match="read-only"):
            listed(dataset.map(in_place))
    assert (x == 1).all()
    assert listed(Dataset.from_tensor_slices(x).batch(2).map(in_place))[0] == [[2, 2], [2, 2]]


def test_from_generator():
    calls = []

    def pairs(n):
        calls.append(n)
        for i in range(n):
            yield [i, 2 * i], i

    dataset = Dataset.from_generator(pairs, args=(3,))
    assert listed(dataset) == listed(dataset) == [([i, 2 * i], i) for i in range(3)]
    assert calls == [3, 3]
    assert dataset.cardinality() == UNKNOWN_CARDINALITY
    with pytest.raises(TypeError, match="not known beforehand"):
        len(dataset)
    typed = Dataset.from_generator(lambda: pairs(2), ("uint8", np.float64))
    assert [a.dtype for a in next(iter(typed))] == [np.uint8, np.float64]
    spec = (TensorSpec((2,), "float16"), TensorSpec((), np.int8))
    signed = Dataset.from_generator(lambda: pairs(2), output_signature=spec)
    assert [a.dtype for a in next(iter(signed))] == [np.float16, np.int8]
    with pytest.raises(TypeError, match="generator is a function that returns an iterable"):
        Dataset.from_generator(pairs(3))


def test_cardinality():
    finite, endless = Dataset.range(10), Dataset.range(10).repeat()
    unknown = finite.filter(lambda x: True)
    assert int(finite.cardinality()) == finite.cardinality().numpy() == len(finite) == 10
    assert endless.cardinality() == endless.map(lambda x: x).cardinality() == INFINITE_CARDINALITY
    assert endless.take(3).cardinality() == 3
    assert unknown.cardinality() == unknown.batch(3).cardinality() == UNKNOWN_CARDINALITY
    assert unknown.concatenate(endless).cardinality() == INFINITE_CARDINALITY
    assert Dataset.zip(finite, endless).cardinality() == 10
    assert len(finite.batch(3)) == 4 and len(finite.batch(3, drop_remainder=True)) == 3
    assert len(finite.take(finite.cardinality() // 5)) == 2
    with pytest.raises(TypeError, match="infinite"):
        len(endless)
    assert bool(endless)


def test_an_endless_repeat_of_nothing_ends():
    assert listed(Dataset.range(3).filter(lambda x: x > 5).repeat()) == []


@pytest.mark.parametrize(
    "call, text",
    [
        (lambda d: d.batch(0), "batch_size should be an integer from 1 on, not 0"),
        (lambda d: d.batch(2.0), "batch_size should be an integer from 1 on, not 2.0"),
        (lambda d: d.shuffle(0), "buffer_size should be an integer from 1 on"),
        (lambda d: d.take(-2), "count should be an integer from -1 on, not -2"),
        (lambda d: d.repeat("2"), "count should be an integer"),
        (lambda d: d.map(abs, num_parallel_calls=-3), "num_parallel_calls should be an integer"),
        (lambda d: d.shard(2, 2), "index is below num_shards, 2; got 2"),
        (lambda d: d.repeat().cache(), "call cache before repeat"),
        (lambda d: Dataset.from_tensor_slices(5), "cut along their first axis.*shape=\\(\\)"),
        (lambda d: Dataset.from_tensor_slices(([1, 2], [1])), "must be as long in all of them"),
    ],
)
def test_bad_arguments(call, text):
    with pytest.raises(ValueError, match=text):
        call(Dataset.range(5))


def test_elements_that_do_not_fit_together():
    dataset = Dataset.range(3).map(lambda x: np.zeros(int(x)))
    with pytest.raises(ValueError, match=r"into a batch: \(0,\), then \(1,\); bring them to one"):
        listed(dataset.batch(3))
    mixed = Dataset.range(2).map(lambda x: (x, x) if x else x)
    with pytest.raises(ValueError, match="elements differ in structure"):
        listed(mixed.concatenate(Dataset.range(1)).skip(1).batch(2))


# Threads


def threads():
    return [t for t in threading.enumerate() if t.name.startswith("minicnn-data")]


def wait_for_no_threads():
    end = time.monotonic() + 20
    while threads():
        assert time.monotonic() < end, threads()
        time.sleep(0.01)


CHAINS = {
    "map": lambda d: d.map(lambda x: x, num_parallel_calls=3),
    "prefetch": lambda d: d.prefetch(3),
    "both": lambda d: d.map(lambda x: x, num_parallel_calls=2).batch(2).prefetch(2),
    "deep": lambda d: d.prefetch(1).shuffle(4).prefetch(AUTOTUNE).map(abs, AUTOTUNE).take(90),
}


@pytest.mark.parametrize("chain", CHAINS)
def test_threads_end_when_the_consumer_stops(chain):
    dataset = CHAINS[chain](Dataset.range(100))
    wait_for_no_threads()
    for _ in dataset:
        break
    wait_for_no_threads()
    iterator = iter(dataset)
    next(iterator)
    assert threads()
    del iterator
    wait_for_no_threads()
    iter(dataset)  # never asked for anything
    assert not threads()
    with pytest.raises(KeyboardInterrupt):
        for _ in dataset:
            raise KeyboardInterrupt
    del _
    wait_for_no_threads()


@pytest.mark.parametrize("chain", CHAINS)
def test_little_is_made_ahead(chain):
    made = []
    dataset = CHAINS[chain](Dataset.range(10_000).map(lambda x: made.append(x) or x))
    iterator = iter(dataset)
    for _ in range(3):
        next(iterator)
    time.sleep(0.05)
    assert 3 <= len(made) < 30
    del iterator
    wait_for_no_threads()


@pytest.mark.parametrize("chain", CHAINS)
def test_an_error_comes_where_its_element_would_have_come(chain):
    def fail(x):
        if x == 20:
            raise OSError(f"cannot read file {x}.png")
        return x

    if chain == "deep":  # which shuffles
        return
    dataset = CHAINS[chain](Dataset.range(100).map(fail, num_parallel_calls=2))
    got = []
    with pytest.raises(OSError, match="cannot read file 20.png") as error:
        for element in dataset:
            got.extend(np.atleast_1d(element).tolist())
    assert got == list(range(20))
    if hasattr(error.value, "__notes__"):  # from Python 3.11 on
        assert error.value.__notes__ == ["in map, element 20: 20"]
    del error
    wait_for_no_threads()


def test_a_slow_first_element_does_not_change_the_order():
    def slow_at_first(x):
        if x == 0:
            time.sleep(0.05)
        return x

    dataset = Dataset.range(20).map(slow_at_first, num_parallel_calls=4, deterministic=False)
    assert listed(dataset) == list(range(20))


def test_map_uses_several_threads_at_the_same_time():
    meeting = threading.Barrier(3, timeout=20)
    dataset = Dataset.range(3).map(lambda x: meeting.wait() * 0 + x, num_parallel_calls=3)
    assert listed(dataset) == [0, 1, 2]


def test_a_generator_is_closed_when_the_consumer_stops():
    closed = threading.Event()

    def numbers():
        try:
            yield from range(100)
        finally:
            closed.set()

    for _ in Dataset.from_generator(numbers).prefetch(2):
        break
    assert closed.wait(20)


def test_a_source_that_never_answers_does_not_keep_the_consumer_from_stopping():
    answer = threading.Event()

    def numbers():
        yield 1
        answer.wait()
        yield 2

    iterator = iter(Dataset.from_generator(numbers).prefetch(5))
    assert next(iterator) == 1
    del iterator  # returns
    answer.set()
    wait_for_no_threads()


pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a system without fork")
def test_after_a_fork_a_pass_is_refused_and_a_new_one_works():
    dataset = Dataset.range(30).map(lambda x: x, num_parallel_calls=2).prefetch(2)
    begun = iter(dataset)
    next(begun)

    def go_on():
        try:
            next(begun)
        except RuntimeError as error:
            return str(error), listed(dataset)

    text, found = in_a_child("fork", go_on)
    assert "begun in another process" in text and found == list(range(30))
    assert [plain(x) for x in begun] == list(range(1, 30))
