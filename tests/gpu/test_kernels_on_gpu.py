"""Kernels in CUDA C against the generic ones, on arrays that take many blocks of threads."""

import pkgutil
from importlib import import_module

import numpy as np
import pytest
import reference
from gpu.compare import close
from strategies import numbers

from minicnn import backend, kernels
from minicnn.dtypes import dtype_of, wide
from minicnn.kernels import (
    activations,
    batchnorm,
    channels,
    conv,
    cross_entropy,
    pool,
)
from minicnn.kernels import bias as bias_kernels
from minicnn.kernels import cuda as cuda_kernels
from minicnn.kernels import dense as dense_kernels
from minicnn.kernels import dropout as dropout_kernels
from minicnn.kernels.cuda import conv_im2col as cuda_conv
from minicnn.kernels.cuda.random import CounterGenerator
from minicnn.kernels.windows import Convolution, Window


def device(shape, seed, dtype):
    return backend.asarray(numbers(shape, seed, "float64"), dtype_of(dtype))


def of_weights(shape, seed, dtype):
    """Of weights and the like, which are float32 where images are of 16 bits."""
    return backend.asarray(numbers(shape, seed, "float64"), wide(dtype_of(dtype)))


def max_pool(dtype):
    x = device((3, 61, 64, 70), 0, dtype)
    for window in (
        Window((2, 2), (2, 2)),
        Window((3, 3), (2, 2), "same"),
        Window((2, 3), (3, 1)),
    ):
        y, index = pool.max_pool(x, window, with_index=True)
        dy = device(y.shape, 1, dtype)
        yield from (y, pool.max_pool(x, window)[0])
        yield pool.max_pool_gradient(dy, index, x.shape, window)


def im2col(dtype):
    return convolutions(dtype, "im2col")


def implicit(dtype):
    return convolutions(dtype, "implicit")


