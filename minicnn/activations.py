"""Activation functions by name, as layers use them.

An activation is `forward(z) -> y`, or in training `record(z) -> (y, kept)` with
`backward(dy, kept) -> dz`; `saves` says what `kept` is. The mathematics is in
`minicnn.kernels.activations`.

A new one takes a class here and, as in Keras, a function of the same name.
"""

import inspect
from typing import Any

from minicnn import backend
from minicnn.dtypes import is_floating
from minicnn.kernels import activations as kernels
from minicnn.registry import Configurable, Registry, is_library_code
from minicnn.typing import Array

ACTIVATIONS = Registry("activation")


class Activation(Configurable):
    """Base class of activation functions.

    Attributes:
        saves: what backward is given: "output" (y, or as much of it as backward needs), "input" (z)
            or "slope" (dy/dz). Only with "output" may y overwrite z.
        is_linear: y = z, so that a layer can leave it out.
        closing: "softmax" or "sigmoid" where a cross-entropy loss can take it over, else None.
        rises: a larger z never gives a smaller y, so that the maximum of several y is the y of the
            maximum.
        relu_arguments: (negative_slope, max_value) where y = min(z, max_value) for z > 0 and
            negative_slope z elsewhere; None for other functions.
        keras_name: what Keras calls the function; None if Keras does not have it.
        has_keras_layer: whether Keras also has a layer of the class's name and arguments.
    """

    saves = "output"
    is_linear = False
    closing: str | None = None
    rises = False
    relu_arguments: tuple[float, float | None] | None = None
    keras_name: str | None = None
    has_keras_layer = False

    @property
    def as_relu(self) -> tuple[float, float | None] | None:
        """`relu_arguments`, with which layers do the function in one pass with their bias; None for
        classes from elsewhere, whose `forward` may be different."""
        return self.relu_arguments if is_library_code(type(self)) else None

    def forward(self, z: Array, out: Array | None = None) -> Array:
        """y = f(z), of z's shape and dtype, in `out` (which may be z) or a new array."""
        raise NotImplementedError(f"{type(self).__name__} does not define forward(z, out)")

    def record(self, z: Array, out: Array | None = None) -> tuple[Array, Array]:
        """(y, what `backward` takes). With `out`, which may be z, y may be written there."""
        if self.saves == "input":
            return self.forward(z), z
        y = self.forward(z, out)
        return y, y

    def backward(self, dy: Array, kept: Array) -> Array:
        """dz = f'(z) dy, with the `kept` of `record`."""
        raise NotImplementedError(f"{type(self).__name__} does not define backward(dy, kept)")

    def __call__(self, z: Any) -> Array:
        z = _array(z)
        # arithmetic on arrays without axes gives scalars, which cannot be overwritten
        return self.forward(z.reshape(1)).reshape(()) if z.ndim == 0 else self.forward(z)


def _array(x: Any) -> Array:
    """Arrays as they are; lists and numbers, and arrays of integers, in the default dtype."""
    x = x if backend.is_array(x) else backend.asarray(x)
    return x if is_floating(x.dtype) else x.astype(backend.floatx())


def _not_negative(owner: str, name: str, value: float) -> float:
    if value is None or not value >= 0:
        raise ValueError(f"{owner} needs a {name} of 0 or above; got {value!r}")
    return float(value)  # a NumPy float64 would turn float32 arrays into float64


@ACTIVATIONS.register()
class Linear(Activation):
    """y = z."""

    rises = True
    is_linear = True
    keras_name = "linear"

    def forward(self, z: Array, out: Array | None = None) -> Array:
        if out is None or out is z:
            return z
        out[...] = z
        return out

    def backward(self, dy: Array, kept: Array) -> Array:
        return dy


@ACTIVATIONS.register()
class ReLU(Activation):
    """y = min(z, max_value) for z > threshold, negative_slope (z - threshold) elsewhere.

    Without arguments max(z, 0).

    Args:
        negative_slope: slope below the threshold.
        max_value: upper limit, or None.
        threshold: where the function leaves the lower branch.

    Raises:
        ValueError: a negative slope or threshold, or a max_value that is not positive.
    """

    rises = True
    keras_name = "relu"
    has_keras_layer = True

    def __init__(
        self,
        negative_slope: float = 0.0,
        max_value: float | None = None,
        threshold: float = 0.0,
    ):
        if max_value is not None and not max_value > 0:
            raise ValueError(f"ReLU needs a positive max_value, or None; got {max_value!r}")
        self.negative_slope = _not_negative("ReLU", "negative_slope", negative_slope)
        self.max_value = max_value
        self.threshold = _not_negative("ReLU", "threshold", threshold)

    @property
    def relu_arguments(self) -> tuple[float, float | None] | None:  # type: ignore[override]
        """Only with a threshold of 0."""
        return (self.negative_slope, self.max_value) if self.threshold == 0 else None

    def forward(self, z: Array, out: Array | None = None) -> Array:
        return kernels.relu(z, self.negative_slope, self.max_value, self.threshold, out=out)

    def record(self, z: Array, out: Array | None = None) -> tuple[Array, Array]:
        return kernels.record_relu(z, self.negative_slope, self.max_value, self.threshold, out=out)

    def backward(self, dy: Array, kept: Array) -> Array:
        return kernels.recorded_relu_gradient(dy, kept, self.negative_slope, self.max_value)


