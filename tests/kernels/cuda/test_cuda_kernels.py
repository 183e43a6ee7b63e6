"""Kernels in CUDA C against the generic ones, run on the CPU by `cuda_on_cpu`.

With numbers of 16 bits they are compared with the generic ones in float32, rounded at the end.
"""

import cuda_on_cpu
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import convolutions, grid_pools, numbers, pools

from minicnn import Sequential, backend, dtype_policies
from minicnn.dtypes import dtype_of, wide, widened
from minicnn.kernels import activations, batchnorm, channels, conv, cross_entropy, pool
from minicnn.kernels.cuda import channels as cuda_channels
from minicnn.kernels.cuda import conv_im2col as cuda_conv
from minicnn.kernels.cuda import launch
from minicnn.layers import (
    Activation,
    BatchNormalization,
    Conv2D,
    Dense,
    Flatten,
    Input,
    MaxPooling2D,
)
from minicnn.parallel.communicator import Communicator
from minicnn.utils import set_random_seed

pytestmark = pytest.mark.skipif(
    cuda_on_cpu.compiler() is None, reason="there is no C++ compiler, nor the package ziglang"
)
# Of 16 bits: one unit in the last place, and what rounding in float32 leaves of sums near 0.
TOLERANCE = {
    "float16": {"rtol": 2**-10, "atol": 2e-5},
    "bfloat16": {"rtol": 2**-7, "atol": 2e-5},
    "float32": {"rtol": 2e-5, "atol": 2e-5},
    "float64": {"rtol": 1e-12, "atol": 1e-12},
}
dtypes = st.sampled_from([dtype_of(name) for name in TOLERANCE])


def in_both(run, *arrays):
    """What `run` returns for arrays with the kernels in CUDA C, and without, then with numbers of
    16 bits in float32."""
    with cuda_on_cpu.installed():
        ours = run(*arrays)
    return ours, run(*(a if a is None else widened(a) for a in arrays))


def close(a, b, dtype):
    assert a.dtype == dtype and a.shape == b.shape
    compared = widened(a), widened(b.astype(dtype))
    np.testing.assert_allclose(*compared, **TOLERANCE[dtype.name])


def rounded(a, dtype):
    """What belongs to weights, as kernels take it, with numbers that `dtype` has, too."""
    return widened(a.astype(dtype))


@given(st.one_of(pools(), grid_pools()), dtypes, st.booleans())
def test_max_pool(case, dtype, ties):
    window, x = case
    x = (np.sign(x) if ties else x).astype(dtype)
    dy = numbers((len(x), *window.output_size(*x.shape[1:3]), x.shape[-1]), 3, dtype)

    def run(x, dy):
        y, index = pool.max_pool(x, window, with_index=True)
        np.testing.assert_array_equal(pool.max_pool(x, window)[0], y)
        return y, pool.max_pool_gradient(dy, index, x.shape, window)

    (y, dx), expected = in_both(run, x, dy)
    np.testing.assert_array_equal(y, expected[0])
    close(dx, expected[1], dtype)


@given(dtypes, st.sampled_from([2, 4, 8, 16]), st.integers(0, 2))
def test_pooling_moves_runs_of_channels(dtype, channels, offset):
    """But not where they begin elsewhere than at 16 bytes."""
    shape = (2, 5, 4, channels)
    x = numbers(np.prod(shape) + 8, 0, dtype)[4 * offset :][: np.prod(shape)].reshape(shape)
    for window in (pool.Window((2, 2), (2, 2)), pool.Window((3, 2), (2, 1), "same")):
        dy = numbers((2, *window.output_size(5, 4), channels), 1, dtype)

        def run(x, dy, window=window):
            y, index = pool.max_pool(x, window, with_index=True)
            return y, pool.max_pool_gradient(dy, index, x.shape, window)

        (y, dx), expected = in_both(run, x, dy)
        np.testing.assert_array_equal(y, expected[0])
        close(dx, expected[1], dtype)


def test_the_gradient_of_a_pooling_by_the_generic_version():
    """Which does it forward where there are more numbers than indices of 32 bits."""
    x = numbers((2, 4, 4, 3))
    for window in (pool.Window((2, 2), (2, 2)), pool.Window((3, 3), (1, 1), "same")):
        y, index = pool.max_pool(x, window, with_index=True)
        expected = pool.max_pool_gradient(y, index, x.shape, window)
        with cuda_on_cpu.installed():
            dx = pool.max_pool_gradient(y, index, x.shape, window)
        np.testing.assert_array_equal(dx, expected)


