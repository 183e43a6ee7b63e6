"""A ReLU whose slope below 0 is learned."""

from collections.abc import Sequence
from typing import Any

from minicnn.backend import array_module
from minicnn.constraints import Constraint
from minicnn.dtypes import narrowed, widened
from minicnn.initializers import Initializer
from minicnn.layers import arguments
from minicnn.layers.base import LAYERS, Layer
from minicnn.layers.context import Context
from minicnn.layers.merge import unbroadcast
from minicnn.regularizers import Regularizer
from minicnn.typing import Array, Shape


@LAYERS.register()
class PReLU(Layer):
    """y = x where x > 0, alpha x below.

    Args:
        alpha_initializer: how alpha begins, a name or an object.
        alpha_regularizer: penalty on it, a name or an object; default: none.
        alpha_constraint: see `minicnn.constraints`; default: none.
        shared_axes: axes along which there is one alpha, counted from 1: [1, 2] for one per channel
            of images; default: each element has its own.
        kwargs: see `Layer`.

    Shape:
        any, kept; alpha has that of one image, with 1 along shared axes.

    Raises:
        ValueError: a shared axis that there is not; inputs of no fixed size, or of another one than
            the layer was built for, along an axis that is not shared.

    Source: He et al., "Delving deep into rectifiers" (2015), arXiv:1502.01852.
    """

    alpha_initializer: Initializer
    alpha_regularizer: Regularizer | None
    alpha_constraint: Constraint | None

    def __init__(
        self,
        alpha_initializer: Any = "zeros",
        alpha_regularizer: Any = None,
        alpha_constraint: Any = None,
        shared_axes: int | Sequence[int] | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        arguments.set_weight_arguments(
            self,
            alpha_initializer=alpha_initializer,
            alpha_regularizer=alpha_regularizer,
            alpha_constraint=alpha_constraint,
        )
        axes = [shared_axes] if isinstance(shared_axes, int) else shared_axes
        self.shared_axes = None if axes is None else list(axes)

    def build(self, input_shape: Shape) -> None:
        shared = self.shared_axes or []
        if any(not 1 <= axis < len(input_shape) for axis in shared):
            raise ValueError(
                f"{self.described}: shared_axes are counted from 1 to {len(input_shape) - 1} for "
                f"inputs of shape {tuple(input_shape)}, not {shared}"
            )
        sizes = [1 if axis in shared else s for axis, s in enumerate(input_shape)][1:]
        self.alpha = self.add_weight(
            "alpha",
            arguments.fixed_sizes(self, tuple(sizes)),
            self.alpha_initializer,
            self.alpha_regularizer,
            constraint=self.alpha_constraint,
        )

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        shared, sizes = self.shared_axes or [], self.alpha.shape
        if len(input_shape) != len(sizes) + 1 or any(
            axis not in shared and input_shape[axis] != size
            for axis, size in enumerate(sizes, start=1)
        ):
            raise ValueError(
                f"{self.described} was built for an alpha of shape {sizes}, shared along the axes "
                f"{shared}; got inputs of shape {tuple(input_shape)}"
            )
        return tuple(input_shape)

    def forward(self, x: Array, ctx: Context) -> Array:
        ctx.save(x)
        wide = widened(x)
        return narrowed(array_module(x).where(wide > 0, wide, self.alpha.value * wide), x.dtype)

    def backward(self, dy: Array, ctx: Context) -> Array | None:
        (x,) = ctx.saved
        xp, dy_wide = array_module(dy), widened(dy)
        if self.alpha.trainable:
            below = xp.minimum(widened(x), 0)
            below *= dy_wide
            ctx.add_gradient(self.alpha, unbroadcast(below, (1, *self.alpha.shape))[0])
        if not ctx.needs_dx:
            return None
        # 0 at 0, as in Keras
        dx = dy_wide * xp.where(x > 0, 1, xp.where(x < 0, self.alpha.value, 0))
        return narrowed(dx, dy.dtype)
