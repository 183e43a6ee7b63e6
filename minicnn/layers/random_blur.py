"""Augmentation that blurs and sharpens."""

from typing import Any

from minicnn.backend import array_module
from minicnn.kernels.blur import band, blur, gaussian
from minicnn.layers import arguments
from minicnn.layers.augmentation import (
    RandomImageLayer,
    cut_off,
    factor_range,
    of_images,
    spread,
    value_bounds,
)
from minicnn.layers.base import LAYERS
from minicnn.layers.context import Context
from minicnn.layers.random_color import RandomColorLayer
from minicnn.typing import Array


@LAYERS.register()
class RandomSharpness(RandomColorLayer):
    """In training, mixes each image with its blurred self: y = 2 f x + (1 - 2 f) blurred(x).

    The blur gives a pixel the weight 5/13 and each of its 8 neighbours 1/13; there are zeros
    outside the image.

    Args:
        factor: f from 0 (blurred) by 0.5 (as it is) to 1 (sharpened); see `RandomColorLayer`.
        value_range: the result is cut off there.
        data_format, seed, kwargs: see `RandomImageLayer`.

    Shape:
        (N, H, W, C), kept.
    """

    def transform(self, x: Array, ctx: Context, *parameters: Any) -> Array:
        share = 1 - of_images(2 * parameters[0], x)
        y, inside = cut_off(_blurred_in_part(x, share), self.value_range, ctx)
        ctx.save(share, inside)
        return y

    def gradient(self, dy: Array, ctx: Context) -> Array:
        share, inside = ctx.saved
        return _blurred_in_part(dy * inside, share)


def _blurred_in_part(x: Array, share: Array) -> Array:
    """x + share (blurred - x), its own adjoint."""
    neighbours = array_module(x).ones(2, x.dtype)  # at distances 0 and 1
    total = blur(x, band(x.shape[1], neighbours), band(x.shape[2], neighbours))
    return x + share * ((total + 4 * x) / 13 - x)


@LAYERS.register()
class RandomGaussianBlur(RandomImageLayer):
    """In training, blurs some images.

    As in Keras the two standard deviations, along rows and columns, are drawn once a batch.

    Args:
        factor: f for (0, f), or (lower, upper), from 0 to 1: range of the probability that an image
            is blurred, which is drawn for each.
        kernel_size: odd number of pixels from which one is made, along height and width; or two.
        sigma: f for (0, f), or (lower, upper), from 0 to 1: standard deviation in pixels.
        value_range: all images are cut off there.
        data_format, seed, kwargs: see `RandomImageLayer`.

    Shape:
        (N, H, W, C), kept.
    """

    whole_batch = True
    draws = 4

    def __init__(
        self,
        factor: Any = 1.0,
        kernel_size: Any = 3,
        sigma: Any = 1.0,
        value_range: Any = (0, 255),
        data_format: str | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(seed, data_format, **kwargs)
        self.factor = factor_range(self, "factor", factor, 0.0)
        self.kernel_size = arguments.pair(self, "kernel_size", kernel_size)
        if not all(k % 2 for k in self.kernel_size):
            raise ValueError(f"{self.described}: kernel_size must be odd; got {kernel_size!r}")
        self.sigma = factor_range(self, "sigma", sigma, 0.0)
        self.value_range = value_bounds(self, value_range)

    def parameters(self, draws: Array, shape: tuple[int, ...]) -> tuple[Any, ...]:
        blurred = draws[:, 1] < spread(draws[:, 0], self.factor)
        return blurred, spread(draws[0, 2:], self.sigma) + 1e-6

    def transform(self, x: Array, ctx: Context, *parameters: Any) -> Array:
        blurred, sigma = parameters
        half = [k // 2 for k in self.kernel_size]
        sigma = sigma.astype(x.dtype, copy=False)
        rows = band(x.shape[1], gaussian(sigma[1:], half[0], half[0]))
        columns = band(x.shape[2], gaussian(sigma[:1], half[1], half[1]))
        blurred = blurred[:, None, None, None]
        y = array_module(x).where(blurred, blur(x, rows, columns), x)
        y, inside = cut_off(y, self.value_range, ctx)
        ctx.save(blurred, rows, columns, inside)
        return y

    def gradient(self, dy: Array, ctx: Context) -> Array:
        blurred, rows, columns, inside = ctx.saved
        dy = dy * inside
        return array_module(dy).where(blurred, blur(dy, rows, columns), dy)