def test_max_pool_hands_on_what_is_not_a_number():
    x = numbers((1, 4, 4, 2))
    x[0, 1, 1, 0] = np.nan
    with cuda_on_cpu.installed():
        y, _ = pool.max_pool(x, pool.Window((2, 2), (2, 2)))
    assert np.isnan(y[0, 0, 0, 0]) and np.isnan(y).sum() == 1


@given(convolutions(), dtypes, st.sampled_from([1, 5000, 1 << 29]))
def test_convolution(case, dtype, matrix_bytes):
    x, w, dy = case.arrays(dtype)
    w = widened(w)
    window = case.window

    def run(x, w, dy):
        im2col = conv.implementation("im2col", x, w)
        y, kept = im2col.forward(x, w, window, keep=True)
        dw, dx = im2col.gradients(dy, kept, w, x.shape, window)
        only_dx = im2col.gradients(dy, None, w, x.shape, window, needs_dw=False)
        assert only_dx[0] is None and np.array_equal(only_dx[1], dx)
        only_dw = im2col.gradients(dy, kept, w, x.shape, window, needs_dx=False)
        assert only_dw[1] is None and np.array_equal(only_dw[0], dw)
        return y, dw, dx

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cuda_conv, "MATRIX_BYTES", matrix_bytes)
        results, expected = in_both(run, x, w, dy)
    for a, b, result_dtype in zip(results, expected, (dtype, wide(dtype), dtype), strict=True):
        close(a, b, result_dtype)


