"""Convolutions whose filters see one channel each."""

from typing import Any

from minicnn.context import Context
from minicnn.initializers import INITIALIZERS
from minicnn.kernels import conv_implicit, depthwise
from minicnn.kernels.windows import Window
from minicnn.layers import arguments
from minicnn.layers.base import LAYERS, ActivatedLayer, require_rank
from minicnn.regularizers import REGULARIZERS


class _Depthwise(ActivatedLayer):
    """What both layers share: the depthwise filters (kh, kw, C, M)."""

    depthwise_kernel: Any

    def __init__(
        self,
        kernel_size: Any,
        strides: Any,
        padding: str,
        data_format: str | None,
        dilation_rate: Any,
        depth_multiplier: int,
        activation: Any,
        use_bias: bool,
        depthwise_initializer: Any,
        bias_initializer: Any,
        depthwise_regularizer: Any,
        bias_regularizer: Any,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.kernel_size = arguments.pair(self, "kernel_size", kernel_size)
        self.strides = arguments.pair(self, "strides", strides)
        self.padding = arguments.padding_name(self, padding)
        self.data_format = arguments.channels_last(self, data_format)
        self.dilation_rate = arguments.pair(self, "dilation_rate", dilation_rate)
        self.depth_multiplier = arguments.positive_int(self, "depth_multiplier", depth_multiplier)
        self.activation = arguments.activation_function(activation)
        self.use_bias = use_bias
        self.depthwise_initializer = INITIALIZERS.get(depthwise_initializer)
        self.bias_initializer = INITIALIZERS.get(bias_initializer)
        self.depthwise_regularizer = REGULARIZERS.get(depthwise_regularizer)
        self.bias_regularizer = REGULARIZERS.get(bias_regularizer)
        self.window = Window(self.kernel_size, self.strides, self.padding, self.dilation_rate)

    def build(self, input_shape: Any) -> None:
        require_rank(self, input_shape, 4, "(batch, height, width, channels)")
        self.depthwise_kernel = self.add_weight(
            "kernel",
            (*self.kernel_size, input_shape[-1], self.depth_multiplier),
            self.depthwise_initializer,
            self.depthwise_regularizer,
        )

    def _window_shape(self, input_shape: Any, filters: int) -> Any:
        require_rank(self, input_shape, 4, "(batch, height, width, channels)")
        if input_shape[-1] != self.depthwise_kernel.shape[2]:
            raise ValueError(
                f"{self.described} was built for {self.depthwise_kernel.shape[2]} channels; got "
                f"images of {input_shape[-1]}, shape {tuple(input_shape)}"
            )
        size = arguments.window_output_size(self, self.window, *input_shape[1:3])
        return (input_shape[0], *size, filters)


@LAYERS.register("DepthwiseConvolution2D")
class DepthwiseConv2D(_Depthwise):
    """Filters for each channel alone: channel c gives the outputs c M to c M + M - 1.

    y[n, p, q, c M + m] = act(sum_{i, j} x[n, p sh + i dh, q sw + j dw, c] w[i, j, c, m] + b)

    Args:
        kernel_size, strides, padding, dilation_rate: as for `Conv2D`.
        depth_multiplier: filters M for each channel.
        data_format: "channels_last".

    Shape:
        (N, H, W, C) to (N, OH, OW, C M); kernel (kh, kw, C, M), bias (C M,).

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
        **kwargs: Any,
    ):
        super().__init__(
            kernel_size, strides, padding, data_format, dilation_rate, depth_multiplier,
            activation, use_bias, depthwise_initializer, bias_initializer,
            depthwise_regularizer, bias_regularizer, **kwargs,
        )  # fmt: skip

    def build(self, input_shape: Any) -> None:
        super().build(input_shape)
        self.bias = self.add_bias(input_shape[-1] * self.depth_multiplier)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return self._window_shape(input_shape, input_shape[-1] * self.depth_multiplier)

    def linear(self, x: Any, ctx: Context) -> Any:
        ctx.save(x)
        return depthwise.depthwise_conv2d(x, self.depthwise_kernel.value, self.window)

    def linear_gradient(self, dz: Any, ctx: Context) -> Any:
        (x,) = ctx.saved
        kernel = self.depthwise_kernel
        if kernel.trainable:
            dw = depthwise.depthwise_kernel_gradient(x, dz, kernel.shape, self.window)
            ctx.add_gradient(kernel, dw)
        if not ctx.needs_dx:
            return None
        return depthwise.depthwise_input_gradient(dz, kernel.value, x.shape, self.window)

    def multiply_adds(self, input_shape: Any) -> int:
        _, oh, ow, filters = self.compute_output_shape(input_shape)
        return oh * ow * filters * self.kernel_size[0] * self.kernel_size[1]


@LAYERS.register("SeparableConvolution2D")
class SeparableConv2D(_Depthwise):
    """A depthwise convolution, then a 1x1 convolution that mixes the channels.

    With 3x3 taps and many channels about a ninth of a full convolution's multiply-adds.

    Args:
        filters: channels of the output.
        kernel_size, strides, padding, dilation_rate: of the depthwise part, as for `Conv2D`.
        depth_multiplier: depthwise filters M for each channel.
        data_format: "channels_last".

    Shape:
        (N, H, W, C) to (N, OH, OW, filters); depthwise kernel (kh, kw, C, M), pointwise kernel
        (1, 1, C M, filters), bias (filters,).

    Source: Chollet, "Xception" (2017), arXiv:1610.02357.
    """

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
        **kwargs: Any,
    ):
        super().__init__(
            kernel_size, strides, padding, data_format, dilation_rate, depth_multiplier,
            activation, use_bias, depthwise_initializer, bias_initializer,
            depthwise_regularizer, bias_regularizer, **kwargs,
        )  # fmt: skip
        self.filters = arguments.positive_int(self, "filters", filters)
        self.pointwise_initializer = INITIALIZERS.get(pointwise_initializer)
        self.pointwise_regularizer = REGULARIZERS.get(pointwise_regularizer)

    def build(self, input_shape: Any) -> None:
        super().build(input_shape)
        self.pointwise_kernel = self.add_weight(
            "pointwise_kernel",
            (1, 1, input_shape[-1] * self.depth_multiplier, self.filters),
            self.pointwise_initializer,
            self.pointwise_regularizer,
        )
        self.bias = self.add_bias(self.filters)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return self._window_shape(input_shape, self.filters)

    def linear(self, x: Any, ctx: Context) -> Any:
        middle = depthwise.depthwise_conv2d(x, self.depthwise_kernel.value, self.window)
        z, kept = conv_implicit.forward(
            middle, self.pointwise_kernel.value, _POINT, keep=self.pointwise_kernel.trainable
        )
        ctx.save(x, middle.shape, kept)
        return z

    def linear_gradient(self, dz: Any, ctx: Context) -> Any:
        x, middle_shape, kept = ctx.saved
        inner, outer = self.depthwise_kernel, self.pointwise_kernel
        dw, dmiddle = conv_implicit.gradients(
            dz, kept, outer.value, middle_shape, _POINT,
            needs_dw=outer.trainable, needs_dx=ctx.needs_dx or inner.trainable,
        )  # fmt: skip
        if outer.trainable:
            ctx.add_gradient(outer, dw)
        if inner.trainable:
            dw = depthwise.depthwise_kernel_gradient(x, dmiddle, inner.shape, self.window)
            ctx.add_gradient(inner, dw)
        if not ctx.needs_dx:
            return None
        return depthwise.depthwise_input_gradient(dmiddle, inner.value, x.shape, self.window)

    def multiply_adds(self, input_shape: Any) -> int:
        _, oh, ow, filters = self.compute_output_shape(input_shape)
        kh, kw = self.kernel_size
        return oh * ow * input_shape[-1] * self.depth_multiplier * (kh * kw + filters)


_POINT = Window((1, 1))
