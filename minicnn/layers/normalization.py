"""Normalization over the batch, or over each image's channels."""

from typing import Any

from minicnn.context import Context
from minicnn.dtypes import narrowed, widened
from minicnn.initializers import INITIALIZERS
from minicnn.kernels import batchnorm
from minicnn.kernels.channels import along_row, channel_sum
from minicnn.layers.base import LAYERS, Layer
from minicnn.regularizers import REGULARIZERS


@LAYERS.register()
class BatchNormalization(Layer):
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
        beta_initializer, gamma_initializer, moving_mean_initializer, moving_variance_initializer,
        beta_regularizer, gamma_regularizer: names or objects.

    Shape:
        (N, ..., C), kept; all four weights (C,).

    Source: Ioffe and Szegedy (2015), arXiv:1502.03167; the gradient from its section 3.
    """

    whole_batch = True

    def __init__(
        self,
        axis: int = -1,
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
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.axis = axis[0] if isinstance(axis, (list, tuple)) and len(axis) == 1 else axis
        self.momentum = momentum
        self.epsilon = epsilon
        self.center = center
        self.scale = scale
        self.beta_initializer = INITIALIZERS.get(beta_initializer)
        self.gamma_initializer = INITIALIZERS.get(gamma_initializer)
        self.moving_mean_initializer = INITIALIZERS.get(moving_mean_initializer)
        self.moving_variance_initializer = INITIALIZERS.get(moving_variance_initializer)
        self.beta_regularizer = REGULARIZERS.get(beta_regularizer)
        self.gamma_regularizer = REGULARIZERS.get(gamma_regularizer)

    def build(self, input_shape: Any) -> None:
        if self.axis not in (-1, len(input_shape) - 1):
            raise ValueError(
                f"{self.described} normalizes the last axis, the channels: axis must be -1, "
                f"not {self.axis}, for inputs of shape {tuple(input_shape)}"
            )
        shape = (input_shape[-1],)
        self.gamma = self.beta = None
        if self.scale:
            self.gamma = self.add_weight(
                "gamma", shape, self.gamma_initializer, self.gamma_regularizer
            )
        if self.center:
            self.beta = self.add_weight("beta", shape, self.beta_initializer, self.beta_regularizer)
        self.moving_mean = self.add_weight(
            "moving_mean", shape, self.moving_mean_initializer, trainable=False
        )
        self.moving_variance = self.add_weight(
            "moving_variance", shape, self.moving_variance_initializer, trainable=False
        )

    def compute_output_shape(self, input_shape: Any) -> Any:
        channels = self.moving_mean.shape[0]
        if input_shape[-1] != channels:
            raise ValueError(
                f"{self.described} was built for {channels} channels; got inputs of "
                f"{input_shape[-1]}, shape {tuple(input_shape)}"
            )
        return tuple(input_shape)

    def forward(self, x: Any, ctx: Context) -> Any:
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

    def _with_moving_statistics(self, x: Any, ctx: Context) -> Any:
        """y = factor x + (beta - factor m)."""
        inverse = 1 / (self.moving_variance.value + self.epsilon) ** 0.5
        factor = inverse if self.gamma is None else inverse * self.gamma.value
        shift = -factor * self.moving_mean.value
        if self.beta is not None:
            shift = shift + self.beta.value
        ctx.save(False, (x, inverse, factor))
        return batchnorm.scale_and_shift(x, factor, shift)

    def backward(self, dy: Any, ctx: Context) -> Any:
        of_batch, saved = ctx.saved
        if of_batch:
            dgamma, dbeta, dx = batchnorm.normalize_gradient(dy, saved, ctx.comm, ctx.needs_dx)
        else:
            dgamma, dbeta, dx = self._with_moving_statistics_gradient(dy, *saved)
        if self.gamma is not None and self.gamma.trainable:
            ctx.add_gradient(self.gamma, dgamma)
        if self.beta is not None and self.beta.trainable:
            ctx.add_gradient(self.beta, dbeta)
        return dx

    def _with_moving_statistics_gradient(
        self, dy: Any, x: Any, inverse: Any, factor: Any
    ) -> tuple[Any, Any, Any]:
        """(dgamma, dbeta, dx); the statistics do not depend on x."""
        centered = widened(x) - along_row(self.moving_mean.value, x)
        centered *= dy
        dx = narrowed(dy * along_row(factor, dy), dy.dtype)
        return channel_sum(centered) * inverse, channel_sum(dy), dx


@LAYERS.register()
class LayerNormalization(Layer):
    """Each image, position by position, to mean 0 and variance 1 over its own last axis.

    xhat = (x - m) / sqrt(v + epsilon)        y = gamma xhat + beta

    Args:
        axis: the axis, or trailing axes, over which m and v are taken and gamma and beta run.
        epsilon: as above.
        center, scale: whether there is a beta, a gamma.
        beta_initializer, gamma_initializer, beta_regularizer, gamma_regularizer: names or objects.

    Shape:
        (N, ..., C), kept; gamma and beta have the shape of the axes.

    Source: Ba, Kiros, Hinton (2016), arXiv:1607.06450.
    """

    def __init__(
        self,
        axis: Any = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.axis = list(axis) if isinstance(axis, (list, tuple)) else axis
        self.epsilon = epsilon
        self.center = center
        self.scale = scale
        self.beta_initializer = INITIALIZERS.get(beta_initializer)
        self.gamma_initializer = INITIALIZERS.get(gamma_initializer)
        self.beta_regularizer = REGULARIZERS.get(beta_regularizer)
        self.gamma_regularizer = REGULARIZERS.get(gamma_regularizer)

    def build(self, input_shape: Any) -> None:
        rank = len(input_shape)
        given = self.axis if isinstance(self.axis, list) else [self.axis]
        axes = sorted(a + rank if a < 0 else a for a in given)
        if not axes or axes != list(range(rank - len(axes), rank)) or 0 in axes:
            raise ValueError(
                f"{self.described} normalizes trailing axes, without the batch: axis {self.axis} "
                f"does not fit inputs of shape {tuple(input_shape)}"
            )
        self.trailing = len(axes)
        self.sizes = shape = tuple(input_shape[-self.trailing :])
        self.gamma = self.beta = None
        if self.scale:
            self.gamma = self.add_weight(
                "gamma", shape, self.gamma_initializer, self.gamma_regularizer
            )
        if self.center:
            self.beta = self.add_weight("beta", shape, self.beta_initializer, self.beta_regularizer)

    def compute_output_shape(self, input_shape: Any) -> Any:
        if tuple(input_shape[-self.trailing :]) != self.sizes:
            raise ValueError(
                f"{self.described} was built for inputs that end in {self.sizes}; got shape "
                f"{tuple(input_shape)}"
            )
        return tuple(input_shape)

    def forward(self, x: Any, ctx: Context) -> Any:
        axes = tuple(range(-self.trailing, 0))
        xhat = widened(x)
        xhat = xhat - xhat.mean(axis=axes, keepdims=True)
        inverse = 1 / ((xhat * xhat).mean(axis=axes, keepdims=True) + self.epsilon) ** 0.5
        xhat *= inverse
        ctx.save(xhat, inverse)
        y = xhat * self.gamma.value if self.gamma is not None else xhat.copy()
        if self.beta is not None:
            y += self.beta.value
        return narrowed(y, x.dtype)

    def backward(self, dy: Any, ctx: Context) -> Any:
        xhat, inverse = ctx.saved
        axes = tuple(range(-self.trailing, 0))
        leading = xhat.ndim - self.trailing
        shape = xhat.shape[leading:]
        rows = xhat.shape[:leading]

        def batch_sum(a: Any) -> Any:
            size = a.size
            for r in rows:
                size //= r
            return channel_sum(a.reshape(-1, size)).reshape(shape)

        if self.gamma is not None and self.gamma.trainable:
            ctx.add_gradient(self.gamma, batch_sum(dy * xhat))
        if self.beta is not None and self.beta.trainable:
            ctx.add_gradient(self.beta, batch_sum(dy))
        if not ctx.needs_dx:
            return None
        dxhat = widened(dy) if self.gamma is None else dy * self.gamma.value
        # dx = (dxhat - mean(dxhat) - xhat mean(dxhat xhat)) / sqrt(v + eps)
        dx = dxhat - dxhat.mean(axis=axes, keepdims=True)
        dx -= xhat * (dxhat * xhat).mean(axis=axes, keepdims=True)
        dx *= inverse
        return narrowed(dx, dy.dtype)