@given(
    st.integers(1, 400),
    st.one_of(st.integers(1, 13), st.sampled_from([16, 24, 36])),
    dtypes,
    st.sampled_from([(3, 5), (2, 256), (7, 32)]),
    st.integers(0, 2),
)
def test_channel_sum(rows, width, dtype, grid, offset):
    """Also with rows beside each other in a block, and of runs that begin anywhere."""
    x = numbers(rows * width + 2, 0, dtype)[offset:][: rows * width].reshape(rows, 1, width)
    with cuda_on_cpu.installed(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(cuda_channels, "MOST_BLOCKS", grid[0])
        patch.setattr(launch, "THREADS_PER_BLOCK", grid[1])
        sums = channels.channel_sum(x)
    close(sums, widened(x).astype("float64").sum((0, 1)).astype(wide(dtype)), wide(dtype))


@settings(max_examples=15)
@given(
    st.integers(2, 12),
    st.one_of(st.integers(1, 13), st.sampled_from([16, 24])),
    dtypes,
    st.booleans(),
    st.booleans(),
)
def test_batch_normalization(images, width, dtype, scale, center):
    x = (3 + numbers((images, 3, 2, width))).astype(dtype)
    dy = numbers(x.shape, 1, dtype)
    gamma = rounded(numbers(width, 2), dtype) if scale else None
    beta = rounded(numbers(width, 3), dtype) if center else None
    moving = rounded(numbers(width, 4), dtype), rounded(numbers(width, 5) ** 2, dtype)

    def run(x, dy):
        y, mean, variance, saved = batchnorm.normalize(x, gamma, beta, *moving, 0.9, 1e-3)
        dgamma, dbeta, dx = batchnorm.normalize_gradient(dy, saved)
        assert batchnorm.normalize_gradient(dy, saved, needs_dx=False)[2] is None
        scaled = batchnorm.scale_and_shift(x, *moving)
        return (y, dx, scaled), (mean, variance, dgamma, dbeta)

    results, expected = in_both(run, x, dy)
    for dtype_of_kind, ours, theirs in zip((dtype, wide(dtype)), results, expected, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            close(a, b, dtype_of_kind)


@given(dtypes, st.integers(0, 8))
def test_runs_that_do_not_begin_at_16_bytes(dtype, offset):
    """Of which only whole ones may be read at once."""
    whole = numbers(3 * 16 + 8, 0, dtype)
    x = whole[offset : offset + 48].reshape(3, 16)
    factor, shift = numbers(16, 1, wide(dtype)), numbers(16, 2, wide(dtype))
    a, b = in_both(lambda x: batchnorm.scale_and_shift(x, factor, shift), x)
    close(a, b, dtype)


def test_the_variance_of_numbers_far_from_zero():
    """Sums of squares would cancel: 1e4 squared has no room for a variance of 1 in float32. Nor may
    the number that all are compared with be out of the way."""
    x = (1e4 + numbers((64, 4, 4, 3))).astype("float32")
    x[0, 0, 0] = 0, 1e4, 1e5
    zeros = np.zeros(3, "float32")
    with cuda_on_cpu.installed():
        y, _, variance, _ = batchnorm.normalize(x, None, None, zeros, zeros, 0.0, 1e-3)
    np.testing.assert_allclose(variance, x.astype("float64").var((0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(y.std((0, 1, 2)), 1, rtol=2e-3)


def test_batches_on_several_devices_take_the_generic_version():
    class Twice(Communicator):
        size = 2

        def allreduce(self, x):
            return tuple(2 * a for a in x) if isinstance(x, tuple) else 2 * x

    x = numbers((4, 2, 2, 3))
    ones, zeros = np.ones(3), np.zeros(3)
    alone = batchnorm.normalize(x, None, None, zeros, ones, 0.9, 1e-3)
    with cuda_on_cpu.installed():
        y, *_, saved = batchnorm.normalize(x, None, None, zeros, ones, 0.9, 1e-3, Twice())
        _, _, dx = batchnorm.normalize_gradient(x, saved, Twice())
    np.testing.assert_allclose(y, alone[0], atol=1e-12)  # two halves with the same images
    np.testing.assert_allclose(dx, batchnorm.normalize_gradient(x, alone[3])[2], atol=1e-12)


def test_numbers_of_two_dtypes_take_the_generic_version():
    x, ones, zeros = numbers((4, 2, 2, 3), 0, "float32"), np.ones(3), np.zeros(3)

    def run():
        y, mean, _, saved = batchnorm.normalize(x, ones, None, zeros, ones, 0.9, 1e-3)
        dgamma, _, dx = batchnorm.normalize_gradient(y, saved)
        return y, mean, dgamma, dx, activations.relu_gradient(numbers(x.shape), x)

    results, expected = in_both(run)
    for a, b in zip(results, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)  # channels are summed otherwise


@given(dtypes, st.sampled_from([(0.0, None), (0.1, None), (0.2, 0.7)]), st.integers(0, 99))
def test_relu_gradient(dtype, arguments, size):
    dy, y = numbers(size, 0, dtype), numbers(size, 1, dtype)
    y[::5], y[1::7] = 0, 0.7  # which in bfloat16 is less
    with cuda_on_cpu.installed():
        dz = activations.relu_gradient(dy, y, *arguments)
    close(dz, activations.relu_gradient(dy, y, *arguments), dtype)


@given(dtypes, st.booleans(), st.one_of(st.integers(1, 99), st.sampled_from([16, 40])))
def test_gelu(dtype, approximate, size):
    z = 3 * numbers((size, 2), 0, dtype)

    def run(z):
        y, slope = activations.gelu_with_slope(z, approximate)
        place, wider = z.copy(), np.zeros((size, 4), z.dtype)
        assert activations.gelu(place, approximate, out=place) is place
        activations.gelu(z, approximate, out=wider[:, ::2])
        for other in (place, wider[:, ::2], activations.gelu(z, approximate)):
            close(other, y, z.dtype)
        return y, slope

    (y, slope), expected = in_both(run, z)
    close(y, expected[0], dtype)
    close(slope, expected[1], dtype)


@given(dtypes, st.integers(1, 20), st.integers(1, 12), st.booleans())
def test_cross_entropy(dtype, rows, classes, weighted):
    z = 50 * numbers((rows, classes), 0, dtype)
    targets = np.abs(numbers(z.shape, 1, wide(dtype)))
    scale = numbers((rows, 1), 2, wide(dtype)) if weighted else 0.25

    def run(z):
        losses, kept = cross_entropy.of_logits(z, targets)
        return losses, cross_entropy.of_logits_gradient(*kept, scale)

    results, expected = in_both(run, z)
    for a, b in zip(results, expected, strict=True):
        assert a.dtype == b.dtype == wide(dtype)
        np.testing.assert_allclose(a, b, rtol=1e-11 if dtype == "float64" else 1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_numbers_at_the_far_end(dtype):
    far = float(np.finfo(dtype).max)
    z = np.array([-far, -1e20, -100, 0, 100, 1e20, far], dtype)
    for approximate in (False, True):
        (y, slope), _ = in_both(lambda z, a=approximate: activations.gelu_with_slope(z, a), z)
        np.testing.assert_array_equal(y, [0, 0, 0, 0, 100, z[5], far])
        np.testing.assert_array_equal(slope, [0, 0, 0, 0.5, 1, 1, 1])
    logits = np.array([[1, -np.inf, 0], [far, -far, 0]], dtype)
    targets = np.array([[1, 0, 0], [0, 0, 1]], dtype)
    (losses, kept), _ = in_both(lambda z: cross_entropy.of_logits(z, targets), logits)
    np.testing.assert_allclose(losses, [np.log1p(np.exp(-1)), far], rtol=1e-6)
    np.testing.assert_allclose(kept[0], [[-0.26894142, 0, 0.26894142], [1, 0, -1]], rtol=1e-6)


@pytest.mark.parametrize(
    ("policy", "tolerance"), [("float32", 1e-4), ("mixed_float16", 5e-3), ("mixed_bfloat16", 2e-2)]
)
def test_three_steps_of_training(monkeypatch, policy, tolerance):
    """The kernels within the layers: the same network, generic and in CUDA C."""
    monkeypatch.setenv("MINICNN_NUM_THREADS", "1")
    monkeypatch.setattr(dtype_policies, "_global", dtype_policies.DTypePolicy(policy))
    x, y = numbers((24, 10, 10, 3), dtype="float32"), np.arange(24) % 5

    def run():
        set_random_seed(0)
        model = Sequential(
            [Input((10, 10, 3)), Conv2D(6, 3, activation="relu", algorithm="im2col"),
             MaxPooling2D(2), Conv2D(8, 3, strides=2, padding="same"), BatchNormalization(),
             Activation("gelu"), Flatten(), Dense(5, activation="softmax")]
        )  # fmt: skip
        model.compile("sgd", "sparse_categorical_crossentropy")
        losses = model.fit(x, y, batch_size=8, shuffle=False, verbose=0).history["loss"]
        return losses, *model.get_weights()

    results, expected = in_both(run)
    for a, b in zip(results, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance / 100)


def test_a_cpu_has_no_use_for_them():
    assert not backend.uses_cuda(np.ones(3))


# How numbers of 16 bits are read and written, numbers.cuh, as far as it does not run on a GPU only.

halves = pytest.mark.parametrize("dtype", [dtype_of("float16"), dtype_of("bfloat16")], ids=str)


def bits(x):
    """Of numbers; those that are none have many."""
    return x.view("uint16")[~np.isnan(widened(x))]


@halves
@pytest.mark.filterwarnings("ignore:(overflow|invalid value) encountered:RuntimeWarning")
def test_all_numbers_of_16_bits_are_read_and_written(dtype):
    x = np.arange(1 << 16).astype("uint16").view(dtype)
    ones, zeros = np.ones(len(x), "float32"), np.zeros(len(x), "float32")
    with cuda_on_cpu.installed():
        back = activations.relu_gradient(x, ones.astype(dtype))  # multiplied by 1
        more = batchnorm.scale_and_shift(x[None], 1.75 * ones, zeros)[0]
    np.testing.assert_array_equal(bits(back), bits(x))
    np.testing.assert_array_equal(widened(more), widened((1.75 * widened(x)).astype(dtype)))


@halves
@pytest.mark.filterwarnings("ignore:(overflow|invalid value) encountered:RuntimeWarning")
def test_rounding(dtype):
    """Random floats of every size, and those that lie between two numbers of 16 bits."""
    random = np.random.default_rng(0).integers(0, 1 << 32, 40000, "uint32").view("float32")
    halves = np.arange(1 << 16).astype("uint16").view(dtype).astype("float32")
    between = halves[:-1] / 2 + halves[1:] / 2
    floats = np.concatenate([random, halves, between, np.nextafter(between, 0)])
    zeros = np.zeros((1, len(floats)), dtype)
    with cuda_on_cpu.installed():
        y = batchnorm.scale_and_shift(zeros, np.ones(len(floats), "float32"), floats)
    np.testing.assert_array_equal(widened(y[0]), widened(floats.astype(dtype)))
