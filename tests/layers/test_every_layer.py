"""What every layer of the library must do, whatever it computes.

A layer that is added to the library and not to the table here fails the first test.
"""

import inspect
import json

import numpy as np
import pytest
from layer_calls import run
from strategies import numbers

from minicnn import backend, layers
from minicnn.dtypes import HALVES, dtype_of
from minicnn.gradcheck import gradcheck
from minicnn.layers import LAYERS, Layer
from minicnn.layers.context import Context
from minicnn.registry import serialize

IMAGE = (4, 5, 3)

# constructor arguments, and shapes of one sample (a list for several inputs)
CASES = {
    "Activation": [({"activation": a}, IMAGE) for a in ("relu", "gelu", "softmax", "linear")],
    "ActivityRegularization": [({"l1": 0.1, "l2": 0.2}, IMAGE)],
    "AdaptiveAveragePooling2D": [({"output_size": (2, 3)}, IMAGE), ({"output_size": 7}, IMAGE)],
    "AdaptiveMaxPooling2D": [({"output_size": (2, 3)}, IMAGE), ({"output_size": 7}, IMAGE)],
    "Add": [({}, [IMAGE, IMAGE]), ({}, [(1, 1, 3), IMAGE, IMAGE])],
    "AugMix": [
        ({"factor": 0.2, "value_range": (-4, 4)}, IMAGE),
        ({"all_ops": False, "alpha": 0.3, "num_chains": 2}, (4, 5, 2)),
    ],
    "AutoContrast": [({"value_range": (-4, 4)}, IMAGE)],
    "AlphaDropout": [
        ({"rate": 0.4}, IMAGE),
        ({"rate": 0.4, "noise_shape": (None, 1, 5, None)}, IMAGE),
    ],
    "Average": [({}, [IMAGE, IMAGE]), ({}, [(1, 1, 3), IMAGE, IMAGE])],
    "AveragePooling2D": [({"pool_size": 3, "strides": 2, "padding": "same"}, IMAGE)],
    "BatchNormalization": [({}, IMAGE), ({"center": False, "scale": False}, (3,))],
    "CategoryEncoding": [
        ({"num_tokens": 5, "output_mode": mode}, (4,)) for mode in ("one_hot", "multi_hot", "count")
    ],
    "CenterCrop": [({"height": 3, "width": 2}, IMAGE), ({"height": 6, "width": 2}, IMAGE)],
    "Concatenate": [({}, [IMAGE, (4, 5, 2)]), ({"axis": 1}, [IMAGE, IMAGE])],
    "Conv2D": [
        ({"filters": 4, "kernel_size": 3, "activation": "relu"}, IMAGE),
        ({"filters": 2, "kernel_size": 2, "strides": (2, 3), "padding": "same"}, IMAGE),
        ({"filters": 2, "kernel_size": 1, "use_bias": False, "activation": "gelu"}, IMAGE),
        ({"filters": 6, "kernel_size": (2, 1), "groups": 3, "dilation_rate": 2}, IMAGE),
    ],
    "CutMix": [({}, IMAGE), ({"factor": (0.4, 0.6), "seed": 1}, IMAGE)],
    "Conv2DTranspose": [
        ({"filters": 4, "kernel_size": 3, "activation": "relu"}, IMAGE),
        ({"filters": 2, "kernel_size": (3, 2), "strides": (2, 3), "padding": "same"}, IMAGE),
        ({"filters": 2, "kernel_size": 2, "strides": 3, "output_padding": (2, 0)}, IMAGE),
        ({"filters": 2, "kernel_size": 3, "dilation_rate": 2, "padding": "same"}, IMAGE),
    ],
    "Cropping2D": [({"cropping": ((1, 0), (2, 1))}, IMAGE)],
    "Dense": [({"units": 4, "activation": "elu"}, (5,)), ({"units": 2, "use_bias": False}, IMAGE)],
    "DepthwiseConv2D": [
        ({"kernel_size": 3, "depth_multiplier": 2, "activation": "relu"}, IMAGE),
        ({"kernel_size": 2, "strides": 2, "padding": "same", "use_bias": False}, IMAGE),
    ],
    "Dropout": [({"rate": 0.4}, IMAGE), ({"rate": 0.4, "noise_shape": (None, 1, 1, None)}, IMAGE)],
    "ELU": [({"alpha": 0.5}, IMAGE)],
    "Equalization": [
        ({"value_range": (-4, 4)}, IMAGE),
        ({"bins": 16, "value_range": (-4, 4)}, IMAGE),
    ],
    "Flatten": [({}, IMAGE)],
    "GELU": [({}, IMAGE), ({"approximate": True}, IMAGE)],
    "GaussianDropout": [({"rate": 0.4}, IMAGE)],
    "GaussianNoise": [({"stddev": 0.4}, IMAGE)],
    "GlobalAveragePooling2D": [({}, IMAGE), ({"keepdims": True}, IMAGE)],
    "GlobalMaxPooling2D": [({}, IMAGE), ({"keepdims": True}, IMAGE)],
    "GroupNormalization": [({"groups": 3}, IMAGE), ({"groups": 1, "scale": False}, IMAGE)],
    "Identity": [({}, IMAGE)],
    "InputLayer": [({"shape": IMAGE}, IMAGE)],
    "LayerNormalization": [({}, IMAGE), ({"axis": [-2, -1], "scale": False}, IMAGE)],
    "LeakyReLU": [({"negative_slope": 0.1}, IMAGE)],
    "MaxPooling2D": [({}, IMAGE), ({"pool_size": 3, "strides": 2, "padding": "same"}, IMAGE)],
    "MixUp": [({}, IMAGE), ({"alpha": 1.5, "seed": 1}, IMAGE)],
    "Pipeline": [
        (
            {
                "layers": [
                    layers.Rescaling(0.5),
                    layers.RandomCrop(3, 3),
                    layers.Dropout(0.3),
                ]
            },
            IMAGE,
        )
    ],
    "RandAugment": [
        ({"value_range": (-4, 4), "num_ops": n, "factor": f}, IMAGE)
        for n, f in ((1, 0.3), (6, 0.1))
    ],
    "Maximum": [({}, [IMAGE, IMAGE]), ({}, [(1, 1, 3), IMAGE, IMAGE])],
    "Minimum": [({}, [IMAGE, IMAGE]), ({}, [(1, 1, 3), IMAGE, IMAGE])],
    "Multiply": [({}, [IMAGE, IMAGE]), ({}, [(1, 1, 3), IMAGE, IMAGE])],
    "Normalization": [
        ({}, IMAGE),
        ({"axis": (1, -1)}, IMAGE),
        ({"mean": [1, 2, 3], "variance": [4, 5, 6], "invert": True}, IMAGE),
    ],
    "PReLU": [({"shared_axes": [1, 2]}, IMAGE), ({"alpha_initializer": "ones"}, IMAGE)],
    "Permute": [({"dims": (3, 1, 2)}, IMAGE)],
    "RandomBrightness": [({"factor": 0.3, "value_range": (-4, 4)}, IMAGE)],
    "RandomColorDegeneration": [
        ({"factor": 0.7, "value_range": (-4, 4)}, IMAGE),
        ({"factor": 0.7}, (4, 5, 1)),
    ],
    "RandomColorJitter": [
        (
            {
                "value_range": (-4, 4),
                "brightness_factor": 0.2,
                "contrast_factor": 0.3,
                "saturation_factor": (0.4, 0.6),
                "hue_factor": 0.1,
            },
            IMAGE,
        ),
        ({"contrast_factor": 0.3, "value_range": (-4, 4), "seed": 2}, (4, 5, 2)),
    ],
    "RandomContrast": [({"factor": 0.4}, IMAGE)],
    "RandomCrop": [({"height": 3, "width": 2}, IMAGE)],
    "RandomErasing": [
        ({"scale": 0.5}, IMAGE),
        ({"fill_value": (1, 2, 3), "value_range": (0, 2)}, IMAGE),
    ],
    "RandomFlip": [({}, IMAGE), ({"mode": "horizontal", "seed": 3}, IMAGE)],
    "RandomGaussianBlur": [
        ({"value_range": (-4, 4)}, IMAGE),
        (
            {"factor": 0.8, "kernel_size": (5, 1), "sigma": (0.5, 0.9), "value_range": (-4, 4)},
            IMAGE,
        ),
    ],
    "RandomGrayscale": [({}, IMAGE), ({"factor": 0.9}, (4, 5, 1))],
    "RandomHue": [({"factor": 0.7, "value_range": (-4, 4)}, IMAGE)],
    "RandomInvert": [({"value_range": (-4, 4)}, IMAGE)],
    "RandomPerspective": [
        ({"scale": 0.5}, IMAGE),
        ({"interpolation": "nearest", "factor": 0.8}, IMAGE),
    ],
    "RandomPosterization": [({"factor": 5, "value_range": (-4, 4)}, IMAGE)],
    "RandomRotation": [({"factor": 0.1, "fill_mode": "constant"}, IMAGE)],
    "RandomSaturation": [
        ({"factor": (0.2, 0.8)}, IMAGE),
        ({"factor": (0.5, 0.9), "value_range": (-1, 1)}, IMAGE),
    ],
    "RandomSharpness": [({"factor": 1.0, "value_range": (-4, 4)}, IMAGE)],
    "RandomShear": [({"x_factor": 0.3, "y_factor": (0.1, 0.2)}, IMAGE)],
    "RandomTranslation": [({"height_factor": 0.3, "width_factor": 0.2}, IMAGE)],
    "RandomZoom": [({"height_factor": 0.3, "interpolation": "nearest"}, IMAGE)],
    "ReLU": [({}, IMAGE), ({"max_value": 1, "negative_slope": 0.1, "threshold": 0.2}, IMAGE)],
    "RepeatVector": [({"n": 3}, (4,))],
    "Rescaling": [({"scale": 2, "offset": -1}, IMAGE), ({"scale": [1, 2, 3]}, IMAGE)],
    "Reshape": [({"target_shape": (-1, 6)}, IMAGE)],
    "Resizing": [
        ({"height": 7, "width": 2}, IMAGE),
        ({"height": 3, "width": 9, "interpolation": "nearest"}, IMAGE),
        ({"height": 3, "width": 2, "interpolation": "bicubic", "antialias": True}, IMAGE),
        ({"height": 6, "width": 2, "crop_to_aspect_ratio": True}, IMAGE),
        ({"height": 6, "width": 2, "pad_to_aspect_ratio": True, "fill_value": 2}, IMAGE),
    ],
    "SeparableConv2D": [
        ({"filters": 4, "kernel_size": 3, "activation": "relu"}, IMAGE),
        ({"filters": 2, "kernel_size": 2, "padding": "same", "use_bias": False}, IMAGE),
    ],
    "Softmax": [({}, IMAGE), ({"axis": 1}, IMAGE)],
    "Solarization": [
        ({"addition_factor": 0.3, "threshold_factor": (0.3, 0.6), "value_range": (-4, 4)}, IMAGE)
    ],
    "SpatialDropout2D": [({"rate": 0.4}, IMAGE)],
    "Subtract": [({}, [IMAGE, IMAGE]), ({}, [(1, 1, 3), IMAGE])],
    "UnitNormalization": [({}, IMAGE), ({"axis": [1, -1]}, IMAGE)],
    "UpSampling2D": [({}, IMAGE), ({"size": (1, 3), "interpolation": "bilinear"}, IMAGE)],
    "ZeroPadding2D": [({"padding": ((0, 1), (2, 0))}, IMAGE)],
}
FLAT = [(name, arguments, shape) for name, cases in CASES.items() for arguments, shape in cases]
every_layer = pytest.mark.parametrize(
    ("name", "arguments", "shape"), FLAT, ids=[f"{n}-{i}" for i, (n, _, _) in enumerate(FLAT)]
)
with_weights = pytest.mark.parametrize(
    ("name", "arguments", "shape"),
    [c for c in FLAT if c[0] in ("BatchNormalization", "Conv2D", "Conv2DTranspose", "Dense",
                                 "DepthwiseConv2D", "GroupNormalization", "LayerNormalization",
                                 "PReLU", "SeparableConv2D")],
)  # fmt: skip


