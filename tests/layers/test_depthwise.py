"""DepthwiseConv2D and SeparableConv2D."""

import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from layer_calls import run
from strategies import convolutions, numbers

from minicnn.gradcheck import gradcheck
from minicnn.layers import DepthwiseConv2D, SeparableConv2D

cases = convolutions(grouped=False)


@given(cases, st.integers(1, 3), st.booleans())
def test_gradients_depthwise(case, multiplier, use_bias):
    layer = DepthwiseConv2D(depth_multiplier=multiplier, use_bias=use_bias, **case.arguments)
    assert gradcheck(layer, case.arrays()[0]).max_error < 1e-6


@given(cases, st.integers(1, 3), st.booleans())
def test_gradients_separable(case, multiplier, use_bias):
    layer = SeparableConv2D(
        case.filters, depth_multiplier=multiplier, use_bias=use_bias, **case.arguments
    )
    assert gradcheck(layer, case.arrays()[0]).max_error < 1e-6


def test_gradients_with_activation():
    gradcheck(DepthwiseConv2D(3, activation="relu"), input_shape=(5, 4, 3))
    gradcheck(SeparableConv2D(4, 3, activation="gelu"), input_shape=(5, 4, 3))


@given(cases, st.integers(1, 3))
def test_values_depthwise(case, multiplier):
    x, _, _ = case.arrays()
    layer = DepthwiseConv2D(depth_multiplier=multiplier, dtype="float64", **case.arguments)
    layer(x)
    w, b = (numbers(v.shape, 3) for v in layer.weights)
    layer.set_weights([w, b])
    expected = reference.depthwise_conv2d(x, w, **case.geometry) + b
    np.testing.assert_allclose(layer(x), expected, atol=1e-11)
    assert layer.compute_output_shape(x.shape) == expected.shape


@given(cases, st.integers(1, 3))
def test_values_separable(case, multiplier):
    x, _, _ = case.arrays()
    layer = SeparableConv2D(
        case.filters, depth_multiplier=multiplier, dtype="float64", **case.arguments
    )
    layer(x)
    w, point, b = (numbers(v.shape, 3) for v in layer.weights)
    layer.set_weights([w, point, b])
    middle = reference.depthwise_conv2d(x, w, **case.geometry)
    np.testing.assert_allclose(layer(x), reference.conv2d(middle, point, b), atol=1e-11)
    assert layer.compute_output_shape(x.shape) == case.y_shape


def test_multiply_adds():
    depthwise, separable = DepthwiseConv2D(3, depth_multiplier=2), SeparableConv2D(5, 3)
    for layer in (depthwise, separable):
        layer.build_for((None, 6, 6, 4))
    assert depthwise.multiply_adds((None, 6, 6, 4)) == 16 * 8 * 9
    assert separable.multiply_adds((None, 6, 6, 4)) == 16 * 4 * (9 + 5)


@pytest.mark.parametrize("layer", [DepthwiseConv2D(3), SeparableConv2D(2, 3)])
def test_bad_inputs(layer):
    with pytest.raises(ValueError, match="expects inputs of 4 axes"):
        layer(np.zeros((4, 3)))
    layer(np.zeros((1, 5, 5, 3)))
    with pytest.raises(ValueError, match="was built for 3 channels; got images of 2"):
        layer(np.zeros((1, 5, 5, 2)))
    with pytest.raises(ValueError, match="2x2 pixels below 1 pixel"):
        layer(np.zeros((1, 2, 2, 3)))


@pytest.mark.parametrize("make", [DepthwiseConv2D, lambda **k: SeparableConv2D(2, **k)])
def test_bad_arguments(make):
    with pytest.raises(ValueError, match="depth_multiplier must be an integer above 0, not 0"):
        make(kernel_size=3, depth_multiplier=0)
    with pytest.raises(ValueError, match="padding must be 'valid' or 'same'"):
        make(kernel_size=3, padding="causal")


def test_names_of_the_weights():
    layer = SeparableConv2D(2, 3)
    gradients = run(layer, numbers((1, 4, 4, 3), dtype="float32")).gradients
    assert set(gradients) == {"kernel", "pointwise_kernel", "bias"}
