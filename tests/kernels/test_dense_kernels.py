"""Rows times kernel, and its gradients: generic, and in CUDA C on the CPU."""

import cuda_on_cpu
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import numbers

from minicnn import backend
from minicnn.dtypes import dtype_of
from minicnn.kernels.dense import dense, dense_gradients
from minicnn.layers import Dense

DTYPES = ["float32", "float64", "float16", "bfloat16"]
ERRORS = {"float32": 2e-6, "float64": 1e-14, "float16": 2**-11, "bfloat16": 2**-8}
on_the_cpu = pytest.mark.skipif(cuda_on_cpu.compiler() is None, reason="there is no C++ compiler")
sizes = st.tuples(st.integers(1, 140), st.integers(1, 70), st.integers(1, 70))


def arrays(n, inputs, units, dtype):
    """rows, kernel, dy: the kernel in float32 where the others have 16 bits."""
    wide = "float64" if dtype == "float64" else "float32"
    rows, kernel, dy = (
        numbers(shape, i, wide)
        for i, shape in enumerate([(n, inputs), (inputs, units), (n, units)])
    )
    return rows.astype(dtype_of(dtype)), kernel, dy.astype(dtype_of(dtype))


def check(dtype, rows, kernel, dy):
    y, (dw, dx) = dense(rows, kernel), dense_gradients(dy, rows, kernel)
    assert (y.dtype, dw.dtype, dx.dtype) == (rows.dtype, kernel.dtype, rows.dtype)
    x, w, d = (a.astype(dtype_of(dtype)).astype("float64") for a in (rows, kernel, dy))
    weights_error = min(ERRORS[dtype], 2e-6)
    for ours, theirs, error in (
        (y, x @ w, ERRORS[dtype]), (dw, x.T @ d, weights_error), (dx, d @ w.T, ERRORS[dtype]),
    ):  # fmt: skip
        largest = np.abs(theirs).max()
        np.testing.assert_allclose(ours.astype("float64"), theirs, rtol=0, atol=error * largest)


@pytest.mark.parametrize("dtype", DTYPES)
@given(sizes)
def test_generic(dtype, size):
    check(dtype, *arrays(*size, dtype))


@on_the_cpu
@pytest.mark.parametrize("dtype", DTYPES)
@settings(max_examples=12)
@given(sizes)
def test_in_cuda(dtype, size):
    with cuda_on_cpu.installed():
        check(dtype, *arrays(*size, dtype))


@on_the_cpu
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_long_sum_is_made_in_parts(dtype):
    """Few rows and units, many inputs: one tile, but many slices."""
    with cuda_on_cpu.installed():
        check(dtype, *arrays(5, 1100, 8, dtype))


@on_the_cpu
def test_tf32(monkeypatch):
    rows, kernel, dy = arrays(40, 30, 20, "float32")
    monkeypatch.setattr(backend, "_tensor_float_32", True)
    with cuda_on_cpu.installed():
        results = dense(rows, kernel), *dense_gradients(dy, rows, kernel)
    for ours, theirs in zip(results, (rows @ kernel, rows.T @ dy, dy @ kernel.T), strict=True):
        error = np.abs(ours - theirs).max() / np.abs(theirs).max()
        assert 1e-5 < error < 1e-3


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("installed", [False, pytest.param(True, marks=on_the_cpu)])
def test_only_the_gradients_asked_for(dtype, installed):
    rows, kernel, dy = arrays(6, 5, 4, dtype)

    def run():
        dw, dx = dense_gradients(dy, rows, kernel)
        only_dw = dense_gradients(dy, rows, kernel, needs_dx=False)
        only_dx = dense_gradients(dy, None, kernel, needs_dw=False)
        assert only_dw[1] is None and only_dx[0] is None
        np.testing.assert_array_equal(only_dw[0], dw)
        np.testing.assert_array_equal(only_dx[1], dx)

    if installed:
        with cuda_on_cpu.installed():
            run()
    else:
        run()


@on_the_cpu
def test_the_layer_uses_them():
    x = numbers((7, 3, 5), dtype="float32")
    layer = Dense(4)
    expected = layer(x)
    with cuda_on_cpu.installed():
        np.testing.assert_allclose(layer(x), expected, rtol=1e-5, atol=1e-6)
