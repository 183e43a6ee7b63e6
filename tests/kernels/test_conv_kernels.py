"""Tiled convolution against the naive loops, whatever the size of a tile."""

import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from strategies import Convolution, convolutions, numbers

from minicnn.kernels import conv
from minicnn.kernels.windows import Window

TILES = [1, 600, 5000, 1 << 20]  # bytes: one image at a time, some and a remainder, all at once


@pytest.fixture(params=TILES)
def tile_bytes(request, monkeypatch):
    monkeypatch.setattr(conv, "TILE_BYTES", request.param)


def check(case, dtype="float64", **tolerance):
    x, w, dy = case.arrays(dtype)
    b = numbers(case.filters, 9, dtype)
    y = conv.conv2d(x, w, b, case.window, case.groups)
    dw = conv.conv2d_kernel_gradient(x, dy, w.shape, case.window, case.groups)
    dx = conv.conv2d_input_gradient(dy, w, x.shape, case.window, case.groups)
    db = conv.conv2d_bias_gradient(dy)
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


@given(convolutions(), st.sampled_from(TILES))
def test_forward_and_gradients(case, tile_bytes):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conv, "TILE_BYTES", tile_bytes)
        check(case, atol=1e-11)


@given(convolutions())
def test_float32(case):
    check(case, "float32", rtol=1e-4, atol=1e-4)


CASES = {
    "tutorial": Convolution(Window((3, 3)), (7, 6, 6, 3), 1, 4, 0),
    "same": Convolution(Window((3, 3), padding="same"), (7, 5, 4, 2), 1, 3, 1),
    "pointwise": Convolution(Window((1, 1)), (7, 3, 4, 3), 1, 2, 2),
    "pointwise groups": Convolution(Window((1, 1)), (7, 3, 4, 4), 2, 6, 3),
    "pointwise stride": Convolution(Window((1, 1), (2, 3)), (7, 5, 4, 3), 1, 2, 4),
    "stride does not divide": Convolution(Window((3, 2), (2, 3)), (7, 6, 9, 2), 1, 2, 5),
    "gaps": Convolution(Window((1, 2), (3, 3)), (7, 6, 8, 2), 1, 2, 6),
    "dilation": Convolution(Window((3, 2), (1, 1), "same", (2, 3)), (7, 5, 6, 2), 1, 2, 7),
    "groups": Convolution(Window((2, 2), (1, 2)), (7, 4, 5, 6), 3, 6, 8),
    "larger than the image": Convolution(Window((5, 5), (1, 1), "same"), (7, 2, 3, 2), 1, 2, 9),
    "one pixel": Convolution(Window((3, 3), (2, 2), "same"), (7, 1, 1, 2), 1, 2, 10),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_several_tiles_and_a_remainder(case, tile_bytes):
    check(case, atol=1e-11)


def test_tiles_are_as_large_as_they_may_be(monkeypatch):
    """Three images of 9 x 18 float64 in 2.5 KB of a tile: 2 + 2 + 1 of 5."""
    monkeypatch.setattr(conv, "TILE_BYTES", 2592 + 100)
    x = numbers((5, 5, 5, 2))
    tiles = [(t.start, t.stop) for t, _ in conv._tiles(x, Window((3, 3)), (3, 3))]
    assert tiles == [(0, 2), (2, 4), (4, 5)]


def test_arguments_stay_as_they_are():
    case = CASES["groups"]
    x, w, dy = case.arrays()
    kept = [a.copy() for a in (x, w, dy)]
    conv.conv2d(x, w, None, case.window, case.groups)
    conv.conv2d_kernel_gradient(x, dy, w.shape, case.window, case.groups)
    conv.conv2d_input_gradient(dy, w, x.shape, case.window, case.groups)
    for now, before in zip((x, w, dy), kept, strict=True):
        np.testing.assert_array_equal(now, before)


@pytest.mark.parametrize("name", ["tutorial", "groups", "pointwise", "stride does not divide"])
def test_arrays_that_are_not_contiguous(name):
    """As a slice of a concatenation hands them over."""
    case = CASES[name]
    x, w, dy = case.arrays()
    x2, dy2 = (np.concatenate([a, a], axis=-1)[..., : a.shape[-1]] for a in (x, dy))
    for one, other in [
        (conv.conv2d(x, w, None, case.window, case.groups),
         conv.conv2d(x2, w, None, case.window, case.groups)),
        (conv.conv2d_kernel_gradient(x, dy, w.shape, case.window, case.groups),
         conv.conv2d_kernel_gradient(x2, dy2, w.shape, case.window, case.groups)),
        (conv.conv2d_input_gradient(dy, w, x.shape, case.window, case.groups),
         conv.conv2d_input_gradient(dy2, w, x.shape, case.window, case.groups)),
    ]:  # fmt: skip
        np.testing.assert_allclose(one, other, atol=1e-12)


@given(convolutions())
def test_both_ways_to_the_input_gradient_agree(case):
    """With stride 1 a convolution gives what adding up gives."""
    window = Window(case.window.size, (1, 1), case.window.padding, case.window.dilation)
    case = Convolution(window, case.x_shape, case.groups, case.filters, case.seed)
    x, w, dy = case.arrays()
    np.testing.assert_allclose(
        conv._input_gradient_by_convolution(dy, w, x.shape, window, case.groups),
        conv._input_gradient_by_scatter(dy, w, x.shape, window, case.groups),
        atol=1e-11,
    )
