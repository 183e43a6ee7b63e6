"""Generic kernels, losses and normalization with numbers of 16 bits against those in float64.

What is calculated in float32 and rounded once differs from float64 by half a unit in the last
place, and by what float32 itself is wrong.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import array_shapes, convolutions, grid_pools, numbers, pools

from minicnn import activations, losses
from minicnn.dtypes import dtype_of, is_half, widened
from minicnn.kernels import affine, batchnorm, channels, cross_entropy, depthwise, pool, shift
from minicnn.kernels.windows import col2im
from minicnn.layers import BatchNormalization, GroupNormalization, LayerNormalization
from minicnn.layers.context import Context
from minicnn.utils import set_random_seed

DTYPES = [dtype_of("float16"), dtype_of("bfloat16")]
UNIT = {"float16": 2**-10, "bfloat16": 2**-7}
dtypes = st.sampled_from(DTYPES)
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)


def exactly(x):
    return x.astype("float64") if isinstance(x, np.ndarray) and x.dtype.kind not in "iu" else x


def close(a, expected, dtype):
    """Numbers `a` of 16 bits are `expected`, in float64, rounded; others belong to float32."""
    assert a.dtype == dtype and a.shape == expected.shape and expected.dtype == np.float64
    rtol = UNIT[dtype.name] if is_half(dtype) else 2e-5
    np.testing.assert_allclose(exactly(a), exactly(expected), rtol=rtol, atol=2e-5)


def in_both(run, *arrays):
    return run(*arrays), run(*map(exactly, arrays))


@given(st.one_of(pools(), grid_pools()), dtypes)
def test_pooling(case, dtype):
    window, x = case
    x = x.astype(dtype)
    dy = numbers((len(x), *window.output_size(*x.shape[1:3]), x.shape[-1]), 3, dtype)

    def run(x, dy):
        y, index = pool.max_pool(x, window, with_index=True)
        return (
            y, pool.max_pool_gradient(dy, index, x.shape, window),
            pool.average_pool(x, window), pool.average_pool_gradient(dy, x.shape, window),
        )  # fmt: skip

    results, expected = in_both(run, x, dy)
    np.testing.assert_array_equal(widened(results[0]), expected[0])
    for a, b in zip(results, expected, strict=True):
        close(a, b, dtype)


def test_many_overlapping_windows():
    """Sums of 256 numbers, which in 16 bits would not grow beyond 256 units."""
    window, x = pool.Window((16, 16), (1, 1)), np.zeros((1, 31, 31, 1), "bfloat16")
    x[0, 15, 15] = 1  # the maximum of all windows
    y, index = pool.max_pool(x, window, with_index=True)
    dx = pool.max_pool_gradient(1.01 * np.ones_like(y), index, x.shape, window)
    assert widened(dx)[0, 15, 15, 0] == pytest.approx(256 * 1.01, rel=UNIT["bfloat16"])


@given(convolutions(grouped=False), st.integers(1, 3), dtypes)
def test_depthwise_convolution(case, multiplier, dtype):
    x, _, _ = case.arrays(dtype)
    w = numbers((*case.window.size, x.shape[-1], multiplier), 1, "float32")
    dy = numbers((*case.y_shape[:3], x.shape[-1] * multiplier), 2, dtype)

    def run(x, w, dy):
        return (
            depthwise.depthwise_conv2d(x, w, case.window),
            depthwise.depthwise_input_gradient(dy, w, x.shape, case.window),
            depthwise.depthwise_kernel_gradient(x, dy, w.shape, case.window),
        )

    results, expected = in_both(run, x, w, dy)
    for a, b, result_dtype in zip(results, expected, (dtype, dtype, np.dtype("f4")), strict=True):
        close(a, b, result_dtype)


@given(convolutions(grouped=False), dtypes)
def test_col2im(case, dtype):
    rows = int(np.prod(case.y_shape[:3]))
    width = int(np.prod(case.window.size)) * case.x_shape[-1]
    n, h, w, c = case.x_shape
    (top, bottom), (left, right) = case.window.pads(h, w)
    shape, size = (n, h + top + bottom, w + left + right, c), case.y_shape[1:3]
    columns = numbers((rows, width), 0, dtype)
    close(*in_both(lambda columns: col2im(columns, shape, case.window, size), columns), dtype)


@given(st.integers(1, 3000), dtypes)
def test_channel_sum(rows, dtype):
    x = (1 + numbers((rows, 2))).astype(dtype)
    close(*in_both(channels.channel_sum, x), np.dtype("float32"))


@given(st.integers(2, 9), st.integers(1, 5), dtypes)
def test_batch_normalization_kernels(images, width, dtype):
    x = (3 + numbers((images, 3, 2, width))).astype(dtype)
    dy = numbers(x.shape, 1, dtype)
    weights = [numbers(width, seed, "float32") ** 2 for seed in (2, 3, 4, 5)]

    def run(x, dy, *weights):
        y, *moving, saved = batchnorm.normalize(x, *weights, 0.9, 1e-3)
        *gradients, dx = batchnorm.normalize_gradient(dy, saved)
        scaled = batchnorm.scale_and_shift(x, *weights[:2])
        return (y, dx, scaled), (*moving, *gradients)

    results, expected = in_both(run, x, dy, *weights)
    for result_dtype, ours, theirs in zip((dtype, np.dtype("f4")), results, expected, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            close(a, b, result_dtype)


@each_dtype
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
@pytest.mark.parametrize("fill_mode", ["reflect", "wrap", "constant", "nearest"])
def test_moved_images(dtype, fill_mode, interpolation):
    x, dy = numbers((3, 5, 4, 2), 0, dtype), numbers((3, 5, 4, 2), 1, dtype)
    matrix = np.eye(2, dtype="float32") + 0.2 * numbers((3, 2, 2), 2, "float32")
    offset = numbers((3, 2), 3, "float32")
    bounds = ((-3.0, 3.0), (-3.0, 3.0))

    def run(x, dy):
        how = {"fill_mode": fill_mode, "interpolation": interpolation}
        return (
            affine.affine(x, matrix, offset, **how),
            affine.affine_gradient(dy, matrix, offset, **how),
            shift.translate(x, offset, bounds, **how),
            shift.translate_gradient(dy, offset, bounds, **how),
        )

    for a, b in zip(*in_both(run, x, dy), strict=True):
        close(a, b, dtype)


# What activations are made of


FUNCTIONS = [
    "relu", "relu6", "leaky_relu", "elu", "selu", "gelu", "sigmoid", "tanh", "softmax", "silu",
    "softplus", "softsign", activations.ReLU(0.3, 0.75), activations.ReLU(threshold=0.5),
    activations.GELU(approximate=True), "celu", "exponential", "hard_sigmoid", "hard_silu",
    "hard_tanh", "hard_shrink", "soft_shrink", "log_sigmoid", "sparse_plus", "sparse_sigmoid",
    "squareplus", "tanh_shrink", "log_softmax", "sparsemax", activations.Threshold(0.5, 0.25),
]  # fmt: skip


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f if isinstance(f, str) else None)
@given(shape=array_shapes(), dtype=dtypes)
def test_activations(function, shape, dtype):
    f = activations.get(function)
    z, dy = 2 * numbers(shape, 0, dtype), numbers(shape, 1, dtype)
    close(f(z), f(exactly(z)), dtype)
    place = z.copy()
    assert f.forward(place, out=place) is place
    np.testing.assert_array_equal(widened(place), widened(f(z)))
    y, kept = f.record(z.copy())
    dz = f.backward(dy, kept)
    expected = f.backward(exactly(dy), exactly(kept) if kept.dtype != bool else kept)
    np.testing.assert_array_equal(widened(y), widened(f(z)))
    if function == "selu":  # its slope is y + 1.758 below 0, which is rounded as such a y is
        np.testing.assert_allclose(exactly(dz), expected, rtol=UNIT[dtype.name], atol=0.01)
        return
    close(dz, expected, dtype)


@each_dtype
def test_where_relu_is_at_its_largest(dtype):
    """Rounded, which in bfloat16 is less than 0.7, it must still be recognised."""
    f = activations.ReLU(max_value=0.7)
    y, kept = f.record(np.array([0.5, 0.9], dtype))
    np.testing.assert_array_equal(widened(f.backward(np.ones_like(y), kept)), [1, 0])


# Losses


class AbsoluteError(losses.Loss):
    """One of a user's own, which knows nothing of 16 bits."""

    def per_sample(self, y_true, y_pred):
        assert y_pred.dtype != np.float16 and y_pred.dtype.kind == "f"
        difference = y_pred - y_true.astype(y_pred.dtype)
        return np.abs(difference).sum(axis=-1), np.sign(difference)

    def per_sample_gradient(self, kept, scale):
        return kept * scale


