"""Normalization over groups of each image's channels."""

from math import prod
from typing import Any

from minicnn.dtypes import narrowed
from minicnn.layers import arguments
from minicnn.layers.base import LAYERS
from minicnn.layers.context import Context
from minicnn.layers.normalization import (
    NormalizationLayer,
    standardized,
    standardized_gradient,
)
from minicnn.typing import Array, Shape

_WITHIN_A_GROUP = (1, 3)  # of (N, positions, G, C / G)


@LAYERS.register()
class GroupNormalization(NormalizationLayer):
    """Each group of an image's channels to mean 0 and variance 1, then each channel scaled and
    shifted.

    With the mean m and variance v of the group over its channels, rows and columns:

        xhat = (x - m) / sqrt(v + epsilon)        y = gamma xhat + beta

    It does not look at other images, so that batches may be small.

    Args:
        groups: how many groups G of neighbouring channels there are; -1 for one channel each.
        axis: -1, the channels.
        epsilon: as above.
        center, scale: whether there is a beta, a gamma.
        beta_initializer, gamma_initializer: how the weights begin, names or objects.
        beta_regularizer, gamma_regularizer: penalties, names or objects; default: none.
        beta_constraint, gamma_constraint: see `minicnn.constraints`; default: none.
        kwargs: see `Layer`.

    Shape:
        (N, ..., C), kept; gamma and beta (C,).

    Raises:
        ValueError: an axis other than the last; channels that cannot be cut into the groups.

    Source: Wu and He (2018), arXiv:1803.08494.
    """

    def __init__(
        self,
        groups: int = 32,
        axis: int = -1,
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
        self.groups = groups if groups == -1 else arguments.positive_int(self, "groups", groups)
        self.axis = axis

    def build(self, input_shape: Shape) -> None:
        if self.axis not in (-1, len(input_shape) - 1):
            raise ValueError(
                f"{self.described} normalizes groups of the last axis, the channels: axis must be "
                f"-1, not {self.axis}, for inputs of shape {tuple(input_shape)}"
            )
        (channels,) = arguments.fixed_sizes(self, input_shape[-1:])
        if channels % self.groups:
            raise ValueError(
                f"{self.described}: {channels} channels cannot be cut into {self.groups} groups; "
                f"choose groups that divide them"
            )
        self.add_gamma_and_beta((channels,))
        self.channels = channels

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return self.require_channels(input_shape, self.channels)

    def forward(self, x: Array, ctx: Context) -> Array:
        xhat, inverse = standardized(self._in_groups(x), _WITHIN_A_GROUP, self.epsilon)
        xhat = xhat.reshape(x.shape)
        ctx.save(xhat, inverse)
        return narrowed(self.scale_and_shift(xhat), x.dtype)

    def backward(self, dy: Array, ctx: Context) -> Array | None:
        xhat, inverse = ctx.saved
        dxhat = self.scale_and_shift_gradient(dy, xhat, ctx)
        if dxhat is None:
            return None
        dx = standardized_gradient(
            self._in_groups(dxhat), self._in_groups(xhat), inverse, _WITHIN_A_GROUP
        )
        return narrowed(dx.reshape(dy.shape), dy.dtype)

    def _in_groups(self, x: Array) -> Array:
        """(N, ..., C) to (N, positions, G, C / G)."""
        groups = self.channels if self.groups == -1 else self.groups
        positions = prod(x.shape[1:-1])
        return x.reshape(x.shape[0], positions, groups, self.channels // groups)
