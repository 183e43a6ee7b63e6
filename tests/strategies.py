"""What hypothesis draws: windows and images of all awkward sizes, small enough for naive loops."""

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from minicnn.kernels.windows import Convolution, Window


def numbers(shape, seed=0, dtype="float64"):
    """Normally distributed numbers."""
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


@st.composite
def pairs(draw, low, high):
    return draw(st.integers(low, high)), draw(st.integers(low, high))


@st.composite
def windows(draw, largest=3, dilated=True):
    """Also windows with gaps between them (stride above size) and with overlaps."""
    return Window(
        draw(pairs(1, largest)),
        draw(pairs(1, 3)),
        draw(st.sampled_from(["valid", "same"])),
        draw(pairs(1, 2)) if dilated else (1, 1),
    )


@st.composite
def image_sizes(draw, window, extra=4):
    """(H, W) at least as large as a "valid" window; the strides divide it only by accident."""
    smallest = window.extent if window.padding == "valid" else (1, 1)
    return tuple(draw(st.integers(s, s + extra)) for s in smallest)


@dataclass(frozen=True)
class ConvolutionCase:
    """A convolution to try: sizes, and arrays for them."""

    window: Convolution
    x_shape: tuple[int, int, int, int]
    filters: int
    seed: int

    @property
    def groups(self):
        return self.window.groups

    @property
    def geometry(self):
        """Arguments as `reference` names them."""
        w = self.window
        return {"strides": w.strides, "padding": w.padding, "dilation": w.dilation}

    @property
    def arguments(self):
        """Arguments as `Conv2D` names them."""
        w = self.window
        return {
            "kernel_size": w.size,
            "strides": w.strides,
            "padding": w.padding,
            "dilation_rate": w.dilation,
        }

    @property
    def kernel_shape(self):
        return (*self.window.size, self.x_shape[-1] // self.groups, self.filters)

    @property
    def y_shape(self):
        return (self.x_shape[0], *self.window.output_size(*self.x_shape[1:3]), self.filters)

    def arrays(self, dtype="float64"):
        """x, w, dy."""
        return (
            numbers(self.x_shape, self.seed, dtype),
            numbers(self.kernel_shape, self.seed + 1, dtype),
            numbers(self.y_shape, self.seed + 2, dtype),
        )


def with_groups(window, groups):
    return Convolution(window.size, window.strides, window.padding, window.dilation, groups)


@st.composite
def convolutions(draw, grouped=True):
    window = draw(windows())
    groups = draw(st.integers(1, 3)) if grouped else 1
    return ConvolutionCase(
        with_groups(window, groups),
        (draw(st.integers(1, 4)), *draw(image_sizes(window)), groups * draw(st.integers(1, 2))),
        groups * draw(st.integers(1, 2)),
        draw(st.integers(0, 1000)),
    )


@st.composite
def paired_convolutions(draw):
    """Short rows and an even output width, so that two outputs are made at once."""
    size = draw(st.integers(1, 3)), draw(st.integers(2, 3))
    window = Convolution(size, padding=draw(st.sampled_from(["valid", "same"])))
    channels = draw(st.integers(1, 5))
    width = 2 * draw(st.integers(1, 4))
    if window.padding == "valid":
        width += window.size[1] - 1
    return ConvolutionCase(
        window,
        (draw(st.integers(1, 4)), draw(st.integers(window.size[0], 6)), width, channels),
        draw(st.integers(1, 3)),
        draw(st.integers(0, 1000)),
    )


@st.composite
def pools(draw):
    """(window, x): a pooling window and images for it."""
    window = draw(windows(dilated=False))
    shape = (draw(st.integers(1, 3)), *draw(image_sizes(window)), draw(st.integers(1, 3)))
    return window, numbers(shape, draw(st.integers(0, 1000)))


@st.composite
def array_shapes(draw, min_rank=2, max_rank=4, largest=5):
    """Shape of a batch: (N, ...)."""
    return tuple(draw(st.lists(st.integers(1, largest), min_size=min_rank, max_size=max_rank)))


@st.composite
def grid_pools(draw):
    """(window, x): windows side by side without padding; rows and columns may be left over."""
    size = draw(pairs(1, 3))
    height, width = (k * draw(st.integers(1, 3)) + draw(st.integers(0, k - 1)) for k in size)
    shape = (draw(st.integers(1, 3)), height, width, draw(st.integers(1, 3)))
    return Window(size, size), numbers(shape, draw(st.integers(0, 1000)))
