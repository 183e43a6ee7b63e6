"""Dropout."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from layer_calls import run
from strategies import array_shapes, numbers

from minicnn.gradcheck import gradcheck
from minicnn.layers import Dropout


@given(array_shapes(), st.floats(0, 0.9))
def test_gradients(shape, rate):
    assert gradcheck(Dropout(rate), numbers(shape)).max_error < 1e-6


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_values(dtype):
    """Each number is either gone or 1 / (1 - rate) as large; so is its gradient; the mean stays."""
    x, dy = np.ones((200, 300), dtype), np.ones((200, 300), dtype)
    out = run(Dropout(0.25), x, dy)
    assert out.y.dtype == out.dx.dtype == dtype
    np.testing.assert_allclose(np.unique(out.y), [0, 4 / 3], rtol=1e-6)
    np.testing.assert_array_equal(out.y, out.dx)
    assert out.y.mean() == pytest.approx(1, abs=0.01)


def test_rates():
    x = np.ones((100, 1000), "float32")
    for rate in (0.1, 0.5, 0.9):
        assert (run(Dropout(rate), x).y == 0).mean() == pytest.approx(rate, abs=0.01)


@pytest.mark.cpu_only("compares with NumPy arrays")
def test_only_in_training():
    x = numbers((3, 4), dtype="float32")
    layer = Dropout(0.5)
    np.testing.assert_array_equal(layer(x), x)
    assert (layer(x, training=True) != x).any()
    out = run(layer, x, x, training=False)
    np.testing.assert_array_equal(out.dx, x)


def test_rate_zero_keeps_everything():
    x = numbers((3, 4), dtype="float32")
    np.testing.assert_array_equal(Dropout(0)(x, training=True), x)


def test_the_generator_of_the_pass_decides():
    x = np.ones((4, 50), "float32")
    layer = Dropout(0.5)
    np.testing.assert_array_equal(run(layer, x, seed=1).y, run(layer, x, seed=1).y)
    assert (run(layer, x, seed=1).y != run(layer, x, seed=2).y).any()


@pytest.mark.parametrize("noise_shape", [(None, 1, 1, None), [None, 1, 1, 20]])
def test_whole_channels_fall_together(noise_shape):
    x = np.ones((8, 4, 5, 20), "float32")
    y = run(Dropout(0.5, noise_shape=noise_shape), x).y
    np.testing.assert_array_equal(y, np.broadcast_to(y[:, :1, :1], y.shape))
    assert 0 < (y == 0).mean() < 1


@pytest.mark.parametrize("rate", [-0.1, 1, 1.5, "0.5", True])
def test_bad_rate(rate):
    with pytest.raises(ValueError, match="rate must be at least 0 and below 1, not "):
        Dropout(rate)


@pytest.mark.parametrize("noise_shape", [(None, 1), (None, 2, 1, None)])
def test_bad_noise_shape(noise_shape):
    with pytest.raises(ValueError, match="noise_shape .* does not fit inputs of shape"):
        Dropout(0.5, noise_shape)(np.ones((2, 4, 4, 3)), training=True)
