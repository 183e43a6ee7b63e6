"""Activation functions: y = f(z), and dz from dy.

All arrays have the shape of z, which may be any. Each gradient takes `y` where the derivative can
be written in the output (z need not be kept then), and `z` where it cannot; GELU has its slope
computed together with y. `out` is where y goes, by default a new array; it may be z itself. Nothing
else writes over dy, y or z. Arrays of 16 bits are calculated in float32; ReLU, which is exact, in
16 bits.

Masks are multiplied, not selected with `where`: on a CPU a select costs seven times a product when
signs are random, as those of activations are.
"""

import math
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import numpy as np

from minicnn.backend import array_module, is_array
from minicnn.dtypes import is_half, overflows_expected, wide, widened
from minicnn.kernels.device import with_cuda_version
from minicnn.kernels.special import normal_cdf, normal_pdf
from minicnn.typing import Array

# Fixed point of mean 0 and variance 1: Klambauer et al. 2017, arXiv:1706.02515, equation 14.
SELU_ALPHA = 1.6732632423543772
SELU_SCALE = 1.0507009873554805
_GELU_SLOPE = math.sqrt(2 / math.pi)
_GELU_CUBIC = 0.044715
_GELU_FLAT = 1e4  # z² from which on, and long before, w is 0 or 1

Function = TypeVar("Function", bound=Callable[..., Any])


def in_float32(function: Function) -> Function:
    """Decorator: `function` takes and returns arrays of 16 bits, but calculates in float32; other
    dtypes are left as they are."""

    @wraps(function)
    def calculated(first: Array, *others: Any, out: Array | None = None, **options: Any) -> Any:
        target = {} if out is None else {"out": out}
        if not is_half(first.dtype):
            return function(first, *others, **target, **options)
        others = tuple(widened(a) if is_array(a) else a for a in others)
        result = function(widened(first), *others, **options)
        if isinstance(result, tuple):
            return tuple(a.astype(first.dtype) for a in result)
        if out is None:
            return result.astype(first.dtype)
        out[...] = result
        return out

    return calculated  # type: ignore[return-value]


def relu(
    z: Array,
    negative_slope: float = 0.0,
    max_value: float | None = None,
    threshold: float = 0.0,
    out: Array | None = None,
) -> Array:
    """max(z, 0), or in general

    f(z) = min(z, max_value)               for z > threshold,
           negative_slope (z - threshold)  elsewhere,

    into `out`.
    """
    xp = array_module(z)
    if threshold == 0 and negative_slope == 0:
        # NumPy compares two arrays three times as fast as an array and a scalar
        zero = xp.zeros(z.shape[-2:], z.dtype) if type(z) is np.ndarray else 0
        y = xp.maximum(z, zero, out=out)
        return y if max_value is None else xp.minimum(y, max_value, out=y)
    return _sloped_relu(z, negative_slope, max_value, threshold, out=out)


@in_float32
def _sloped_relu(
    z: Array,
    negative_slope: float,
    max_value: float | None,
    threshold: float,
    out: Array | None = None,
) -> Array:
    xp = array_module(z)
    if threshold == 0 and max_value is None and negative_slope <= 1:
        return xp.maximum(z, z * negative_slope, out=out)
    below = xp.minimum(z - threshold, 0.0)
    below *= negative_slope
    y = xp.multiply(z, z > threshold, out=out)
    xp.clip(y, 0.0, max_value, out=y)
    y += below
    return y


@with_cuda_version
def relu_gradient(
    dy: Array, y: Array, negative_slope: float = 0.0, max_value: float | None = None
) -> Array:
    """dz = dy where 0 < y < max_value, negative_slope · dy where y <= 0, 0 at max_value.

    Threshold and slope must not be negative, so that y > 0 says z > threshold.
    """
    xp = array_module(y)
    above = passes = y > 0
    if max_value is not None:
        passes = above & (y < float(y.dtype.type(max_value)))  # rounded as y has been
    dz = dy * passes
    if negative_slope:
        dz += widened(dy) * negative_slope * xp.logical_not(above)
    return dz