def make(class_name, arguments, **more) -> Layer:
    return getattr(layers, class_name)(**arguments, **more)


def inputs(shape, dtype="float32"):
    if shape == (4,):  # categories 0 to 4, and in the middle of what is rounded to them
        return (np.floor(abs(2 * numbers((3, 4), 1))).clip(0, 4) + 0.5).astype(dtype)
    if isinstance(shape, list):
        return [numbers((3, *s), i, dtype) for i, s in enumerate(shape)]
    return numbers((3, *shape), 1, dtype)


def with_random_weights(layer, shape):
    """The same on every backend."""
    layer.build_for([(None, *s) for s in shape] if isinstance(shape, list) else (None, *shape))
    layer.set_weights([0.1 + np.abs(numbers(w.shape, i)) for i, w in enumerate(layer.weights)])
    return layer


def as_list(value):
    return value if isinstance(value, list) else [value]


def test_the_table_is_complete():
    classes = {
        value.__name__
        for value in vars(layers).values()
        if inspect.isclass(value) and issubclass(value, Layer) and value is not Layer
    }
    assert classes == set(CASES)
    assert all(LAYERS.find(name) is getattr(layers, name) for name in classes)


@every_layer
def test_gradients(name, arguments, shape):
    for training in (True, False):
        layer = make(name, arguments)
        gradcheck(layer, inputs(shape, "float64"), training=training, samples=4)


