"""Random numbers of other distributions, each made of a fixed number of uniform ones: on the host
as on a device, however a batch is cut up."""

import math

from minicnn.backend import array_module
from minicnn.typing import Array

_TRIES = 6  # each succeeds in at least 95 % of cases
GAMMA_DRAWS = 1 + 2 * _TRIES  # uniform numbers for one `log_gamma`


def normal(u: Array) -> Array:
    """Normal numbers of mean 0 and variance 1, from as many uniform numbers u (..., K), K even.

    Source: Box and Muller, "A Note on the Generation of Random Normal Deviates" (1958).
    """
    xp = array_module(u)
    half = u.shape[-1] // 2
    radius = xp.sqrt(-2 * xp.log1p(-u[..., :half]))
    angle = 2 * math.pi * u[..., half:]
    return xp.concatenate([radius * xp.cos(angle), radius * xp.sin(angle)], axis=-1)


def log_gamma(u: Array, alpha: Array | float) -> Array:
    """Logarithms (...) of numbers of a gamma distribution; with a small alpha the numbers
    themselves would often be 0.

    Args:
        u: uniform numbers (..., GAMMA_DRAWS).
        alpha: shape of the distribution, above 0; a number, or an array (1,).

    Source: Marsaglia and Tsang, "A Simple Method for Generating Gamma Variables" (2000).
    """
    xp = array_module(u)
    alpha = alpha + xp.zeros(1, u.dtype)
    small = alpha < 1  # those are made from alpha + 1
    d = alpha + small.astype(u.dtype) - 1 / 3
    z = normal(u[..., 1 : 1 + _TRIES])
    v = xp.maximum((1 + z / xp.sqrt(9 * d)) ** 3, 1e-30)
    accepted = xp.log1p(-u[..., 1 + _TRIES :]) < 0.5 * z**2 + d * (1 - v + xp.log(v))
    first = xp.argmax(accepted, axis=-1)[..., None]
    log = xp.log(d * xp.take_along_axis(v, first, -1))
    return (log + xp.where(small, xp.log1p(-u[..., :1]) / alpha, 0))[..., 0]


def beta(u: Array, alpha: Array | float) -> Array:
    """Numbers (...) of the beta distribution whose two parameters are `alpha`, as for `log_gamma`,
    from uniform numbers u (..., 2 GAMMA_DRAWS)."""
    xp = array_module(u)
    ahead = log_gamma(u[..., GAMMA_DRAWS:], alpha) - log_gamma(u[..., :GAMMA_DRAWS], alpha)
    return 1 / (1 + xp.exp(xp.clip(ahead, -80, 80)))
