"""Activation functions: y = f(z), and dz from dy.

Each gradient takes `y` where the derivative can be written in the output (z need not be kept
then), and `z` where it cannot; GELU has its slope computed together with y. `out` may be z itself.
Nothing writes over dy, y or z otherwise. Numbers of 16 bits are calculated with in float32; what
ReLU does to them is exact as it is.

Masks are multiplied, not selected with `where`: on a CPU a select costs seven times a product when
signs are random, as those of activations are.
"""

import math
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import numpy as np

from minicnn.backend import array_module, is_array
from minicnn.dtypes import is_half, widened
from minicnn.kernels.device import with_cuda_version
from minicnn.kernels.special import normal_cdf, normal_pdf

# Fixed point of mean 0 and variance 1: Klambauer et al. 2017, arXiv:1706.02515, equation 14.
SELU_ALPHA = 1.6732632423543772
SELU_SCALE = 1.0507009873554805
_GELU_SLOPE = math.sqrt(2 / math.pi)
_GELU_CUBIC = 0.044715

Function = TypeVar("Function", bound=Callable[..., Any])


def in_float32(function: Function) -> Function:
    """Decorator of what is calculated in float32 where arrays are of 16 bits, and rounded at the
    end; other dtypes are left as they are."""

    @wraps(function)
    def calculated(first: Any, *others: Any, out: Any = None, **options: Any) -> Any:
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
    z: Any,
    negative_slope: float = 0.0,
    max_value: float | None = None,
    threshold: float = 0.0,
    out: Any = None,
) -> Any:
    """max(z, 0), or in general

    f(z) = min(z, max_value)               for z > threshold,
           negative_slope (z - threshold)  elsewhere.
    """
    xp = array_module(z)
    if threshold == 0 and negative_slope == 0:
        # NumPy compares two arrays three times as fast as an array and a number
        zero = xp.zeros(z.shape[-2:], z.dtype) if type(z) is np.ndarray else 0
        y = xp.maximum(z, zero, out=out)
        return y if max_value is None else xp.minimum(y, max_value, out=y)
    return _sloped_relu(z, negative_slope, max_value, threshold, out=out)


@in_float32
def _sloped_relu(
    z: Any, negative_slope: float, max_value: float | None, threshold: float, out: Any = None
) -> Any:
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
    dy: Any, y: Any, negative_slope: float = 0.0, max_value: float | None = None
) -> Any:
    """dz = dy where 0 < y < max_value, negative_slope · dy where y <= 0, 0 at max_value.

    Needs thresholds and slopes that are not negative, so that y > 0 says z > threshold.
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
    z: Any,
    negative_slope: float = 0.0,
    max_value: float | None = None,
    threshold: float = 0.0,
    out: Any = None,
) -> tuple[Any, Any]:
    """(y of `relu`, what `recorded_relu_gradient` takes): y itself, or on the CPU, where that says
    enough, whether y > 0, a quarter of the memory."""
    y = relu(z, negative_slope, max_value, threshold, out)
    if negative_slope or max_value is not None or type(y) is not np.ndarray:
        return y, y
    return y, y > 0


def recorded_relu_gradient(
    dy: Any, kept: Any, negative_slope: float = 0.0, max_value: float | None = None
) -> Any:
    """`relu_gradient` from what `record_relu` kept."""
    if kept.dtype == bool:
        return dy * kept
    return relu_gradient(dy, kept, negative_slope, max_value)


def _expm1_of_negative(z: Any) -> Any:
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
def elu(z: Any, alpha: float = 1.0, out: Any = None) -> Any:
    """z for z > 0, alpha (exp(z) - 1) elsewhere (Clevert et al. 2015, arXiv:1511.07289)."""
    xp = array_module(z)
    below = _expm1_of_negative(z)
    if alpha != 1:
        below *= alpha
    y = xp.maximum(z, 0.0, out=out)
    y += below
    return y


@in_float32
def elu_gradient(dy: Any, y: Any, alpha: float = 1.0) -> Any:
    """dz = dy for y > 0, (y + alpha) dy elsewhere; alpha must not be negative."""
    xp = array_module(y)
    slope = xp.minimum(y, 0.0)
    slope += alpha
    above = y > 0
    slope *= xp.logical_not(above)
    slope += above
    slope *= dy
    return slope


@in_float32
def selu(z: Any, out: Any = None) -> Any:
    """SELU_SCALE · elu(z, SELU_ALPHA) (Klambauer et al. 2017, arXiv:1706.02515)."""
    y = elu(z, SELU_ALPHA, out=out)
    y *= SELU_SCALE
    return y


@in_float32
def selu_gradient(dy: Any, y: Any) -> Any:
    """elu's gradient with y = SELU_SCALE · elu."""
    dz = elu_gradient(dy, y * (1 / SELU_SCALE), SELU_ALPHA)
    dz *= SELU_SCALE
    return dz