@every_layer
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dtype_is_kept(name, arguments, shape, dtype):
    for training in (True, False):
        out = run(make(name, arguments, dtype=dtype), inputs(shape, dtype), training=training)
        arrays = [out.y, *as_list(out.dx), *out.gradients.values(), *out.updates.values()]
        assert {a.dtype for a in arrays} == {np.dtype(dtype)}


@every_layer
@pytest.mark.parametrize("half", HALVES)
def test_in_16_bits(name, arguments, shape, half):
    """As a model under a policy of mixed precision calls it: what belongs to images comes back in
    16 bits and is what float32 makes of the same elements, rounded; gradients of weights stay in
    float32."""
    unit = {"float16": 2**-10, "bfloat16": 2**-7}[half]
    x = inputs(shape)
    rounded = [a.astype(dtype_of(half)) for a in as_list(x)]
    exact = [a.astype("float32") for a in rounded]
    given, wide = (a if isinstance(x, list) else a[0] for a in (rounded, exact))
    for training in (True, False):
        expected = run(with_random_weights(make(name, arguments), shape), wide, training=training)
        dy = numbers(expected.y.shape, 99, "float32").astype(dtype_of(half))
        layer = with_random_weights(make(name, arguments, dtype=f"mixed_{half}"), shape)
        out = run(layer, given, dy, training)
        expected = run(
            with_random_weights(make(name, arguments), shape), wide, dy.astype("float32"), training
        )
        pairs = [(out.y, expected.y), *zip(as_list(out.dx), as_list(expected.dx), strict=True)]
        assert {a.dtype for a, _ in pairs} == {dtype_of(half)}
        pairs += [(out.gradients[k], expected.gradients[k]) for k in expected.gradients]
        pairs += [(out.updates[k], expected.updates[k]) for k in expected.updates]
        of_weights = [*out.gradients.values(), *out.updates.values()]
        assert {a.dtype.name for a in of_weights} <= {"float32"}
        for a, b in pairs:
            scale = max(1, np.abs(b).max())
            np.testing.assert_allclose(a.astype("float32"), b, rtol=0, atol=8 * unit * scale)