def targets_for(loss, y_pred):
    if isinstance(loss, losses.SparseCategoricalCrossentropy):
        return np.arange(len(y_pred)) % y_pred.shape[-1]
    return np.abs(numbers(y_pred.shape, 1))


@each_dtype
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    "loss",
    [losses.SparseCategoricalCrossentropy(True), losses.CategoricalCrossentropy(False),
     losses.MeanSquaredError(), AbsoluteError()],
    ids=lambda loss: type(loss).__name__,
)  # fmt: skip
def test_losses(loss, weighted, dtype):
    y_pred = np.abs(numbers((7, 5), 0)).astype(dtype)
    y_true = targets_for(loss, y_pred)
    weights = np.arange(7.0) if weighted else None
    value, state = loss.forward(y_true, y_pred, weights)
    expected, exact_state = loss.forward(y_true, exactly(y_pred), weights)
    assert value.dtype == np.float32 and value.shape == ()
    assert float(value) == pytest.approx(float(expected), rel=1e-5)
    close(loss.backward(state), loss.backward(exact_state), dtype)
    called = loss(y_true, y_pred)
    assert called.dtype == np.float32


@pytest.mark.parametrize("factor", [2.0**16, np.array(2.0**16, "float32")], ids=["number", "0-d"])
def test_loss_scaling_comes_before_rounding(factor):
    """A gradient of 1e-9 is 0 in float16, and 1e-9 · 2^16 is not."""
    loss = losses.MeanSquaredError()
    y_pred = np.full((1000, 2), 1e-6, "float16")
    _, state = loss.forward(np.zeros_like(y_pred), y_pred)
    assert not loss.backward(state).any()
    scaled = loss.backward(state, factor)
    expected = float(y_pred[0, 0]) / 1000 * 2**16
    assert scaled.dtype == np.float16
    np.testing.assert_allclose(scaled.astype("float64"), expected, rtol=2**-10)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_factor_for_wider_numbers(dtype):
    loss = losses.MeanSquaredError()
    y_pred = numbers((4, 3), 0, dtype)
    _, state = loss.forward(np.zeros_like(y_pred), y_pred)
    scaled = loss.backward(state, 4)
    assert scaled.dtype == dtype
    np.testing.assert_array_equal(scaled, 4 * loss.backward(state))


