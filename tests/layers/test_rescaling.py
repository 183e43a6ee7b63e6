"""Rescaling."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import array_shapes, numbers

from minicnn import backend
from minicnn.gradcheck import gradcheck
from minicnn.layers import Rescaling


@given(array_shapes(), st.data())
def test_values_and_gradients(shape, data):
    def draw():
        one = st.floats(-3, 3)
        return data.draw(st.one_of(one, st.lists(one, min_size=shape[-1], max_size=shape[-1])))

    x, scale, offset = numbers(shape), draw(), draw()
    layer = Rescaling(scale, offset, dtype="float64")
    np.testing.assert_allclose(layer(x), x * np.array(scale) + np.array(offset), atol=1e-13)
    assert layer.compute_output_shape(shape) == shape
    assert gradcheck(layer, x).max_error < 1e-6


@pytest.mark.parametrize("argument", ["scale", "offset"])
@pytest.mark.parametrize("value", [np.nan, np.inf, 1e39, [1.0, np.nan], None, "a", 10**400])
def test_numbers_that_are_refused(argument, value):
    with pytest.raises(ValueError, match=f"Rescaling 'r': {argument} must be a finite number, not"):
        Rescaling(**{"scale": 1.0, argument: value}, name="r")
    assert Rescaling(1e39, dtype="float64").scale == 1e39


def test_bytes_become_float32():
    y = Rescaling(1 / 255)(np.array([[0, 255]], "uint8"))
    assert y.dtype == np.float32
    np.testing.assert_array_equal(y, [[0, 1]])


def test_arrays_as_arguments():
    layer = Rescaling(np.array([1.0, 2.0]), offset=np.float64(1))
    y = layer(np.ones((1, 2), "float32"))
    assert y.dtype == np.float32
    np.testing.assert_array_equal(y, [[2, 3]])
    assert layer.get_config()["scale"] == [1.0, 2.0]


def test_arguments_are_copied_to_a_device_once(strict):
    layer = Rescaling([1.0, 2.0], offset=3.0)
    x = backend.asarray(np.ones((4, 2), "float32"))
    layer(x)
    strict.reset()
    layer(x)
    assert strict.to_device == strict.to_host == 0
    layer.scale = [5.0, 6.0]
    np.testing.assert_array_equal(backend.to_numpy(layer(x))[0], [8, 9])


def test_errors():
    with pytest.raises(ValueError, match="offset has 3 values for 2 channels"):
        Rescaling(1.0, [1, 2, 3])(np.zeros((1, 2)))
    with pytest.raises(ValueError, match="scale has 3 values for 2 channels"):
        Rescaling(np.ones(3))(np.zeros((1, 2)))
