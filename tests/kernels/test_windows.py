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


@given(st.lists(st.integers(-4, 4), min_size=4, max_size=4))
def test_pads_below_zero_leave_out_some_of_the_image(sides):
    """And `crop` is the adjoint, <pad(x), d> = <x, crop(d)>, with 0 for what was left out."""
    pads = (tuple(sides[:2]), tuple(sides[2:]))
    x = numbers((2, 8, 9, 2))
    padded = pad(x, pads)
    within = x[:, max(0, -sides[0]) : 8 - max(0, -sides[1])]
    within = within[:, :, max(0, -sides[2]) : 9 - max(0, -sides[3])]
    around = tuple(tuple(max(0, side) for side in pair) for pair in pads)
    np.testing.assert_array_equal(padded, reference.zero_pad(within, around))
    d = numbers(padded.shape, 3)
    back = crop(d, pads)
    assert back.shape == x.shape
    np.testing.assert_allclose((padded * d).sum(), (x * back).sum(), rtol=1e-12, atol=1e-11)


FAR = st.sampled_from([1, 2, 3, 5, 8, 13, 10**9])


@given(st.integers(1, 6), st.integers(1, 5), st.integers(1, 5), FAR, st.booleans())
def test_a_window_within_the_image(height, taps, stride, dilation, same):
    """It has the taps that see the image from some place, reads the same numbers with them, and
    needs no border larger than the image."""
    window = Window((taps, 1), (stride, 1), "same" if same else "valid", (dilation, 1))
    oh, _ = window.output_size(height, 1)
    if oh < 1:
        return
    seen, (rows, columns) = window.within(height, 1)
    (before, _), _ = window.pads(height, 1)
    reads = [[i * dilation - before + p * stride for p in range(oh)] for i in range(taps)]
    sees = [i for i, r in enumerate(reads) if r[-1] >= 0 and r[0] < height]
    assert columns == slice(0, 1) and (rows.start, rows.stop) == (
        (sees[0], sees[-1] + 1) if sees else (0, 1)
    )
    assert seen.output_size(height, 1) == (oh, 1)
    image = np.arange(1.0, height + 1).reshape(1, height, 1, 1)
    padded = pad(image, seen.pads(height, 1))
    assert padded.shape[1] <= 3 * height + 2 * oh * stride
    for i, _, view in seen.taps(padded, (oh, 1)):
        expected = [
            image[0, r, 0, 0] if sees and 0 <= r < height else 0 for r in reads[rows.start + i]
        ]
        np.testing.assert_array_equal(view[0, :, 0, 0], expected)


def test_an_ordinary_window_is_itself_within_the_image():
    for window in (Window((3, 3), padding="same"), Window((5, 1), (2, 2)), Window((1, 1))):
        assert window.within(8, 8)[0] == window
    assert Window((3, 3), padding="same").within(1, 1)[0].is_pointwise
    assert not Window((1, 1), padding=((1, -1), (0, 0))).is_pointwise


def test_no_padding_is_no_copy():
    x = numbers((1, 3, 3, 1))
    assert pad(x, ((0, 0), (0, 0))) is x