@every_layer
def test_shape_is_as_announced(name, arguments, shape):
    layer = make(name, arguments)
    x = inputs(shape)
    out = run(layer, x)
    shapes = [(None, *a.shape[1:]) for a in as_list(x)]
    announced = layer.compute_output_shape(shapes if isinstance(x, list) else shapes[0])
    assert announced == (None, *out.y.shape[1:])
    for dx, a in zip(as_list(out.dx), as_list(x), strict=True):
        assert dx.shape == a.shape


@every_layer
def test_strict_backend_gives_the_same(name, arguments, shape, strict):
    for training in (True, False):
        on_device = run(with_random_weights(make(name, arguments), shape), inputs(shape), None,
                        training)  # fmt: skip
        backend.set_backend("numpy")
        expected = run(with_random_weights(make(name, arguments), shape), inputs(shape), None,
                       training)  # fmt: skip
        backend.set_backend("strict")
        np.testing.assert_array_equal(on_device.y, expected.y)
        for a, b in zip(as_list(on_device.dx), as_list(expected.dx), strict=True):
            np.testing.assert_array_equal(a, b)
        for ours, theirs in (
            (on_device.gradients, expected.gradients),
            (on_device.updates, expected.updates),
        ):
            assert ours.keys() == theirs.keys()
            for key in ours:
                np.testing.assert_array_equal(ours[key], theirs[key])