def record_relu(
    z: Array,
    negative_slope: float = 0.0,
    max_value: float | None = None,
    threshold: float = 0.0,
    out: Array | None = None,
) -> tuple[Array, Array]:
    """`relu`, and what its gradient needs.

    Args:
        z, negative_slope, max_value, threshold, out: see `relu`.

    Returns:
        (y, what `recorded_relu_gradient` takes): y itself, or on the CPU, where that is enough,
        whether y > 0, a quarter of the memory.
    """
    y = relu(z, negative_slope, max_value, threshold, out)
    if negative_slope or max_value is not None or type(y) is not np.ndarray:
        return y, y
    return y, y > 0


def recorded_relu_gradient(
    dy: Array, kept: Array, negative_slope: float = 0.0, max_value: float | None = None
) -> Array:
    """`relu_gradient` from what `record_relu` kept.

    Args:
        dy, negative_slope, max_value: see `relu_gradient`.
        kept: from `record_relu`.
    """
    if kept.dtype == bool:
        return dy * kept
    return relu_gradient(dy, kept, negative_slope, max_value)


def _expm1_of_negative(z: Array) -> Array:
    """exp(z) - 1 for z <= 0 without cancellation, as 2t / (1 - t) with t = tanh(z / 2).

    Where z > 0 it is 0. NumPy's own expm1 is not vectorised: four times as slow.
    """
    xp = array_module(z)
    t = xp.minimum(z, 0.0)
    t *= 0.5
    xp.tanh(t, out=t)
    denominator = 1.0 - t
    t *= 2.0
    t /= denominator
    return t


@in_float32
def elu(z: Array, alpha: float = 1.0, out: Array | None = None) -> Array:
    """z for z > 0, alpha (exp(z) - 1) elsewhere, into `out`.

    Source: Clevert et al. 2015, arXiv:1511.07289.
    """
    xp = array_module(z)
    below = _expm1_of_negative(z)
    if alpha != 1:
        below *= alpha
    y = xp.maximum(z, 0.0, out=out)
    y += below
    return y


def elu_gradient(dy: Array, y: Array, alpha: float = 1.0, scale: float = 1.0) -> Array:
    """dz from dy, for y = scale · elu(z): scale · dy for y > 0, (y + scale · alpha) dy elsewhere;
    alpha must not be negative."""
    rounded = wide(y.dtype).type  # far below 0, y is as below, and the slope exactly 0
    limit = y.dtype.type(rounded(alpha) * rounded(scale))
    return _elu_gradient(dy, y, float(limit), scale)


@in_float32
def _elu_gradient(dy: Array, y: Array, limit: float, scale: float) -> Array:
    xp = array_module(y)
    slope = xp.minimum(y, 0.0)
    slope += limit
    above = y > 0
    slope *= xp.logical_not(above)
    slope += above * scale if scale != 1 else above
    slope *= dy
    return slope


@in_float32
def selu(z: Array, out: Array | None = None) -> Array:
    """SELU_SCALE · elu(z, SELU_ALPHA), into `out`.

    Source: Klambauer et al. 2017, arXiv:1706.02515.
    """
    y = elu(z, SELU_ALPHA, out=out)
    y *= SELU_SCALE
    return y


def selu_gradient(dy: Array, y: Array) -> Array:
    """dz from dy, with the y of `selu`."""
    return elu_gradient(dy, y, SELU_ALPHA, SELU_SCALE)


@in_float32
def sigmoid(z: Array, out: Array | None = None) -> Array:
    """1 / (1 + exp(-z)), into `out`; where exp is infinite, 1 / infinity is the limit, 0."""
    xp = array_module(z)
    y = xp.negative(z, out=out)
    with overflows_expected():
        xp.exp(y, out=y)
    y += 1.0
    return xp.divide(1.0, y, out=y)


@in_float32
def sigmoid_gradient(dy: Array, y: Array) -> Array:
    """dz = dy · y (1 - y)."""
    dz = 1.0 - y
    dz *= y
    dz *= dy
    return dz


