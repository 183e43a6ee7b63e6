"""Augmentation by moving, turning and scaling images (the maths: `minicnn.kernels.affine`)."""

import math
from typing import Any

from minicnn.backend import array_module
from minicnn.kernels.affine import affine, affine_gradient
from minicnn.kernels.borders import FILL_MODES, INTERPOLATIONS
from minicnn.kernels.shift import translate, translate_gradient
from minicnn.layers.augmentation import RandomImageLayer, factor_range
from minicnn.layers.base import LAYERS
from minicnn.layers.context import Context
from minicnn.registry import near_matches
from minicnn.typing import Array


class RandomAffineLayer(RandomImageLayer):
    """Base of the layers here: what is seen between and beyond the pixels.

    Args:
        fill_mode: what is seen outside the image: "reflect" (d c b a | a b c d | d c b a), "wrap",
            "nearest" (the border goes on) or "constant".
        interpolation: "bilinear" or "nearest".
        seed: see `SeededLayer`.
        fill_value: the value outside with "constant".
        data_format: "channels_last".
        kwargs: see `Layer`.
    """

    def __init__(
        self,
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        seed: int | None = None,
        fill_value: float = 0.0,
        data_format: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(seed, data_format, **kwargs)
        for argument, value, known in (
            ("fill_mode", fill_mode, FILL_MODES),
            ("interpolation", interpolation, INTERPOLATIONS),
        ):
            if value not in known:
                raise ValueError(
                    f"{self.described}: unknown {argument} {value!r}; {near_matches(value, known)}"
                )
        self.fill_mode = fill_mode
        self.interpolation = interpolation
        self.fill_value = float(fill_value)

    def transform(self, shape: tuple[int, ...], ctx: Context) -> tuple[Array, Array]:
        """Draw the maps from output to input pixels: matrices (N, 2, 2) and offsets (N, 2).

        Args:
            shape: of the images, (N, H, W, C).
            ctx: of this call.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define transform(shape, ctx)")

    def forward(self, x: Array, ctx: Context) -> Array:
        if not self.augments(ctx):
            return x
        matrix, offset = self.transform(x.shape, ctx)
        ctx.save(matrix, offset)
        return affine(x, matrix, offset, self.fill_mode, self.fill_value, self.interpolation)

    def backward(self, dy: Array, ctx: Context) -> Array:
        if not ctx.saved:
            return dy
        matrix, offset = ctx.saved
        return affine_gradient(dy, matrix, offset, self.fill_mode, self.interpolation)


@LAYERS.register()
class RandomTranslation(RandomAffineLayer):
    """In training, shifts each image by a number of pixels that need not be whole.

    Args:
        height_factor: f for (-f, f), or (lower, upper): the shift as a fraction of the height,
            from -1 (up) to 1 (down).
        width_factor: the same for the width; positive is to the right.
        fill_mode, interpolation, seed, fill_value, data_format, kwargs: see `RandomAffineLayer`.

    Shape:
        (N, H, W, C), kept.
    """

    def __init__(
        self,
        height_factor: Any,
        width_factor: Any,
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        seed: int | None = None,
        fill_value: float = 0.0,
        data_format: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(fill_mode, interpolation, seed, fill_value, data_format, **kwargs)
        self.height_factor = factor_range(self, "height_factor", height_factor)
        self.width_factor = factor_range(self, "width_factor", width_factor)

    def forward(self, x: Array, ctx: Context) -> Array:
        if not self.augments(ctx):
            return x
        n, h, w, _ = x.shape
        bounds = (
            (self.height_factor[0] * h, self.height_factor[1] * h),
            (self.width_factor[0] * w, self.width_factor[1] * w),
        )
        draws = self.draw(ctx, n, 2)
        for axis, (low, high) in enumerate(bounds):
            draws[:, axis] *= high - low
            draws[:, axis] += low
        ctx.save(draws, bounds)
        return translate(x, draws, bounds, self.fill_mode, self.fill_value, self.interpolation)

    def backward(self, dy: Array, ctx: Context) -> Array:
        if not ctx.saved:
            return dy
        shift, bounds = ctx.saved
        return translate_gradient(dy, shift, bounds, self.fill_mode, self.interpolation)


@LAYERS.register()
class RandomRotation(RandomAffineLayer):
    """In training, turns each image about its middle.

    Args:
        factor: f for (-f, f), or (lower, upper): the angle as a fraction of a full turn;
            positive is counter-clockwise. 0.1 is up to 36 degrees either way.
        fill_mode, interpolation, seed, fill_value, data_format, kwargs: see `RandomAffineLayer`.

    Shape:
        (N, H, W, C), kept.
    """

    def __init__(
        self,
        factor: Any,
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        seed: int | None = None,
        fill_value: float = 0.0,
        data_format: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(fill_mode, interpolation, seed, fill_value, data_format, **kwargs)
        self.factor = factor_range(self, "factor", factor)

    def transform(self, shape: tuple[int, ...], ctx: Context) -> tuple[Array, Array]:
        n, h, w, _ = shape
        lower, upper = (f * 2 * math.pi for f in self.factor)
        angle = lower + (upper - lower) * self.draw(ctx, n)
        xp = array_module(angle)
        cos, sin = xp.cos(angle), xp.sin(angle)
        # rows run downward, so this turns the image counter-clockwise
        matrix = xp.stack([cos, sin, -sin, cos], axis=1).reshape(n, 2, 2)
        return matrix, _about_the_middle(matrix, h, w)


@LAYERS.register()
class RandomZoom(RandomAffineLayer):
    """In training, scales each image about its middle.

    Args:
        height_factor: f for (-f, f), or (lower, upper): 0.2 shows 20 % more than the height of
            the image, all smaller; -0.3 shows 30 % less, all larger.
        width_factor: the same for the width; default: height and width scale alike.
        fill_mode, interpolation, seed, fill_value, data_format, kwargs: see `RandomAffineLayer`.

    Shape:
        (N, H, W, C), kept.
    """

    def __init__(
        self,
        height_factor: Any,
        width_factor: Any = None,
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        seed: int | None = None,
        fill_value: float = 0.0,
        data_format: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(fill_mode, interpolation, seed, fill_value, data_format, **kwargs)
        self.height_factor = factor_range(self, "height_factor", height_factor)
        self.width_factor = (
            None if width_factor is None else factor_range(self, "width_factor", width_factor)
        )

    def transform(self, shape: tuple[int, ...], ctx: Context) -> tuple[Array, Array]:
        n, h, w, _ = shape
        draws = self.draw(ctx, n, 2)
        xp = array_module(draws)
        lower, upper = self.height_factor
        rows = 1 + lower + (upper - lower) * draws[:, 0]
        columns = rows
        if self.width_factor is not None:
            lower, upper = self.width_factor
            columns = 1 + lower + (upper - lower) * draws[:, 1]
        zero = xp.zeros_like(rows)
        matrix = xp.stack([rows, zero, zero, columns], axis=1).reshape(n, 2, 2)
        return matrix, _about_the_middle(matrix, h, w)


def _about_the_middle(matrix: Array, h: int, w: int) -> Array:
    """The offset b for which the middle m of the image stays in place: A m + b = m."""
    xp = array_module(matrix)
    down, right = (h - 1) / 2, (w - 1) / 2
    return xp.stack(
        [
            down - (matrix[:, 0, 0] * down + matrix[:, 0, 1] * right),
            right - (matrix[:, 1, 0] * down + matrix[:, 1, 1] * right),
        ],
        axis=1,
    )
