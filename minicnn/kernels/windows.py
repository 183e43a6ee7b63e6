"""Sliding windows over images: sizes, padding, im2col and its adjoint.

Images are (N, H, W, C). A window of kh x kw taps, moved by strides (sh, sw), its taps dilation
(dh, dw) apart, covers eh = (kh - 1) dh + 1 rows and ew = (kw - 1) dw + 1 columns.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TypeVar

from minicnn.backend import array_module
from minicnn.dtypes import wide
from minicnn.typing import Array

Pair = tuple[int, int]
Pads = tuple[Pair, Pair]  # ((top, bottom), (left, right))
AnyWindow = TypeVar("AnyWindow", bound="Window")


@dataclass(frozen=True)
class Window:
    """Geometry of a sliding window.

    Attributes:
        size: (kh, kw) taps.
        strides: (sh, sw), from one window to the next.
        padding: "valid" (none) or "same" (zeros so that the output has ceil(H / sh) rows, the odd
            one at the bottom and right, as TensorFlow pads); or the rows and columns to add, as
            `pads` returns them, where less than 0 means to leave some out.
        dilation: (dh, dw).
    """

    size: Pair
    strides: Pair = (1, 1)
    padding: str | Pads = "valid"
    dilation: Pair = (1, 1)

    @property
    def extent(self) -> Pair:
        """(eh, ew): rows and columns from the first tap to the last."""
        (kh, kw), (dh, dw) = self.size, self.dilation
        return (kh - 1) * dh + 1, (kw - 1) * dw + 1

    @lru_cache(maxsize=1024)  # noqa: B019 - windows are small, and asked the same again and again
    def output_size(self, height: int, width: int) -> Pair:
        """(OH, OW) for images of H = `height` and W = `width`; below 1 if the window does not fit.

        valid: OH = floor((H - eh) / sh) + 1        same: OH = ceil(H / sh)
        """
        (sh, sw), (eh, ew) = self.strides, self.extent
        if self.padding == "same":
            return -(-height // sh), -(-width // sw)
        if isinstance(self.padding, tuple):
            height, width = height + sum(self.padding[0]), width + sum(self.padding[1])
        return (height - eh) // sh + 1, (width - ew) // sw + 1

    def input_size(self, output_size: Pair) -> Pair:
        """Rows and columns that outputs of `output_size` (OH, OW) read without padding.

        (OH - 1) sh + eh, (OW - 1) sw + ew
        """
        (oh, ow), (sh, sw), (eh, ew) = output_size, self.strides, self.extent
        return (oh - 1) * sh + eh, (ow - 1) * sw + ew

    @lru_cache(maxsize=1024)  # noqa: B019
    def pads(self, height: int, width: int) -> Pads:
        """((top, bottom), (left, right)): rows and columns added around an image.

        Args:
            height, width: of the image.
        """
        if self.padding == "valid":
            return (0, 0), (0, 0)
        if isinstance(self.padding, tuple):
            return self.padding
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
        unpadded = self.padding in ("valid", "same", ((0, 0), (0, 0)))
        return self.size == (1, 1) and self.strides == (1, 1) and unpadded

    @lru_cache(maxsize=1024)  # noqa: B019
    def within(self: AnyWindow, height: int, width: int) -> tuple[AnyWindow, tuple[slice, slice]]:
        """(a window that gives the same outputs, without the rows and columns of taps that see
        nothing of the image wherever the window stands; which taps it has).

        Large dilations and windows would need borders many times as large as the image for them.

        Args:
            height, width: of the image.
        """
        axes = [
            _seen_taps(*axis)
            for axis in zip(
                self.size, self.strides, self.dilation,
                (height, width), self.output_size(height, width), self.pads(height, width),
                strict=True,
            )
        ]  # fmt: skip
        (rows, row_pads), (columns, column_pads) = axes
        size = rows.stop - rows.start, columns.stop - columns.start
        if size == self.size:
            return self, (rows, columns)
        return replace(self, size=size, padding=(row_pads, column_pads)), (rows, columns)

    def taps(self, x: Array, output_size: Pair) -> Iterator[tuple[int, int, Array]]:
        """(i, j, view) for each tap: view (N, OH, OW, C) is what the tap sees.

        Args:
            x: the padded images.
            output_size: (OH, OW).
        """
        (oh, ow), (sh, sw), (dh, dw) = output_size, self.strides, self.dilation
        for i in range(self.size[0]):
            rows = slice(i * dh, i * dh + (oh - 1) * sh + 1, sh)
            for j in range(self.size[1]):
                columns = slice(j * dw, j * dw + (ow - 1) * sw + 1, sw)
                yield i, j, x[:, rows, columns]


def _seen_taps(
    count: int, stride: int, dilation: int, size: int, outputs: int, pads: Pair
) -> tuple[slice, Pair]:
    """(the taps along an axis that see some of the image, what is to be added to it for them).

    Tap i sees the rows i d - before ... i d - before + (outputs - 1) s.

    Args:
        count, stride, dilation: of the window.
        size: of the image.
        outputs: places of the window.
        pads: (before, after), what would have to be added for all taps.
    """
    before, reach = pads[0], (outputs - 1) * stride
    start = max(0, -((reach - before) // dilation))
    stop = min(count, (size - 1 + before) // dilation + 1)
    if start >= stop:  # one tap, which sees a border in place of the image
        return slice(0, 1), (reach + 1, -size)
    before -= start * dilation
    return slice(start, stop), (before, reach + (stop - start - 1) * dilation + 1 - size - before)


@dataclass(frozen=True)
class Convolution(Window):
    """How a kernel (kh, kw, C / groups, F) is applied to images.

    Attributes:
        size, strides, padding, dilation: see `Window`.
        groups: how many parts channels and filters are cut into; a filter sees the channels of its
            part only.
    """

    groups: int = 1


def pad(x: Array, pads: Pads, value: float = 0.0) -> Array:
    """x with a border around each image; x itself if the border is empty.

    Args:
        x: (N, H, W, C).
        pads: ((top, bottom), (left, right)), the border's rows and columns; less than 0 leaves out
            some of the image.
        value: what fills it.
    """
    (top, bottom), (left, right) = pads
    if top == bottom == left == right == 0:
        return x
    if min(top, bottom, left, right) < 0:
        x = crop(x, _opposite(pads))
        (top, bottom), (left, right) = (_positive(pair) for pair in pads)
    n, h, w, c = x.shape
    padded = array_module(x).full((n, h + top + bottom, w + left + right, c), value, x.dtype)
    padded[:, top : top + h, left : left + w] = x
    return padded


def crop(x: Array, pads: Pads) -> Array:
    """The adjoint of `pad`: a view of x without the border `pads`; what it left out of the image is
    0, in a new array."""
    (top, bottom), (left, right) = (_positive(pair) for pair in pads)
    x = x[:, top : x.shape[1] - bottom, left : x.shape[2] - right]
    return pad(x, _opposite(pads))


def _positive(pair: Pair) -> Pair:
    return max(0, pair[0]), max(0, pair[1])


def _opposite(pads: Pads) -> Pads:
    """What `pads` leave out, as a border."""
    (top, bottom), (left, right) = pads
    return _positive((-top, -bottom)), _positive((-left, -right))


def windows_view(x: Array, window: Window, output_size: Pair) -> Array:
    """All windows without a copy: (N, OH, OW, kh, kw, C).

    Args:
        x: the padded images.
        window: which windows.
        output_size: (OH, OW).
    """
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


def im2col(x: Array, window: Window, output_size: Pair, out: Array | None = None) -> Array:
    """Windows as the rows of a matrix: (N OH OW, kh kw C).

    With the windows as rows, convolution is one product: (N OH OW, kh kw C) @ (kh kw C, F).
    A row is kh runs of kw C neighbouring elements, so the copy is quick in NHWC.

    Args:
        x: the padded images.
        window: which windows.
        output_size: (OH, OW).
        out: where to put the matrix, (N OH OW, kh kw C); default: a new array.
    """
    n, _, _, c = x.shape
    (oh, ow), (kh, kw) = output_size, window.size
    if out is None:
        out = array_module(x).empty((n * oh * ow, kh * kw * c), x.dtype)
    out.reshape(n, oh, ow, kh, kw, c)[...] = windows_view(x, window, output_size)
    return out


def col2im(columns: Array, x_shape: tuple[int, ...], window: Window, output_size: Pair) -> Array:
    """Adjoint of `im2col`: each element of the matrix is added to the pixel it was read from.

    Args:
        columns: (N OH OW, kh kw C).
        x_shape: shape of the padded images.
        window, output_size: as for `im2col`.
    """
    n, _, _, c = x_shape
    (oh, ow), (kh, kw) = output_size, window.size
    columns = columns.reshape(n, oh, ow, kh, kw, c)
    x = array_module(columns).zeros(x_shape, wide(columns.dtype))
    for i, j, view in window.taps(x, output_size):
        view += columns[:, :, :, i, j]
    return x.astype(columns.dtype, copy=False)
