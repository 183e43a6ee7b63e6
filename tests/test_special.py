import math

import numpy as np
import pytest

from minicnn.kernels.special import erf, normal_cdf, normal_pdf

POINTS = np.concatenate(
    [np.linspace(-7, 7, 20001), np.geomspace(1e-300, 10, 500), [0.0, 0.5, -0.5, np.inf, -np.inf]]
)


def test_erf_float64():
    expected = np.array([math.erf(v) for v in POINTS])
    np.testing.assert_allclose(erf(POINTS), expected, rtol=1e-15, atol=0)


def test_erf_float32():
    x = POINTS.astype("float32")
    expected = np.array([math.erf(v) for v in x.astype("float64")])
    y = erf(x)
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, expected, rtol=5e-7, atol=1e-37)
    assert np.abs(y).max() <= 1


def test_erf_float32_between_all_its_numbers():
    """A million steps over where erf is neither x times a constant nor 1."""
    x = np.linspace(-4.5, 4.5, 200_001, dtype="float32")
    x = np.concatenate([x, np.geomspace(1e-30, 4.5, 20_000, dtype="float32")])
    np.testing.assert_allclose(erf(x), erf(x.astype("float64")), rtol=5e-7)
    np.testing.assert_array_equal(erf(-x), -erf(x))


@pytest.mark.parametrize("shape", [(1,), (5,), (2, 3), (2, 3, 4), (1, 2, 3, 4), (0, 3)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_erf_of_any_shape(shape, dtype):
    x = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    before = x.copy()
    expected = [math.erf(v) for v in x.ravel()]
    assert erf(x).shape == shape and erf(x).dtype == dtype
    np.testing.assert_allclose(erf(x).ravel(), expected, rtol=5e-7)
    np.testing.assert_array_equal(x, before)


def test_erf_of_nan_is_nan():
    for dtype in ("float32", "float64"):
        assert np.isnan(erf(np.array([np.nan], dtype))).all()


def test_normal_distribution():
    x = np.linspace(-5, 5, 101)
    h = 1e-5
    slope = (normal_cdf(x + h) - normal_cdf(x - h)) / (2 * h)
    np.testing.assert_allclose(slope, normal_pdf(x), atol=1e-9)
    assert normal_cdf(np.zeros(1)) == 0.5
