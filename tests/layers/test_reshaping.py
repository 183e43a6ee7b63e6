"""Flatten, Reshape, ZeroPadding2D."""

import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from strategies import array_shapes, numbers

from minicnn.gradcheck import gradcheck
from minicnn.layers import Flatten, Reshape, ZeroPadding2D


@given(array_shapes(min_rank=1))
def test_flatten(shape):
    x = numbers(shape)
    layer = Flatten(dtype="float64")
    np.testing.assert_array_equal(layer(x), x.reshape(shape[0], -1))
    assert layer.compute_output_shape(shape) == layer(x).shape
    gradcheck(layer, x)


@given(array_shapes(), st.data())
def test_reshape(shape, data):
    """To a permutation of the sizes, one of them left open or none."""
    x = numbers(shape)
    target = list(data.draw(st.permutations(shape[1:])))
    layer = Reshape(target, dtype="float64")
    np.testing.assert_array_equal(layer(x), x.reshape(shape[0], *target))
    target[data.draw(st.integers(0, len(target) - 1))] = -1
    layer = Reshape(target, dtype="float64")
    np.testing.assert_array_equal(layer(x), x.reshape(shape[0], *target))
    assert layer.compute_output_shape(shape) == layer(x).shape
    gradcheck(layer, x)


sides = st.integers(0, 3)


@given(
    array_shapes(min_rank=4),
    st.one_of(sides, st.tuples(sides, sides), st.tuples(*[st.tuples(sides, sides)] * 2)),
)
def test_zero_padding(shape, padding):
    x = numbers(shape)
    rows, columns = (padding, padding) if isinstance(padding, int) else padding
    rows, columns = ((p, p) if isinstance(p, int) else p for p in (rows, columns))
    layer = ZeroPadding2D(padding, dtype="float64")
    np.testing.assert_array_equal(layer(x), reference.zero_pad(x, (rows, columns)))
    assert layer.compute_output_shape(shape) == layer(x).shape
    gradcheck(layer, x)


def test_reshape_errors():
    with pytest.raises(ValueError, match=r"cannot reshape \(4, 3\) \(12 elements\) to \(5,\)"):
        Reshape((5,))(np.zeros((2, 4, 3)))
    with pytest.raises(ValueError, match=r"cannot reshape \(4, 3\) \(12 elements\) to \(5, -1\)"):
        Reshape((5, -1))(np.zeros((2, 4, 3)))
    with pytest.raises(ValueError, match="at most one -1"):
        Reshape((-1, -1))
    with pytest.raises(ValueError, match="sizes above 0"):
        Reshape((0, 3))


@pytest.mark.parametrize("padding", [-1, (1, -1), (1, 2, 3), ((1, 2), (1,)), 1.5, (1, 1.5), "same"])
def test_zero_padding_errors(padding):
    with pytest.raises(ValueError, match="padding must be an integer, .* none below 0; not "):
        ZeroPadding2D(padding)


def test_open_sizes_stay_open():
    open_shape = (None, None, 4, 3)
    assert Flatten().compute_output_shape(open_shape) == (None, None)
    assert Reshape((-1, 3)).compute_output_shape(open_shape) == (None, None, 3)
    assert Reshape((4, 3)).compute_output_shape(open_shape) == (None, 4, 3)
    assert ZeroPadding2D((1, 2)).compute_output_shape(open_shape) == (None, None, 8, 3)


def test_zero_padding_of_rows_of_numbers():
    with pytest.raises(ValueError, match="expects inputs of 4 axes"):
        ZeroPadding2D()(np.zeros((4, 3)))
