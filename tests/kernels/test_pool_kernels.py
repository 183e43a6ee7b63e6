"""Pooling against the naive loops."""

import numpy as np
import pytest
import reference
from hypothesis import given
from strategies import numbers, pools

from minicnn.kernels import pool
from minicnn.kernels.windows import Window


def geometry(window):
    return window.size, window.strides, window.padding


def close_to_reference_gradient(window, x, index):
    dy = numbers(index.shape, 3)
    np.testing.assert_allclose(
        pool.max_pool_gradient(dy, index, x.shape, window),
        reference.max_pool_gradient(x, dy, *geometry(window)),
        atol=1e-13,
    )


@given(pools())
def test_maximum(case):
    window, x = case
    y, index = pool.max_pool(x, window, with_index=True)
    np.testing.assert_array_equal(y, reference.pool(x, np.max, *geometry(window)))
    close_to_reference_gradient(window, x, index)


@given(pools())
def test_the_first_of_equals_gets_the_gradient(case):
    window, x = case
    x = np.sign(x)  # full of equals
    y, index = pool.max_pool(x, window, with_index=True)
    close_to_reference_gradient(window, x, index)


@given(pools())
def test_average(case):
    window, x = case
    y = pool.average_pool(x, window)
    np.testing.assert_allclose(y, reference.pool(x, np.mean, *geometry(window)), atol=1e-13)
    dy = numbers(y.shape, 3)
    np.testing.assert_allclose(
        pool.average_pool_gradient(dy, x.shape, window),
        reference.average_pool_gradient(x.shape, dy, *geometry(window)),
        atol=1e-13,
    )


def test_padding_is_never_the_maximum():
    """Zeros would win over negative numbers, and swallow the gradient."""
    x = -1 - np.arange(9.0).reshape(1, 3, 3, 1)
    window = Window((3, 3), (1, 1), "same")
    y, index = pool.max_pool(x, window, with_index=True)
    assert y.max() < 0
    dx = pool.max_pool_gradient(np.ones_like(y), index, x.shape, window)
    assert dx.sum() == 9


@pytest.mark.parametrize("size", [(16, 16), (17, 16)])  # 256 taps fit into a byte, more do not
def test_many_taps(size):
    x = numbers((1, 20, 20, 2), dtype="float32")
    window = Window(size, (2, 2))
    y, index = pool.max_pool(x, window, with_index=True)
    dy = numbers(y.shape, 1)
    np.testing.assert_allclose(
        pool.max_pool_gradient(dy, index, x.shape, window),
        reference.max_pool_gradient(x, dy, *geometry(window)),
    )


def test_no_index_where_none_is_asked_for():
    _, index = pool.max_pool(numbers((1, 4, 4, 1)), Window((2, 2), (2, 2)))
    assert index is None


@pytest.mark.parametrize("padding", ["valid", "same"])
def test_float32_is_kept(padding):
    window, x = Window((3, 2), (2, 2), padding), numbers((2, 5, 5, 3), dtype="float32")
    y, index = pool.max_pool(x, window, with_index=True)
    assert y.dtype == np.float32
    assert pool.max_pool_gradient(y, index, x.shape, window).dtype == np.float32
    assert pool.average_pool(x, window).dtype == np.float32
    assert pool.average_pool_gradient(y, x.shape, window).dtype == np.float32


def test_nan_is_not_hidden():
    x = numbers((1, 4, 4, 1))
    x[0, 1, 1, 0] = np.nan
    y, _ = pool.max_pool(x, Window((2, 2), (2, 2)))
    assert np.isnan(y[0, 0, 0, 0]) and np.isfinite(y).sum() == 3
