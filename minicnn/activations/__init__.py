"""Activation functions by name, as layers use them, and as functions on arrays.

A new one takes a class, in one of the files here, and below, as in Keras, a function of the same
name.
"""

import inspect
from typing import Any

from minicnn.activations.across import LogSoftmax, Sparsemax, glu
from minicnn.activations.base import ACTIVATIONS, Activation, Elementwise, function_of
from minicnn.activations.elementwise import (
    CELU,
    Exponential,
    HardShrink,
    HardSigmoid,
    HardSiLU,
    HardTanh,
    LogSigmoid,
    SoftShrink,
    SparsePlus,
    SparseSigmoid,
    Squareplus,
    TanhShrink,
    Threshold,
)
from minicnn.activations.standard import (
    ELU,
    GELU,
    SELU,
    LeakyReLU,
    Linear,
    Mish,
    ReLU,
    ReLU6,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Softsign,
    Tanh,
)
from minicnn.registry import is_library_code, serialize_object

# Keras's functions on arrays. Passed to a layer (activation=minicnn.activations.relu), each stands
# for the class of the same name: see `get`.
celu, elu, exponential, gelu = map(function_of, (CELU, ELU, Exponential, GELU))
hard_shrink, hard_sigmoid = map(function_of, (HardShrink, HardSigmoid))
hard_silu, hard_tanh, leaky_relu = map(function_of, (HardSiLU, HardTanh, LeakyReLU))
log_sigmoid, log_softmax, mish = map(function_of, (LogSigmoid, LogSoftmax, Mish))
relu, relu6, selu, sigmoid, silu = map(function_of, (ReLU, ReLU6, SELU, Sigmoid, SiLU))
soft_shrink, softmax, softplus = map(function_of, (SoftShrink, Softmax, Softplus))
softsign, sparse_plus, sparse_sigmoid = map(function_of, (Softsign, SparsePlus, SparseSigmoid))
sparsemax, squareplus, tanh = map(function_of, (Sparsemax, Squareplus, Tanh))
tanh_shrink, threshold = map(function_of, (TanhShrink, Threshold))
swish, hard_swish = silu, hard_silu


def linear(x: Any) -> Any:
    """x itself."""
    return x


linear.activation = Linear  # type: ignore[attr-defined]


def get(identifier: Any) -> Activation:
    """What a user may write as an activation.

    Args:
        identifier: a name, a configuration, a class, an instance or one of this module's functions;
            None for linear.

    Raises:
        ValueError: an unknown name; the message lists the near matches.
        TypeError: something else, such as a function whose derivative the library does not know.
    """
    return deserialize(identifier)


def deserialize(config: Any, custom_objects: dict[str, type] | None = None) -> Activation:
    """An activation from what `serialize` returned.

    Args:
        config: that, or what else `get` takes.
        custom_objects: your own classes by name.
    """
    if config is None:
        return Linear()
    config = getattr(config, "activation", config) if inspect.isfunction(config) else config
    if config is Threshold or (isinstance(config, str) and config.lower() == "threshold"):
        raise ValueError("threshold has no arguments by default; say Threshold(threshold, value)")
    return ACTIVATIONS.deserialize(config, custom_objects)


def serialize(activation: Any) -> Any:
    """An `activation` as Keras describes it: by its name if it has its default arguments."""
    function = get(activation)
    if function.keras_name and is_library_code(type(function)):
        if function.get_config() == type(function)().get_config():
            return function.keras_name
    return serialize_object(function, "minicnn.activations")


__all__ = [
    "ACTIVATIONS", "CELU", "ELU", "GELU", "SELU", "Activation", "Elementwise", "Exponential",
    "HardShrink", "HardSiLU", "HardSigmoid", "HardTanh", "LeakyReLU", "Linear", "LogSigmoid",
    "LogSoftmax", "Mish", "ReLU", "ReLU6", "SiLU", "Sigmoid", "SoftShrink", "Softmax", "Softplus",
    "Softsign", "SparsePlus", "SparseSigmoid", "Sparsemax", "Squareplus", "Tanh", "TanhShrink",
    "Threshold", "celu", "deserialize", "elu", "exponential", "gelu", "get", "glu", "hard_shrink",
    "hard_sigmoid", "hard_silu", "hard_swish", "hard_tanh", "leaky_relu", "linear", "log_sigmoid",
    "log_softmax", "mish", "relu", "relu6", "selu", "serialize", "sigmoid", "silu", "soft_shrink",
    "softmax", "softplus", "softsign", "sparse_plus", "sparse_sigmoid", "sparsemax", "squareplus",
    "swish", "tanh", "tanh_shrink", "threshold",
]  # fmt: skip
