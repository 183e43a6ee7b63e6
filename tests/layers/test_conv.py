"""Conv2D: values, gradients, shapes, and what it says to bad arguments."""

import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from layer_calls import run, set_weights
from strategies import convolutions, numbers

from minicnn import activations
from minicnn.gradcheck import gradcheck
from minicnn.layers import Conv2D, LeakyReLU


def layer_of(case, **arguments):
    return Conv2D(case.filters, groups=case.groups, **case.arguments, **arguments)


@given(convolutions(), st.booleans())
def test_gradients(case, use_bias):
    x, _, _ = case.arrays()
    result = gradcheck(layer_of(case, use_bias=use_bias), x)
    assert result.max_error < 1e-6


@pytest.mark.parametrize("activation", ["relu", "elu", "gelu", "sigmoid", "softmax", "silu"])
def test_gradients_with_activation(activation):
    gradcheck(Conv2D(4, (3, 2), padding="same", activation=activation), input_shape=(5, 4, 3))


@given(convolutions())
def test_values(case):
    x, w, _ = case.arrays()
    layer = layer_of(case, dtype="float64")
    assert layer(x).shape == case.y_shape
    b = numbers(case.filters, 4)
    layer.set_weights([w, b])
    expected = reference.conv2d(x, w, b, **case.geometry, groups=case.groups)
    np.testing.assert_allclose(layer(x), expected, atol=1e-11)
    assert layer.compute_output_shape((None, *x.shape[1:])) == (None, *case.y_shape[1:])


def test_activation_is_applied():
    x = numbers((2, 5, 5, 3))
    plain, active = (Conv2D(4, 3, activation=a, dtype="float64") for a in (None, "relu"))
    plain(x), active(x)
    active.set_weights(plain.get_weights())
    np.testing.assert_array_equal(active(x), np.maximum(plain(x), 0))


@pytest.mark.parametrize("function", [activations.leaky_relu, LeakyReLU(0.2)])
def test_activations_given_as_functions_and_layers(function):
    layer = Conv2D(2, 1, activation=function)
    assert isinstance(layer.activation, activations.LeakyReLU)
    assert layer.activation.negative_slope == 0.2


def test_a_closing_softmax_is_left_to_the_loss():
    layer = set_weights(Conv2D(4, 2, activation="softmax"), (None, 3, 3, 2))
    x = numbers((2, 3, 3, 2), dtype="float32")
    assert layer.closing_softmax
    logits, probabilities = run(layer, x, wants_logits=True).y, run(layer, x).y
    np.testing.assert_allclose(probabilities.sum(-1), 1, rtol=1e-5)
    e = np.exp(logits - logits.max(-1, keepdims=True))
    np.testing.assert_allclose(probabilities, e / e.sum(-1, keepdims=True), rtol=1e-4)


def test_integers_and_lists_as_sizes():
    for size in (3, [3, 3], (3, 3)):
        assert Conv2D(2, size).kernel_size == (3, 3)
    layer = Conv2D(2, 3, 2, "SAME", None, 1)  # Keras's order of positions
    assert (layer.strides, layer.padding, layer.dilation_rate) == ((2, 2), "same", (1, 1))


def test_weights_and_multiply_adds():
    layer = Conv2D(6, (3, 2), groups=2)
    layer.build_for((None, 8, 9, 4))
    assert [w.shape for w in layer.weights] == [(3, 2, 2, 6), (6,)]
    assert layer.count_params() == 3 * 2 * 2 * 6 + 6
    assert layer.multiply_adds((None, 8, 9, 4)) == 6 * 8 * 6 * (3 * 2 * 2)
    assert [w.name for w in layer.weights] == ["kernel", "bias"]


def test_without_bias():
    layer = Conv2D(2, 3, use_bias=False)
    x = numbers((1, 4, 4, 1), dtype="float32")
    assert set(run(layer, x).gradients) == {"kernel"}
    assert len(layer.weights) == 1


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"filters": 0}, "filters must be an integer above 0, not 0"),
        ({"filters": 2.5}, "filters must be an integer above 0, not 2.5"),
        ({"filters": True}, "filters must be an integer above 0, not True"),
        ({"kernel_size": (3, 3, 3)}, r"kernel_size must be an integer or two .* not \(3, 3, 3\)"),
        ({"kernel_size": (3, 0)}, "kernel_size must be an integer above 0, not 0"),
        ({"strides": -1}, "strides must be an integer above 0, not -1"),
        ({"padding": "full"}, "padding must be 'valid' or 'same', not 'full'"),
        ({"padding": None}, "padding must be 'valid' or 'same', not None"),
        ({"data_format": "channels_first"}, "transpose the images instead"),
        ({"groups": 3}, "4 filters cannot be cut into 3 groups"),
        ({"activation": "rleu"}, "(?i)did you mean 'relu'"),
        ({"kernel_initializer": "he_norml"}, "did you mean '(he_normal|HeNormal)'"),
    ],
)
def test_bad_arguments(arguments, text):
    with pytest.raises(ValueError, match=text):
        Conv2D(**{"filters": 4, "kernel_size": 3, **arguments})


def test_bad_inputs():
    with pytest.raises(ValueError, match=r"Conv2D 'c' expects inputs of 4 axes.*got 3 axes"):
        Conv2D(4, 3, name="c")(np.zeros((8, 8, 3)))
    with pytest.raises(ValueError, match="3 input channels cannot be cut into 2 groups"):
        Conv2D(4, 3, groups=2)(np.zeros((1, 8, 8, 3)))
    with pytest.raises(ValueError, match=r"2x8 pixels below 1 pixel: its window covers 5x5"):
        Conv2D(4, 3, dilation_rate=2)(np.zeros((1, 2, 8, 3)))
    layer = Conv2D(4, 3)
    layer(np.zeros((1, 8, 8, 3)))
    with pytest.raises(ValueError, match="was built for 3 channels; got images of 1"):
        layer(np.zeros((1, 8, 8, 1)))
