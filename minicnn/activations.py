"""Activation functions by name, as layers use them.

An activation is `forward(z) -> y`, or in training `record(z) -> (y, kept)` with
`backward(dy, kept) -> dz`; `saves` says what `kept` is. The mathematics is in
`minicnn.kernels.activations`.
"""

from typing import Any

from minicnn import backend
from minicnn.dtypes import is_floating
from minicnn.kernels import activations as kernels
from minicnn.registry import Configurable, Registry

ACTIVATIONS = Registry("activation")


class Activation(Configurable):
    """Base class of activation functions.

    Attributes:
        saves: what backward is given: "output" y, or what it tells, "input" z, or the "slope"
            dy/dz. Only the first kind may overwrite z with y.
        is_linear: y = z, so that a layer can leave it out.
        is_softmax: a cross-entropy loss can take it over.
        rises: a larger z never gives a smaller y, so that the maximum of several y is the y of the
            maximum.
        relu_arguments: (negative_slope, max_value) where y = min(z, max_value) for z > 0 and
            negative_slope z elsewhere; None for other functions.
    """

    saves = "output"
    is_linear = False
    is_softmax = False
    rises = False
    relu_arguments: tuple[float, float | None] | None = None

    @property
    def as_relu(self) -> tuple[float, float | None] | None:
        """`relu_arguments`, by which layers do the function in one pass with their bias; None for
        classes from elsewhere, whose `forward` may be another one."""
        return self.relu_arguments if type(self).__module__ == __name__ else None

    def forward(self, z: Any, out: Any = None) -> Any:
        """y = f(z), of z's shape and dtype, written to `out` (which may be z) where given."""
        raise NotImplementedError(f"{type(self).__name__} does not define forward(z, out)")

    def record(self, z: Any, out: Any = None) -> tuple[Any, Any]:
        """(y, what `backward` takes). With `out`, which may be z, y may be written there."""
        if self.saves == "input":
            return self.forward(z), z
        y = self.forward(z, out)
        return y, y

    def backward(self, dy: Any, kept: Any) -> Any:
        """dz = f'(z) dy."""
        raise NotImplementedError(f"{type(self).__name__} does not define backward(dy, kept)")

    def __call__(self, z: Any) -> Any:
        z = _array(z)
        # arithmetic on arrays without axes gives numbers, which cannot be written over
        return self.forward(z.reshape(1)).reshape(()) if z.ndim == 0 else self.forward(z)


def _array(x: Any) -> Any:
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

    def forward(self, z: Any, out: Any = None) -> Any:
        if out is None or out is z:
            return z
        out[...] = z
        return out

    def backward(self, dy: Any, kept: Any) -> Any:
        return dy


@ACTIVATIONS.register()
class ReLU(Activation):
    """y = min(z, max_value) for z > threshold, negative_slope (z - threshold) elsewhere.

    Without arguments max(z, 0).

    Raises:
        ValueError: a negative slope or threshold, or a max_value that is not positive.
    """

    rises = True

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
        return (self.negative_slope, self.max_value) if self.threshold == 0 else None

    def forward(self, z: Any, out: Any = None) -> Any:
        return kernels.relu(z, self.negative_slope, self.max_value, self.threshold, out=out)

    def record(self, z: Any, out: Any = None) -> tuple[Any, Any]:
        return kernels.record_relu(z, self.negative_slope, self.max_value, self.threshold, out=out)

    def backward(self, dy: Any, kept: Any) -> Any:
        return kernels.recorded_relu_gradient(dy, kept, self.negative_slope, self.max_value)


@ACTIVATIONS.register()
class ReLU6(Activation):
    """y = min(max(z, 0), 6)."""

    rises = True
    relu_arguments = 0.0, 6.0

    def forward(self, z: Any, out: Any = None) -> Any:
        return kernels.relu(z, max_value=6.0, out=out)

    def backward(self, dy: Any, kept: Any) -> Any:
        return kernels.relu_gradient(dy, kept, max_value=6.0)


@ACTIVATIONS.register()
class LeakyReLU(Activation):
    """y = z for z > 0, negative_slope z elsewhere."""

    rises = True

    def __init__(self, negative_slope: float = 0.2):
        self.negative_slope = _not_negative("LeakyReLU", "negative_slope", negative_slope)

    @property
    def relu_arguments(self) -> tuple[float, float | None] | None:  # type: ignore[override]
        return self.negative_slope, None

    def forward(self, z: Any, out: Any = None) -> Any:
        return kernels.relu(z, self.negative_slope, out=out)

    def backward(self, dy: Any, kept: Any) -> Any:
        return kernels.relu_gradient(dy, kept, self.negative_slope)


@ACTIVATIONS.register()
class ELU(Activation):
    """y = z for z > 0, alpha (exp(z) - 1) elsewhere."""

    rises = True

    def __init__(self, alpha: float = 1.0):
        self.alpha = _not_negative("ELU", "alpha", alpha)

    def forward(self, z: Any, out: Any = None) -> Any:
        return kernels.elu(z, self.alpha, out=out)

    def backward(self, dy: Any, kept: Any) -> Any:
        return kernels.elu_gradient(dy, kept, self.alpha)


@ACTIVATIONS.register()
class SELU(Activation):
    """1.0507 · elu(z) with alpha 1.6733; for lecun_normal weights."""

    rises = True

    def forward(self, z: Any, out: Any = None) -> Any:
        return kernels.selu(z, out=out)

    def backward(self, dy: Any, kept: Any) -> Any:
        return kernels.selu_gradient(dy, kept)


