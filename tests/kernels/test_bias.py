"""A bias with ReLU, generic and in CUDA C on the CPU, against the formula in float64."""

from unittest import mock

import cuda_on_cpu
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import array_shapes, numbers

from minicnn.activations import LeakyReLU, ReLU, ReLU6
from minicnn.dtypes import dtype_of, is_half, wide, widened
from minicnn.kernels.bias import add_bias, add_bias_relu, add_bias_relu_gradient
from minicnn.kernels.channels import along_row, channel_sum
from minicnn.kernels.cuda import launch
from minicnn.layers import Dense
from minicnn.layers.context import Context

on_a_compiler = pytest.mark.skipif(
    cuda_on_cpu.compiler() is None, reason="there is no C++ compiler, nor the package ziglang"
)
TOLERANCE = {"float16": 2**-10, "bfloat16": 2**-7, "float32": 1e-6, "float64": 1e-14}
dtypes = st.sampled_from([dtype_of(name) for name in TOLERANCE])
# (negative_slope, max_value)
KINDS = [(0.0, None), (0.0, 0.7), (0.25, None), (0.25, 0.7), (1.5, None)]
shapes = st.one_of(
    array_shapes(min_rank=1, max_rank=4), st.tuples(st.integers(1, 9), st.sampled_from([8, 16, 40]))
)


def relu(z, negative_slope, max_value):
    return np.where(z > 0, np.minimum(z, np.inf if max_value is None else max_value),
                    negative_slope * z)  # fmt: skip


def slope(y, negative_slope, max_value):
    limit = np.inf if max_value is None else y.dtype.type(max_value)
    return np.where(y > 0, (y < limit).astype("float64"), negative_slope)


def arrays(shape, dtype):
    """z, b and dy; some sums z + b are 0."""
    z, dy, b = (
        numbers(shape, 0, dtype),
        numbers(shape, 2, dtype),
        numbers(shape[-1:], 1, wide(dtype)),
    )
    z.reshape(-1)[::5] = 0
    b[::3] = 0
    return z, b, dy


def close(a, b, dtype):
    assert a.dtype == dtype and a.shape == b.shape
    a, b = a.astype("float64"), b.astype("float64")
    tolerance = TOLERANCE[dtype.name]
    # two roundings, of z + b and of its product with a slope: twice as much, and at least a number
    # of 16 bits that is not normal
    np.testing.assert_allclose(a, b, rtol=2 * tolerance, atol=2 * tolerance * 2**-6)


def check(shape, dtype, kind):
    z, b, dy = arrays(shape, dtype)
    exact = z.astype("float64") + b

    place = z.copy()
    assert add_bias(place, b) is place
    close(place, exact, dtype)

    place = z.copy()
    y, kept = add_bias_relu(place, b, *kind, record=True)
    assert y is place
    close(y, relu(exact, *kind), dtype)
    not_recorded = add_bias_relu(z.copy(), b, *kind)
    np.testing.assert_array_equal(widened(not_recorded[0]), widened(y))
    assert not_recorded[1] is None

    dz, gradient = add_bias_relu_gradient(dy, kept, *kind)
    expected = dy.astype("float64") * slope(y, *kind)
    close(dz, expected, dtype)
    axes = tuple(range(len(shape) - 1))
    assert gradient.dtype == wide(dtype)
    rounding = TOLERANCE[dtype.name] * np.abs(expected).sum(axes)  # of each dz
    assert (np.abs(gradient - expected.sum(axes)) <= rounding + 1e-6).all()


@given(shapes, dtypes, st.sampled_from(KINDS))
def test_generic(shape, dtype, kind):
    check(shape, dtype, kind)


@on_a_compiler
@settings(max_examples=40)
@given(shapes, dtypes, st.sampled_from(KINDS))
def test_in_cuda(shape, dtype, kind):
    with cuda_on_cpu.installed():
        check(shape, dtype, kind)


@on_a_compiler
def test_no_images():
    for dtype in map(dtype_of, TOLERANCE):
        z, b = np.empty((0, 8), dtype), np.ones(8, wide(dtype))
        with cuda_on_cpu.installed():
            y, kept = add_bias_relu(z, b, record=True)
            dz, gradient = add_bias_relu_gradient(y, kept)
        assert y.shape == dz.shape == (0, 8)
        np.testing.assert_array_equal(gradient, np.zeros(8))


@on_a_compiler
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_number_and_what_is_infinite(kind):
    z = np.array([[np.nan, np.inf, -np.inf, 0]], "float32")
    with cuda_on_cpu.installed():
        (y, _) = add_bias_relu(z, np.zeros(4, "float32"), *kind)
    negative_slope, max_value = kind
    expected = [np.nan, max_value or np.inf, -np.inf if negative_slope else 0, 0]
    np.testing.assert_array_equal(y[0], np.array(expected, "float32"))


