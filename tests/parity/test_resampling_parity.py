"""Sizes and arguments at random against Keras on its torch backend, and against Pillow."""

import os

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from layer_calls import run, set_weights
from strategies import numbers

from minicnn import layers

os.environ.setdefault("KERAS_BACKEND", "torch")
torch = pytest.importorskip("torch")
keras = pytest.importorskip("keras")
pytestmark = [
    pytest.mark.parity,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # Keras on NumPy 2
]

SIZES = st.integers(1, 9)
SHAPES = st.tuples(st.integers(1, 2), SIZES, SIZES, st.integers(1, 3))


def compare(name, x, **arguments):
    """Output and gradients of a linear layer, and the output's shape as announced."""
    ours = set_weights(getattr(layers, name)(**arguments, dtype="float64"), (None, *x.shape[1:]))
    theirs = getattr(keras.layers, name)(**arguments, dtype="float64")
    tensor = torch.tensor(x, requires_grad=True)
    theirs.build(x.shape)
    if ours.weights:
        theirs.set_weights(ours.get_weights())
    for variable in theirs.weights:  # whose gradient PyTorch refuses to compute at some strides
        variable.value.requires_grad_(False)
    y = theirs(tensor)
    out = run(ours, x)
    assert ours.compute_output_shape((None, *x.shape[1:])) == (None, *y.shape[1:])
    np.testing.assert_allclose(out.y, y.detach().numpy(), rtol=1e-5, atol=1e-5)
    dy = numbers(out.y.shape, 99)
    y.backward(torch.tensor(dy))
    np.testing.assert_allclose(out.dx, tensor.grad.numpy(), rtol=1e-5, atol=1e-5)
    if ours.weights:  # y is linear in them: the adjoint has <dw, w> = <dy, y>
        products = sum((out.gradients[w.name] * w.value).sum() for w in ours.weights)
        assert products == pytest.approx((dy * out.y).sum(), rel=1e-9, abs=1e-9)


@given(SHAPES, SIZES, SIZES, st.sampled_from(["bilinear", "bicubic"]), st.booleans())
def test_resizing(shape, height, width, interpolation, antialias):
    assume(not (antialias and width == 1))  # PyTorch then repeats the first row
    compare("Resizing", numbers(shape), height=height, width=width, interpolation=interpolation,
            antialias=antialias)  # fmt: skip


@given(SHAPES, SIZES, SIZES, st.sampled_from(["crop_to_aspect_ratio", "pad_to_aspect_ratio"]))
def test_resizing_that_keeps_shapes(shape, height, width, how):
    compare("Resizing", numbers(shape), height=height, width=width, fill_value=3.5, **{how: True})


@given(SHAPES, SIZES, SIZES)
def test_center_crop(shape, height, width):
    compare("CenterCrop", numbers(shape), height=height, width=width)


@pytest.mark.parametrize(("size", "outputs"), [(5, 7), (7, 5), (9, 4), (4, 9), (6, 3), (3, 6)])
def test_nearest(size, outputs):
    x = numbers((2, size, 4, 3))
    compare("Resizing", x, height=outputs, width=4, interpolation="nearest")


@given(SHAPES, st.integers(1, 3), st.sampled_from(["nearest", "bilinear", "bicubic"]))
def test_up_sampling(shape, size, interpolation):
    compare("UpSampling2D", numbers(shape), size=(size, 2), interpolation=interpolation)


@given(SHAPES, SIZES, SIZES)
def test_adaptive_pooling(shape, rows, columns):
    for name in ("AdaptiveAveragePooling2D", "AdaptiveMaxPooling2D"):
        compare(name, numbers(shape), output_size=(rows, columns))


@pytest.mark.parametrize(
    ("interpolation", "filter"), [("bilinear", 2), ("bicubic", 3), ("lanczos3", 1)]
)
@pytest.mark.parametrize("size", [(13, 4), (5, 17), (4, 5)])
def test_antialias_is_pillows(interpolation, filter, size):
    from PIL import Image

    x = numbers((1, 12, 15, 1), 1, "float32")
    theirs = Image.fromarray(x[0, ..., 0]).resize(size[::-1], Image.Resampling(filter))
    layer = layers.Resizing(*size, interpolation=interpolation, antialias=True)
    np.testing.assert_allclose(layer(x)[0, ..., 0], np.asarray(theirs), rtol=1e-4, atol=1e-4)


@given(st.data())
def test_conv2d_transpose(data):
    pair = st.tuples(st.integers(1, 4), st.integers(1, 4))
    strides = data.draw(pair, label="strides")
    dilation = data.draw(pair if strides == (1, 1) else st.just((1, 1)), label="dilation_rate")
    more = data.draw(
        st.none() | st.tuples(*[st.integers(0, s - 1) for s in strides]), label="output_padding"
    )
    compare(
        "Conv2DTranspose",
        numbers(data.draw(SHAPES, label="shape")),
        filters=2,
        kernel_size=data.draw(pair, label="kernel_size"),
        strides=strides,
        padding=data.draw(st.sampled_from(["valid", "same"]), label="padding"),
        output_padding=more,
        dilation_rate=dilation,
    )
