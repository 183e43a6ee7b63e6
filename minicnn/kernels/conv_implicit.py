"""Convolution by an implicit matrix product, which NVIDIA GPUs have; elsewhere by im2col.

See `minicnn/kernels/cuda/conv_implicit.py`.
"""

from typing import Any

from minicnn.kernels import conv_im2col
from minicnn.kernels.device import with_cuda_version
from minicnn.kernels.windows import Window

prepare = conv_im2col.prepare


@with_cuda_version
def forward(
    x: Any, kernel: Any, window: Window, groups: int = 1, keep: bool = False
) -> tuple[Any, Any]:
    """As that of `conv_im2col`."""
    return conv_im2col.forward(x, kernel, window, groups, keep)


@with_cuda_version
def gradients(
    dy: Any,
    x: Any,
    kernel: Any,
    x_shape: tuple[int, ...],
    window: Window,
    groups: int = 1,
    needs_dw: bool = True,
    needs_dx: bool = True,
) -> tuple[Any, Any]:
    """As that of `conv_im2col`."""
    return conv_im2col.gradients(dy, x, kernel, x_shape, window, groups, needs_dw, needs_dx)
