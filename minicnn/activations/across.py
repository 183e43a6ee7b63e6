"""Activation functions of all elements along an axis."""

from typing import Any

from minicnn.activations.base import ACTIVATIONS, Activation, as_floating
from minicnn.backend import array_module
from minicnn.kernels import activations as kernels
from minicnn.typing import Array


@ACTIVATIONS.register()
class LogSoftmax(Activation):
    """y = z - log sum exp(z) along `axis`.

    Args:
        axis: default: the last.
    """

    keras_name = "log_softmax"

    def __init__(self, axis: int = -1):
        self.axis = axis

    def forward(self, z: Array, out: Array | None = None) -> Array:
        return _into(out, kernels.log_softmax(z, self.axis))

    def backward(self, dy: Array, kept: Array) -> Array:
        return kernels.log_softmax_gradient(dy, kept, self.axis)


@ACTIVATIONS.register()
class Sparsemax(Activation):
    """Of all probabilities along `axis`, those nearest to z: y = max(z - tau, 0) with the tau that
    makes their sum 1. Small ones are 0.

    Args:
        axis: default: the last.

    Source: Martins, Astudillo 2016, arXiv:1602.02068.
    """

    keras_name = "sparsemax"

    def __init__(self, axis: int = -1):
        self.axis = axis

    def forward(self, z: Array, out: Array | None = None) -> Array:
        return _into(out, kernels.sparsemax(z, self.axis))

    def backward(self, dy: Array, kept: Array) -> Array:
        return kernels.sparsemax_gradient(dy, kept, self.axis)


def _into(out: Array | None, y: Array) -> Array:
    if out is None:
        return y
    out[...] = y
    return out


def glu(x: Any, axis: int = -1) -> Array:
    """a sigmoid(b), with a and b the halves of x along `axis`.

    A function of arrays alone: it halves its input, so that a layer cannot have it as activation.

    Args:
        x: of an even length along the axis.
        axis: default: the last.

    Source: Dauphin et al. 2016, arXiv:1612.08083.
    """
    x = as_floating(x)
    if x.shape[axis] % 2:
        raise ValueError(f"glu halves its input; axis {axis} of shape {tuple(x.shape)} is odd")
    a, b = array_module(x).split(x, 2, axis)
    return a * kernels.sigmoid(b)
