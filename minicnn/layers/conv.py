"""Two-dimensional convolution."""

from typing import Any

from minicnn.context import Context
from minicnn.initializers import INITIALIZERS
from minicnn.kernels import conv, conv_winograd
from minicnn.kernels.windows import Window
from minicnn.layers import arguments
from minicnn.layers.base import LAYERS, ActivatedLayer, require_rank
from minicnn.regularizers import REGULARIZERS


@LAYERS.register("Convolution2D")
class Conv2D(ActivatedLayer):
    """A bank of filters slid over an image.

    y[n, p, q, f] = act(sum_{i, j, c} x[n, p sh + i dh, q sw + j dw, c] w[i, j, c, f] + b[f])

    Args:
        filters: number of filters F, the channels of the output.
        kernel_size: (kh, kw), or one integer for both.
        strides: (sh, sw): pixels from one window to the next.
        padding: "valid" (none) or "same" (zeros, so that the output has ceil(H / sh) rows).
        data_format: "channels_last".
        dilation_rate: (dh, dw): pixels between the taps of a filter.
        groups: channels and filters are cut into so many parts that do not see each other.
        activation: applied at the end; None for none.
        use_bias: whether there is a b.
        kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer: names or
            objects.
        algorithm: "im2col", "winograd" or "implicit", to compare them; the quickest where not
            given. "implicit" is for NVIDIA GPUs, elsewhere as if not given.

    Shape:
        (N, H, W, C) to (N, OH, OW, F); kernel (kh, kw, C / groups, F), bias (F,).

    Raises:
        ValueError: a bad argument; an input that is no batch of images, whose channels are not
            divided by groups, or that is smaller than the window.

    Source: LeCun et al., "Gradient-based learning applied to document recognition" (1998).
    """

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = (1, 1),
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Any = (1, 1),
        groups: int = 1,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        algorithm: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.filters = arguments.positive_int(self, "filters", filters)
        self.kernel_size = arguments.pair(self, "kernel_size", kernel_size)
        self.strides = arguments.pair(self, "strides", strides)
        self.padding = arguments.padding_name(self, padding)
        self.data_format = arguments.channels_last(self, data_format)
        self.dilation_rate = arguments.pair(self, "dilation_rate", dilation_rate)
        self.groups = arguments.positive_int(self, "groups", groups)
        if self.filters % self.groups:
            raise ValueError(
                f"{self.described}: {filters} filters cannot be cut into {groups} groups; "
                f"choose filters as a multiple of groups"
            )
        self.activation = arguments.activation_function(activation)
        self.use_bias = use_bias
        self.kernel_initializer = INITIALIZERS.get(kernel_initializer)
        self.bias_initializer = INITIALIZERS.get(bias_initializer)
        self.kernel_regularizer = REGULARIZERS.get(kernel_regularizer)
        self.bias_regularizer = REGULARIZERS.get(bias_regularizer)
        self.window = Window(self.kernel_size, self.strides, self.padding, self.dilation_rate)
        self.algorithm = arguments.one_of(
            self, "algorithm", algorithm, (None, "im2col", "winograd", "implicit")
        )
        if algorithm == "winograd" and not conv_winograd.supports(self.window, self.groups):
            raise ValueError(
                f"{self.described}: algorithm 'winograd' computes 3x3 kernels with strides, "
                f"dilation_rate and groups of 1; this one has kernel_size {self.kernel_size}, "
                f"strides {self.strides}, dilation_rate {self.dilation_rate}, groups {self.groups}"
            )

    def build(self, input_shape: Any) -> None:
        require_rank(self, input_shape, 4, "(batch, height, width, channels)")
        channels = input_shape[-1]
        if channels % self.groups:
            raise ValueError(
                f"{self.described}: {channels} input channels cannot be cut into "
                f"{self.groups} groups"
            )
        shape = (*self.kernel_size, channels // self.groups, self.filters)
        self.kernel = self.add_weight(
            "kernel", shape, self.kernel_initializer, self.kernel_regularizer
        )
        self.bias = self.add_bias(self.filters)

    def compute_output_shape(self, input_shape: Any) -> Any:
        require_rank(self, input_shape, 4, "(batch, height, width, channels)")
        channels = self.kernel.shape[2] * self.groups
        if input_shape[-1] != channels:
            raise ValueError(
                f"{self.described} was built for {channels} channels; got images of "
                f"{input_shape[-1]}, shape {tuple(input_shape)}"
            )
        size = arguments.window_output_size(self, self.window, *input_shape[1:3])
        return (input_shape[0], *size, self.filters)

    def algorithm_for(self, input_shape: Any) -> str:
        images = (input_shape[0] or 128, *input_shape[1:])
        return conv.algorithm_for(self.algorithm, self.window, images, self.filters, self.groups)

    def input_size_for(self, output_size: tuple[int, int]) -> tuple[int, int] | None:
        return self.window.input_size(output_size) if self.padding == "valid" else None

    def linear(self, x: Any, ctx: Context) -> Any:
        algorithm, prepared = self._prepared(x.shape, x.dtype, ctx)
        keep = ctx.record and self.kernel.trainable
        z, kept = algorithm.forward(x, prepared, self.window, self.groups, keep)
        ctx.save(kept, x.shape)
        return z

    def linear_gradient(self, dz: Any, ctx: Context) -> Any:
        kept, x_shape = ctx.saved
        algorithm, prepared = self._prepared(x_shape, dz.dtype, ctx)
        needs_dw = self.kernel.trainable
        dw, dx = algorithm.gradients(
            dz, kept, prepared, x_shape, self.window, self.groups, needs_dw, ctx.needs_dx
        )
        if needs_dw:
            ctx.add_gradient(self.kernel, dw)
        return dx

    def _prepared(self, x_shape: tuple[int, ...], dtype: Any, ctx: Context) -> tuple[Any, Any]:
        """The algorithm, and the kernel as it reads it for images of `dtype`."""
        name = self.algorithm_for(x_shape)
        module, kernel = conv.ALGORITHMS[name], self.kernel
        return module, ctx.once((kernel, name), lambda: module.prepare(kernel.value, dtype))

    def multiply_adds_made(self, input_shape: Any, results: int = 1) -> float:
        if not results or self.algorithm_for(input_shape) != "winograd":
            return super().multiply_adds_made(input_shape, results)
        images = (input_shape[0] or 128, *input_shape[1:])
        effort = conv.winograd_effort(self.window, images, self.filters, results)
        return effort * self.multiply_adds(input_shape)

    def multiply_adds(self, input_shape: Any) -> int:
        _, oh, ow, filters = self.compute_output_shape(input_shape)
        kh, kw = self.kernel_size
        return oh * ow * filters * kh * kw * input_shape[-1] // self.groups
