"""Convolution by im2col against the naive loops, whatever the size of a chunk; which algorithm is
chosen."""

from dataclasses import replace

import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from strategies import ConvolutionCase, convolutions, numbers, paired_convolutions

from minicnn.kernels import conv, conv_im2col, conv_winograd
from minicnn.kernels.channels import channel_sum
from minicnn.kernels.windows import Convolution

CHUNKS = [1, 600, 5000, 1 << 20]  # bytes: one image at a time, some and a remainder, all at once


@pytest.fixture(params=CHUNKS)
def chunk_bytes(request, monkeypatch):
    monkeypatch.setattr(conv_im2col, "CHUNK_BYTES", request.param)


def by_im2col(x, w, b, dy, case):
    """y, dw and dx."""
    y = conv.conv2d(x, w, b, case.window, "im2col")
    return y, *conv.conv2d_gradients(x, dy, w, case.window, "im2col")


def check(case, dtype="float64", **tolerance):
    x, w, dy = case.arrays(dtype)
    b = numbers(case.filters, 9, dtype)
    y, dw, dx = by_im2col(x, w, b, dy, case)
    db = channel_sum(dy)
    assert {a.dtype for a in (y, dw, dx, db)} == {np.dtype(dtype)}
    x, w, dy, b = (a.astype("float64") for a in (x, w, dy, b))
    expected = reference.conv2d(x, w, b, **case.geometry, groups=case.groups)
    np.testing.assert_allclose(y, expected, **tolerance)
    dx_expected, dw_expected = reference.conv2d_gradients(
        x, w, dy, **case.geometry, groups=case.groups
    )
    np.testing.assert_allclose(dw, dw_expected, **tolerance)
    np.testing.assert_allclose(dx, dx_expected, **tolerance)
    np.testing.assert_allclose(db, dy.sum((0, 1, 2)), **tolerance)


@given(convolutions(), st.sampled_from(CHUNKS))
def test_forward_and_gradients(case, chunk_bytes):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conv_im2col, "CHUNK_BYTES", chunk_bytes)
        check(case, atol=1e-11)


@given(paired_convolutions(), st.sampled_from(CHUNKS))
def test_two_outputs_at_once(case, chunk_bytes):
    assert conv_im2col._in_pairs(case.x_shape, case.window)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conv_im2col, "CHUNK_BYTES", chunk_bytes)
        check(case, atol=1e-11)


@given(st.one_of(convolutions(), paired_convolutions()))
def test_float32(case):
    check(case, "float32", rtol=1e-4, atol=1e-4)