@in_float32
def sigmoid(z: Any, out: Any = None) -> Any:
    """1 / (1 + exp(-z))."""
    xp = array_module(z)
    # exp must not overflow: sigmoid(-87) = 2e-38 is near the smallest normal float32
    y = xp.maximum(z, -87.0 if z.dtype == xp.float32 else -708.0, out=out)
    xp.negative(y, out=y)
    xp.exp(y, out=y)
    y += 1.0
    return xp.divide(1.0, y, out=y)


@in_float32
def sigmoid_gradient(dy: Any, y: Any) -> Any:
    """dz = dy · y (1 - y)."""
    dz = 1.0 - y
    dz *= y
    dz *= dy
    return dz


@in_float32
def tanh(z: Any, out: Any = None) -> Any:
    """Hyperbolic tangent."""
    return array_module(z).tanh(z, out=out)


@in_float32
def tanh_gradient(dy: Any, y: Any) -> Any:
    """dz = dy (1 - y²)."""
    dz = y * y
    dz -= 1.0
    dz *= dy
    return array_module(dz).negative(dz, out=dz)


@in_float32
def softmax(z: Any, axis: int = -1, out: Any = None) -> Any:
    """exp(z) / sum exp(z) along `axis`, shifted by the maximum so that nothing overflows."""
    xp = array_module(z)
    y = xp.subtract(z, z.max(axis=axis, keepdims=True), out=out)
    xp.exp(y, out=y)
    y /= y.sum(axis=axis, keepdims=True)
    return y


@in_float32
def softmax_gradient(dy: Any, y: Any, axis: int = -1) -> Any:
    """dz = y (dy - sum(dy · y)): the Jacobian is diag(y) - y yᵀ."""
    dz = dy * y
    dz -= y * dz.sum(axis=axis, keepdims=True)
    return dz


@in_float32
def log_softmax(z: Any, axis: int = -1) -> Any:
    """z - log sum exp(z) along `axis`."""
    xp = array_module(z)
    y = z - z.max(axis=axis, keepdims=True)
    y -= xp.log(xp.exp(y).sum(axis=axis, keepdims=True))
    return y


@in_float32
def silu(z: Any, out: Any = None) -> Any:
    """z · sigmoid(z), also called swish (Ramachandran et al. 2017, arXiv:1710.05941)."""
    return array_module(z).multiply(z, sigmoid(z), out=out)


@in_float32
def silu_gradient(dy: Any, z: Any) -> Any:
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
def gelu(z: Any, approximate: bool = False, out: Any = None) -> Any:
    """z · P(X <= z) for a standard normal X (Hendrycks, Gimpel 2016, arXiv:1606.08415).

    `approximate` is their tanh form, z/2 (1 + tanh(√(2/π) (z + 0.044715 z³))).
    """
    weight = _gelu_weight(z) if approximate else normal_cdf(z)
    return array_module(z).multiply(z, weight, out=out)


@with_cuda_version
@in_float32
def gelu_with_slope(z: Any, approximate: bool = False) -> tuple[Any, Any]:
    """(y, dy/dz): the slope shares the costly part, P(z), with y itself.

    dy/dz = P(z) + z p(z), or with w(z) = (1 + tanh(u)) / 2 of the approximate form
    dy/dz = w + 2 z w (1 - w) u'.
    """
    if not approximate:
        weight = normal_cdf(z)
        slope = normal_pdf(z)
    else:
        weight = _gelu_weight(z)
        slope = z * z
        slope *= 6 * _GELU_CUBIC * _GELU_SLOPE
        slope += 2 * _GELU_SLOPE  # 2 u'
        slope *= weight
        slope *= 1.0 - weight
    slope *= z
    slope += weight
    weight *= z
    return weight, slope


def _gelu_weight(z: Any) -> Any:
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
def softplus(z: Any, out: Any = None) -> Any:
    """log(1 + exp(z)), as max(z, 0) + log(1 + exp(-|z|)) so that nothing overflows."""
    xp = array_module(z)
    tail = xp.abs(z)
    xp.negative(tail, out=tail)
    xp.exp(tail, out=tail)
    xp.log1p(tail, out=tail)
    y = xp.maximum(z, 0.0, out=out)
    y += tail
    return y


@in_float32
def softplus_gradient(dy: Any, z: Any) -> Any:
    """dz = dy · sigmoid(z)."""
    dz = sigmoid(z)
    dz *= dy
    return dz


@in_float32
def softsign(z: Any, out: Any = None) -> Any:
    """z / (1 + |z|)."""
    xp = array_module(z)
    denominator = xp.abs(z)
    denominator += 1.0
    return xp.divide(z, denominator, out=out)


@in_float32
def softsign_gradient(dy: Any, y: Any) -> Any:
    """dz = dy (1 - |y|)²."""
    xp = array_module(y)
    dz = 1.0 - xp.abs(y)
    dz *= dz
    dz *= dy
    return dz