@in_float32
def tanh(z: Array, out: Array | None = None) -> Array:
    """Hyperbolic tangent of z, into `out`."""
    return array_module(z).tanh(z, out=out)


@in_float32
def tanh_gradient(dy: Array, y: Array) -> Array:
    """dz = dy (1 - y · y)."""
    dz = y * y
    dz -= 1.0
    dz *= dy
    return array_module(dz).negative(dz, out=dz)


@in_float32
def softmax(z: Array, axis: int = -1, out: Array | None = None) -> Array:
    """exp(z) / sum exp(z) along `axis`, into `out`; z is shifted by its maximum so that nothing
    overflows."""
    xp = array_module(z)
    with overflows_expected():  # 3e38 below the maximum: exp(-infinity) is 0
        y = xp.subtract(z, z.max(axis=axis, keepdims=True), out=out)
    xp.exp(y, out=y)
    y /= y.sum(axis=axis, keepdims=True)
    return y


@in_float32
def softmax_gradient(dy: Array, y: Array, axis: int = -1) -> Array:
    """dz = y (dy - sum(dy · y)), the sum along `axis`: the Jacobian is diag(y) - y yᵀ."""
    dz = dy * y
    dz -= y * dz.sum(axis=axis, keepdims=True)
    return dz


@in_float32
def log_softmax(z: Array, axis: int = -1) -> Array:
    """z - log sum exp(z) along `axis`."""
    xp = array_module(z)
    with overflows_expected():  # 3e38 below the maximum
        y = z - z.max(axis=axis, keepdims=True)
    y -= xp.log(xp.exp(y).sum(axis=axis, keepdims=True))
    return y


@in_float32
def log_softmax_gradient(dy: Array, y: Array, axis: int = -1) -> Array:
    """dz = dy - exp(y) sum dy, the sum along `axis`."""
    return dy - array_module(y).exp(y) * dy.sum(axis=axis, keepdims=True)


@in_float32
def sparsemax(z: Array, axis: int = -1) -> Array:
    """max(z - tau, 0), whose sum along `axis` is 1.

    If the k largest elements are those above it, tau is (z_1 + ... + z_k - 1) / k; as long as the
    next element is above this, it rises with k, and falls from then on: tau is the largest.

    Source: Martins, Astudillo 2016, arXiv:1602.02068, algorithm 1.
    """
    xp = array_module(z)
    with overflows_expected():  # 3e38 below the maximum
        z = xp.moveaxis(z - z.max(axis=axis, keepdims=True), axis, -1)
        falling = xp.sort(z, axis=-1)[..., ::-1]
        counts = xp.arange(1, z.shape[-1] + 1, dtype=z.dtype)
        taus = (xp.cumsum(falling, axis=-1) - 1) / counts
    return xp.moveaxis(xp.maximum(z - taus.max(axis=-1, keepdims=True), 0.0), -1, axis)


@in_float32
def sparsemax_gradient(dy: Array, y: Array, axis: int = -1) -> Array:
    """dz = dy less its mean over the elements along `axis` with y > 0, for these; 0 for others."""
    chosen = y > 0
    dz = dy * chosen
    counts = chosen.sum(axis=axis, keepdims=True).astype(dz.dtype)
    dz -= chosen * (dz.sum(axis=axis, keepdims=True) / counts)
    return dz


@in_float32
def silu(z: Array, out: Array | None = None) -> Array:
    """z · sigmoid(z), also called swish, into `out`.

    Source: Ramachandran et al. 2017, arXiv:1710.05941.
    """
    return array_module(z).multiply(z, sigmoid(z), out=out)


@in_float32
def silu_gradient(dy: Array, z: Array) -> Array:
    """dz = dy · s (1 + z (1 - s)) with s = sigmoid(z)."""
    s = sigmoid(z)
    dz = 1.0 - s
    dz *= z
    dz += 1.0
    dz *= s
    dz *= dy
    return dz


