"""Fully connected layer."""

from math import prod
from typing import Any

from minicnn.constraints import Constraint
from minicnn.initializers import Initializer
from minicnn.kernels.dense import dense, dense_gradients
from minicnn.layers import arguments
from minicnn.layers.activated import ActivatedLayer
from minicnn.layers.base import LAYERS
from minicnn.layers.context import Context
from minicnn.regularizers import Regularizer
from minicnn.typing import Array, Shape


@LAYERS.register()
class Dense(ActivatedLayer):
    """Affine map of the last axis: y = act(x W + b).

    Args:
        units: size of the output's last axis.
        activation: act, a name or an object; default: the identity.
        use_bias: whether there is a b.
        kernel_initializer, bias_initializer: how W and b begin, names or objects.
        kernel_regularizer, bias_regularizer, activity_regularizer: penalties on W, b and y, names
            or objects; default: none.
        kernel_constraint, bias_constraint: see `minicnn.constraints`; default: none.
        kwargs: see `Layer`; input_dim=n is short for input_shape=(n,).

    Shape:
        (N, ..., in) to (N, ..., units); kernel (in, units), bias (units,).

    Raises:
        ValueError: a bad argument; an input of no fixed number of features, or of another than the
            layer was built for.
    """

    kernel_initializer: Initializer
    kernel_regularizer: Regularizer | None
    kernel_constraint: Constraint | None

    def __init__(
        self,
        units: int,
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
        if "input_dim" in kwargs:  # how older scripts say input_shape=(n,)
            kwargs["input_shape"] = (kwargs.pop("input_dim"),)
        super().__init__(
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
        self.units = arguments.positive_int(self, "units", units)

    def build(self, input_shape: Shape) -> None:
        features = input_shape[-1] if len(input_shape) > 1 else None
        if features is None:
            raise ValueError(
                f"{self.described} expects inputs (batch, ..., features) with a fixed number of "
                f"features; got shape {tuple(input_shape)}"
            )
        self.kernel = self.add_weight(
            "kernel",
            (features, self.units),
            self.kernel_initializer,
            self.kernel_regularizer,
            constraint=self.kernel_constraint,
        )
        self.bias = self.add_bias(self.units)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        if input_shape[-1] != self.kernel.shape[0]:
            raise ValueError(
                f"{self.described} was built for {self.kernel.shape[0]} features; got inputs of "
                f"{input_shape[-1]}, shape {tuple(input_shape)}"
            )
        return (*input_shape[:-1], self.units)

    def linear(self, x: Array, ctx: Context) -> Array:
        rows = x.reshape(-1, x.shape[-1])
        ctx.save(rows, x.shape)
        return dense(rows, self.kernel.value).reshape(*x.shape[:-1], self.units)

    def linear_gradient(self, dz: Array, ctx: Context) -> Array | None:
        rows, x_shape = ctx.saved
        dw, dx = dense_gradients(
            dz.reshape(-1, self.units), rows, self.kernel.value, self.kernel.trainable, ctx.needs_dx
        )
        if self.kernel.trainable:
            ctx.add_gradient(self.kernel, dw)
        return dx.reshape(x_shape) if ctx.needs_dx else None

    def multiply_adds(self, input_shape: Shape) -> int:
        return prod(size or 1 for size in input_shape[1:]) * self.units
