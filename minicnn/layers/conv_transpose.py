"""The adjoint of a convolution, as a layer."""

from math import prod
from typing import Any

from minicnn.constraints import Constraint
from minicnn.initializers import Initializer
from minicnn.kernels import conv
from minicnn.kernels.windows import Convolution, Pair
from minicnn.layers import arguments
from minicnn.layers.base import LAYERS
from minicnn.layers.context import Context
from minicnn.layers.sliding import SlidingFilters
from minicnn.regularizers import Regularizer
from minicnn.typing import Array, Shape


@LAYERS.register("Convolution2DTranspose")
class Conv2DTranspose(SlidingFilters):
    """Each pixel adds a filter, times its value, to a larger image: what a `Conv2D` of the same
    window does to gradients on their way back.

    y[n, r, s, f] = act(sum of x[n, p, q, c] w[i, j, f, c] + b[f])
    over p sh + i dh = r + top, q sw + j dw = s + left

    Args:
        filters: channels F of the output.
        kernel_size: (kh, kw), or one integer for both.
        strides: (sh, sw), or one integer for both: pixels of the output from one pixel of the input
            to the next.
        padding: "valid", all that the filters reach, at least sh rows per pixel; or "same", sh rows
            per pixel, of which as many are left out above as below, and an odd one above.
        output_padding: (rows, columns), or one integer for both, less than strides: with
            eh = (kh - 1) dh + 1 there are then (H - 1) sh + eh + rows of them ("valid"), or
            (H - 1) sh + eh mod 2 + rows ("same").
        data_format: "channels_last".
        dilation_rate: (dh, dw), or one integer for both: pixels between the taps of a filter; 1
            where strides are not.
        activation: act, a name or an object; default: the identity.
        use_bias: whether there is a b.
        kernel_initializer, bias_initializer: how w and b begin, names or objects.
        kernel_regularizer, bias_regularizer, activity_regularizer: penalties on w, b and y, names
            or objects; default: none.
        kernel_constraint, bias_constraint: see `minicnn.constraints`; default: none.
        kwargs: see `Layer`.

    Shape:
        (N, H, W, C) to (N, OH, OW, F); kernel (kh, kw, F, C), bias (F,).

    Raises:
        ValueError: a bad argument; an input that is no batch of images, or of other channels than
            the layer was built for.

    Source: Dumoulin and Visin, "A guide to convolution arithmetic" (2016), arXiv:1603.07285.
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
        output_padding: Any = None,
        data_format: str | None = None,
        dilation_rate: Any = (1, 1),
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
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
        more = (None, None) if output_padding is None else arguments.two(output_padding)
        self.output_padding = None if output_padding is None else more
        if len(more) != 2 or not all(
            m is None or (isinstance(m, int) and 0 <= m < s)
            for m, s in zip(more, self.strides, strict=True)
        ):
            raise ValueError(
                f"{self.described}: output_padding must be one or two integers, 0 or above and "
                f"less than strides {self.strides}, not {output_padding!r}"
            )
        if max(self.strides) > 1 and max(self.dilation_rate) > 1:
            raise ValueError(
                f"{self.described}: strides {self.strides} and dilation_rate {self.dilation_rate} "
                f"cannot both be above 1"
            )
        rows, columns = map(self._crop, self.window.extent, self.strides, more)
        # the convolution whose gradient this is: of images like y
        self.window = Convolution(
            self.kernel_size, self.strides, (rows, columns), self.dilation_rate
        )

    def _crop(self, extent: int, stride: int, more: int | None) -> Pair:
        """(before, after): rows that are left out of the (H - 1) s + e that filters reach; less
        than 0 where rows are added."""
        if self.padding == "valid":
            return 0, -(max(extent, stride) - extent if more is None else more)
        kept = stride if more is None else extent % 2 + more  # the output has (H - 1) s + these
        total = kept + extent - 2  # what lies around the pixels, of an output of one pixel each
        before = min((total + 1) // 2, extent - 1)
        return extent - 1 - before, extent - 1 - (total - before)

    def build(self, input_shape: Shape) -> None:
        channels = self._channels_of(input_shape)
        self.kernel = self.add_weight(
            "kernel",
            (*self.kernel_size, self.filters, channels),
            self.kernel_initializer,
            self.kernel_regularizer,
            constraint=self.kernel_constraint,
        )
        self.bias = self.add_bias(self.filters)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        self.require_channels(input_shape, self.kernel.shape[3])
        sizes = arguments.each_size(
            lambda size, stride, extent, crops: (size - 1) * stride + extent - sum(crops),
            input_shape[1:3], self.strides, self.window.extent, self.window.padding,
        )  # fmt: skip
        return (input_shape[0], *sizes, self.filters)

    def linear(self, x: Array, ctx: Context) -> Array:
        y_shape = self.compute_output_shape(x.shape)
        ctx.save(x, y_shape)
        module, prepared = self._prepared(y_shape, ctx, x)
        _, y = module.gradients(x, None, prepared, y_shape, self.window, False, True)
        return y

    def linear_gradient(self, dz: Array, ctx: Context) -> Array | None:
        x, y_shape = ctx.saved
        module, prepared = self._prepared(y_shape, ctx, dz, x)
        learns = self.kernel.trainable
        dx, kept = module.forward(dz, prepared, self.window, learns)
        if learns:
            dw, _ = module.gradients(x, kept, prepared, y_shape, self.window, True, False)
            ctx.add_gradient(self.kernel, dw)
        return dx if ctx.needs_dx else None

    def _prepared(self, y_shape: tuple[Any, ...], ctx: Context, *arrays: Any) -> tuple[Any, Any]:
        """The module that works on `arrays`, and the kernel as it reads it for outputs of
        `y_shape`."""
        kernel = self.kernel
        name = conv.choose_algorithm(self.window, y_shape, kernel.shape[3])
        module = conv.implementation(name, *arrays, kernel.value)
        dtype = arrays[0].dtype
        return module, ctx.once((kernel, name), lambda: module.prepare(kernel.value, dtype))

    def multiply_adds(self, input_shape: Shape) -> int:
        return prod(size or 1 for size in input_shape[1:3]) * prod(self.kernel.shape)
