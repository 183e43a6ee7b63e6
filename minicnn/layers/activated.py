"""`ActivatedLayer`: what Dense and the convolutions share, a bias and an activation function."""

from typing import Any

from minicnn.activations import Activation
from minicnn.constraints import Constraint
from minicnn.initializers import Initializer
from minicnn.kernels.bias import add_bias, add_bias_relu, add_bias_relu_gradient
from minicnn.kernels.channels import channel_sum
from minicnn.layers import arguments
from minicnn.layers.base import Layer
from minicnn.layers.context import Context
from minicnn.layers.weight import Weight
from minicnn.regularizers import Regularizer
from minicnn.typing import Array


class ActivatedLayer(Layer):
    """A linear map, a bias and an activation function: y = f(linear(x) + b).

    A subclass defines `linear(x, ctx)` and its adjoint `linear_gradient(dz, ctx)`. The end of the
    work, bias and activation, stands apart because a model may do it later: after a max-pooling
    that follows, on a quarter of the elements.

    Args:
        activation: f, a name or an object; None for the identity.
        use_bias: whether there is a b.
        kwargs: see `Layer`.

    Attributes:
        bias: b, or None.
        bias_initializer, bias_regularizer, bias_constraint: objects, which a subclass sets in its
            constructor, with those of its other weights, by `arguments.set_weight_arguments`.
    """

    bias: Weight | None
    bias_initializer: Initializer
    bias_regularizer: Regularizer | None
    bias_constraint: Constraint | None = None

    def __init__(self, *, activation: Any, use_bias: bool, **kwargs: Any):
        super().__init__(**kwargs)
        self.activation: Activation = arguments.activation_function(activation)
        self.use_bias = use_bias

    def add_bias(self, size: int) -> Weight | None:
        """The bias (size,), or None without `use_bias`."""
        if not self.use_bias:
            return None
        return self.add_weight(
            "bias",
            (size,),
            self.bias_initializer,
            self.bias_regularizer,
            constraint=self.bias_constraint,
        )

    def forward(self, x: Array, ctx: Context) -> Array:
        """y = f(linear(x) + b)."""
        z = self.linear(x, ctx)
        return self.finish(z, ctx.child("finish", wants_logits=ctx.wants_logits))

    def backward(self, dy: Array, ctx: Context) -> Array | None:
        """dx from dy, through f and b, then through the linear map."""
        return self.linear_gradient(self.finish_gradient(dy, ctx.child("finish")), ctx)

    def linear(self, x: Array, ctx: Context) -> Array:
        """z in a new array, (N, ..., channels), without the bias."""
        raise NotImplementedError(f"{type(self).__name__} does not define linear(x, ctx)")

    def linear_gradient(self, dz: Array, ctx: Context) -> Array | None:
        """dx; hands the gradients of the weights, without the bias, to ctx."""
        raise NotImplementedError(f"{type(self).__name__} does not define linear_gradient(dz, ctx)")

    def finish(self, z: Array, ctx: Context) -> Array:
        """y = f(z + b); z is given up and may be written over."""
        activation, bias = self.activation, None if self.bias is None else self.bias.value
        as_relu = activation.as_relu
        if bias is not None and as_relu is not None:
            negative_slope, max_value = as_relu
            y, kept = add_bias_relu(z, bias, negative_slope, max_value, ctx.record)
            ctx.save(kept)
            return y
        if bias is not None:
            z = add_bias(z, bias)
        if activation.is_linear or (activation.is_softmax and ctx.leaves_out_softmax()):
            return z
        if not ctx.record:
            return activation.forward(z, out=z)
        y, kept = activation.record(z, out=z)
        ctx.save(kept)
        return y

    def finish_gradient(self, dy: Array, ctx: Context) -> Array:
        """dz from dy; hands the gradient of the bias to ctx."""
        learns = self.bias is not None and self.bias.trainable
        as_relu = self.activation.as_relu
        if learns and as_relu is not None:
            (kept,) = ctx.saved
            dz, gradient = add_bias_relu_gradient(dy, kept, *as_relu)
        else:
            dz = self.activation.backward(dy, *ctx.saved) if ctx.saved else dy
            gradient = channel_sum(dz) if learns else None
        if self.bias is not None and learns:
            ctx.add_gradient(self.bias, gradient)
        return dz
