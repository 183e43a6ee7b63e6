"""Normalization over the batch, or over each image's channels."""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

from minicnn.constraints import Constraint
from minicnn.dtypes import narrowed, widened
from minicnn.initializers import Initializer
from minicnn.kernels import batchnorm
from minicnn.kernels.channels import along_row, channel_sum
from minicnn.layers import arguments
from minicnn.layers.base import LAYERS, Layer
from minicnn.layers.context import Context
from minicnn.layers.weight import Weight
from minicnn.regularizers import Regularizer
from minicnn.typing import Array, Shape


class NormalizationLayer(Layer):
    """What the normalizations share, the scale and shift at their end: y = gamma xhat + beta.

    A subclass makes xhat, of mean 0 and variance 1.

    Args:
        epsilon: added to the variance.
        center, scale: whether there is a beta, a gamma.
        beta_initializer, gamma_initializer: how the weights begin, names or objects.
        beta_regularizer, gamma_regularizer: penalties, names or objects, or None.
        beta_constraint, gamma_constraint: names or objects, or None.
        kwargs: see `Layer`.

    Attributes:
        beta, gamma: weights, or None.
        beta_initializer, gamma_initializer, beta_regularizer, gamma_regularizer, beta_constraint,
        gamma_constraint: objects.
    """

    beta: Weight | None
    gamma: Weight | None
    beta_initializer: Initializer
    gamma_initializer: Initializer
    beta_regularizer: Regularizer | None
    gamma_regularizer: Regularizer | None
    beta_constraint: Constraint | None
    gamma_constraint: Constraint | None

    def __init__(
        self,
        *,
        epsilon: float,
        center: bool,
        scale: bool,
        beta_initializer: Any,
        gamma_initializer: Any,
        beta_regularizer: Any,
        gamma_regularizer: Any,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.epsilon = arguments.finite_numbers(self, "epsilon", epsilon, least=0)
        self.center = center
        self.scale = scale
        arguments.set_weight_arguments(
            self,
            beta_initializer=beta_initializer,
            gamma_initializer=gamma_initializer,
            beta_regularizer=beta_regularizer,
            gamma_regularizer=gamma_regularizer,
            beta_constraint=beta_constraint,
            gamma_constraint=gamma_constraint,
        )

    def require_channels(self, input_shape: Shape, channels: int) -> Shape:
        """The `input_shape`, where it ends in the `channels` that the layer was built for.

        Raises:
            ValueError: it does not.
        """
        if input_shape[-1] != channels:
            raise ValueError(
                f"{self.described} was built for {channels} channels; got inputs of "
                f"{input_shape[-1]}, shape {tuple(input_shape)}"
            )
        return tuple(input_shape)

    def add_gamma_and_beta(self, shape: Shape) -> None:
        """Make gamma and beta, of `shape` each; None for one that is left out."""
        self.gamma = self.beta = None
        if self.scale:
            self.gamma = self._add("gamma", shape)
        if self.center:
            self.beta = self._add("beta", shape)

    def _add(self, name: str, shape: Shape) -> Weight:
        kinds = ("initializer", "regularizer", "constraint")
        options = {kind: getattr(self, f"{name}_{kind}") for kind in kinds}
        return self.add_weight(name, arguments.fixed_sizes(self, shape), **options)

    def add_gradients(
        self, ctx: Context, dgamma: Callable[[], Array], dbeta: Callable[[], Array]
    ) -> None:
        """Hand the gradients of gamma and beta to ctx, where there are such weights and they learn.

        Args:
            ctx: of this call.
            dgamma, dbeta: return the gradients; called only where needed.
        """
        if self.gamma is not None and self.gamma.trainable:
            ctx.add_gradient(self.gamma, dgamma())
        if self.beta is not None and self.beta.trainable:
            ctx.add_gradient(self.beta, dbeta())

    def scale_and_shift(self, xhat: Array) -> Array:
        """y = gamma xhat + beta in a new array; gamma and beta run along the last axes of xhat."""
        y = xhat * self.gamma.value if self.gamma is not None else xhat.copy()
        if self.beta is not None:
            y += self.beta.value
        return y

    def scale_and_shift_gradient(self, dy: Array, xhat: Array, ctx: Context) -> Array | None:
        """dxhat of `scale_and_shift` from dy, None where nobody needs it; hands the gradients of
        gamma and beta to ctx."""
        self.add_gradients(
            ctx, lambda: _leading_sum(dy * xhat, self.gamma), lambda: _leading_sum(dy, self.beta)
        )
        if not ctx.needs_dx:
            return None
        return widened(dy) if self.gamma is None else dy * self.gamma.value


@LAYERS.register()
class BatchNormalization(NormalizationLayer):
    """Each channel to mean 0 and variance 1 over the batch, then scaled and shifted.

    In training, with the mean m and variance v of the channel over batch, rows and columns:

        xhat = (x - m) / sqrt(v + epsilon)        y = gamma xhat + beta
        moving = momentum moving + (1 - momentum) (m or v)

    Otherwise, and where `trainable` is False, the moving mean and variance stand for m and v, and
    stay as they are.

    Args:
        axis: -1, the channels.
        momentum, epsilon: as above.
        center, scale: whether there is a beta, a gamma.
        beta_initializer, gamma_initializer, moving_mean_initializer, moving_variance_initializer:
            how the weights begin, names or objects.
        beta_regularizer, gamma_regularizer: penalties, names or objects; default: none.
        beta_constraint, gamma_constraint: see `minicnn.constraints`; default: none.
        kwargs: see `Layer`.

    Shape:
        (N, ..., C), kept; all four weights (C,).

    Raises:
        ValueError: an axis other than the last; a momentum outside 0 to 1; an epsilon that is
            negative or not finite; inputs of other channels than the layer was built for.

    Source: Ioffe and Szegedy (2015), arXiv:1502.03167; the gradient from its section 3.
    """

    whole_batch = True
    reduces_itself = True

    moving_mean_initializer: Initializer
    moving_variance_initializer: Initializer

    def __init__(
        self,
        axis: int | Sequence[int] = -1,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        moving_mean_initializer: Any = "zeros",
        moving_variance_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        **kwargs: Any,
    ):
        super().__init__(
            epsilon=epsilon,
            center=center,
            scale=scale,
            beta_initializer=beta_initializer,
            gamma_initializer=gamma_initializer,
            beta_regularizer=beta_regularizer,
            gamma_regularizer=gamma_regularizer,
            beta_constraint=beta_constraint,
            gamma_constraint=gamma_constraint,
            **kwargs,
        )
        arguments.set_weight_arguments(
            self,
            moving_mean_initializer=moving_mean_initializer,
            moving_variance_initializer=moving_variance_initializer,
        )
        self.axis = axis[0] if isinstance(axis, Sequence) and len(axis) == 1 else axis
        self.momentum = arguments.fraction(self, "momentum", momentum, below_one=False)

    def build(self, input_shape: Shape) -> None:
        if self.axis not in (-1, len(input_shape) - 1):
            raise ValueError(
                f"{self.described} normalizes the last axis, the channels: axis must be -1, "
                f"not {self.axis}, for inputs of shape {tuple(input_shape)}"
            )
        shape = arguments.fixed_sizes(self, input_shape[-1:])
        self.add_gamma_and_beta(shape)
        self.moving_mean = self.add_weight(
            "moving_mean", shape, self.moving_mean_initializer, trainable=False
        )
        self.moving_variance = self.add_weight(
            "moving_variance", shape, self.moving_variance_initializer, trainable=False
        )

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return self.require_channels(input_shape, self.moving_mean.shape[0])

    def forward(self, x: Array, ctx: Context) -> Array:
        if not (ctx.training and self.trainable):
            return self._with_moving_statistics(x, ctx)
        gamma, beta = (w if w is None else w.value for w in (self.gamma, self.beta))
        y, mean, variance, saved = batchnorm.normalize(
            x, gamma, beta, self.moving_mean.value, self.moving_variance.value,
            self.momentum, self.epsilon, ctx.comm,
        )  # fmt: skip
        ctx.update(self.moving_mean, mean)
        ctx.update(self.moving_variance, variance)
        ctx.save(True, saved)
        return y

    def _with_moving_statistics(self, x: Array, ctx: Context) -> Array:
        """y = factor x + (beta - factor m)."""
        inverse = 1 / (self.moving_variance.value + self.epsilon) ** 0.5
        factor = inverse if self.gamma is None else inverse * self.gamma.value
        shift = -factor * self.moving_mean.value
        if self.beta is not None:
            shift = shift + self.beta.value
        ctx.save(False, (x, inverse, factor))
        return batchnorm.scale_and_shift(x, factor, shift)

    def backward(self, dy: Array, ctx: Context) -> Array | None:
        of_batch, saved = ctx.saved
        if of_batch:
            dgamma, dbeta, dx = batchnorm.normalize_gradient(dy, saved, ctx.comm, ctx.needs_dx)
        else:
            dgamma, dbeta, dx = self._with_moving_statistics_gradient(dy, *saved)
        self.add_gradients(ctx, lambda: dgamma, lambda: dbeta)
        return dx

    def _with_moving_statistics_gradient(
        self, dy: Array, x: Array, inverse: Array, factor: Array
    ) -> tuple[Array, Array, Array]:
        """(dgamma, dbeta, dx); the statistics do not depend on x."""
        centered = widened(x) - along_row(self.moving_mean.value, x)
        centered *= dy
        dx = narrowed(dy * along_row(factor, dy), dy.dtype)
        return channel_sum(centered) * inverse, channel_sum(dy), dx


@LAYERS.register()
class LayerNormalization(NormalizationLayer):
    """Each image, position by position, to mean 0 and variance 1 over its own last axis.

    xhat = (x - m) / sqrt(v + epsilon)        y = gamma xhat + beta

    Args:
        axis: the axis, or trailing axes, over which m and v are taken and gamma and beta run.
        epsilon: as above.
        center, scale: whether there is a beta, a gamma.
        beta_initializer, gamma_initializer: how the weights begin, names or objects.
        beta_regularizer, gamma_regularizer: penalties, names or objects; default: none.
        beta_constraint, gamma_constraint: see `minicnn.constraints`; default: none.
        kwargs: see `Layer`.

    Shape:
        (N, ..., C), kept; gamma and beta have the shape of the axes.

    Raises:
        ValueError: axes that are not trailing ones; inputs of other sizes there than the layer was
            built for.

    Source: Ba, Kiros, Hinton (2016), arXiv:1607.06450.
    """

    def __init__(
        self,
        axis: int | Sequence[int] = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        **kwargs: Any,
    ):
        super().__init__(
            epsilon=epsilon,
            center=center,
            scale=scale,
            beta_initializer=beta_initializer,
            gamma_initializer=gamma_initializer,
            beta_regularizer=beta_regularizer,
            gamma_regularizer=gamma_regularizer,
            beta_constraint=beta_constraint,
            gamma_constraint=gamma_constraint,
            **kwargs,
        )
        self.axis = list(axis) if isinstance(axis, Sequence) else axis

    def build(self, input_shape: Shape) -> None:
        rank = len(input_shape)
        given = self.axis if isinstance(self.axis, list) else [self.axis]
        axes = sorted(a + rank if a < 0 else a for a in given)
        if not axes or axes != list(range(rank - len(axes), rank)) or 0 in axes:
            raise ValueError(
                f"{self.described} normalizes trailing axes, without the batch: axis {self.axis} "
                f"does not fit inputs of shape {tuple(input_shape)}"
            )
        self.trailing = len(axes)
        self.sizes = tuple(input_shape[-self.trailing :])
        self.add_gamma_and_beta(self.sizes)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        if tuple(input_shape[-self.trailing :]) != self.sizes:
            raise ValueError(
                f"{self.described} was built for inputs that end in {self.sizes}; got shape "
                f"{tuple(input_shape)}"
            )
        return tuple(input_shape)

    def forward(self, x: Array, ctx: Context) -> Array:
        axes = tuple(range(-self.trailing, 0))
        xhat, inverse = standardized(x, axes, self.epsilon)
        ctx.save(xhat, inverse)
        return narrowed(self.scale_and_shift(xhat), x.dtype)

    def backward(self, dy: Array, ctx: Context) -> Array | None:
        xhat, inverse = ctx.saved
        dxhat = self.scale_and_shift_gradient(dy, xhat, ctx)
        if dxhat is None:
            return None
        axes = tuple(range(-self.trailing, 0))
        return narrowed(standardized_gradient(dxhat, xhat, inverse, axes), dy.dtype)


def standardized(x: Array, axes: tuple[int, ...], epsilon: float) -> tuple[Array, Array]:
    """(xhat = (x - m) / sqrt(v + epsilon), 1 / sqrt(v + epsilon)), m and v being over `axes`."""
    xhat = widened(x)
    xhat = xhat - xhat.mean(axis=axes, keepdims=True)
    inverse = 1 / ((xhat * xhat).mean(axis=axes, keepdims=True) + epsilon) ** 0.5
    xhat *= inverse
    return xhat, inverse


def standardized_gradient(
    dxhat: Array, xhat: Array, inverse: Array, axes: tuple[int, ...]
) -> Array:
    """dx = (dxhat - mean(dxhat) - xhat mean(dxhat xhat)) inverse, with the means over `axes`."""
    dx = dxhat - dxhat.mean(axis=axes, keepdims=True)
    dx -= xhat * (dxhat * xhat).mean(axis=axes, keepdims=True)
    dx *= inverse
    return dx


def _leading_sum(a: Array, weight: Any) -> Array:
    """The sum over all axes but those last ones along which a weight runs."""
    return channel_sum(a.reshape(-1, prod(weight.shape))).reshape(weight.shape)