@each_dtype
def test_cross_entropy_of_logits_of_16_bits(dtype):
    z, targets = 5 * numbers((4, 3), 0, dtype), np.abs(numbers((4, 3), 1, "float32"))

    def run(z, targets):
        losses, kept = cross_entropy.of_logits(z, targets)
        return losses, cross_entropy.of_logits_gradient(*kept, 0.5)

    for a, b in zip(*in_both(run, z, targets), strict=True):
        close(a, b, np.dtype("float32"))


# Normalization


def called(layer, policy, x, dy, training):
    """y, dx, the gradients and the new moving statistics of a layer, as a policy has it."""
    set_random_seed(0)
    layer = layer(policy)
    layer.build_for((None, *x.shape[1:]))
    layer.set_weights([1 + numbers(w.shape, i) ** 2 for i, w in enumerate(layer.weights)])
    assert {w.dtype.name for w in layer.weights} <= {layer.dtype}
    ctx = Context(training, record=True)
    y = layer.forward(x, ctx)
    dx = layer.backward(dy, ctx)
    return (y, dx), (*ctx.gradients.values(), *ctx.updates.values())


@each_dtype
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    "layer",
    [lambda dtype: BatchNormalization(dtype=dtype),
     lambda dtype: BatchNormalization(center=False, scale=False, dtype=dtype),
     lambda dtype: LayerNormalization(dtype=dtype),
     lambda dtype: LayerNormalization(center=False, scale=False, dtype=dtype),
     lambda dtype: GroupNormalization(2, dtype=dtype)],
    ids=["batch", "batch without weights", "layer", "layer without weights", "group"],
)  # fmt: skip
def test_normalization_layers(layer, training, dtype):
    x, dy = (2 + numbers((5, 3, 4))).astype(dtype), numbers((5, 3, 4), 1, dtype)
    ours = called(layer, f"mixed_{dtype.name}", x, dy, training)
    expected = called(layer, "float64", exactly(x), exactly(dy), training)
    for result_dtype, results, exact in zip((dtype, np.dtype("f4")), ours, expected, strict=True):
        for a, b in zip(results, exact, strict=True):
            close(a, b, result_dtype)
