"""Geometry of sliding windows, and im2col with its adjoint."""

import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from strategies import image_sizes, numbers, windows

from minicnn.kernels.windows import Convolution, Window, col2im, crop, im2col, pad


@st.composite
def cases(draw):
    window = draw(windows(largest=4))
    shape = (draw(st.integers(1, 3)), *draw(image_sizes(window)), draw(st.integers(1, 3)))
    return window, numbers(shape, draw(st.integers(0, 1000)))


def geometry(window, x):
    return (*x.shape[1:3], window.size, window.strides, window.padding, window.dilation)


@given(cases())
def test_output_size(case):
    window, x = case
    assert window.output_size(*x.shape[1:3]) == reference.output_size(*geometry(window, x))


@given(cases())
def test_padding_is_tensorflows(case):
    window, x = case
    axes = zip(
        window.pads(*x.shape[1:3]), window.output_size(*x.shape[1:3]), x.shape[1:3],
        window.size, window.strides, window.extent, window.dilation, strict=True,
    )  # fmt: skip
    for (before, after), out, length, k, stride, extent, dilation in axes:
        assert before == reference.pad_before(length, k, stride, window.padding, dilation)
        assert before <= after <= before + 1
        if before + after:  # no more than the last window needs
            assert before + length + after == (out - 1) * stride + extent


@pytest.mark.parametrize(
    ("size", "length", "stride", "expected"),
    [(3, 5, 1, (1, 1)), (3, 6, 2, (0, 1)), (2, 5, 1, (0, 1)), (5, 7, 3, (2, 2)), (1, 5, 2, (0, 0))],
)
def test_same_padding_by_hand(size, length, stride, expected):
    window = Window((size, size), (stride, stride), "same")
    assert window.pads(length, length) == (expected, expected)


@given(cases())
def test_input_size(case):
    """No fewer rows and columns make as many outputs, and what is beyond them makes none."""
    window, x = case
    window = Window(window.size, window.strides, "valid", window.dilation)
    outputs = window.output_size(*x.shape[1:3])
    if min(outputs) < 1:
        return
    height, width = window.input_size(outputs)
    assert height <= x.shape[1] and width <= x.shape[2]
    assert window.output_size(height, width) == outputs
    fewer = window.output_size(height - 1, width - 1)
    assert fewer == (outputs[0] - 1, outputs[1] - 1)


def test_a_convolution_is_a_window_with_groups():
    arguments = ((3, 2), (2, 1), "same", (1, 2))
    window, convolution = Window(*arguments), Convolution(*arguments, groups=2)
    assert isinstance(convolution, Window) and convolution != window
    assert convolution == Convolution(*arguments, 2) != Convolution(*arguments)
    assert convolution.output_size(7, 8) == window.output_size(7, 8)
    assert convolution.pads(7, 8) == window.pads(7, 8)


def test_extent():
    assert Window((3, 2), dilation=(2, 3)).extent == (5, 4)


@pytest.mark.parametrize(
    ("window", "pointwise"),
    [
        (Window((1, 1)), True),
        (Window((1, 1), padding="same"), True),
        (Window((1, 1), (2, 1)), False),
        (Window((1, 2)), False),
    ],
)
def test_is_pointwise(window, pointwise):
    assert window.is_pointwise == pointwise


@given(cases())
def test_im2col_rows_are_windows(case):
    window, x = case
    n, _, _, c = x.shape
    size = window.output_size(*x.shape[1:3])
    columns = im2col(pad(x, window.pads(*x.shape[1:3])), window, size)
    expected = np.zeros((n, *size, *window.size, c))
    for p, q, i, j, r, s in reference.reads(*geometry(window, x)):
        expected[:, p, q, i, j] = x[:, r, s]
    np.testing.assert_array_equal(columns, expected.reshape(columns.shape))


@given(cases())
def test_col2im_is_the_adjoint(case):
    """<im2col(x), c> = <x, col2im(c)>."""
    window, x = case
    size = window.output_size(*x.shape[1:3])
    padded = pad(x, window.pads(*x.shape[1:3]))
    columns = im2col(padded, window, size)
    c = numbers(columns.shape, 7)
    back = col2im(c, padded.shape, window, size)
    assert back.shape == padded.shape
    np.testing.assert_allclose((columns * c).sum(), (padded * back).sum(), rtol=1e-12, atol=1e-11)


def test_im2col_into_a_given_array():
    x, window = numbers((2, 4, 5, 3)), Window((2, 3))
    buffer = np.full((30, 18), np.nan)
    part = im2col(x, window, (3, 3), out=buffer[:18])
    assert np.shares_memory(part, buffer)
    np.testing.assert_array_equal(buffer[:18], im2col(x, window, (3, 3)))
    assert np.isnan(buffer[18:]).all()


@given(st.lists(st.integers(0, 3), min_size=4, max_size=4))
def test_pad_and_crop(sides):
    x = numbers((2, 3, 4, 2), dtype="float32")
    pads = (tuple(sides[:2]), tuple(sides[2:]))
    padded = pad(x, pads)
    assert padded.dtype == np.float32
    np.testing.assert_array_equal(padded, reference.zero_pad(x, pads))
    np.testing.assert_array_equal(crop(padded, pads), x)


def test_no_padding_is_no_copy():
    x = numbers((1, 3, 3, 1))
    assert pad(x, ((0, 0), (0, 0))) is x
