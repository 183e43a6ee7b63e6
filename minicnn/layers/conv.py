"""Two-dimensional convolution."""

from math import prod
from typing import Any

from minicnn.constraints import Constraint
from minicnn.initializers import Initializer
from minicnn.kernels import conv, conv_winograd
from minicnn.kernels.windows import Convolution
from minicnn.layers import arguments
from minicnn.layers.base import LAYERS
from minicnn.layers.context import Context
from minicnn.layers.sliding import SlidingFilters
from minicnn.regularizers import Regularizer
from minicnn.typing import Array, Shape


@LAYERS.register("Convolution2D")
class Conv2D(SlidingFilters):
    """A bank of filters slid over an image.

    y[n, p, q, f] = act(sum_{i, j, c} x[n, p sh + i dh, q sw + j dw, c] w[i, j, c, f] + b[f])

    Args:
        filters: number of filters F, the channels of the output.
        kernel_size: (kh, kw), or one integer for both.
        strides: (sh, sw), or one integer for both: pixels from one window to the next.
        padding: "valid" (none) or "same" (zeros, so that the output has ceil(H / sh) rows).
        data_format: "channels_last".
        dilation_rate: (dh, dw), or one integer for both: pixels between the taps of a filter.
        groups: how many parts channels and filters are cut into; a filter sees the channels of its
            part only.
        activation: act, a name or an object; default: the identity.
        use_bias: whether there is a b.
        kernel_initializer, bias_initializer: how w and b begin, names or objects.
        kernel_regularizer, bias_regularizer, activity_regularizer: penalties on w, b and y, names
            or objects; default: none.
        kernel_constraint, bias_constraint: see `minicnn.constraints`; default: none.
        algorithm: "im2col", "winograd" or "implicit", to compare them; default: the quickest.
            "implicit" is for NVIDIA GPUs, elsewhere it means the default.
        kwargs: see `Layer`.

    Shape:
        (N, H, W, C) to (N, OH, OW, F); kernel (kh, kw, C / groups, F), bias (F,).

    Raises:
        ValueError: a bad argument; an input that is no batch of images, whose channels cannot be
            divided by groups, or that is smaller than the window.

    Source: LeCun et al., "Gradient-based learning applied to document recognition" (1998).
    """

    window: Convolution
    kernel_initializer: Initializer
    kernel_regularizer: Regularizer | None
    kernel_constraint: Constraint | None

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
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        algorithm: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(
            kernel_size=kernel_size,
            strides=strides,
            padding=padding,
            data_format=data_format,
            dilation_rate=dilation_rate,
            activation=activation,
            use_bias=use_bias,
            activity_regularizer=activity_regularizer,
            **kwargs,
        )
        arguments.set_weight_arguments(
            self,
            kernel_initializer=kernel_initializer,
            bias_initializer=bias_initializer,
            kernel_regularizer=kernel_regularizer,
            bias_regularizer=bias_regularizer,
            kernel_constraint=kernel_constraint,
            bias_constraint=bias_constraint,
        )
        self.filters = arguments.positive_int(self, "filters", filters)
        self.groups = arguments.positive_int(self, "groups", groups)
        if self.filters % self.groups:
            raise ValueError(
                f"{self.described}: {filters} filters cannot be cut into {groups} groups; "
                f"choose filters as a multiple of groups"
            )
        self.window = Convolution(
            self.kernel_size, self.strides, self.padding, self.dilation_rate, self.groups
        )
        self.algorithm = arguments.one_of(
            self, "algorithm", algorithm, (None, "im2col", "winograd", "implicit")
        )
        if algorithm == "winograd" and not conv_winograd.supports(self.window):
            raise ValueError(
                f"{self.described}: algorithm 'winograd' computes 3x3 kernels with strides, "
                f"dilation_rate and groups of 1; this one has kernel_size {self.kernel_size}, "
                f"strides {self.strides}, dilation_rate {self.dilation_rate}, groups {self.groups}"
            )

    def build(self, input_shape: Shape) -> None:
        channels = self._channels_of(input_shape)
        if channels % self.groups:
            raise ValueError(
                f"{self.described}: {channels} input channels cannot be cut into "
                f"{self.groups} groups"
            )
        shape = (*self.kernel_size, channels // self.groups, self.filters)
        self.kernel = self.add_weight(
            "kernel",
            shape,
            self.kernel_initializer,
            self.kernel_regularizer,
            constraint=self.kernel_constraint,
        )
        self.bias = self.add_bias(self.filters)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return self._output_shape(input_shape, self.kernel.shape[2] * self.groups, self.filters)

    def algorithm_for(self, input_shape: Shape) -> str:
        """The name of the algorithm for images of `input_shape`, one of `conv.ALGORITHMS`."""
        images = (input_shape[0] or 128, *self._image_shape(input_shape))
        return conv.algorithm_for(self.algorithm, self.window, images, self.filters)

    def linear(self, x: Array, ctx: Context) -> Array:
        module, prepared = self._prepared(x.shape, ctx, x)
        keep = ctx.record and self.kernel.trainable
        z, kept = module.forward(x, prepared, self.window, keep)
        ctx.save(kept, x.shape)
        return z

    def linear_gradient(self, dz: Array, ctx: Context) -> Array | None:
        kept, x_shape = ctx.saved
        module, prepared = self._prepared(x_shape, ctx, dz, kept)
        needs_dw = self.kernel.trainable
        dw, dx = module.gradients(dz, kept, prepared, x_shape, self.window, needs_dw, ctx.needs_dx)
        if needs_dw:
            ctx.add_gradient(self.kernel, dw)
        return dx

    def _prepared(self, x_shape: tuple[int, ...], ctx: Context, *arrays: Any) -> tuple[Any, Any]:
        """The module that works on `arrays`, and the kernel as it reads it for images like the
        first of them."""
        kernel = self.kernel
        name = conv.algorithm_for(self.algorithm, self.window, x_shape, self.filters)
        module = conv.implementation(name, *arrays, kernel.value)
        dtype = arrays[0].dtype
        return module, ctx.once((kernel, name), lambda: module.prepare(kernel.value, dtype))

    def multiply_adds(self, input_shape: Shape) -> int:
        outputs = prod(size or 1 for size in self.compute_output_shape(input_shape)[1:])
        return outputs * prod(self.kernel.shape[:3])
