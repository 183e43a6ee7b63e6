"""Windows far larger than the image: what lies outside takes no memory, and counts as padding."""

import numpy as np
import pytest
import reference
from layer_calls import run
from strategies import numbers

from minicnn.gradcheck import gradcheck
from minicnn.layers import (
    AveragePooling2D,
    Conv2D,
    DepthwiseConv2D,
    MaxPooling2D,
    SeparableConv2D,
)

# Borders for all their taps would take terabytes.
FAR = [
    Conv2D(2, 3, dilation_rate=10**6, padding="same"),
    Conv2D(2, (3, 2), dilation_rate=(10**9, 2), padding="same"),
    Conv2D(4, 2, strides=2, dilation_rate=10**6, padding="same", groups=2),
    DepthwiseConv2D(3, depth_multiplier=2, dilation_rate=10**6, padding="same"),
    SeparableConv2D(3, 3, dilation_rate=10**6, padding="same"),
    MaxPooling2D(10**6, 1, "same"),
    MaxPooling2D((3, 10**6), (2, 10**6), "same"),
    AveragePooling2D(10**6, 1, "same"),
]


@pytest.mark.parametrize("layer", FAR, ids=lambda layer: type(layer).__name__)
def test_gradients(layer):
    assert gradcheck(layer, numbers((2, 4, 5, 4))).max_error < 1e-6


def test_the_middle_tap_is_all_that_sees_the_image():
    x = numbers((2, 4, 5, 3))
    far = Conv2D(2, 3, dilation_rate=10**6, padding="same", dtype="float64")
    out = run(far, x)
    expected = reference.conv2d(x, far.kernel.numpy()[1:2, 1:2], far.bias.numpy())
    np.testing.assert_allclose(out.y, expected, atol=1e-12)
    gradient = out.gradients["kernel"]
    assert gradient.shape == (3, 3, 3, 2) and np.count_nonzero(gradient) == 6
    assert gradient[1, 1].all()


def test_no_tap_sees_the_image():
    x = numbers((2, 4, 4, 3))
    blind = Conv2D(2, 2, dilation_rate=10**6, padding="same", dtype="float64", use_bias=False)
    out = run(blind, x, np.ones((2, 4, 4, 2)))
    for zeros in (out.y, out.dx, out.gradients["kernel"]):
        assert not zeros.any()


def test_a_window_that_sees_the_whole_image_from_everywhere():
    x = numbers((2, 4, 5, 3))
    for layer, whole in ((MaxPooling2D, np.max), (AveragePooling2D, np.mean)):
        y = layer(10**6, 1, "same", dtype="float64")(x)
        expected = np.broadcast_to(whole(x, axis=(1, 2), keepdims=True), x.shape)
        np.testing.assert_allclose(y, expected, atol=1e-12)


@pytest.mark.parametrize(
    "layer",
    [
        Conv2D(4, 3), Conv2D(4, 3, algorithm="winograd"), Conv2D(4, 2, strides=2), Conv2D(4, 1),
        Conv2D(4, 3, groups=2, activation="relu"), DepthwiseConv2D(3), SeparableConv2D(3, 3),
        MaxPooling2D(), MaxPooling2D(3, 2, "same"), AveragePooling2D(),
    ],
    ids=lambda layer: type(layer).__name__,
)  # fmt: skip
def test_a_batch_without_images(layer):
    """Gives none, and gradients of 0."""
    x = np.zeros((0, 8, 8, 4), "float32")
    y = layer(x)
    assert y.shape == (0, *layer.compute_output_shape((None, 8, 8, 4))[1:])
    out = run(layer, x, np.zeros(y.shape, y.dtype))
    assert out.y.shape == y.shape and out.dx.shape == x.shape
    assert set(out.gradients) == {w.name for w in layer.weights}
    for weight in layer.weights:
        gradient = out.gradients[weight.name]
        assert gradient.shape == weight.shape and not gradient.any()
