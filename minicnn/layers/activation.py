"""Activation functions as layers of their own."""

from typing import Any

from minicnn import activations
from minicnn.layers.base import LAYERS, Layer
from minicnn.layers.context import Context
from minicnn.typing import Array, Shape


@LAYERS.register()
class Activation(Layer):
    """y = f(x), element by element (softmax: along the last axis).

    Args:
        activation: f, a name or an object.
        kwargs: see `Layer`.

    Shape:
        any, kept.
    """

    def __init__(self, activation: Any, **kwargs: Any):
        super().__init__(**kwargs)
        self.activation = activations.get(activation)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return tuple(input_shape)

    def forward(self, x: Array, ctx: Context) -> Array:
        closing = self.activation.closing
        if self.activation.is_linear or (closing and ctx.leaves_out_closing()):
            return x
        if not ctx.record:
            return self.activation.forward(x)
        y, kept = self.activation.record(x)
        ctx.save(kept)
        return y

    def backward(self, dy: Array, ctx: Context) -> Array:
        if not ctx.saved:  # forward passed x on as it is
            return dy
        (kept,) = ctx.saved
        return self.activation.backward(dy, kept)


class _FixedActivation(Activation):
    """An activation layer named after its function, whose arguments it takes itself."""

    @classmethod
    def _argument_names(cls) -> list[str]:
        return [name for name in super()._argument_names() if name != "activation"]

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["activation"]
        return config


@LAYERS.register()
class ReLU(_FixedActivation):
    """y = x where x >= threshold (at most max_value), negative_slope (x - threshold) below.

    Args:
        max_value: upper limit, or None.
        negative_slope: slope below the threshold.
        threshold: where the function leaves the lower branch.
        kwargs: see `Layer`.

    Shape:
        any, kept.

    Source: Nair and Hinton, "Rectified linear units improve restricted Boltzmann machines" (2010).
    """

    def __init__(
        self,
        max_value: float | None = None,
        negative_slope: float = 0.0,
        threshold: float = 0.0,
        **kwargs: Any,
    ):
        function = activations.ReLU(
            negative_slope=negative_slope, max_value=max_value, threshold=threshold
        )
        super().__init__(function, **kwargs)
        self.max_value, self.negative_slope, self.threshold = max_value, negative_slope, threshold


@LAYERS.register()
class LeakyReLU(_FixedActivation):
    """y = x where x >= 0, negative_slope x below.

    Args:
        negative_slope: slope below 0; default: 0.3, as in Keras (older name: alpha).
        kwargs: see `Layer`.

    Shape:
        any, kept.

    Source: Maas, Hannun, Ng, "Rectifier nonlinearities improve neural network acoustic models"
    (2013).
    """

    def __init__(self, negative_slope: float = 0.3, **kwargs: Any):
        negative_slope = kwargs.pop("alpha", negative_slope)
        super().__init__(activations.LeakyReLU(negative_slope=negative_slope), **kwargs)
        self.negative_slope = negative_slope


@LAYERS.register()
class ELU(_FixedActivation):
    """y = x where x > 0, alpha (exp(x) - 1) below.

    Args:
        alpha: y goes to -alpha for x to minus infinity.
        kwargs: see `Layer`.

    Shape:
        any, kept.

    Source: Clevert, Unterthiner, Hochreiter (2015), arXiv:1511.07289.
    """

    def __init__(self, alpha: float = 1.0, **kwargs: Any):
        super().__init__(activations.ELU(alpha=alpha), **kwargs)
        self.alpha = alpha


@LAYERS.register()
class GELU(_FixedActivation):
    """y = x P(X <= x) for a standard normal X.

    Args:
        approximate: whether to use the formula with tanh.
        kwargs: see `Layer`.

    Shape:
        any, kept.

    Source: Hendrycks and Gimpel (2016), arXiv:1606.08415.
    """

    def __init__(self, approximate: bool = False, **kwargs: Any):
        super().__init__(activations.GELU(approximate=approximate), **kwargs)
        self.approximate = approximate


@LAYERS.register()
class Softmax(_FixedActivation):
    """y_k = exp(x_k) / sum_j exp(x_j) along an axis.

    Args:
        axis: default: the last.
        kwargs: see `Layer`.

    Shape:
        any, kept.

    Raises:
        ValueError: the axis is that of the batch, whose images have nothing to do with each other.
    """

    def __init__(self, axis: int = -1, **kwargs: Any):
        super().__init__(activations.Softmax(axis=axis), **kwargs)
        self.axis = axis

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        if self.axis in (0, -len(input_shape)):
            raise ValueError(
                f"{self.described}: axis {self.axis} of inputs of shape {tuple(input_shape)} is "
                f"the batch; choose an axis within an image, such as -1"
            )
        return super().compute_output_shape(input_shape)