@ACTIVATIONS.register()
class ReLU6(Activation):
    """y = min(max(z, 0), 6)."""

    rises = True
    keras_name = "relu6"
    relu_arguments = 0.0, 6.0

    def forward(self, z: Array, out: Array | None = None) -> Array:
        return kernels.relu(z, max_value=6.0, out=out)

    def backward(self, dy: Array, kept: Array) -> Array:
        return kernels.relu_gradient(dy, kept, max_value=6.0)


@ACTIVATIONS.register()
class LeakyReLU(Activation):
    """y = z for z > 0, negative_slope z elsewhere."""

    rises = True
    keras_name = "leaky_relu"
    has_keras_layer = True

    def __init__(self, negative_slope: float = 0.2):
        self.negative_slope = _not_negative("LeakyReLU", "negative_slope", negative_slope)

    @property
    def relu_arguments(self) -> tuple[float, float | None] | None:  # type: ignore[override]
        """Those of a ReLU without an upper limit."""
        return self.negative_slope, None

    def forward(self, z: Array, out: Array | None = None) -> Array:
        return kernels.relu(z, self.negative_slope, out=out)

    def backward(self, dy: Array, kept: Array) -> Array:
        return kernels.relu_gradient(dy, kept, self.negative_slope)


@ACTIVATIONS.register()
class ELU(Activation):
    """y = z for z > 0, alpha (exp(z) - 1) elsewhere."""

    rises = True
    keras_name = "elu"
    has_keras_layer = True

    def __init__(self, alpha: float = 1.0):
        self.alpha = _not_negative("ELU", "alpha", alpha)

    def forward(self, z: Array, out: Array | None = None) -> Array:
        return kernels.elu(z, self.alpha, out=out)

    def backward(self, dy: Array, kept: Array) -> Array:
        return kernels.elu_gradient(dy, kept, self.alpha)


@ACTIVATIONS.register()
class SELU(Activation):
    """1.0507 · elu(z) with alpha 1.6733; for lecun_normal weights."""

    rises = True
    keras_name = "selu"

    def forward(self, z: Array, out: Array | None = None) -> Array:
        return kernels.selu(z, out=out)

    def backward(self, dy: Array, kept: Array) -> Array:
        return kernels.selu_gradient(dy, kept)


@ACTIVATIONS.register()
class GELU(Activation):
    """y = z P(X <= z) for a standard normal X; `approximate` takes the tanh form."""

    saves = "slope"
    keras_name = "gelu"

    def __init__(self, approximate: bool = False):
        self.approximate = approximate

    def forward(self, z: Array, out: Array | None = None) -> Array:
        return kernels.gelu(z, self.approximate, out=out)

    def record(self, z: Array, out: Array | None = None) -> tuple[Array, Array]:
        return kernels.gelu_with_slope(z, self.approximate)

    def backward(self, dy: Array, kept: Array) -> Array:
        return dy * kept


@ACTIVATIONS.register()
class Sigmoid(Activation):
    """y = 1 / (1 + exp(-z))."""

    rises = True
    closing = "sigmoid"
    keras_name = "sigmoid"

    def forward(self, z: Array, out: Array | None = None) -> Array:
        return kernels.sigmoid(z, out=out)

    def backward(self, dy: Array, kept: Array) -> Array:
        return kernels.sigmoid_gradient(dy, kept)


@ACTIVATIONS.register()
class Tanh(Activation):
    """Hyperbolic tangent."""

    rises = True
    keras_name = "tanh"

    def forward(self, z: Array, out: Array | None = None) -> Array:
        return kernels.tanh(z, out=out)

    def backward(self, dy: Array, kept: Array) -> Array:
        return kernels.tanh_gradient(dy, kept)


