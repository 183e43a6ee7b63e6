"""Two-dimensional convolution: which algorithm computes it.

    y[n, p, q, f] = sum_{i, j, c} x[n, p sh + i dh, q sw + j dw, c] w[i, j, c, f] + b[f]

(cross-correlation, as all deep-learning libraries define it). Each algorithm is a module of three
functions:

    prepare(kernel, dtype)               the kernel as the other two read it, once per pass, for
                                         images of `dtype`
    forward(x, prepared, ...)            y, and what the gradients need to know of x
    gradients(dy, kept, prepared, ...)   dw and dx

Images may have 16 bits where the kernel is float32: y and dx are then of 16 bits, dw is float32.
"""

from functools import lru_cache
from importlib import import_module
from types import ModuleType
from typing import Any

from minicnn import backend
from minicnn.kernels import conv_im2col, conv_winograd, device
from minicnn.kernels.channels import along_row
from minicnn.kernels.windows import Convolution
from minicnn.typing import Array

# On arrays of any library
ALGORITHMS: dict[str, ModuleType] = {
    "im2col": conv_im2col,
    "pointwise": conv_im2col,  # to which a 1x1 window is a matrix as it stands
    "winograd": conv_winograd,
    "implicit": conv_im2col,  # only where the version in CUDA C does not fit
}
# Modules in `kernels/cuda` that take the place of the above on an NVIDIA GPU
_CUDA_VERSIONS = {"im2col": "conv_im2col", "pointwise": "conv_im2col", "implicit": "conv_implicit"}


def implementation(algorithm: str, x: Array, *others: Any) -> Any:
    """The module that computes an algorithm: a generic one, or one in CUDA C.

    Args:
        algorithm: one of `ALGORITHMS`.
        x, others: the arrays to work on; see `device.cuda_version_fits`.
    """
    if algorithm in _CUDA_VERSIONS and device.cuda_version_fits(x, *others):
        return import_module(f"minicnn.kernels.cuda.{_CUDA_VERSIONS[algorithm]}")
    return ALGORITHMS[algorithm]


def choose_algorithm(convolution: Convolution, x_shape: tuple[int, ...], filters: int) -> str:
    """The quickest of `ALGORITHMS` on the active backend.

    On an NVIDIA GPU it is "implicit": im2col would write and read a matrix kh kw times as large as
    the images. On a CPU Winograd does fewer multiply-adds in the products, but has to transform
    every tile, for a gain that grows with the channels. Useful GFLOP/s (those of the sum above) of
    a training step on one core whose matrix product does 92, from `benchmarks/conv.py`, beside the
    ratio `winograd_effort` on which the choice rests:

        images (H, W, C) -> F          im2col  Winograd   effort
        32, 32,   3 ->  32, same           31        16     1.87
        32, 32,  16 ->  16, same           32        42     1.06
        15, 15,  32 ->  64, valid          58        73     0.78
        32, 32,  32 ->  32, same           43        64     0.66
        16, 16,  32 ->  32, same           51        74     0.66
         3,  3, 256 -> 256, same           73       102     0.60
        31, 31,  24 ->  64, same           61        97     0.59
        16, 16,  32 ->  64, same           45        94     0.52
         6,  6,  64 ->  64, valid          49       129     0.49
         8,  8,  64 ->  64, same           66       125     0.46
        16, 16,  64 ->  64, same           68       108     0.46
         7,  7, 256 -> 256, same           61       138     0.40
        15, 15,  64 -> 256, same           68       112     0.40

    Args:
        convolution: what is to be computed.
        x_shape: (N, H, W, C).
        filters: F.
    """
    if backend.cuda_is_active():
        return "implicit"
    if convolution.is_pointwise and convolution.groups == 1:
        return "pointwise"
    if backend.get_backend() != "numpy":
        return "im2col"  # a GPU has multiplications to spare, and the transforms are many launches
    return "winograd" if _winograd_is_quicker(convolution, x_shape, filters) else "im2col"


@lru_cache(maxsize=1024)  # the same at every call of a layer
def _winograd_is_quicker(convolution: Convolution, x_shape: tuple[int, ...], filters: int) -> bool:
    if not conv_winograd.supports(convolution):
        return False
    return winograd_effort(convolution, x_shape, filters) < 1.1


def algorithm_for(
    wanted: str | None, convolution: Convolution, x_shape: tuple[int, ...], filters: int
) -> str:
    """The algorithm that is asked for, if there is one, and otherwise the quickest.

    Args:
        wanted: one of `ALGORITHMS`, or None for the quickest. "implicit" stands for that, too,
            without an NVIDIA GPU, as in a model that was made on one.
        convolution, x_shape, filters: as for `choose_algorithm`.
    """
    if wanted is None or (wanted == "implicit" and not backend.cuda_is_active()):
        return choose_algorithm(convolution, x_shape, filters)
    return wanted


def winograd_effort(
    convolution: Convolution, x_shape: tuple[int, ...], filters: int, results: int = 1
) -> float:
    """Multiply-adds of `conv_winograd`, its transforms included, over those of the direct sum.

    Args:
        convolution, x_shape, filters: as for `choose_algorithm`.
        results: 1 for forward, or for one of the gradients; 2 for both gradients, which share the
            transforms between them.
    """
    n, h, w, c = x_shape
    oh, ow = convolution.output_size(h, w)
    tiles = n * conv_winograd.tiles_of(oh) * conv_winograd.tiles_of(ow)
    transforms = tiles * 36 * (36 * c + 16 * filters) + 36 * 9 * c * filters
    products = results * tiles * 36 * c * filters
    return (transforms + products) / max(1, n * oh * ow * 9 * c * filters)


def conv2d(
    x: Array,
    kernel: Array,
    bias: Array | None,
    convolution: Convolution,
    algorithm: str | None = None,
) -> Array:
    """(N, H, W, C) to (N, OH, OW, F), by one algorithm or another.

    Args:
        x: images (N, H, W, C).
        kernel: (kh, kw, C / groups, F).
        bias: (F,), or None.
        convolution: how the kernel is applied.
        algorithm: one of `ALGORITHMS`; default: the quickest.
    """
    name = algorithm_for(algorithm, convolution, x.shape, kernel.shape[-1])
    run = implementation(name, x, kernel)
    y, _ = run.forward(x, run.prepare(kernel, x.dtype), convolution)
    if bias is not None:
        y += along_row(bias, y)
    return y


def conv2d_gradients(
    x: Array, dy: Array, kernel: Array, convolution: Convolution, algorithm: str | None = None
) -> tuple[Array, Array]:
    """(dw, dx) of `conv2d`.

    dw[i, j, c, f] = sum_{n, p, q} x[n, p sh + i dh, q sw + j dw, c] dy[n, p, q, f]
    dx[n, r, s, c] = sum of w[i, j, c, f] dy[n, p, q, f] over p sh + i dh = r, q sw + j dw = s

    Args:
        x, kernel, convolution, algorithm: as for `conv2d`.
        dy: (N, OH, OW, F).
    """
    name = algorithm_for(algorithm, convolution, x.shape, kernel.shape[-1])
    run = implementation(name, dy, x, kernel)
    prepared = run.prepare(kernel, x.dtype)
    _, kept = run.forward(x, prepared, convolution, keep=True)
    return run.gradients(dy, kept, prepared, x.shape, convolution)
