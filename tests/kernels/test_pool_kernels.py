"""Pooling against the naive loops."""

import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from strategies import grid_pools, numbers, pools

from minicnn.kernels import pool
from minicnn.kernels.windows import Window


def geometry(window):
    return window.size, window.strides, window.padding


def gradient(window, x, dy):
    _, index = pool.max_pool(x, window, with_index=True)
    return pool.max_pool_gradient(dy, index, x.shape, window)


def close_to_reference_gradient(window, x):
    dy = numbers((len(x), *window.output_size(*x.shape[1:3]), x.shape[-1]), 3)
    np.testing.assert_allclose(
        gradient(window, x, dy),
        reference.max_pool_gradient(x, dy, *geometry(window)),
        atol=1e-13,
    )


@given(st.one_of(pools(), grid_pools()))
def test_maximum(case):
    window, x = case
    y, _ = pool.max_pool(x, window, with_index=True)
    np.testing.assert_array_equal(y, reference.pool(x, np.max, *geometry(window)))
    np.testing.assert_array_equal(pool.max_pool(x, window)[0], y)
    close_to_reference_gradient(window, x)


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (3, 3), (3, 2), (1, 2), (2, 1), (4, 1)])
@pytest.mark.parametrize("image", [(6, 6), (7, 6), (6, 7), (8, 8), (4, 3)])
def test_windows_side_by_side(size, image):
    """Also where they leave rows and columns over, which get no gradient."""
    window, x = Window(size, size), numbers((2, *image, 3))
    y, _ = pool.max_pool(x, window)
    np.testing.assert_array_equal(y, reference.pool(x, np.max, *geometry(window)))
    close_to_reference_gradient(window, x)


@given(pools())
def test_the_first_of_equals_gets_the_gradient(case):
    window, x = case
    x = np.sign(x)  # full of equals
    if not pool._is_grid(window, x.shape):
        close_to_reference_gradient(window, x)


def first_by_columns(x, dy, size):
    """Each dy to the topmost of the largest numbers in the first column that has one."""
    (kh, kw), dx = size, np.zeros(x.shape)
    for n, p, q, c in np.ndindex(dy.shape):
        places = [(p * kh + i, q * kw + j) for j in range(kw) for i in range(kh)]
        r, s = max(places, key=lambda place: x[n, place[0], place[1], c])  # the first of equals
        dx[n, r, s, c] = dy[n, p, q, c]
    return dx


@given(grid_pools())
def test_the_first_of_equals_side_by_side(case):
    window, x = case
    for equals in (np.sign(x), np.zeros_like(x)):
        dy = numbers((len(x), *window.output_size(*x.shape[1:3]), x.shape[-1]), 3)
        np.testing.assert_array_equal(
            gradient(window, equals, dy), first_by_columns(equals, dy, window.size)
        )


@pytest.mark.parametrize("window", [Window((2, 2), (2, 2)), Window((3, 2), (2, 2), "same")])
def test_one_pixel_of_equals_gets_all(window):
    x = np.zeros((1, 4, 4, 1))
    dx = gradient(window, x, np.full((1, 2, 2, 1), 5.0))
    assert sorted(dx.ravel()) == [0] * 12 + [5] * 4


@pytest.mark.parametrize("window", [Window((2, 2), (2, 2)), Window((2, 2), (1, 1))])
def test_infinities(window):
    x = numbers((2, 4, 4, 3))
    x[0, 0, 1], x[0, 2, 2], x[1, :2, :2] = np.inf, -np.inf, -np.inf
    y, _ = pool.max_pool(x, window, with_index=True)
    np.testing.assert_array_equal(y, reference.pool(x, np.max, *geometry(window)))
    close_to_reference_gradient(window, x)


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


@pytest.mark.parametrize(
    ("size", "strides"), [(2, 2), (3, 2), (1, 1), (1, 2)], ids=["grid", "overlap", "1x1", "gaps"]
)
def test_no_index_where_none_is_asked_for(size, strides):
    _, index = pool.max_pool(numbers((1, 4, 4, 1)), Window((size, size), (strides, strides)))
    assert index is None


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (2, 3)])
@pytest.mark.parametrize("strides", [(1, 1), (2, 2), (2, 3)])
def test_arguments_stay_as_they_are(size, strides):
    x, window = numbers((2, 6, 6, 2)), Window(size, strides)
    y, index = pool.max_pool(x, window, with_index=True)
    dy = numbers(y.shape, 1)
    before = x.copy(), dy.copy()
    pool.max_pool_gradient(dy, index, x.shape, window)
    y += 1  # y is an array of its own
    np.testing.assert_array_equal(x, before[0])
    np.testing.assert_array_equal(dy, before[1])


@pytest.mark.parametrize(
    "window",
    [Window((3, 2), (2, 2)), Window((3, 2), (2, 2), "same"), Window((2, 2), (2, 2))],
    ids=["valid", "same", "grid"],
)
def test_float32_is_kept(window):
    x = numbers((2, 5, 5, 3), dtype="float32")
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
