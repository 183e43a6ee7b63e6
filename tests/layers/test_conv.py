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


@pytest.mark.cpu_only("compares with a function of NumPy")
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


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("size", [(6, 6), (5, 9)])
def test_both_algorithms_give_the_same(padding, size):
    x = numbers((3, *size, 4))
    results = []
    for algorithm in ("im2col", "winograd"):
        layer = Conv2D(5, 3, padding=padding, activation="tanh", algorithm=algorithm,
                       dtype="float64")  # fmt: skip
        results.append(run(set_weights(layer, (None, *size, 4)), x))
        assert layer.algorithm_for((None, *size, 4)) == algorithm
    one, other = results
    np.testing.assert_allclose(other.y, one.y, atol=1e-10)
    np.testing.assert_allclose(other.dx, one.dx, atol=1e-10)
    for name in ("kernel", "bias"):
        np.testing.assert_allclose(
            other.gradients[name], one.gradients[name], rtol=1e-10, atol=1e-10
        )


@pytest.mark.parametrize("algorithm", ["im2col", "winograd"])
@pytest.mark.parametrize("padding", ["valid", "same"])
def test_gradients_of_each_algorithm(algorithm, padding):
    layer = Conv2D(4, 3, padding=padding, activation="elu", algorithm=algorithm)
    gradcheck(layer, input_shape=(7, 6, 3))


@pytest.mark.parametrize("algorithm", ["im2col", "winograd"])
def test_a_frozen_kernel_and_a_first_layer(algorithm):
    """Neither asks for more than is needed."""
    x = numbers((2, 6, 6, 3))
    layer = Conv2D(4, 3, padding="same", algorithm=algorithm, dtype="float64")
    full = run(layer, x)
    first = run(layer, x, needs_dx=False)
    assert first.dx is None
    np.testing.assert_array_equal(first.gradients["kernel"], full.gradients["kernel"])
    layer.trainable = False
    frozen = run(layer, x)
    assert not frozen.gradients
    np.testing.assert_array_equal(frozen.dx, full.dx)


@pytest.mark.cpu_only("the choice rests on the speed of a CPU")
def test_the_quicker_algorithm_where_none_is_given():
    layer = Conv2D(64, 3, padding="same")
    assert layer.algorithm is None
    assert layer.algorithm_for((None, 16, 16, 64)) == "winograd"
    assert layer.algorithm_for((None, 32, 32, 3)) == "im2col"
    assert Conv2D(64, 1).algorithm_for((None, 16, 16, 64)) == "pointwise"


@pytest.mark.parametrize("algorithm", [None, "im2col", "winograd"])
def test_the_algorithm_is_part_of_the_configuration(algorithm):
    config = Conv2D(4, 3, algorithm=algorithm).get_config()
    assert config["algorithm"] == algorithm
    assert Conv2D.from_config(config).algorithm == algorithm


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
        ({"algorithm": "fft"}, "one of None, 'im2col', 'winograd', 'implicit', not 'fft'"),
        (
            {"algorithm": "winograd", "kernel_size": 5},
            r"'winograd' computes 3x3 kernels .* this one has kernel_size \(5, 5\)",
        ),
        ({"algorithm": "winograd", "strides": 2}, r"strides \(2, 2\)"),
        ({"algorithm": "winograd", "dilation_rate": (1, 2)}, r"dilation_rate \(1, 2\)"),
        ({"algorithm": "winograd", "groups": 2}, "groups 2"),
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
