"""Hue and saturation, beside Python's colorsys."""

import colorsys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minicnn.kernels.hsv import scale_saturation, turn_hue

byte = st.integers(0, 255)


def one(*values):
    return np.array(values).reshape(1, 1, 1, -1)


@given(st.tuples(byte, byte, byte), st.floats(-0.5, 0.5), st.floats(0, 5))
def test_one_pixel(pixel, turn, factor):
    x = one(*pixel) / 255
    h, s, v = colorsys.rgb_to_hsv(*x.ravel())
    np.testing.assert_allclose(
        turn_hue(x, one(turn)).ravel(), colorsys.hsv_to_rgb((h + turn) % 1, s, v), atol=1e-9
    )
    y = scale_saturation(x, one(factor), (0, 1))
    np.testing.assert_allclose(y.ravel(), colorsys.hsv_to_rgb(h, min(factor * s, 1), v), atol=1e-9)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dtype_and_grey(dtype):
    x = np.full((2, 3, 3, 3), 0.4, dtype)
    for y in (turn_hue(x, np.full((2, 1, 1, 1), 0.3, dtype)),
              scale_saturation(x, np.full((2, 1, 1, 1), 3.0, dtype), (0, 1))):  # fmt: skip
        assert y.dtype == dtype
        np.testing.assert_allclose(y, x)
