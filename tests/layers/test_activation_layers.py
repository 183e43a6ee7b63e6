"""Activation functions as layers; the functions themselves are tested in test_activations.py."""

import math

import numpy as np
import pytest
from hypothesis import given
from layer_calls import run
from strategies import array_shapes, numbers

from minicnn import activations
from minicnn.dtype_policies import DTypePolicy
from minicnn.gradcheck import gradcheck
from minicnn.layers import ELU, GELU, Activation, LeakyReLU, ReLU, Softmax


def softmax_of(row):
    return np.exp(row) / np.exp(row).sum()


SCALAR = {
    "relu": (lambda: Activation("relu"), lambda v: max(v, 0.0)),
    "linear": (lambda: Activation("linear"), lambda v: v),
    "none": (lambda: Activation(None), lambda v: v),
    "object": (
        lambda: Activation(activations.ELU(2.0)),
        lambda v: v if v > 0 else 2 * math.expm1(v),
    ),
    "ReLU": (ReLU, lambda v: max(v, 0.0)),
    "ReLU6": (lambda: ReLU(0.8), lambda v: min(max(v, 0.0), 0.8)),
    "ReLU all": (
        lambda: ReLU(max_value=0.9, negative_slope=0.2, threshold=0.3),
        lambda v: min(v, 0.9) if v >= 0.3 else 0.2 * (v - 0.3),
    ),
    "LeakyReLU": (LeakyReLU, lambda v: v if v >= 0 else 0.3 * v),
    "LeakyReLU alpha": (lambda: LeakyReLU(alpha=0.1), lambda v: v if v >= 0 else 0.1 * v),
    "ELU": (ELU, lambda v: v if v > 0 else math.expm1(v)),
    "ELU 0.5": (lambda: ELU(0.5), lambda v: v if v > 0 else 0.5 * math.expm1(v)),
    "GELU": (GELU, lambda v: v * (1 + math.erf(v / math.sqrt(2))) / 2),
    "GELU tanh": (
        lambda: GELU(approximate=True),
        lambda v: v / 2 * (1 + math.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v**3))),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("make", "function"), SCALAR.values(), ids=SCALAR.keys())
@given(shape=array_shapes())
def test_values_and_gradients(make, function, shape):
    x = numbers(shape)
    layer = make()
    layer.dtype_policy = DTypePolicy("float64")
    np.testing.assert_allclose(layer(x), np.vectorize(function)(x), atol=1e-14)
    assert layer.compute_output_shape(shape) == shape
    assert gradcheck(layer, x, samples=5).max_error < 1e-6


@pytest.mark.parametrize("axis", [-1, 1])
@given(shape=array_shapes())
def test_softmax(axis, shape):
    x = numbers(shape)
    layer = Softmax(axis, dtype="float64")
    np.testing.assert_allclose(layer(x), np.apply_along_axis(softmax_of, axis, x), atol=1e-14)
    assert gradcheck(layer, x, samples=5).max_error < 1e-6


@pytest.mark.parametrize("layer", [Softmax(), Activation("softmax")])
def test_a_closing_softmax_is_left_to_the_loss(layer):
    x = numbers((2, 3), dtype="float32")
    dy = numbers((2, 3), 1, "float32")
    out = run(layer, x, dy, wants_logits=True)
    np.testing.assert_array_equal(out.y, x)
    np.testing.assert_array_equal(out.dx, dy)


def test_other_activations_stay_where_they_are():
    x = numbers((2, 3, 4), dtype="float32")
    np.testing.assert_array_equal(run(ReLU(), x, wants_logits=True).y, np.maximum(x, 0))
    softmax = run(Softmax(axis=1), x, wants_logits=True).y
    np.testing.assert_array_equal(softmax, Softmax(axis=1)(x))


def test_configuration_holds_the_layers_own_arguments():
    config = LeakyReLU(0.2, name="a").get_config()
    assert config["negative_slope"] == 0.2 and "activation" not in config


def test_errors():
    with pytest.raises(ValueError, match="(?i)did you mean 'softmax'"):
        Activation("sofmax")
    with pytest.raises(ValueError, match="positive max_value"):
        ReLU(max_value=-1)
    with pytest.raises(TypeError, match="no argument 'negativ_slope'; did you mean 'negative_"):
        LeakyReLU(negativ_slope=0.2)
    with pytest.raises(
        TypeError,
        match="known: activity_.*, dtype, input_shape, name, negative_slope, train",
    ):
        LeakyReLU(leak=0.2)


@pytest.mark.parametrize("axis", [0, -2])
def test_softmax_over_the_batch_is_refused(axis):
    with pytest.raises(
        ValueError, match=rf"axis {axis} of inputs of shape \(None, 3\) is the batch"
    ):
        Softmax(axis=axis)(np.ones((2, 3)))