@ACTIVATIONS.register()
class Softmax(Activation):
    """exp(z) / sum exp(z) along `axis`: positive numbers that sum to 1.

    Args:
        axis: default: the last.
    """

    keras_name = "softmax"
    has_keras_layer = True

    def __init__(self, axis: int = -1):
        self.axis = axis

    @property
    def closing(self) -> str | None:  # type: ignore[override]
        """Only along the last axis, where losses expect the classes."""
        return "softmax" if self.axis == -1 else None

    def forward(self, z: Array, out: Array | None = None) -> Array:
        return kernels.softmax(z, self.axis, out=out)

    def backward(self, dy: Array, kept: Array) -> Array:
        return kernels.softmax_gradient(dy, kept, self.axis)


@ACTIVATIONS.register("swish")
class SiLU(Activation):
    """y = z sigmoid(z)."""

    saves = "input"
    keras_name = "silu"

    def forward(self, z: Array, out: Array | None = None) -> Array:
        return kernels.silu(z, out=out)

    def backward(self, dy: Array, kept: Array) -> Array:
        return kernels.silu_gradient(dy, kept)


@ACTIVATIONS.register()
class Softplus(Activation):
    """y = log(1 + exp(z))."""

    rises = True
    saves = "input"
    keras_name = "softplus"

    def forward(self, z: Array, out: Array | None = None) -> Array:
        return kernels.softplus(z, out=out)

    def backward(self, dy: Array, kept: Array) -> Array:
        return kernels.softplus_gradient(dy, kept)


@ACTIVATIONS.register()
class Softsign(Activation):
    """y = z / (1 + |z|)."""

    rises = True
    keras_name = "softsign"

    def forward(self, z: Array, out: Array | None = None) -> Array:
        return kernels.softsign(z, out=out)

    def backward(self, dy: Array, kept: Array) -> Array:
        return kernels.softsign_gradient(dy, kept)


@ACTIVATIONS.register()
class Mish(Activation):
    """y = z tanh(log(1 + exp(z)))."""

    saves = "slope"
    keras_name = "mish"

    def forward(self, z: Array, out: Array | None = None) -> Array:
        return kernels.mish(z, out=out)

    def record(self, z: Array, out: Array | None = None) -> tuple[Array, Array]:
        return kernels.mish_with_slope(z)

    def backward(self, dy: Array, kept: Array) -> Array:
        return dy * kept


# Keras's functions on arrays. Passed to a layer (activation=minicnn.activations.relu), each stands
# for the class of the same name: see `get`.


def linear(x: Any) -> Any:
    """x itself."""
    return x


def relu(
    x: Any, negative_slope: float = 0.0, max_value: float | None = None, threshold: float = 0.0
) -> Array:
    """max(x, 0); see `ReLU` for negative_slope, max_value and threshold."""
    return ReLU(negative_slope, max_value, threshold)(x)


def relu6(x: Any) -> Array:
    """min(max(x, 0), 6)."""
    return ReLU6()(x)


def leaky_relu(x: Any, negative_slope: float = 0.2) -> Array:
    """x where positive, negative_slope · x elsewhere."""
    return LeakyReLU(negative_slope)(x)


def elu(x: Any, alpha: float = 1.0) -> Array:
    """x where positive, alpha (exp(x) - 1) elsewhere."""
    return ELU(alpha)(x)


def selu(x: Any) -> Array:
    """1.0507 · elu(x) with alpha 1.6733; see `SELU`."""
    return SELU()(x)


def gelu(x: Any, approximate: bool = False) -> Array:
    """x P(X <= x) for a standard normal X; `approximate` takes the tanh form."""
    return GELU(approximate)(x)


def sigmoid(x: Any) -> Array:
    """1 / (1 + exp(-x))."""
    return Sigmoid()(x)


def tanh(x: Any) -> Array:
    """Hyperbolic tangent of x."""
    return Tanh()(x)


def softmax(x: Any, axis: int = -1) -> Array:
    """exp(x) / sum exp(x) along `axis`."""
    return Softmax(axis)(x)


def silu(x: Any) -> Array:
    """x sigmoid(x)."""
    return SiLU()(x)


swish = silu


def mish(x: Any) -> Array:
    """x tanh(log(1 + exp(x)))."""
    return Mish()(x)


def softplus(x: Any) -> Array:
    """log(1 + exp(x))."""
    return Softplus()(x)


def softsign(x: Any) -> Array:
    """x / (1 + |x|)."""
    return Softsign()(x)


def get(identifier: Any) -> Activation:
    """What a user may write as an activation.

    Args:
        identifier: a name, a configuration, a class, an instance or one of this module's functions;
            None for linear.

    Raises:
        ValueError: an unknown name; the message lists the near matches.
        TypeError: something else, such as a function whose derivative the library does not know.
    """
    if identifier is None:
        return Linear()
    if inspect.isfunction(identifier) and identifier.__module__ == __name__:
        identifier = identifier.__name__
    return ACTIVATIONS.get(identifier)
