"""Batches that do not fit into the memory of a GPU, on a stand-in for its memory."""

import weakref
from types import SimpleNamespace

import numpy as np
import pytest
import strict_backend
from hypothesis import given
from hypothesis import strategies as st

from minicnn import Input, Sequential
from minicnn.layers import Dense, Layer
from minicnn.training.out_of_memory import explained, smaller_batch

GB = 10**9


class OutOfMemoryError(MemoryError):
    """CuPy's, with its text."""

    def __init__(self, size, total, limit=0):
        super().__init__(f"Out of memory allocating {size:,} bytes (allocated so far: {total:,}).")


class Pool:
    """The memory that CuPy keeps: 11 GB, of which 10 are in use."""

    limit = 0

    def used_bytes(self):
        return 10 * GB

    def total_bytes(self):
        return 11 * GB

    def get_limit(self):
        return self.limit


@pytest.fixture
def pool(strict, monkeypatch):
    """A device with 16 GB, 1 of them free, and CuPy's interface to them on the stand-in."""
    pool = Pool()
    cuda = SimpleNamespace(
        memory=SimpleNamespace(OutOfMemoryError=OutOfMemoryError),
        Device=lambda: SimpleNamespace(mem_info=(1 * GB, 16 * GB)),
    )
    monkeypatch.setattr(strict_backend.module, "cuda", cuda, raising=False)
    monkeypatch.setattr(
        strict_backend.module, "get_default_memory_pool", lambda: pool, raising=False
    )
    return pool


def text_of(error, images):
    with pytest.raises(MemoryError) as raised, explained(images):
        raise error
    assert type(raised.value) is MemoryError and raised.value.__cause__ is error
    return str(raised.value)


def test_what_was_tried_what_there_is_and_what_would_fit(pool):
    assert text_of(OutOfMemoryError(4 * GB, 11 * GB), 1000) == (
        "a batch of 1,000 does not fit into the memory of the GPU: 10.00 GB were in use when "
        "4.00 GB had to be added, of 12.00 GB that can be had and 16.00 GB in all. What a batch "
        "takes grows with its size: try batch_size=256, and if that is still too much, half of it."
    )


def test_far_too_large_a_batch(pool):
    """It needs 120 GB of 12 at least: a tenth of it is 100 images."""
    assert "batch_size=64," in text_of(OutOfMemoryError(110 * GB, 11 * GB), 1000)


def test_a_limit_of_the_pool_counts(pool):
    pool.limit = 7 * GB
    text = text_of(OutOfMemoryError(18 * GB, 0), 1024)
    assert "of 7.00 GB that can be had and 16.00 GB in all" in text
    assert "batch_size=256," in text


def test_one_image_is_too_much(pool):
    text = text_of(OutOfMemoryError(4 * GB, 11 * GB), 1)
    assert text.endswith("Smaller images or a smaller network take less.")
    assert "batch_size" not in text


def test_another_wording_of_cupy(pool):
    error = OutOfMemoryError(4 * GB, 11 * GB)
    error.args = ("no memory left",)
    text = text_of(error, 128)
    assert "10.00 GB were in use when more had to be added" in text and "batch_size=64," in text


def test_other_errors_pass(pool):
    for error in (MemoryError("of the host"), ValueError("a shape")):
        with pytest.raises(type(error)) as raised, explained(8):
            raise error
        assert raised.value is error


def test_numpy_has_no_device():
    error = OutOfMemoryError(1, 1)
    with pytest.raises(MemoryError) as raised, explained(8):
        raise error
    assert raised.value is error


def test_the_arrays_of_the_step_are_let_go(pool):
    arrays = []

    def step():
        activations = np.zeros(3)
        arrays.append(weakref.ref(activations))
        raise OutOfMemoryError(4 * GB, 11 * GB)

    with pytest.raises(MemoryError) as raised, explained(8):
        step()
    assert raised.value.__cause__ is not None and arrays[0]() is None


@given(st.integers(2, 10**6), st.integers(1, 10**12), st.integers(1, 10**12))
def test_the_smaller_batch(images, needed, available):
    smaller = smaller_batch(images, needed, available)
    assert 1 <= smaller <= images // 2 and smaller.bit_count() == 1
    assert smaller == 1 or smaller * needed <= images * available
    larger = 2 * smaller
    assert larger > images // 2 or larger * needed > images * available


class Crowded(Layer):
    """Has memory for 8 images."""

    def forward(self, x, ctx):
        if len(x) > 8:
            raise OutOfMemoryError(4 * GB, 11 * GB)
        return x

    def backward(self, dy, ctx):
        return dy


@pytest.mark.parametrize(
    "work",
    [
        lambda model, x, y: model.fit(x, y, batch_size=20, verbose=0),
        lambda model, x, y: model.fit(
            x, y, batch_size=8, validation_data=(x, y), validation_batch_size=20, verbose=0
        ),
        lambda model, x, y: model.evaluate(x, y, batch_size=20, verbose=0),
        lambda model, x, y: model.predict(x, batch_size=20, verbose=0),
        lambda model, x, y: model.train_on_batch(x[:20], y[:20]),
        lambda model, x, y: model.test_on_batch(x[:20], y[:20]),
    ],
)
def test_what_a_model_does_is_explained(pool, work):
    model = Sequential([Input((4,)), Crowded(), Dense(3, activation="softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    x, y = np.ones((24, 4), "float32"), np.arange(24) % 3
    with pytest.raises(MemoryError, match=r"a batch of 20 .* try batch_size=8,"):
        work(model, x, y)
    model.fit(x, y, batch_size=8, verbose=0)