@with_cuda_version
@in_float32
def gelu(z: Array, approximate: bool = False, out: Array | None = None) -> Array:
    """z · P(X <= z) for a standard normal X, into `out`.

    `approximate` is the tanh form, z/2 (1 + tanh(√(2/π) (z + 0.044715 z³))).

    Source: Hendrycks and Gimpel 2016, arXiv:1606.08415.
    """
    with overflows_expected():  # of z²
        weight = _gelu_weight(z) if approximate else normal_cdf(z)
    return array_module(z).multiply(z, weight, out=out)


@with_cuda_version
@in_float32
def gelu_with_slope(z: Array, approximate: bool = False) -> tuple[Array, Array]:
    """(y, dy/dz) of `gelu`: the slope shares the costly part, P(z), with y.

    dy/dz = P(z) + z p(z), or with w(z) = (1 + tanh(u)) / 2 of the `approximate` form
    dy/dz = w + 2 z w (1 - w) u'.
    """
    with overflows_expected():  # of z²
        weight = _gelu_weight(z) if approximate else normal_cdf(z)
        slope = z * z if approximate else normal_pdf(z)
    if approximate:
        # far out w (1 - w) is 0, also times z² if that is finite
        xp = array_module(z)
        xp.minimum(slope, xp.full(z.shape[-2:], _GELU_FLAT, z.dtype), out=slope)
        slope *= 6 * _GELU_CUBIC * _GELU_SLOPE
        slope += 2 * _GELU_SLOPE  # 2 u'
        slope *= weight
        slope *= 1.0 - weight
    slope *= z
    slope += weight
    weight *= z
    return weight, slope


def _gelu_weight(z: Array) -> Array:
    """(1 + tanh(u)) / 2 with u = √(2/π) (z + 0.044715 z³)."""
    t = z * z
    t *= _GELU_CUBIC * _GELU_SLOPE
    t += _GELU_SLOPE
    t *= z
    array_module(z).tanh(t, out=t)
    t += 1.0
    t *= 0.5
    return t


@in_float32
def softplus(z: Array, out: Array | None = None) -> Array:
    """log(1 + exp(z)), into `out`, as max(z, 0) + log(1 + exp(-|z|)) so that nothing overflows."""
    xp = array_module(z)
    tail = xp.abs(z)
    xp.negative(tail, out=tail)
    xp.exp(tail, out=tail)
    xp.log1p(tail, out=tail)
    y = xp.maximum(z, 0.0, out=out)
    y += tail
    return y


@in_float32
def softplus_gradient(dy: Array, z: Array) -> Array:
    """dz = dy · sigmoid(z)."""
    dz = sigmoid(z)
    dz *= dy
    return dz


@in_float32
def mish(z: Array, out: Array | None = None) -> Array:
    """z · tanh(softplus(z)), into `out`.

    Source: Misra 2019, arXiv:1908.08681.
    """
    xp = array_module(z)
    weight = softplus(z)
    xp.tanh(weight, out=weight)
    return xp.multiply(z, weight, out=out)


@in_float32
def mish_with_slope(z: Array) -> tuple[Array, Array]:
    """(y, dy/dz) of `mish`: the slope shares the costly part, t = tanh(softplus(z)), with y.

    dy/dz = t + z (1 - t²) sigmoid(z).
    """
    weight = softplus(z)
    array_module(z).tanh(weight, out=weight)
    slope = weight * weight
    slope -= 1.0
    slope *= sigmoid(z)
    slope *= z
    slope = weight - slope
    weight *= z
    return weight, slope


@in_float32
def softsign(z: Array, out: Array | None = None) -> Array:
    """z / (1 + |z|), into `out`."""
    xp = array_module(z)
    denominator = xp.abs(z)
    denominator += 1.0
    return xp.divide(z, denominator, out=out)


@in_float32
def softsign_gradient(dy: Array, y: Array) -> Array:
    """dz = dy (1 - |y|)²."""
    xp = array_module(y)
    dz = 1.0 - xp.abs(y)
    dz *= dz
    dz *= dy
    return dz