@on_a_compiler
def test_what_does_not_lie_in_order():
    z, b = numbers((6, 5, 4), 0, "float32"), numbers(4, 1, "float32")
    dy = numbers((6, 3, 4), 2, "float32")
    with cuda_on_cpu.installed():
        y, kept = add_bias_relu(z[:, ::2], b, record=True)
        dz, gradient = add_bias_relu_gradient(dy[::-1], kept)
    expected = np.maximum(numbers((6, 5, 4), 0, "float32")[:, ::2] + b, 0)
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(z[:, ::2], expected)  # in place
    np.testing.assert_array_equal(dz, dy[::-1] * (expected > 0))
    np.testing.assert_allclose(gradient, dz.sum((0, 1)), rtol=1e-5)


# As layers use them


def finish(activation, z, dy, bias, dtype="float32"):
    """(y, dz, the bias's gradient) of the end of a layer."""
    layer = Dense(z.shape[-1], activation=activation, dtype=dtype)
    layer.build_for((None, 3))
    layer.bias.value = bias.copy()
    ctx = Context(training=True)
    y = layer.finish(z.copy(), ctx)
    dz = layer.finish_gradient(dy, ctx)
    return y, dz, ctx.gradients[layer.bias]


@pytest.mark.parametrize(
    "activation",
    ["linear", "relu", "relu6", ReLU(0.25), ReLU(max_value=0.5), ReLU(threshold=0.5), LeakyReLU(),
     ReLU6(), "tanh", "gelu", "silu", "softmax"],
    ids=lambda a: a if isinstance(a, str) else repr(a.get_config()),
)  # fmt: skip
def test_a_layer_does_the_same_as_bias_and_activation_one_after_the_other(activation):
    """Bit for bit."""
    z, b, dy = arrays((3, 4, 5, 6), np.dtype("float32"))
    function = Dense(1, activation=activation).activation
    y, kept = function.record(z + along_row(b, z))
    dz = function.backward(dy, kept)
    ours = finish(activation, z, dy, b)
    for a, expected in zip(ours, (y, dz, channel_sum(dz)), strict=True):
        np.testing.assert_array_equal(a, expected)
    if cuda_on_cpu.compiler() is not None:
        with cuda_on_cpu.installed():
            in_cuda = finish(activation, z, dy, b)
        for a, expected in zip(in_cuda, ours, strict=True):
            np.testing.assert_allclose(a, expected, rtol=1e-5, atol=1e-6)


def test_relu_keeps_a_byte_a_number_on_the_cpu():
    z, b, _ = arrays((3, 4), np.dtype("float32"))
    assert add_bias_relu(z.copy(), b, record=True)[1].dtype == bool
    assert add_bias_relu(z.copy(), b, max_value=6.0, record=True)[1].dtype == "float32"


@on_a_compiler
@pytest.mark.parametrize(
    ("activation", "forward", "backward"), [("relu", 1, 2), ("linear", 1, 2), ("gelu", 2, 2)]
)
def test_launches(activation, forward, backward):
    """`gelu` multiplies dy by the slope that it kept, without a kernel of ours."""
    z, b, dy = arrays((3, 4), np.dtype("float32"))
    layer = Dense(4, activation=activation)
    layer.build_for((None, 3))
    ctx = Context(training=True)
    with (
        cuda_on_cpu.installed(),
        mock.patch.object(launch, "launch_blocks", side_effect=launch.launch_blocks) as launched,
    ):
        layer.finish(z, ctx)
        assert launched.call_count == forward
        layer.finish_gradient(dy, ctx)
    assert launched.call_count == forward + backward


def test_a_bias_that_does_not_learn_has_no_gradient():
    layer = Dense(4, activation="relu")
    layer.build_for((None, 3))
    z, _, dy = arrays((3, 4), np.dtype("float32"))
    ctx = Context(training=True)
    y = layer.finish(z, ctx)
    layer.trainable = False
    np.testing.assert_array_equal(layer.finish_gradient(dy, ctx), dy * (y > 0))
    assert not ctx.gradients


@pytest.mark.parametrize("activation", ["relu", "linear", "tanh", "leaky_relu"])
@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_layers_in_mixed_precision(activation, name):
    z, b, dy = arrays((5, 2, 6), dtype_of(name))
    y, dz, gradient = finish(activation, z, dy, b, f"mixed_{name}")
    assert y.dtype == dz.dtype == z.dtype and gradient.dtype == np.float32
    assert is_half(y.dtype)
    exact = finish(activation, widened(z), widened(dy), b)
    np.testing.assert_allclose(widened(y), exact[0], rtol=2 * TOLERANCE[name], atol=1e-3)
    np.testing.assert_allclose(widened(dz), exact[1], rtol=0.02, atol=0.02)
    np.testing.assert_allclose(gradient, exact[2], rtol=0.02, atol=0.1)


def test_a_relu_of_ones_own_is_asked():
    """A subclass from elsewhere may compute something else."""

    class Squared(ReLU):
        def forward(self, z, out=None):
            y = super().forward(z, out)
            return np.multiply(y, y, out=out)

    layer = Dense(3, activation=Squared(), bias_initializer="ones", dtype="float64")
    x = numbers((5, 2))
    y = layer(x)
    z = x @ layer.kernel.value + 1
    np.testing.assert_allclose(y, np.maximum(z, 0) ** 2)
