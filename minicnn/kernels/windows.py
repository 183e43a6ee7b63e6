"""Sliding windows over images: sizes, padding, im2col and its adjoint.

Images are (N, H, W, C). A window of kh x kw taps, moved by strides (sh, sw), its taps dilation
(dh, dw) apart, covers eh = (kh - 1) dh + 1 rows and ew = (kw - 1) dw + 1 columns.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from minicnn.backend import array_module
from minicnn.dtypes import wide

Pair = tuple[int, int]


@dataclass(frozen=True)
class Window:
    """Geometry of a sliding window.

    Attributes:
        size: (kh, kw) taps.
        strides: (sh, sw).
        padding: "valid" (none) or "same" (zeros so that the output has ceil(H / sh) rows, the odd
            one at the bottom and right, as TensorFlow pads).
        dilation: (dh, dw).
    """

    size: Pair
    strides: Pair = (1, 1)
    padding: str = "valid"
    dilation: Pair = (1, 1)

    @property
    def extent(self) -> Pair:
        """(eh, ew): rows and columns from the first tap to the last."""
        (kh, kw), (dh, dw) = self.size, self.dilation
        return (kh - 1) * dh + 1, (kw - 1) * dw + 1

    @lru_cache(maxsize=1024)  # noqa: B019 - windows are small, and asked the same again and again
    def output_size(self, height: int, width: int) -> Pair:
        """(OH, OW); below 1 where the window does not fit.

        valid: OH = floor((H - eh) / sh) + 1        same: OH = ceil(H / sh)
        """
        (sh, sw), (eh, ew) = self.strides, self.extent
        if self.padding == "same":
            return -(-height // sh), -(-width // sw)
        return (height - eh) // sh + 1, (width - ew) // sw + 1

    def input_size(self, output_size: Pair) -> Pair:
        """Rows and columns that so many outputs read without padding: (OH - 1) sh + eh, ..."""
        (oh, ow), (sh, sw), (eh, ew) = output_size, self.strides, self.extent
        return (oh - 1) * sh + eh, (ow - 1) * sw + ew

    @lru_cache(maxsize=1024)  # noqa: B019
    def pads(self, height: int, width: int) -> tuple[Pair, Pair]:
        """((top, bottom), (left, right)) rows and columns added around an image."""
        if self.padding == "valid":
            return (0, 0), (0, 0)
        totals = [
            max((out - 1) * stride + extent - size, 0)
            for out, stride, extent, size in zip(
                self.output_size(height, width),
                self.strides,
                self.extent,
                (height, width),
                strict=True,
            )
        ]
        (top, left) = (t // 2 for t in totals)
        return (top, totals[0] - top), (left, totals[1] - left)

    @property
    def is_pointwise(self) -> bool:
        """Whether every output reads the one pixel at its own place."""
        return self.size == (1, 1) and self.strides == (1, 1)

    def taps(self, x: Any, output_size: Pair) -> Iterator[tuple[int, int, Any]]:
        """(i, j, view) for each tap: view (N, OH, OW, C) is what the tap sees of the padded x."""
        (oh, ow), (sh, sw), (dh, dw) = output_size, self.strides, self.dilation
        for i in range(self.size[0]):
            rows = slice(i * dh, i * dh + (oh - 1) * sh + 1, sh)
            for j in range(self.size[1]):
                columns = slice(j * dw, j * dw + (ow - 1) * sw + 1, sw)
                yield i, j, x[:, rows, columns]


def pad(x: Any, pads: tuple[Pair, Pair], value: float = 0.0) -> Any:
    """x with rows and columns of `value` around each image; x itself where there are none."""
    (top, bottom), (left, right) = pads
    if top == bottom == left == right == 0:
        return x
    n, h, w, c = x.shape
    padded = array_module(x).full((n, h + top + bottom, w + left + right, c), value, x.dtype)
    padded[:, top : top + h, left : left + w] = x
    return padded


def crop(x: Any, pads: tuple[Pair, Pair]) -> Any:
    """The inverse of `pad`: a view without the border."""
    (top, bottom), (left, right) = pads
    return x[:, top : x.shape[1] - bottom, left : x.shape[2] - right]


def windows_view(x: Any, window: Window, output_size: Pair) -> Any:
    """All windows of the padded x without a copy: (N, OH, OW, kh, kw, C)."""
    n, _, _, c = x.shape
    (oh, ow), (kh, kw), (sh, sw), (dh, dw) = (
        output_size, window.size, window.strides, window.dilation
    )  # fmt: skip
    sn, srow, scol, sc = x.strides
    return array_module(x).lib.stride_tricks.as_strided(
        x,
        (n, oh, ow, kh, kw, c),
        (sn, sh * srow, sw * scol, dh * srow, dw * scol, sc),
    )


def im2col(x: Any, window: Window, output_size: Pair, out: Any = None) -> Any:
    """Windows of the padded x as the rows of a matrix: (N OH OW, kh kw C).

    With the image as rows, convolution is one product: (N OH OW, kh kw C) @ (kh kw C, F).
    A row is kh runs of kw C neighbouring numbers, so the copy is quick in NHWC.

    Args:
        out: where to put it, (N OH OW, kh kw C); a new array where not given.
    """
    n, _, _, c = x.shape
    (oh, ow), (kh, kw) = output_size, window.size
    if out is None:
        out = array_module(x).empty((n * oh * ow, kh * kw * c), x.dtype)
    out.reshape(n, oh, ow, kh, kw, c)[...] = windows_view(x, window, output_size)
    return out


def col2im(columns: Any, x_shape: tuple[int, ...], window: Window, output_size: Pair) -> Any:
    """Adjoint of `im2col`: each number of the matrix is added to the pixel it was read from.

    Args:
        columns: (N OH OW, kh kw C).
        x_shape: shape of the padded x.
    """
    n, _, _, c = x_shape
    (oh, ow), (kh, kw) = output_size, window.size
    columns = columns.reshape(n, oh, ow, kh, kw, c)
    x = array_module(columns).zeros(x_shape, wide(columns.dtype))
    for i, j, view in window.taps(x, output_size):
        view += columns[:, :, :, i, j]
    return x.astype(columns.dtype, copy=False)