@every_layer
def test_no_transfer_in_a_step(name, arguments, shape, strict):
    """Forward and backward leave host and device alone (constants going up are free to)."""
    layer = with_random_weights(make(name, arguments), shape)
    x = inputs(shape)
    x = [backend.asarray(a) for a in x] if isinstance(x, list) else backend.asarray(x)
    ctx = Context(True, rng=backend.random_generator(0))
    strict.reset()
    y = layer.forward(x, ctx)
    layer.backward(y, ctx)
    assert strict.to_host == 0


@every_layer
def test_without_record_the_result_is_the_same(name, arguments, shape):
    layer = with_random_weights(make(name, arguments), shape)
    x = inputs(shape)
    np.testing.assert_array_equal(layer(x, training=False), run(layer, x, training=False).y)


@every_layer
def test_input_and_gradient_are_not_overwritten(name, arguments, shape):
    layer = make(name, arguments)
    x = inputs(shape)
    dy = run(layer, x).y.copy()
    kept_dy = dy.copy()
    run(layer, x, dy)
    for now, then in zip(as_list(x), as_list(inputs(shape)), strict=True):
        np.testing.assert_array_equal(now, then)
    np.testing.assert_array_equal(dy, kept_dy)


@every_layer
def test_configuration_goes_round(name, arguments, shape):
    layer = make(name, arguments, name="it", trainable=False, dtype="float64")
    config = layer.get_config()
    again = type(layer).from_config(config)
    assert again.get_config() == config
    assert (again.name, again.trainable, again.dtype) == ("it", False, "float64")
    saved = json.loads(json.dumps(serialize(layer)))
    loaded = LAYERS.get(saved)
    assert type(loaded) is type(layer) and loaded.get_config() == config
    x = inputs(shape, "float64")
    np.testing.assert_array_equal(
        run(with_random_weights(loaded, shape), x).y, run(with_random_weights(layer, shape), x).y
    )


@with_weights
def test_where_nobody_needs_dx(name, arguments, shape):
    layer = with_random_weights(make(name, arguments), shape)
    x = inputs(shape)
    whole, less = run(layer, x), run(layer, x, needs_dx=False)
    assert less.dx is None
    assert less.gradients.keys() == whole.gradients.keys()
    for key, gradient in whole.gradients.items():
        np.testing.assert_array_equal(less.gradients[key], gradient)


@with_weights
def test_frozen_layers_give_no_gradients(name, arguments, shape):
    layer = with_random_weights(make(name, arguments), shape)
    x = inputs(shape)
    layer.trainable = False
    out = run(layer, x)
    assert not out.gradients and not out.updates
    assert out.dx.shape == x.shape


@with_weights
def test_halves_of_a_batch_add_up(name, arguments, shape):
    """Gradients of a batch are sums over its images, unless the layer needs the whole batch."""
    layer = with_random_weights(make(name, arguments, dtype="float64"), shape)
    if layer.whole_batch:
        pytest.skip("needs the whole batch")
    x = inputs(shape, "float64")
    dy = run(layer, x).y
    whole, first, rest = run(layer, x, dy), run(layer, x[:1], dy[:1]), run(layer, x[1:], dy[1:])
    np.testing.assert_allclose(whole.y, np.concatenate([first.y, rest.y]), atol=1e-13)
    np.testing.assert_allclose(whole.dx, np.concatenate([first.dx, rest.dx]), atol=1e-12)
    for key, gradient in whole.gradients.items():
        np.testing.assert_allclose(gradient, first.gradients[key] + rest.gradients[key], atol=1e-12)
