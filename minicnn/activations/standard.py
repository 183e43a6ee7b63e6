"""The activation functions that networks for images use most; their mathematics is in
`minicnn.kernels.activations`."""

from minicnn.activations.base import ACTIVATIONS, Activation
from minicnn.kernels import activations as kernels
from minicnn.typing import Array


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
        """As in the base class (z, out)."""
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
        """As in the base class (z, out)."""
        return kernels.gelu_with_slope(z, self.approximate)

    def backward(self, dy: Array, kept: Array) -> Array:
        return dy * kept


@ACTIVATIONS.register()
class Sigmoid(Activation):
    """y = 1 / (1 + exp(-z))."""

    rises = True
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
    def is_softmax(self) -> bool:  # type: ignore[override]
        """Only along the last axis, where losses expect the classes."""
        return self.axis == -1

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
        """As in the base class (z, out)."""
        return kernels.mish_with_slope(z)

    def backward(self, dy: Array, kept: Array) -> Array:
        return dy * kept
