"""Fully connected layer."""

from typing import Any

from minicnn.context import Context
from minicnn.initializers import INITIALIZERS
from minicnn.kernels.dense import dense, dense_gradients
from minicnn.layers import arguments
from minicnn.layers.base import LAYERS, ActivatedLayer
from minicnn.regularizers import REGULARIZERS


@LAYERS.register()
class Dense(ActivatedLayer):
    """Affine map of the last axis: y = act(x W + b).

    Args:
        units: size of the output's last axis.
        activation: applied at the end; None for none.
        use_bias: whether there is a b.
        kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer: names or
            objects.

    Shape:
        (N, ..., in) to (N, ..., units); kernel (in, units), bias (units,).
    """

    by_tiles = False

    def __init__(
        self,
        units: int,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        **kwargs: Any,
    ):
        if "input_dim" in kwargs:  # how older scripts say input_shape=(n,)
            kwargs["input_shape"] = (kwargs.pop("input_dim"),)
        super().__init__(**kwargs)
        self.units = arguments.positive_int(self, "units", units)
        self.activation = arguments.activation_function(activation)
        self.use_bias = use_bias
        self.kernel_initializer = INITIALIZERS.get(kernel_initializer)
        self.bias_initializer = INITIALIZERS.get(bias_initializer)
        self.kernel_regularizer = REGULARIZERS.get(kernel_regularizer)
        self.bias_regularizer = REGULARIZERS.get(bias_regularizer)

    def build(self, input_shape: Any) -> None:
        if len(input_shape) < 2 or input_shape[-1] is None:
            raise ValueError(
                f"{self.described} expects inputs (batch, ..., features) with a fixed number of "
                f"features; got shape {tuple(input_shape)}"
            )
        shape = (input_shape[-1], self.units)
        self.kernel = self.add_weight(
            "kernel", shape, self.kernel_initializer, self.kernel_regularizer
        )
        self.bias = self.add_bias(self.units)

    def compute_output_shape(self, input_shape: Any) -> Any:
        if input_shape[-1] != self.kernel.shape[0]:
            raise ValueError(
                f"{self.described} was built for {self.kernel.shape[0]} features; got inputs of "
                f"{input_shape[-1]}, shape {tuple(input_shape)}"
            )
        return (*input_shape[:-1], self.units)

    def linear(self, x: Any, ctx: Context) -> Any:
        rows = x.reshape(-1, x.shape[-1])
        ctx.save(rows, x.shape)
        return dense(rows, self.kernel.value).reshape(*x.shape[:-1], self.units)

    def linear_gradient(self, dz: Any, ctx: Context) -> Any:
        rows, x_shape = ctx.saved
        dw, dx = dense_gradients(
            dz.reshape(-1, self.units), rows, self.kernel.value, self.kernel.trainable, ctx.needs_dx
        )
        if self.kernel.trainable:
            ctx.add_gradient(self.kernel, dw)
        return dx.reshape(x_shape) if ctx.needs_dx else None

    def multiply_adds(self, input_shape: Any) -> int:
        positions = 1
        for size in input_shape[1:-1]:
            positions *= size or 1
        return positions * input_shape[-1] * self.units