@ACTIVATIONS.register()
class GELU(Activation):
    """y = z P(X <= z) for a standard normal X; `approximate` takes the tanh form."""

    saves = "slope"

    def __init__(self, approximate: bool = False):
        self.approximate = approximate

    def forward(self, z: Any, out: Any = None) -> Any:
        return kernels.gelu(z, self.approximate, out=out)

    def record(self, z: Any, out: Any = None) -> tuple[Any, Any]:
        return kernels.gelu_with_slope(z, self.approximate)

    def backward(self, dy: Any, kept: Any) -> Any:
        return dy * kept


@ACTIVATIONS.register()
class Sigmoid(Activation):
    """y = 1 / (1 + exp(-z))."""

    rises = True

    def forward(self, z: Any, out: Any = None) -> Any:
        return kernels.sigmoid(z, out=out)

    def backward(self, dy: Any, kept: Any) -> Any:
        return kernels.sigmoid_gradient(dy, kept)


@ACTIVATIONS.register()
class Tanh(Activation):
    """Hyperbolic tangent."""

    rises = True

    def forward(self, z: Any, out: Any = None) -> Any:
        return kernels.tanh(z, out=out)

    def backward(self, dy: Any, kept: Any) -> Any:
        return kernels.tanh_gradient(dy, kept)


@ACTIVATIONS.register()
class Softmax(Activation):
    """exp(z) / sum exp(z) along `axis`: positive numbers that sum to 1."""

    def __init__(self, axis: int = -1):
        self.axis = axis

    @property
    def is_softmax(self) -> bool:  # type: ignore[override]
        """Only over the last axis, where losses expect the classes."""
        return self.axis == -1

    def forward(self, z: Any, out: Any = None) -> Any:
        return kernels.softmax(z, self.axis, out=out)

    def backward(self, dy: Any, kept: Any) -> Any:
        return kernels.softmax_gradient(dy, kept, self.axis)


@ACTIVATIONS.register("swish")
class SiLU(Activation):
    """y = z sigmoid(z)."""

    saves = "input"

    def forward(self, z: Any, out: Any = None) -> Any:
        return kernels.silu(z, out=out)

    def backward(self, dy: Any, kept: Any) -> Any:
        return kernels.silu_gradient(dy, kept)


@ACTIVATIONS.register()
class Softplus(Activation):
    """y = log(1 + exp(z))."""

    rises = True
    saves = "input"

    def forward(self, z: Any, out: Any = None) -> Any:
        return kernels.softplus(z, out=out)

    def backward(self, dy: Any, kept: Any) -> Any:
        return kernels.softplus_gradient(dy, kept)


@ACTIVATIONS.register()
class Softsign(Activation):
    """y = z / (1 + |z|)."""

    rises = True

    def forward(self, z: Any, out: Any = None) -> Any:
        return kernels.softsign(z, out=out)

    def backward(self, dy: Any, kept: Any) -> Any:
        return kernels.softsign_gradient(dy, kept)


# Keras's functions on arrays. Passed to a layer (activation=minicnn.activations.relu) they stand
# for the class of the same name.


def linear(x: Any) -> Any:
    """x itself."""
    return x


def relu(
    x: Any, negative_slope: float = 0.0, max_value: float | None = None, threshold: float = 0.0
) -> Any:
    """max(x, 0); see `ReLU`."""
    return ReLU(negative_slope, max_value, threshold)(x)


def relu6(x: Any) -> Any:
    """min(max(x, 0), 6)."""
    return ReLU6()(x)


def leaky_relu(x: Any, negative_slope: float = 0.2) -> Any:
    """x where positive, negative_slope · x elsewhere."""
    return LeakyReLU(negative_slope)(x)


def elu(x: Any, alpha: float = 1.0) -> Any:
    """x where positive, alpha (exp(x) - 1) elsewhere."""
    return ELU(alpha)(x)


def selu(x: Any) -> Any:
    """See `SELU`."""
    return SELU()(x)


def gelu(x: Any, approximate: bool = False) -> Any:
    """See `GELU`."""
    return GELU(approximate)(x)


def sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x))."""
    return Sigmoid()(x)


def tanh(x: Any) -> Any:
    """Hyperbolic tangent."""
    return Tanh()(x)


def softmax(x: Any, axis: int = -1) -> Any:
    """exp(x) / sum exp(x) along `axis`."""
    return Softmax(axis)(x)


def silu(x: Any) -> Any:
    """x sigmoid(x)."""
    return SiLU()(x)


swish = silu


def softplus(x: Any) -> Any:
    """log(1 + exp(x))."""
    return Softplus()(x)


def softsign(x: Any) -> Any:
    """x / (1 + |x|)."""
    return Softsign()(x)


_FUNCTIONS = (
    linear, relu, relu6, leaky_relu, elu, selu, gelu, sigmoid, tanh, softmax, silu, softplus,
    softsign,
)  # fmt: skip


def get(identifier: Any) -> Activation:
    """A name, a configuration, an instance or one of this module's functions as an activation.

    None is linear.

    Raises:
        ValueError: an unknown name; the message lists the near matches.
        TypeError: something else, such as a function the library does not know the derivative of.
    """
    if identifier is None:
        return Linear()
    if identifier in _FUNCTIONS:
        return ACTIVATIONS.get(identifier.__name__)
    return ACTIVATIONS.get(identifier)
