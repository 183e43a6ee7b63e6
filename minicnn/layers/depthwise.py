"""Convolutions whose filters see one channel each."""

from math import prod
from typing import Any

from minicnn.constraints import Constraint
from minicnn.initializers import Initializer
from minicnn.kernels import conv, depthwise
from minicnn.kernels.windows import Convolution
from minicnn.layers import arguments
from minicnn.layers.base import LAYERS
from minicnn.layers.context import Context
from minicnn.layers.sliding import SlidingFilters
from minicnn.regularizers import Regularizer
from minicnn.typing import Array, Shape

_POINT = Convolution((1, 1))


class _Depthwise(SlidingFilters):
    """What both layers share: the depthwise filters (kh, kw, C, M)."""

    depthwise_initializer: Initializer
    depthwise_regularizer: Regularizer | None
    depthwise_constraint: Constraint | None

    def __init__(self, *, depth_multiplier: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.depth_multiplier = arguments.positive_int(self, "depth_multiplier", depth_multiplier)

    def build(self, input_shape: Shape) -> None:
        channels = self._channels_of(input_shape)
        self.depthwise_kernel = self.add_weight(
            "kernel",
            (*self.kernel_size, channels, self.depth_multiplier),
            self.depthwise_initializer,
            self.depthwise_regularizer,
            constraint=self.depthwise_constraint,
        )

    @property
    def _channels(self) -> tuple[int, int]:
        """Those of the input, C, and those that the depthwise filters make of them, C M."""
        channels, multiplier = self.depthwise_kernel.shape[2:]
        return channels, channels * multiplier


@LAYERS.register("DepthwiseConvolution2D")
class DepthwiseConv2D(_Depthwise):
    """Filters for each channel alone: channel c gives the outputs f = c M to c M + M - 1.

    y[n, p, q, f] = act(sum_{i, j} x[n, p sh + i dh, q sw + j dw, c] w[i, j, c, m] + b[f])
    with f = c M + m

    Args:
        kernel_size: (kh, kw), or one integer for both.
        strides: (sh, sw), or one integer for both: pixels from one window to the next.
        padding: "valid" (none) or "same" (zeros, so that the output has ceil(H / sh) rows).
        depth_multiplier: filters M per channel.
        data_format: "channels_last".
        dilation_rate: (dh, dw), or one integer for both: pixels between the taps of a filter.
        activation: act, a name or an object; default: the identity.
        use_bias: whether there is a b.
        depthwise_initializer, bias_initializer: how w and b begin, names or objects.
        depthwise_regularizer, bias_regularizer, activity_regularizer: penalties on w, b and y,
            names or objects; default: none.
        depthwise_constraint, bias_constraint: see `minicnn.constraints`; default: none.
        kwargs: see `Layer`.

    Shape:
        (N, H, W, C) to (N, OH, OW, C M); kernel (kh, kw, C, M), bias (C M,).

    Raises:
        ValueError: a bad argument; an input that is no batch of images, or that is smaller than
            the window.

    Source: Howard et al., "MobileNets" (2017), arXiv:1704.04861.
    """

    def __init__(
        self,
        kernel_size: Any,
        strides: Any = (1, 1),
        padding: str = "valid",
        depth_multiplier: int = 1,
        data_format: str | None = None,
        dilation_rate: Any = (1, 1),
        activation: Any = None,
        use_bias: bool = True,
        depthwise_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        depthwise_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        depthwise_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ):
        super().__init__(
            kernel_size=kernel_size,
            strides=strides,
            padding=padding,
            data_format=data_format,
            dilation_rate=dilation_rate,
            depth_multiplier=depth_multiplier,
            activation=activation,
            use_bias=use_bias,
            activity_regularizer=activity_regularizer,
            **kwargs,
        )
        arguments.set_weight_arguments(
            self,
            depthwise_initializer=depthwise_initializer,
            bias_initializer=bias_initializer,
            depthwise_regularizer=depthwise_regularizer,
            bias_regularizer=bias_regularizer,
            depthwise_constraint=depthwise_constraint,
            bias_constraint=bias_constraint,
        )

    def build(self, input_shape: Shape) -> None:
        super().build(input_shape)
        self.bias = self.add_bias(self._channels[1])

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return self._output_shape(input_shape, *self._channels)

    def linear(self, x: Array, ctx: Context) -> Array:
        ctx.save(x)
        return depthwise.depthwise_conv2d(x, self.depthwise_kernel.value, self.window)

    def linear_gradient(self, dz: Array, ctx: Context) -> Array | None:
        (x,) = ctx.saved
        kernel = self.depthwise_kernel
        if kernel.trainable:
            dw = depthwise.depthwise_kernel_gradient(x, dz, kernel.shape, self.window)
            ctx.add_gradient(kernel, dw)
        if not ctx.needs_dx:
            return None
        return depthwise.depthwise_input_gradient(dz, kernel.value, x.shape, self.window)

    def multiply_adds(self, input_shape: Shape) -> int:
        outputs = prod(size or 1 for size in self.compute_output_shape(input_shape)[1:])
        return outputs * prod(self.kernel_size)


@LAYERS.register("SeparableConvolution2D")
class SeparableConv2D(_Depthwise):
    """A depthwise convolution, then a 1x1 convolution that mixes the channels.

    With 3x3 taps and many channels about a ninth of a full convolution's multiply-adds.

    Args:
        filters: channels of the output.
        kernel_size: of the depthwise part, (kh, kw), or one integer for both.
        strides: (sh, sw), or one integer for both: pixels from one window to the next.
        padding: "valid" (none) or "same" (zeros, so that the output has ceil(H / sh) rows).
        data_format: "channels_last".
        dilation_rate: (dh, dw), or one integer for both: pixels between the taps of a filter.
        depth_multiplier: depthwise filters M per channel.
        activation: applied at the end, a name or an object; default: the identity.
        use_bias: whether something is added to each channel of the output.
        depthwise_initializer, pointwise_initializer, bias_initializer: how the weights begin,
            names or objects.
        depthwise_regularizer, pointwise_regularizer, bias_regularizer, activity_regularizer:
            penalties on the weights and the output, names or objects; default: none.
        depthwise_constraint, pointwise_constraint, bias_constraint: see `minicnn.constraints`;
            default: none.
        kwargs: see `Layer`.

    Shape:
        (N, H, W, C) to (N, OH, OW, filters); depthwise kernel (kh, kw, C, M), pointwise kernel
        (1, 1, C M, filters), bias (filters,).

    Raises:
        ValueError: as for `DepthwiseConv2D`.

    Source: Chollet, "Xception" (2017), arXiv:1610.02357.
    """

    pointwise_initializer: Initializer
    pointwise_regularizer: Regularizer | None
    pointwise_constraint: Constraint | None

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = (1, 1),
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Any = (1, 1),
        depth_multiplier: int = 1,
        activation: Any = None,
        use_bias: bool = True,
        depthwise_initializer: Any = "glorot_uniform",
        pointwise_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        depthwise_regularizer: Any = None,
        pointwise_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        depthwise_constraint: Any = None,
        pointwise_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ):
        super().__init__(
            kernel_size=kernel_size,
            strides=strides,
            padding=padding,
            data_format=data_format,
            dilation_rate=dilation_rate,
            depth_multiplier=depth_multiplier,
            activation=activation,
            use_bias=use_bias,
            activity_regularizer=activity_regularizer,
            **kwargs,
        )
        arguments.set_weight_arguments(
            self,
            depthwise_initializer=depthwise_initializer,
            pointwise_initializer=pointwise_initializer,
            bias_initializer=bias_initializer,
            depthwise_regularizer=depthwise_regularizer,
            pointwise_regularizer=pointwise_regularizer,
            bias_regularizer=bias_regularizer,
            depthwise_constraint=depthwise_constraint,
            pointwise_constraint=pointwise_constraint,
            bias_constraint=bias_constraint,
        )
        self.filters = arguments.positive_int(self, "filters", filters)

    def build(self, input_shape: Shape) -> None:
        super().build(input_shape)
        self.pointwise_kernel = self.add_weight(
            "pointwise_kernel",
            (1, 1, self._channels[1], self.filters),
            self.pointwise_initializer,
            self.pointwise_regularizer,
            constraint=self.pointwise_constraint,
        )
        self.bias = self.add_bias(self.filters)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return self._output_shape(input_shape, self._channels[0], self.filters)

    def linear(self, x: Array, ctx: Context) -> Array:
        inner, outer = self.depthwise_kernel, self.pointwise_kernel
        middle = depthwise.depthwise_conv2d(x, inner.value, self.window)
        pointwise = self._pointwise(middle.shape, middle)
        z, kept = pointwise.forward(middle, outer.value, _POINT, outer.trainable)
        ctx.save(x, middle.shape, kept)
        return z

    def linear_gradient(self, dz: Array, ctx: Context) -> Array | None:
        x, middle_shape, kept = ctx.saved
        inner, outer = self.depthwise_kernel, self.pointwise_kernel
        needs_dmiddle = ctx.needs_dx or inner.trainable
        dw, dmiddle = self._pointwise(middle_shape, dz, kept).gradients(
            dz, kept, outer.value, middle_shape, _POINT, outer.trainable, needs_dmiddle
        )
        if outer.trainable:
            ctx.add_gradient(outer, dw)
        if inner.trainable:
            dw = depthwise.depthwise_kernel_gradient(x, dmiddle, inner.shape, self.window)
            ctx.add_gradient(inner, dw)
        if not ctx.needs_dx:
            return None
        return depthwise.depthwise_input_gradient(dmiddle, inner.value, x.shape, self.window)

    def _pointwise(self, middle_shape: tuple[int, ...], *arrays: Any) -> Any:
        """The module that computes the 1x1 convolution of `arrays`."""
        algorithm = conv.choose_algorithm(_POINT, middle_shape, self.filters)
        return conv.implementation(algorithm, *arrays, self.pointwise_kernel.value)

    def multiply_adds(self, input_shape: Shape) -> int:
        pixels = prod(size or 1 for size in self.compute_output_shape(input_shape)[1:3])
        return pixels * self._channels[1] * (prod(self.kernel_size) + self.filters)