def convolutions(dtype, algorithm):
    for convolution in (
        Convolution((3, 3)),
        Convolution((5, 3), (2, 2), "same"),
        Convolution((3, 2), (1, 1), "same", (2, 3), groups=5),
        Convolution((1, 1)),
        Convolution((2, 2), (3, 3), groups=2),
    ):
        for channels_in, filters in ((20, 30), (80, 160)):
            x = device((5, 33, 30, channels_in), 0, dtype)
            shape = (*convolution.size, channels_in // convolution.groups, filters)
            w = of_weights(shape, 1, dtype)
            module = conv.implementation(algorithm, x, w)
            y, kept = module.forward(x, w, convolution, keep=True)
            dy = device(y.shape, 2, dtype)
            yield y
            yield from module.gradients(dy, kept, w, x.shape, convolution)


def dense(dtype):
    for n, size, units in ((1000, 1024, 64), (7, 33, 10), (300, 1600, 512)):
        rows, kernel = device((n, size), 0, dtype), of_weights((size, units), 1, dtype)
        yield dense_kernels.dense(rows, kernel)
        yield from dense_kernels.dense_gradients(device((n, units), 2, dtype), rows, kernel)


def bias(dtype):
    for shape in ((40, 30, 20, 3), (5, 7, 700), (3000, 64)):
        b, dy = of_weights(shape[-1:], 1, dtype), device(shape, 2, dtype)
        yield bias_kernels.add_bias(device(shape, 0, dtype), b)
        for arguments in ((), (0.1, 0.5)):
            y, kept = bias_kernels.add_bias_relu(
                device(shape, 0, dtype), b, *arguments, record=True
            )
            yield y
            yield from bias_kernels.add_bias_relu_gradient(dy, kept, *arguments)


def batch_normalization(dtype):
    for shape in ((40, 30, 20, 3), (7, 5, 700), (1000, 64)):
        x, dy = device(shape, 0, dtype) + 3, device(shape, 1, dtype)
        gamma, beta, moving_mean, moving_variance = (
            abs(of_weights(shape[-1:], seed, dtype)) for seed in range(2, 6)
        )
        y, mean, variance, saved = batchnorm.normalize(
            x, gamma, beta, moving_mean, moving_variance, 0.9, 1e-3
        )
        yield from (y, mean, variance, *batchnorm.normalize_gradient(dy, saved))
        yield batchnorm.scale_and_shift(x, gamma, beta)


def channel_sum(dtype):
    for shape in ((40, 30, 20, 3), (7, 5, 700), (3000, 64), (2, 1)):
        yield channels.channel_sum(device(shape, 0, dtype) + 1)


def relu_gradient(dtype):
    dy, y = device(5_000_000, 0, dtype), device(5_000_000, 1, dtype)
    yield activations.relu_gradient(dy, y)
    yield activations.relu_gradient(dy, y, 0.1, 0.5)


def gelu(dtype):
    z = device((30, 40, 50, 10), 0, dtype) * 3
    for approximate in (True, False):
        yield activations.gelu(z, approximate)
        yield activations.gelu(z[:, ::2], approximate, out=z.copy()[:, ::2])
        yield from activations.gelu_with_slope(z, approximate)


def softmax_cross_entropy(dtype):
    for shape in ((1000, 10), (6, 5, 1000)):
        z = of_weights(shape, 0, dtype) * 5  # a loss is calculated from float32
        losses, kept = cross_entropy.of_logits(z, abs(of_weights(shape, 1, dtype)))
        scale = abs(of_weights((*shape[:-1], 1), 2, dtype))
        yield losses
        yield cross_entropy.of_logits_gradient(*kept, scale)


def dropout(dtype):
    x, dy = device((60, 31, 29, 70), 0, dtype), device((60, 31, 29, 70), 1, dtype)
    generator = CounterGenerator(5)  # for the generic version, too
    for mask_shape in (x.shape, (60, 1, 1, 70), (1, 31, 1, 70), (60, 31, 29, 1), (1, 1, 1, 1)):
        generator.next_pass()
        y, mask = dropout_kernels.dropout(x, 0.3, mask_shape, generator)
        yield from (y, dropout_kernels.dropout_gradient(dy, mask))


# All functions that have a version in CUDA C, by what calls them.
CASES = {
    max_pool: ["pool.max_pool", "pool.max_pool_gradient"],
    im2col: ["conv_im2col.forward", "conv_im2col.gradients"],
    implicit: ["conv_implicit.forward", "conv_implicit.gradients"],
    dense: ["dense.dense", "dense.dense_gradients"],
    bias: ["bias.add_bias", "bias.add_bias_relu", "bias.add_bias_relu_gradient"],
    batch_normalization: [
        "batchnorm.normalize",
        "batchnorm.normalize_gradient",
        "batchnorm.scale_and_shift",
    ],
    channel_sum: ["channels.channel_sum"],
    dropout: ["dropout.dropout", "dropout.dropout_gradient"],
    relu_gradient: ["activations.relu_gradient"],
    gelu: ["activations.gelu", "activations.gelu_with_slope"],
    softmax_cross_entropy: ["cross_entropy.of_logits", "cross_entropy.of_logits_gradient"],
}


def test_the_table_is_complete():
    found = set()
    for file in (module.name for module in pkgutil.iter_modules(cuda_kernels.__path__)):
        # of optimizers see test_training_on_gpu.py, of random numbers below
        if file in ("launch", "optimizers", "random"):
            continue
        if file.startswith("conv_"):  # `conv.implementation` takes the whole module
            found |= {f"{file}.forward", f"{file}.gradients"}
            continue
        version, generic = (import_module(f"{p.__name__}.{file}") for p in (cuda_kernels, kernels))
        found |= {
            f"{file}.{name}"
            for name, function in vars(generic).items()
            if hasattr(function, "__wrapped__") and hasattr(version, name)
        }
    assert found == {name for names in CASES.values() for name in names}


@pytest.mark.gpu
@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_as_the_generic_version(case, dtype, monkeypatch):
    monkeypatch.setenv("MINICNN_CUDA_KERNELS", "1")
    ours, again = list(case(dtype)), list(case(dtype))
    monkeypatch.setenv("MINICNN_CUDA_KERNELS", "0")
    for a, b, expected in zip(ours, again, case(dtype), strict=True):
        close(a, expected)
        np.testing.assert_array_equal(backend.to_numpy(a), backend.to_numpy(b))


@pytest.mark.gpu
@pytest.mark.usefixtures("gpu")
def test_a_convolution_a_few_images_at_a_time(monkeypatch):
    whole = list(im2col("float64"))
    monkeypatch.setattr(cuda_conv, "MATRIX_BYTES", 1 << 20)
    for a, b in zip(im2col("float64"), whole, strict=True):
        close(a, b)


@pytest.mark.gpu
@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("case", [implicit, dense], ids=lambda case: case.__name__)
def test_tensor_float_32(case):
    """Factors of 10 bits, with errors that partly cancel in the sums."""
    exact = list(case("float32"))
    backend.enable_tensor_float_32(True)
    try:
        rounded, again = list(case("float32")), list(case("float32"))
    finally:
        backend.enable_tensor_float_32(False)
    for a, b, expected in zip(rounded, again, exact, strict=True):
        close(a, expected, 2e-3)
        np.testing.assert_array_equal(backend.to_numpy(a), backend.to_numpy(b))
    assert any((a != e).any() for a, e in zip(rounded, exact, strict=True))


@pytest.mark.gpu
@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_random_numbers_are_those_of_the_reference(dtype):
    made = backend.random_generator(3)
    assert isinstance(made, CounterGenerator)
    made.next_pass()
    made.random(5)
    u = made.random((7, 300_001), dtype)
    key = np.array(made.next_draw()[:2], np.int32).view(np.uint32).tolist()
    expected = reference.uniform_numbers(u.size, key, 1, 1, dtype)
    np.testing.assert_array_equal(backend.to_numpy(u).ravel(), expected)


@pytest.mark.gpu
@pytest.mark.usefixtures("gpu")
def test_dropout_in_a_captured_graph():
    """Each replay drops other numbers, those that the step would drop without a graph."""
    cupy = backend.current_module()
    x = cupy.ones((64, 8, 8, 30), "float32")

    def step(generator):
        generator.next_pass()
        noise = generator.random((3, 4), "float32")
        y, mask = dropout_kernels.dropout(x, 0.5, (64, 1, 1, 30), generator)
        z, other_mask = dropout_kernels.dropout(y, 0.5, x.shape, generator)
        dx = dropout_kernels.dropout_gradient(x, other_mask)
        return noise, y, z, dropout_kernels.dropout_gradient(dx, mask)

    plain, captured = CounterGenerator(0), CounterGenerator(0)
    expected = [[a.get() for a in step(plain)] for _ in range(4)]
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        first = [a.get() for a in step(captured)]  # compiles what is not compiled yet
        stream.begin_capture()
        results = step(captured)
        graph = stream.end_capture()
        seen = [first]
        for _ in range(3):
            graph.launch(stream=stream)
            seen.append([a.get() for a in results])
    for ours, theirs in zip(seen, expected, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(ours[2], ours[3])
    assert (seen[1][0] != seen[2][0]).all() and (seen[1][2] != seen[2][2]).any()
