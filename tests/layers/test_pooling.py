"""Pooling layers."""

import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from layer_calls import run
from strategies import numbers, pools

from minicnn.dtypes import dtype_of
from minicnn.gradcheck import gradcheck
from minicnn.layers import (
    AveragePooling2D,
    GlobalAveragePooling2D,
    GlobalMaxPooling2D,
    MaxPooling2D,
)


def layer_of(cls, window, **arguments):
    return cls(window.size, window.strides, window.padding, **arguments)


@pytest.mark.parametrize("cls", [MaxPooling2D, AveragePooling2D])
@given(case=pools())
def test_gradients(cls, case):
    window, x = case
    assert gradcheck(layer_of(cls, window), x).max_error < 1e-6


@pytest.mark.parametrize(("cls", "reduce"), [(MaxPooling2D, np.max), (AveragePooling2D, np.mean)])
@given(case=pools())
def test_values(cls, reduce, case):
    window, x = case
    layer = layer_of(cls, window, dtype="float64")
    expected = reference.pool(x, reduce, window.size, window.strides, window.padding)
    np.testing.assert_allclose(layer(x), expected, atol=1e-13)
    assert layer.compute_output_shape((None, *x.shape[1:])) == (None, *expected.shape[1:])


GLOBAL = [(GlobalMaxPooling2D, np.max), (GlobalAveragePooling2D, np.mean)]


@pytest.mark.parametrize(("cls", "reduce"), GLOBAL)
@given(st.tuples(*[st.integers(1, 5)] * 4), st.booleans())
def test_global(cls, reduce, shape, keepdims):
    x = numbers(shape)
    layer = cls(keepdims=keepdims, dtype="float64")
    y = layer(x)
    np.testing.assert_allclose(y, reduce(x, axis=(1, 2), keepdims=keepdims), atol=1e-14)
    assert layer.compute_output_shape(shape) == y.shape
    assert gradcheck(layer, x).max_error < 1e-6


def test_of_equal_pixels_one_gets_the_gradient():
    x = np.zeros((1, 4, 4, 2), "float32")
    for layer in (MaxPooling2D(4), GlobalMaxPooling2D()):
        np.testing.assert_array_equal(run(layer, x).dx[0, 0, 0], run(layer, x).dx.sum((0, 1, 2)))


def test_padding_counts_as_minus_infinity():
    """In a "same" window of negative elements the padding must not win."""
    x = -1 - np.arange(9, dtype="float32").reshape(1, 3, 3, 1)
    out = run(MaxPooling2D(2, 2, "same"), x, dy=np.ones((1, 2, 2, 1), "float32"))
    np.testing.assert_array_equal(out.y[0, :, :, 0], [[-1, -3], [-7, -9]])
    np.testing.assert_array_equal(out.dx[0, :, :, 0], [[1, 0, 1], [0, 0, 0], [1, 0, 1]])


def test_padding_is_not_counted_in_the_mean():
    x = np.ones((1, 3, 3, 1))
    np.testing.assert_array_equal(AveragePooling2D(2, padding="same")(x), np.ones((1, 2, 2, 1)))


def test_rows_that_no_window_reaches_get_zero():
    """A stride that does not divide: 7 = 3 + 3 + 1."""
    dx = run(AveragePooling2D(3), numbers((1, 7, 7, 1), dtype="float32")).dx
    assert dx.shape == (1, 7, 7, 1)
    assert not dx[:, 6].any() and not dx[:, :, 6].any()


def test_strides_default_to_the_size():
    assert MaxPooling2D((3, 2)).strides == (3, 2)
    assert MaxPooling2D(3, strides=1).strides == (1, 1)


def test_bad_arguments_and_inputs():
    with pytest.raises(ValueError, match="pool_size must be an integer above 0, not 0"):
        MaxPooling2D(0)
    with pytest.raises(ValueError, match="would shrink an image of 1x4 pixels below 1 pixel"):
        MaxPooling2D()(np.zeros((1, 1, 4, 3)))
    for layer in (MaxPooling2D(), AveragePooling2D(), GlobalMaxPooling2D()):
        with pytest.raises(ValueError, match="expects inputs of 4 axes"):
            layer(np.zeros((4, 3)))
    with pytest.raises(ValueError, match="data_format must be 'channels_last'"):
        GlobalAveragePooling2D("channels_first")


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_global_means_of_many_numbers_of_16_bits(dtype):
    """A sum in bfloat16 would stay at 256, and 70000 pixels are infinity in float16."""
    layer = GlobalAveragePooling2D(dtype=f"mixed_{dtype}")
    x = np.ones((1, 280, 250, 1), dtype_of(dtype))
    result = run(layer, x, x[:, 0, 0] * 64)
    y, dx = result.y, result.dx
    assert y.dtype == dx.dtype == dtype_of(dtype)
    np.testing.assert_array_equal(y, 1)
    np.testing.assert_allclose(dx.astype("float32"), 64 / 70000, rtol=2**-8)
