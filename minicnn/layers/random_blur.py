"""Augmentation that blurs and sharpens."""

from typing import Any

from minicnn.backend import array_module
from minicnn.kernels.blur import band, blur, gaussian
from minicnn.layers import arguments
from minicnn.layers.augmentation import RandomColorLayer, cut_off, factor_range, happens, spread
from minicnn.layers.base import LAYERS
from minicnn.layers.context import Context
from minicnn.typing import Array


@LAYERS.register()
class RandomSharpness(RandomColorLayer):
    """In training, mixes each image with its blurred self: y = 2 f x + (1 - 2 f) blurred(x).

    The blur gives a pixel the weight 5/13 and each of its 8 neighbours 1/13.

    Args:
        factor: f from 0 (blurred) by 0.5 (as it is) to 1 (sharpened); see `RandomColorLayer`.
        value_range, data_format, seed, kwargs: see `RandomColorLayer`.

    Shape: (N, H, W, C), kept.
    """

    def change(self, x: Array, *parameters: Array) -> Array:
        neighbours = array_module(x).ones(2, x.dtype)  # at distances 0 and 1
        total = blur(x, band(x.shape[1], neighbours), band(x.shape[2], neighbours))
        return x + (1 - 2 * parameters[0]) * ((total + 4 * x) / 13 - x)

    def change_gradient(self, dy: Array, x: Array, *parameters: Array) -> Array:
        return self.change(dy, *parameters)  # it is its own adjoint


@LAYERS.register()
class RandomGaussianBlur(RandomColorLayer):
    """In training, blurs some images.

    As in Keras the two standard deviations, along columns and rows, are drawn once a batch.

    Args:
        factor: range of the probability, which is drawn for each image; see `RandomColorLayer`.
        kernel_size: from how many pixels one is made, along height and width: odd; or two such.
        sigma: f for (0, f), or (lower, upper), from 0 to 1: standard deviation in pixels.
        value_range, data_format, seed, kwargs: see `RandomColorLayer`.

    Shape: (N, H, W, C), kept.
    """

    whole_batch = True
    draws = 4

    def __init__(
        self, factor: Any = 1.0, kernel_size: Any = 3, sigma: Any = 1.0,
        value_range: Any = (0, 255), data_format: str | None = None, seed: int | None = None,
        **kwargs: Any,
    ):  # fmt: skip
        super().__init__(factor, value_range, data_format, seed, **kwargs)
        self.kernel_size = arguments.pair(self, "kernel_size", kernel_size)
        if not all(k % 2 for k in self.kernel_size):
            raise ValueError(f"{self.described}: kernel_size must be odd; got {kernel_size!r}")
        self.sigma = factor_range(self, "sigma", sigma, 0.0)

    def parameters(self, draws: Array, shape: tuple[int, ...]) -> tuple[Any, ...]:
        return happens(draws, self.factor), spread(draws[0, 2:], self.sigma) + 1e-6

    def transform(self, x: Array, ctx: Context, *parameters: Any) -> Array:
        blurred, sigma = parameters[0].reshape(-1, 1, 1, 1), parameters[1].astype(x.dtype)
        rows = band(x.shape[1], gaussian(sigma[1:], self.kernel_size[0]))
        columns = band(x.shape[2], gaussian(sigma[:1], self.kernel_size[1]))
        y = array_module(x).where(blurred, blur(x, rows, columns), x)
        y, inside = cut_off(y, self.value_range, ctx)
        ctx.save(blurred, rows, columns, inside)
        return y

    def gradient(self, dy: Array, ctx: Context) -> Array:
        blurred, rows, columns, inside = ctx.saved
        dy = dy * inside
        return array_module(dy).where(blurred, blur(dy, rows, columns), dy)
