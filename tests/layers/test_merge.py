"""Add, Multiply, Concatenate."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from layer_calls import run
from strategies import array_shapes, numbers

from minicnn.dtypes import dtype_of
from minicnn.gradcheck import gradcheck
from minicnn.layers import Add, Concatenate, Input, Multiply, add, concatenate, multiply


@st.composite
def broadcastable(draw):
    """2 to 4 arrays of one shape, but for sizes of 1 here and there; the batch is never one."""
    shape = draw(array_shapes())
    count = draw(st.integers(2, 4))
    shapes = [
        (shape[0], *(1 if draw(st.booleans()) and draw(st.booleans()) else s for s in shape[1:]))
        for _ in range(count)
    ]
    return [numbers(s, i) for i, s in enumerate(shapes)]


@pytest.mark.parametrize(("cls", "merge"), [(Add, np.add), (Multiply, np.multiply)])
@given(xs=broadcastable())
def test_values_and_gradients(cls, merge, xs):
    expected = xs[0]
    for x in xs[1:]:
        expected = merge(expected, x)
    layer = cls(dtype="float64")
    np.testing.assert_allclose(layer(xs), expected, atol=1e-14)
    assert layer.compute_output_shape([x.shape for x in xs]) == expected.shape
    assert gradcheck(layer, xs).max_error < 1e-6


@given(array_shapes(), st.data())
def test_concatenate(shape, data):
    axis = data.draw(st.integers(1, len(shape) - 1))
    sizes = data.draw(st.lists(st.integers(1, 4), min_size=2, max_size=4))
    xs = [numbers((*shape[:axis], s, *shape[axis + 1 :]), s) for s in sizes]
    layer = Concatenate(data.draw(st.sampled_from([axis, axis - len(shape)])), dtype="float64")
    expected = np.concatenate(xs, axis)
    np.testing.assert_array_equal(layer(xs), expected)
    assert layer.compute_output_shape([x.shape for x in xs]) == expected.shape
    assert gradcheck(layer, xs).max_error < 1e-6


@pytest.mark.parametrize("layer", [Add(), Multiply()])
def test_the_largest_input_may_come_last(layer):
    small, large = np.ones((2, 1, 1, 3)), np.ones((2, 4, 5, 3))
    assert layer([small, small, large]).shape == (2, 4, 5, 3)


def test_inputs_stay_as_they_are():
    xs = [np.ones((2, 3), "float32") for _ in range(3)]
    for layer in (Add(), Multiply(), Concatenate()):
        layer(xs)
    assert all((x == 1).all() for x in xs)


def test_functions_and_operators():
    a, b = Input((4, 4, 2)), Input((4, 4, 2))
    assert add([a, b]).shape == multiply([a, b]).shape == (None, 4, 4, 2)
    assert (a + b).shape == (a * b).shape == (None, 4, 4, 2)
    assert concatenate([a, b]).shape == (None, 4, 4, 4)
    assert concatenate([a, b], axis=1).shape == (None, 8, 4, 2)


@pytest.mark.parametrize("cls", [Add, Multiply, Concatenate])
def test_errors(cls):
    with pytest.raises(ValueError, match=rf"takes a list of inputs, as in {cls.__name__}\(\)"):
        cls()(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="needs at least two inputs; got 1"):
        cls()([np.zeros((2, 3))])
    with pytest.raises(ValueError, match=r"got \[\(None, 3\), \(None, 3, 1\)\]"):
        cls()([np.zeros((2, 3)), np.zeros((2, 3, 1))])


def test_errors_of_sizes():
    with pytest.raises(ValueError, match=r"needs inputs of one shape; got \[\(None, 3\)"):
        Add()([np.zeros((2, 3)), np.zeros((2, 4))])
    with pytest.raises(ValueError, match="differ there alone"):
        Concatenate()([np.zeros((2, 3, 4)), np.zeros((2, 2, 4))])
    for axis in (0, 5, -3):
        with pytest.raises(ValueError, match="and not along the batch"):
            Concatenate(axis)([np.zeros((2, 3)), np.zeros((2, 3))])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_gradients_of_what_was_repeated_are_summed_in_float32(dtype):
    layer = Add(dtype=f"mixed_{dtype}")
    small, large = (np.ones((1, size, 1), dtype_of(dtype)) for size in (1, 5000))
    dsmall, _ = run(layer, [small, large], large).dx
    assert dsmall.dtype == dtype_of(dtype)
    assert float(dsmall[0, 0, 0]) == pytest.approx(5000, rel=2**-8)
