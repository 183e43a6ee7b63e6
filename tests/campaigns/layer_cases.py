"""Random configurations of layers, each beside the same function in PyTorch."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F
from torch_layers import (
    torch_activations,
    torch_average_pool,
    torch_conv,
    torch_depthwise,
    torch_max_pool,
)

from minicnn import layers
from minicnn.kernels.windows import Convolution, Window

EPSILON = 1e-3  # of the normalizations


@dataclass
class Case:
    """A layer, images for it, and the function it has to be.

    Attributes:
        row: under which it is counted.
        make: gives the layer for keyword arguments (the dtype).
        x: images in float64.
        function: of the tensor x and of the weights by name, in PyTorch.
        text: the layer's arguments.
        training: the mode.
        ill: why the gradients for x and gamma are small differences of large numbers; "" where
            they are not.
        terms: how large these numbers are, per unit of the largest output gradient.
        kink: whether rounding may move a number across a bend of the layer's function, where its
            gradient jumps; float32 is not compared then.
    """

    row: str
    make: Callable[..., Any]
    x: np.ndarray
    function: Callable[..., Any]
    text: str = ""
    training: bool = True
    ill: str = ""
    terms: float = 0.0
    kink: bool = False
    weight_scale: float = 1.0


def _integers(rng, low, high, size=None):
    drawn = rng.integers(low, high + 1, size)
    return int(drawn) if size is None else tuple(int(i) for i in drawn)


def _pick(rng, *choices):
    return choices[rng.integers(len(choices))]


def _images(rng, shape):
    """Normally distributed, from 1e-3 to 1e3 large; a third of them far from 0."""
    offset = _pick(rng, 0.0, 0.0, rng.normal() * 5)
    return (rng.standard_normal(shape) + offset) * 10 ** rng.uniform(-3, 3)


def _window(rng, largest, dilated=True, square3=False):
    if square3:
        return Window((3, 3), (1, 1), _pick(rng, "valid", "same"), (1, 1))
    return Window(
        _integers(rng, 1, largest, 2),
        _integers(rng, 1, 3, 2),
        _pick(rng, "valid", "same"),
        _integers(rng, 1, 3, 2) if dilated else (1, 1),
    )


def _sized(rng, window, channels):
    """Images (N, H, W, C) of up to 40 x 40, at least as large as a "valid" window."""
    smallest = window.extent if window.padding == "valid" else (1, 1)
    largest = _pick(rng, 8, 40)
    sizes = [_integers(rng, low, max(low, largest)) for low in smallest]
    return _images(rng, (_integers(rng, 1, 5), *sizes, channels))


def _any_shape(rng, least_rank=2):
    """(N, ..., C) of two to four axes."""
    rank = _integers(rng, least_rank, 4)
    largest = _pick(rng, 6, 6, 24)
    return (_integers(rng, 1, 5), *_integers(rng, 1, largest, rank - 1))


def _sliding(window):
    return {
        "kernel_size": window.size,
        "strides": window.strides,
        "padding": window.padding,
        "dilation_rate": window.dilation,
    }


def _softplus(x):
    return F.softplus(x, threshold=40)  # below, PyTorch leaves out 2e-9 of it by default


_FUSED = {None: lambda z: z, "silu": F.silu, "softplus": _softplus, "relu": torch.relu}


def _conv2d(rng, row, algorithm, square3):
    window = _window(rng, 7, square3=square3)
    groups = 1 if square3 else _pick(rng, 1, 1, 2, 3, 4)
    channels, filters = (groups * _integers(rng, 1, 12 // groups) for _ in range(2))
    window = Convolution(window.size, window.strides, window.padding, window.dilation, groups)
    bias, activation = bool(rng.integers(4)), _pick(rng, None, None, None, "silu", "relu")
    options = {
        "filters": filters, "groups": groups, "use_bias": bias, "activation": activation,
        "algorithm": algorithm, **_sliding(window),
    }  # fmt: skip

    def function(x, kernel, bias=None):
        return _FUSED[activation](torch_conv(x, kernel, bias, window, groups))

    return Case(
        row, lambda **kw: layers.Conv2D(**options, **kw), _sized(rng, window, channels),
        function, str(options), kink=activation == "relu",
        weight_scale=(window.size[0] * window.size[1] * channels / groups) ** -0.5,
    )  # fmt: skip


def _any_conv2d(rng):
    return _conv2d(rng, "Conv2D", _pick(rng, None, "im2col"), False)


def _conv2d_im2col(rng):
    return _conv2d(rng, "Conv2D 3x3, im2col", "im2col", True)


def _conv2d_winograd(rng):
    return _conv2d(rng, "Conv2D 3x3, Winograd", "winograd", True)


def _depthwise(rng):
    window, channels = _window(rng, 7), _integers(rng, 1, 8)
    options = {"depth_multiplier": _integers(rng, 1, 3), **_sliding(window)}
    return Case(
        "DepthwiseConv2D", lambda **kw: layers.DepthwiseConv2D(**options, **kw),
        _sized(rng, window, channels),
        lambda x, kernel, bias: torch_depthwise(x, kernel, bias, window), str(options),
    )  # fmt: skip


def _separable(rng):
    window, channels = _window(rng, 7), _integers(rng, 1, 6)
    options = {
        "filters": _integers(rng, 1, 8), "depth_multiplier": _integers(rng, 1, 2),
        **_sliding(window),
    }  # fmt: skip

    def function(x, kernel, pointwise_kernel, bias):
        return torch_depthwise(x, kernel, None, window) @ pointwise_kernel[0, 0] + bias

    return Case(
        "SeparableConv2D", lambda **kw: layers.SeparableConv2D(**options, **kw),
        _sized(rng, window, channels), function, str(options),
    )  # fmt: skip


def _pooling(rng, row, layer, function):
    window = _window(rng, 5, dilated=False)
    if rng.integers(2):
        window = Window(window.size, window.size, window.padding)  # side by side
    arguments = (window.size, window.strides, window.padding)
    return Case(
        row, lambda **kw: layer(*arguments, **kw), _sized(rng, window, _integers(rng, 1, 8)),
        lambda x: function(x, window), str(arguments),
    )  # fmt: skip


def _max_pooling(rng):
    return _pooling(rng, "MaxPooling2D", layers.MaxPooling2D, torch_max_pool)


def _average_pooling(rng):
    return _pooling(rng, "AveragePooling2D", layers.AveragePooling2D, torch_average_pool)


def _global(rng):
    keepdims = bool(rng.integers(2))
    layer, function = _pick(
        rng,
        (layers.GlobalAveragePooling2D, lambda x: x.mean((1, 2), keepdim=keepdims)),
        (layers.GlobalMaxPooling2D, lambda x: x.amax((1, 2), keepdim=keepdims)),
    )
    shape = (_integers(rng, 1, 5), *_integers(rng, 1, 40, 2), _integers(rng, 1, 8))
    return Case(
        "GlobalAverage, GlobalMax", lambda **kw: layer(keepdims=keepdims, **kw),
        _images(rng, shape), function, f"{layer.__name__} keepdims={keepdims}",
    )  # fmt: skip


def _few_numbers(x, axes):
    """`ill` and `terms` where a mean and a variance are those of one or two numbers."""
    if np.prod([x.shape[axis] for axis in axes]) > 2:
        return {}
    inverse = 1 / np.sqrt(x.var(axis=axes) + EPSILON)
    return {"ill": "normalizes one or two numbers", "terms": float(inverse.max())}


def _batch_normalization(rng):
    training = bool(rng.integers(2))
    shape = _any_shape(rng)
    x = _images(rng, (shape[0] + 1, *shape[1:]))  # PyTorch refuses a single number per channel

    def function(x, gamma, beta, moving_mean, moving_variance):
        mean, variance = moving_mean.detach().clone(), moving_variance.detach().clone()
        y = F.batch_norm(x.movedim(-1, 1), mean, variance, gamma, beta, training, eps=EPSILON)
        return y.movedim(1, -1)

    ill = _few_numbers(x, tuple(range(x.ndim - 1))) if training else {}
    row = f"BatchNormalization, {'training' if training else 'moving'}"
    return Case(row, layers.BatchNormalization, x, function, training=training, **ill)


def _layer_normalization(rng):
    x = _images(rng, _any_shape(rng))
    axes = list(range(-_integers(rng, 1, x.ndim - 1), 0))
    return Case(
        "LayerNormalization", lambda **kw: layers.LayerNormalization(axes, **kw), x,
        lambda x, gamma, beta: F.layer_norm(x, gamma.shape, gamma, beta, eps=EPSILON),
        f"axis={axes}", **_few_numbers(x, tuple(axes)),
    )  # fmt: skip


def _group_normalization(rng):
    groups, per_group = _integers(rng, 1, 4, 2)
    shape = _any_shape(rng, 3)
    shape = (*shape[:-2], shape[-2] + 1, groups * per_group)  # PyTorch refuses single numbers
    x = _images(rng, shape)
    grouped = x.reshape(len(x), -1, groups, per_group)
    return Case(
        "GroupNormalization", lambda **kw: layers.GroupNormalization(groups, **kw), x,
        lambda x, gamma, beta: F.group_norm(
            x.movedim(-1, 1), groups, gamma, beta, eps=EPSILON
        ).movedim(1, -1),
        f"groups={groups}", **_few_numbers(grouped, (1, 3)),
    )  # fmt: skip


def _dense(rng):
    x = _images(rng, _any_shape(rng))
    options = {
        "units": _integers(rng, 1, 40), "use_bias": bool(rng.integers(4)),
        "activation": _pick(rng, None, None, "softplus", "relu"),
    }  # fmt: skip
    fused = _FUSED[options["activation"]]
    return Case(
        "Dense", lambda **kw: layers.Dense(**options, **kw), x,
        lambda x, kernel, bias=None: fused(F.linear(x, kernel.T, bias)), str(options),
        kink=options["activation"] == "relu", weight_scale=x.shape[-1] ** -0.5,
    )  # fmt: skip


ACTIVATIONS = torch_activations() | {"softplus": _softplus}
# Their slopes are computed from y, as differences of numbers about 1
_SATURATED = {"sigmoid", "tanh", "softmax", "elu", "selu"}


def _activation(rng):
    name = _pick(rng, *ACTIVATIONS)
    ill = {"ill": "saturated", "terms": 2.0} if name in _SATURATED else {}
    return Case(
        "Activation", lambda **kw: layers.Activation(name, **kw),
        _images(rng, _any_shape(rng)), ACTIVATIONS[name], name, **ill,
    )  # fmt: skip


def _zero_padding(rng):
    (top, bottom), (left, right) = pads = _integers(rng, 0, 3, 2), _integers(rng, 0, 3, 2)
    shape = (_integers(rng, 1, 5), *_integers(rng, 1, 40, 2), _integers(rng, 1, 8))
    return Case(
        "ZeroPadding2D", lambda **kw: layers.ZeroPadding2D(pads, **kw), _images(rng, shape),
        lambda x: F.pad(x, (0, 0, left, right, top, bottom)), str(pads),
    )  # fmt: skip


KINDS = (
    _any_conv2d, _conv2d_im2col, _conv2d_winograd, _depthwise, _separable, _max_pooling,
    _average_pooling, _global, _batch_normalization, _layer_normalization, _group_normalization,
    _dense, _activation, _zero_padding,
)  # fmt: skip


def draw(index, seed):
    """Configuration number `index` of a campaign, whatever the others are: (case, generator)."""
    rng = np.random.default_rng([seed, index])
    return KINDS[index % len(KINDS)](rng), rng


def _read_only(x):
    x = x.copy()
    x.flags.writeable = False
    return x


def _strided(x):
    wide = np.full((*x.shape[:-1], 2 * x.shape[-1]), np.nan, x.dtype)
    wide[..., ::2] = x
    return wide[..., ::2]


LAYOUTS = {
    "C": np.ascontiguousarray,
    "Fortran": np.asfortranarray,
    "negative strides": lambda x: np.flip(np.flip(x).copy()),
    "every second": _strided,
    "read-only": _read_only,
}
