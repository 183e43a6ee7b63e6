"""Sums over long columns without losing digits, and one number a channel along a row."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import array_shapes, numbers

from minicnn.kernels.channels import along_row, channel_sum


@given(array_shapes(min_rank=1, max_rank=4))
def test_sum(shape):
    x = numbers(shape)
    axes = tuple(range(len(shape) - 1))
    np.testing.assert_allclose(channel_sum(x), x.sum(axis=axes), atol=1e-12)


@given(st.integers(1, 3000), st.integers(1, 3))
def test_every_length(rows, channels):
    """Blocks and what is left over add up to all of it: whole numbers, so exactly."""
    x = np.arange(rows * channels).reshape(rows, channels) % 17.0
    np.testing.assert_array_equal(channel_sum(x), x.sum(axis=0))


@pytest.mark.parametrize("rows", [1 << 20, (1 << 20) + 12345])
def test_precision_in_float32(rows):
    """A column of a million numbers near 1: adding one by one loses 4 of the 7 digits."""
    x = np.random.default_rng(0).uniform(0.5, 1.5, (rows, 3)).astype("float32")
    exact = x.sum(axis=0, dtype="float64")
    y = channel_sum(x)
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, exact, rtol=1e-6)
    one_by_one = np.cumsum(x[:, 0], dtype="float32")[-1]
    assert abs(one_by_one - exact[0]) > 10 * abs(y[0] - exact[0])


def test_float64_is_kept():
    assert channel_sum(np.ones((5, 2))).dtype == np.float64
    assert channel_sum(np.ones((5000, 2))).dtype == np.float64


def test_columns_of_a_larger_array():
    x = numbers((50, 7, 6))[..., 1:4]
    np.testing.assert_allclose(channel_sum(x), x.sum(axis=(0, 1)), atol=1e-12)


@given(array_shapes(min_rank=2, max_rank=5))
def test_along_a_row(shape):
    x, b = numbers(shape, dtype="float32"), numbers(shape[-1], 1, "float32")
    row = along_row(b, x)
    assert row.dtype == np.float32 and row.shape == (shape[-2:] if len(shape) > 2 else shape[-1:])
    np.testing.assert_array_equal(x + row, x + b)
    x *= row  # in place, too
