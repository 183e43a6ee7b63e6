"""Normal, gamma and beta numbers made of uniform ones, beside NumPy's own."""

import numpy as np
import pytest

from minicnn.kernels.distributions import GAMMA_DRAWS, beta, log_gamma, normal

N = 20_000
RNG = np.random.default_rng(0)


def alike(ours, theirs):
    places = np.quantile(theirs, np.linspace(0.01, 0.99, 99))
    below = (np.asarray(ours)[:, None] <= places).mean(0)
    np.testing.assert_allclose(below, np.linspace(0.01, 0.99, 99), atol=0.02)


def uniform(k):
    return RNG.random((N, k), dtype="float32")


def test_normal():
    numbers = normal(uniform(4))
    for k in range(4):
        alike(numbers[:, k], RNG.standard_normal(N))
    assert np.abs(np.corrcoef(numbers.T) - np.eye(4)).max() < 0.05
    assert np.isfinite(normal(np.zeros((1, 2), "float32"))).all()


@pytest.mark.parametrize("alpha", [0.05, 0.2, 1.0, 3.0, 40.0])
def test_gamma_and_beta(alpha):
    alike(log_gamma(uniform(GAMMA_DRAWS), alpha), np.log(RNG.gamma(alpha, size=N) + 1e-300))
    numbers = beta(uniform(2 * GAMMA_DRAWS), alpha)
    assert numbers.dtype == np.float32 and 0 <= numbers.min() and numbers.max() <= 1
    assert abs(numbers.mean() - 0.5) < 0.01
    assert abs(numbers.var() - 0.25 / (2 * alpha + 1)) < 0.005


def test_far_alphas():
    for alpha in (1e-6, 1e4):
        numbers = beta(uniform(2 * GAMMA_DRAWS), np.full(1, alpha, "float32"))
        assert np.isfinite(numbers).all()
    assert np.isfinite(beta(np.zeros((1, 2 * GAMMA_DRAWS), "float32"), 0.2)).all()
