"""Dense."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from layer_calls import run
from strategies import array_shapes, numbers

from minicnn import activations
from minicnn.gradcheck import gradcheck
from minicnn.layers import Dense


@given(array_shapes(), st.integers(1, 4), st.booleans())
def test_gradients(shape, units, use_bias):
    assert gradcheck(Dense(units, use_bias=use_bias), numbers(shape)).max_error < 1e-6


@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu", "softmax", "softplus"])
def test_gradients_with_activation(activation):
    gradcheck(Dense(4, activation=activation), input_shape=(5,))


@pytest.mark.parametrize("axis", [1, 2, -2])
def test_a_softmax_over_another_axis_is_over_that_of_the_output(axis):
    x, softmax = numbers((2, 3, 4)), activations.Softmax(axis=axis)
    layer = Dense(5, activation=softmax, dtype="float64")
    y = layer(x)
    z = np.exp(x @ layer.kernel.numpy())
    np.testing.assert_allclose(y, z / z.sum(axis, keepdims=True))
    assert gradcheck(Dense(5, activation=softmax), numbers((2, 3, 4))).max_error < 1e-6


@given(array_shapes(), st.integers(1, 4))
def test_values(shape, units):
    x = numbers(shape)
    layer = Dense(units, dtype="float64")
    layer(x)
    w, b = (numbers(v.shape, 3) for v in layer.weights)
    layer.set_weights([w, b])
    expected = np.zeros((*shape[:-1], units))
    for place in np.ndindex(shape[:-1]):
        for u in range(units):
            expected[place][u] = b[u] + sum(x[place][i] * w[i, u] for i in range(shape[-1]))
    np.testing.assert_allclose(layer(x), expected, atol=1e-12)
    assert layer.compute_output_shape(shape) == expected.shape


def test_a_closing_softmax_is_left_to_the_loss():
    layer = Dense(3, activation="softmax")
    x, dy = numbers((4, 5), dtype="float32"), numbers((4, 3), 1, "float32")
    out = run(layer, x, dy, wants_logits=True)
    np.testing.assert_allclose(out.y, x @ layer.kernel.numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(out.gradients["kernel"], x.T @ dy, rtol=1e-5, atol=1e-6)


def test_older_names():
    assert Dense(3, input_dim=7).given_input_shape == (7,)
    assert Dense(3, input_shape=(4, 7)).input_shape == (None, 4, 7)


def test_multiply_adds():
    layer = Dense(3)
    assert layer.multiply_adds((None, 5)) == 15
    assert layer.multiply_adds((None, 2, 4, 5)) == 2 * 4 * 15


def test_errors():
    with pytest.raises(ValueError, match="Dense 'd': units must be an integer above 0, not -2"):
        Dense(-2, name="d")
    with pytest.raises(ValueError, match=r"fixed number of features; got shape \(None,\)"):
        Dense(2)(np.zeros(3))
    layer = Dense(2)
    layer(np.zeros((1, 5)))
    with pytest.raises(ValueError, match="was built for 5 features; got inputs of 4"):
        layer(np.zeros((1, 4)))
