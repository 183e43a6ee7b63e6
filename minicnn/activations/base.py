"""`Activation`: what layers ask of an activation function.

An activation is `forward(z) -> y`, or in training `record(z) -> (y, kept)` with
`backward(dy, kept) -> dz`; `saves` says what `kept` is.
"""

import inspect
from collections.abc import Callable
from functools import update_wrapper
from typing import Any

from minicnn import backend
from minicnn.backend import array_module
from minicnn.dtypes import is_floating, narrowed, overflows_expected, widened
from minicnn.registry import Configurable, Registry, is_library_code, snake_case
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

    def __getattr__(self, name: str) -> str:
        """`__name__`, what Keras calls the function: scripts print `layer.activation.__name__`."""
        if name != "__name__":
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return self.keras_name or snake_case(type(self).__name__)

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

    def __call__(self, z: Any) -> Any:
        if hasattr(z, "activated"):  # between layers, in a model in the making
            return z.activated(self)
        z = as_floating(z)
        # arithmetic on arrays without axes gives scalars, which cannot be overwritten
        return self.forward(z.reshape(1)).reshape(()) if z.ndim == 0 else self.forward(z)


def as_floating(x: Any) -> Array:
    """`x` as it is if it is an array; lists and numbers, and arrays of integers, in the default
    dtype."""
    x = x if backend.is_array(x) else backend.asarray(x)
    return x if is_floating(x.dtype) else x.astype(backend.floatx())


class Elementwise(Activation):
    """Base class of functions given by their value and slope, element by element.

    Your own defines `value_and_slope`; arrays of 16 bits arrive in float32. Of the class are said
    `rises`, see `Activation`, and keras_name, by default its own name in small letters.
    """

    saves = "slope"

    def __init_subclass__(cls, rises: bool = False, keras_name: str | None = "") -> None:
        cls.rises = rises
        if is_library_code(cls):
            cls.keras_name = snake_case(cls.__name__) if keras_name == "" else keras_name

    def value_and_slope(self, z: Array, xp: Any) -> tuple[Array, Array]:
        """(f(z), f'(z)), of z's shape.

        Args:
            z: not to be changed.
            xp: the library of arrays that z belongs to, NumPy or CuPy.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define value_and_slope(z, xp)")

    def forward(self, z: Array, out: Array | None = None) -> Array:
        return self.record(z, out)[0]

    def record(self, z: Array, out: Array | None = None) -> tuple[Array, Array]:
        """As in the base class (z, out); the slope is kept."""
        with overflows_expected():
            y, slope = self.value_and_slope(widened(z), array_module(z))
        slope = slope if slope.dtype == bool else narrowed(slope, z.dtype)
        if out is None:
            return narrowed(y, z.dtype), slope
        out[...] = y
        return out, slope

    def backward(self, dy: Array, kept: Array) -> Array:
        return dy * kept


def function_of(cls: type[Activation]) -> Callable[..., Any]:
    """Keras's function on arrays: f(x, *arguments) for the arguments of `cls`."""

    def function(x: Any, *args: Any, **kwargs: Any) -> Any:
        return cls(*args, **kwargs)(x)

    update_wrapper(function, cls, ("__doc__",), ())
    function.__name__ = function.__qualname__ = cls.keras_name or cls.__name__.lower()
    x = inspect.Parameter("x", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    of_class = inspect.signature(cls).parameters.values()
    function.__signature__ = inspect.Signature([x, *of_class])  # type: ignore[attr-defined]
    function.activation = cls  # type: ignore[attr-defined]
    return function
