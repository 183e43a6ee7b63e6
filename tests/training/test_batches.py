"""Batches hold every sample once, with its label and weight, and bad data are named."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minicnn.training.batches import (
    ArrayBatches,
    IteratorBatches,
    make_batches,
    split,
)
from minicnn.training.class_weight import class_weights
from minicnn.utils import set_random_seed

sizes = st.integers(1, 40)


def numbered(n):
    """Images whose only pixel is their number, as are label and weight."""
    index = np.arange(n)
    return index.reshape(n, 1, 1, 1).astype("uint8"), index, index.astype("float32")


@settings(deadline=None)
@given(n=sizes, batch_size=sizes, shuffle=st.booleans())
def test_every_sample_once_with_its_label_and_weight(n, batch_size, shuffle):
    batches = ArrayBatches(*numbered(n), batch_size=batch_size, shuffle=shuffle)
    parts = list(batches)
    assert len(parts) == batches.steps == -(-n // batch_size)
    seen = []
    for (x,), y, w in parts:
        assert x.dtype == np.uint8 and len(x) <= batch_size
        np.testing.assert_array_equal(x.reshape(-1), y)
        np.testing.assert_array_equal(y, w)
        seen += y.tolist()
    assert sorted(seen) == list(range(n))
    if not shuffle:
        assert seen == list(range(n))


@pytest.mark.filterwarnings("ignore:the data ran out")
@settings(deadline=None)
@given(n=sizes, batch_size=sizes, steps=sizes)
def test_steps_cut_an_epoch_short(n, batch_size, steps):
    batches = ArrayBatches(*numbered(n), batch_size=batch_size, steps=steps)
    assert len(list(batches)) == batches.steps == min(steps, -(-n // batch_size))


@settings(deadline=None)
@given(n=st.integers(2, 60), fraction=st.floats(0.01, 0.99))
def test_the_split_is_that_of_keras(n, fraction):
    cut = int(n * (1 - fraction))  # keras.src.trainers.data_adapters.data_adapter_utils
    x, y, w = numbered(n)
    if cut in (0, n):
        with pytest.raises(ValueError, match=f"of {n} images leaves nothing on one side"):
            split(x, y, w, fraction)
        return
    (x1, y1, w1), (x2, y2, w2) = split(x, y, w, fraction)
    np.testing.assert_array_equal(y1, np.arange(cut))
    np.testing.assert_array_equal(y2, np.arange(cut, n))
    assert len(x1) == len(w1) == cut and len(x2) == len(w2) == n - cut


def test_split_of_several_inputs():
    x, y, _ = numbered(10)
    (xs, _, none), (rest, _, _) = split([x, x], y, None, 0.2)
    assert [len(a) for a in xs] == [8, 8] and [len(a) for a in rest] == [2, 2] and none is None


@pytest.mark.parametrize("fraction", [-0.1, 1.0, 1.5])
def test_a_fraction_out_of_range(fraction):
    with pytest.raises(ValueError, match=f"above 0 and below 1, not {fraction}"):
        split(*numbered(10), fraction)


def test_a_split_needs_arrays():
    with pytest.raises(ValueError, match="validation_split needs arrays"):
        split(iter([]), None, None, 0.5)


def test_each_epoch_has_an_order_of_its_own_that_the_seed_fixes():
    def orders():
        set_random_seed(3)
        batches = ArrayBatches(*numbered(50), batch_size=50, shuffle=True)
        return [next(iter(batches))[1].tolist() for _ in range(2)]

    first, second = orders()
    assert first != second
    assert orders() == [first, second]


def test_several_inputs():
    x, y, _ = numbered(5)
    (xs, labels, weight), *_ = ArrayBatches([x, x.astype("float32")], y, batch_size=5)
    assert [a.dtype for a in xs] == [np.uint8, np.float32]
    assert weight is None and len(labels) == 5


def test_plain_lists_are_arrays():
    batches = make_batches([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], [0, 1, 0], batch_size=2)
    assert [x.shape for (x,), _, _ in batches] == [(2, 2), (1, 2)]


def test_iterables_start_anew_each_epoch():
    x, y, w = numbered(4)
    batches = make_batches(_Twice(x, y, w))
    for _ in range(2):
        parts = list(batches)
        assert len(parts) == 2 and parts[0][2] is None
        np.testing.assert_array_equal(parts[1][2], w)


class _Twice:
    def __init__(self, x, y, w):
        self.parts = [(x, y), [x, y, w]]

    def __iter__(self):
        return iter(self.parts)


class _Endless:
    """Like ImageDataGenerator.flow: a length, and no end."""

    def __len__(self):
        return 3

    def __iter__(self):
        x, y, _ = numbered(2)
        while True:
            yield x, y


def test_the_length_of_an_endless_iterable_ends_an_epoch():
    batches = IteratorBatches(_Endless())
    assert batches.steps == 3 and len(list(batches)) == 3
    assert len(list(IteratorBatches(_Endless(), steps=5))) == 5


def test_generators_go_on_from_epoch_to_epoch():
    batches = IteratorBatches(((np.full((1, 1), i), np.array([i])) for i in range(5)), steps=2)
    assert [b[1][0] for b in batches] == [0, 1]
    assert [b[1][0] for b in batches] == [2, 3]
    with pytest.warns(UserWarning, match="the data ran out after 1 of the 2 steps"):
        assert [b[1][0] for b in batches] == [4]
    with pytest.raises(ValueError, match="gave none; a generator can be used up only once"):
        list(batches)


def test_batches_of_images_alone():
    ((x,), y, w), *_ = IteratorBatches([np.ones((2, 3))])
    assert x.shape == (2, 3) and y is None and w is None


@pytest.mark.parametrize(
    "item, text",
    [
        ((1, 2, 3, 4), "got 4 parts"),
        ((np.ones((2, 3)), np.ones(3)), "2 images and 3 labels"),
        ((np.ones((2, 3)), np.ones(2), np.ones(1)), "2 images and 1 sample weights"),
        ((np.ones((0, 3)), np.ones(0)), r"a batch holds no images \(shape \(0, 3\)\)"),
        ((np.full((2, 3), np.nan), np.ones(2)), "image 0 of x holds NaN"),
        ((np.ones((1, 3)), np.ones(1), np.array([np.inf])), "entry 0 of sample_weight holds NaN"),
        ((np.array(["a"]), np.ones(1)), "must hold numbers; got dtype"),
    ],
)
def test_bad_batches_of_an_iterator(item, text):
    with pytest.raises(ValueError, match=text):
        list(IteratorBatches(iter([item])))


X, Y, W = numbered(6)


@pytest.mark.parametrize(
    "arguments, text",
    [
        ((X[:0], Y[:0]), r"x holds no images \(shape \(0, 1, 1, 1\)\)"),
        ((X, Y[:5]), "x has 6 images and y has 5 entries"),
        ((X, Y, W[:4]), "x has 6 images and sample_weight has 4 entries"),
        (([X, X[:5]], Y), r"x has 6 images and x\[1\] has 5 entries"),
        ((X, Y, np.ones((6, 2))), r"one number per image, shape \(6,\); got shape \(6, 2\)"),
        ((X, Y, np.where(W == W[2], np.nan, 1.0)), "entry 2 of sample_weight holds NaN"),
        ((X, Y, None, 0), "batch_size must be an integer above 0, not 0"),
        ((X, Y, None, 2.5), "batch_size must be an integer above 0, not 2.5"),
        ((np.float32(3), None), "must have a batch axis; got the single value 3.0"),
        ((np.array(["a", "b"]), None), "x must hold numbers; got dtype <U1"),
        ((None, None), "no data: x is None"),
        ((iter([]), Y), "y and sample_weight come with the batches"),
    ],
)
def test_bad_data_are_named(arguments, text):
    with pytest.raises(ValueError, match=text):
        make_batches(*arguments)


def test_what_is_no_data_at_all():
    with pytest.raises(TypeError, match="an array, a list of arrays or an iterator.*not int"):
        make_batches(3)


def test_class_weights_are_a_dict():
    with pytest.raises(TypeError, match=r"class_weight is \{label: weight\}, not 'balanced'"):
        class_weights(np.zeros(3), "balanced")


def test_the_weight_of_a_sample_is_that_of_its_class():
    expected = [1.0, 2.0, 0.5, 2.0]
    y = np.array([0, 1, 2, 1])
    for form in (y, y[:, None], np.eye(3)[y]):
        weights = class_weights(form, {1: 2.0, 2: 0.5})
        assert weights.dtype == np.float32 and weights.tolist() == expected


def test_device_arrays_stay_on_the_device(strict):
    from minicnn import backend

    x = backend.asarray(np.ones((2500, 2), "float32"))
    strict.reset()
    parts = list(ArrayBatches(x, batch_size=1000))
    assert [len(x) for (x,), _, _ in parts] == [1000, 1000, 500]
    assert (strict.to_device, strict.to_host) == (0, 1)  # one look for NaN
