"""Depthwise convolution against the naive loops."""

import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from strategies import convolutions, numbers

from minicnn.kernels import depthwise


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@given(
    case=convolutions(grouped=False),
    multiplier=st.integers(1, 3),
    chunk_bytes=st.sampled_from([1, 300, 1 << 18]),
)
def test_forward_and_gradients(dtype, case, multiplier, chunk_bytes):
    x, _, _ = case.arrays(dtype)
    w = numbers((*case.window.size, x.shape[-1], multiplier), 1, dtype)
    dy = numbers((*case.y_shape[:3], x.shape[-1] * multiplier), 2, dtype)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(depthwise, "CHUNK_BYTES", chunk_bytes)
        y = depthwise.depthwise_conv2d(x, w, case.window)
        dw = depthwise.depthwise_kernel_gradient(x, dy, w.shape, case.window)
        dx = depthwise.depthwise_input_gradient(dy, w, x.shape, case.window)
    assert {a.dtype for a in (y, dw, dx)} == {np.dtype(dtype)}
    x, w, dy = (a.astype("float64") for a in (x, w, dy))
    tolerance = 1e-11 if dtype == "float64" else 1e-4
    expected = reference.depthwise_conv2d(x, w, **case.geometry)
    np.testing.assert_allclose(y, expected, rtol=tolerance, atol=tolerance)
    dx_expected, dw_expected = reference.depthwise_conv2d_gradients(x, w, dy, **case.geometry)
    np.testing.assert_allclose(dx, dx_expected, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(dw, dw_expected, rtol=tolerance, atol=tolerance)