CASES = {
    "tutorial": ConvolutionCase(Convolution((3, 3)), (7, 6, 6, 3), 4, 0),
    "same": ConvolutionCase(Convolution((3, 3), padding="same"), (7, 5, 4, 2), 3, 1),
    "pointwise": ConvolutionCase(Convolution((1, 1)), (7, 3, 4, 3), 2, 2),
    "pointwise groups": ConvolutionCase(Convolution((1, 1), groups=2), (7, 3, 4, 4), 6, 3),
    "pointwise stride": ConvolutionCase(Convolution((1, 1), (2, 3)), (7, 5, 4, 3), 2, 4),
    "stride does not divide": ConvolutionCase(Convolution((3, 2), (2, 3)), (7, 6, 9, 2), 2, 5),
    "gaps": ConvolutionCase(Convolution((1, 2), (3, 3)), (7, 6, 8, 2), 2, 6),
    "dilation": ConvolutionCase(Convolution((3, 2), (1, 1), "same", (2, 3)), (7, 5, 6, 2), 2, 7),
    "groups": ConvolutionCase(Convolution((2, 2), (1, 2), groups=3), (7, 4, 5, 6), 6, 8),
    "large window": ConvolutionCase(Convolution((5, 5), (1, 1), "same"), (7, 2, 3, 2), 2, 9),
    "one pixel": ConvolutionCase(Convolution((3, 3), (2, 2), "same"), (7, 1, 1, 2), 2, 10),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_several_chunks_and_a_remainder(case, chunk_bytes):
    check(case, atol=1e-11)


def test_chunks_are_as_large_as_they_may_be(monkeypatch):
    """Images of 9 x 18 float64 in 2.7 KB per chunk: 2 + 2 + 1 of 5."""
    monkeypatch.setattr(conv_im2col, "CHUNK_BYTES", 2592 + 100)
    x = numbers((5, 5, 5, 2))
    unrolled = conv_im2col._unrolled(x, Convolution((3, 3)), ((0, 0), (0, 0)), (3, 3), 2)
    group = conv_im2col.Group(0, 1, 2, 1)
    assert [(c.start, c.stop) for c, _ in unrolled(group)] == [(0, 2), (2, 4), (4, 5)]


@pytest.mark.parametrize("name", ["tutorial", "groups"])
def test_arguments_stay_as_they_are(name):
    case = CASES[name]
    x, w, dy = case.arrays()
    kept = [a.copy() for a in (x, w, dy)]
    by_im2col(x, w, None, dy, case)
    for now, before in zip((x, w, dy), kept, strict=True):
        np.testing.assert_array_equal(now, before)


@pytest.mark.parametrize("name", ["tutorial", "groups", "pointwise", "stride does not divide"])
def test_arrays_that_are_not_contiguous(name):
    """As a slice of a concatenation hands them over."""
    case = CASES[name]
    x, w, dy = case.arrays()
    x2, dy2 = (np.concatenate([a, a], axis=-1)[..., : a.shape[-1]] for a in (x, dy))
    for one, other in zip(
        by_im2col(x, w, None, dy, case), by_im2col(x2, w, None, dy2, case), strict=True
    ):
        np.testing.assert_allclose(one, other, atol=1e-12)


@pytest.mark.parametrize("name", ["tutorial", "groups"])
def test_only_the_gradients_asked_for(name):
    case = CASES[name]
    x, w, dy = case.arrays()
    _, dw, dx = by_im2col(x, w, None, dy, case)
    y, kept = conv_im2col.forward(x, w, case.window)
    assert kept is None
    arguments = (w, x.shape, case.window)
    only_dx = conv_im2col.gradients(dy, None, *arguments, needs_dw=False)
    only_dw = conv_im2col.gradients(dy, x, *arguments, needs_dx=False)
    assert only_dx[0] is None and only_dw[1] is None
    np.testing.assert_array_equal(only_dx[1], dx)
    np.testing.assert_array_equal(only_dw[0], dw)


@given(convolutions())
def test_both_ways_to_the_input_gradient_agree(case):
    """With stride 1 a convolution gives what adding up gives."""
    window = replace(case.window, strides=(1, 1))
    x, w, dy = replace(case, window=window).arrays()
    np.testing.assert_allclose(
        conv_im2col._input_gradient_by_convolution(dy, w, x.shape, window),
        conv_im2col._input_gradient_by_scatter(dy, w, x.shape, window),
        atol=1e-11,
    )


IMAGES = (128, 16, 16, 64)


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize(("shape", "filters"), [(IMAGES, 64), ((16, 15, 15, 64), 256)])
def test_winograd_where_there_are_many_channels(padding, shape, filters):
    assert conv.choose_algorithm(Convolution((3, 3), padding=padding), shape, filters) == "winograd"


@pytest.mark.parametrize(
    ("convolution", "shape"),
    [
        (Convolution((3, 3)), (128, 32, 32, 3)),  # the three colours of a first layer
        (Convolution((3, 3), (2, 2)), IMAGES),
        (Convolution((3, 3), (1, 2), "same"), IMAGES),
        (Convolution((3, 3), dilation=(2, 2)), IMAGES),
        (Convolution((3, 3), groups=2), IMAGES),
        (Convolution((5, 5)), IMAGES),
        (Convolution((3, 1)), IMAGES),
        (Convolution((2, 2)), IMAGES),
        (Convolution((1, 1), (2, 2)), IMAGES),
        (Convolution((1, 1), groups=2), IMAGES),
        (Convolution((3, 3), padding="same"), (128, 1, 1, 64)),  # a tile of 16 outputs for one
    ],
)
def test_im2col_for_all_others(convolution, shape):
    assert conv.choose_algorithm(convolution, shape, 64) == "im2col"


@pytest.mark.parametrize("channels", [1, 3, 64])
def test_a_window_of_one_pixel_is_a_product_as_it_stands(channels):
    assert conv.choose_algorithm(Convolution((1, 1)), (128, 16, 16, channels), 64) == "pointwise"


def test_the_effort_of_winograd_counts_its_transforms():
    """One image, one tile, C = F = 1: inputs 36 x 36, outputs 16 x 36, kernel 36 x 9, products 36;
    against 16 outputs of 9 products."""
    effort = conv.winograd_effort(Convolution((3, 3)), (1, 6, 6, 1), 1)
    assert effort == (36 * 36 + 16 * 36 + 36 * 9 + 36) / (16 * 9)


def test_the_effort_of_winograd_falls_with_channels_and_images():
    window = Convolution((3, 3), padding="same")

    def effort(images, channels, filters):
        return conv.winograd_effort(window, (images, 8, 8, channels), filters)

    assert effort(8, 8, 8) > effort(8, 64, 8) > effort(8, 64, 64)
    assert effort(1, 64, 64) > effort(8, 64, 64)  # the kernel is transformed once
    # in the limit 36 products for the 144 of a tile of 16 outputs
    assert effort(10**6, 10**6, 10**6) == pytest.approx(36 / 144, rel=1e-3)


def test_what_is_chosen_is_what_runs(monkeypatch):
    case = ConvolutionCase(Convolution((3, 3), padding="same"), (2, 8, 8, 32), 32, 0)
    x, w, dy = case.arrays()
    ran = []
    for module in (conv_im2col, conv_winograd):
        forward = module.forward
        monkeypatch.setattr(
            module, "forward", lambda *a, f=forward, m=module, **k: ran.append(m) or f(*a, **k)
        )
    assert conv.choose_algorithm(case.window, x.shape, 32) == "winograd"
    for chosen in (None, "winograd", "im2col"):
        conv.conv2d(x, w, None, case.window, algorithm=chosen)
        conv.conv2d_gradients(x, dy, w, case.window, algorithm=chosen)
    assert ran == [conv_winograd] * 4 + [conv_im2col] * 2
