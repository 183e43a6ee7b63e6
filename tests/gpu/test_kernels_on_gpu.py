"""Kernels in CUDA C against the generic ones, on arrays that take many blocks of threads."""

import pkgutil
from importlib import import_module

import numpy as np
import pytest
from gpu.compare import close
from strategies import numbers

from minicnn import backend, kernels
from minicnn.kernels import activations, batchnorm, channels, conv_im2col, cross_entropy, pool
from minicnn.kernels import cuda as cuda_kernels
from minicnn.kernels.cuda import conv_im2col as cuda_conv
from minicnn.kernels.windows import Window


def device(shape, seed, dtype):
    return backend.asarray(numbers(shape, seed, dtype))


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


def convolution(dtype):
    for window, groups in (
        (Window((3, 3)), 1),
        (Window((5, 3), (2, 2), "same"), 1),
        (Window((3, 2), (1, 1), "same", (2, 3)), 5),
        (Window((1, 1)), 1),
        (Window((2, 2), (3, 3)), 2),
    ):
        x = device((5, 33, 30, 20), 0, dtype)
        w = device((*window.size, 20 // groups, 30), 1, dtype)
        y, kept = conv_im2col.forward(x, w, window, groups, keep=True)
        yield y
        yield from conv_im2col.gradients(
            device(y.shape, 2, dtype), kept, w, x.shape, window, groups
        )


def batch_normalization(dtype):
    for shape in ((40, 30, 20, 3), (7, 5, 700), (1000, 64)):
        x, dy = 3 + device(shape, 0, dtype), device(shape, 1, dtype)
        gamma, beta, moving_mean, moving_variance = (
            abs(device(shape[-1:], seed, dtype)) for seed in range(2, 6)
        )
        y, mean, variance, saved = batchnorm.normalize(
            x, gamma, beta, moving_mean, moving_variance, 0.9, 1e-3
        )
        yield from (y, mean, variance, *batchnorm.normalize_gradient(dy, saved))


def channel_sum(dtype):
    for shape in ((40, 30, 20, 3), (7, 5, 700), (3000, 64), (2, 1)):
        yield channels.channel_sum(1 + device(shape, 0, dtype))


def relu_gradient(dtype):
    dy, y = device(5_000_000, 0, dtype), device(5_000_000, 1, dtype)
    yield activations.relu_gradient(dy, y)
    yield activations.relu_gradient(dy, y, 0.1, 0.5)


def gelu(dtype):
    z = 3 * device((30, 40, 50, 10), 0, dtype)
    for approximate in (True, False):
        yield activations.gelu(z, approximate)
        yield activations.gelu(z[:, ::2], approximate, out=z.copy()[:, ::2])
        yield from activations.gelu_with_slope(z, approximate)


def softmax_cross_entropy(dtype):
    for shape in ((1000, 10), (6, 5, 1000)):
        z = 5 * device(shape, 0, dtype)
        losses, kept = cross_entropy.of_logits(z, abs(device(shape, 1, dtype)))
        yield losses
        yield cross_entropy.of_logits_gradient(*kept, abs(device((*shape[:-1], 1), 2, dtype)))


# All functions that have a version in CUDA C, by what calls them.
CASES = {
    max_pool: ["pool.max_pool", "pool.max_pool_gradient"],
    convolution: ["conv_im2col.forward", "conv_im2col.gradients"],
    batch_normalization: ["batchnorm.normalize", "batchnorm.normalize_gradient"],
    channel_sum: ["channels.channel_sum"],
    relu_gradient: ["activations.relu_gradient"],
    gelu: ["activations.gelu", "activations.gelu_with_slope"],
    softmax_cross_entropy: ["cross_entropy.of_logits", "cross_entropy.of_logits_gradient"],
}


def test_the_table_is_complete():
    found = set()
    for file in (module.name for module in pkgutil.iter_modules(cuda_kernels.__path__)):
        if file == "launch":
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
@pytest.mark.parametrize("dtype", ["float32", "float64"])
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
    whole = list(convolution("float64"))
    monkeypatch.setattr(cuda_conv, "MATRIX_BYTES", 1 << 20)
    for a, b in zip(convolution("float64"), whole, strict=True):
        close(a, b)
