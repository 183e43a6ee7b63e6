"""Augmentation by moving, turning and scaling images (the maths: `minicnn.kernels.affine`)."""

import math
from typing import Any

from minicnn.backend import array_module
from minicnn.kernels.affine import affine, affine_gradient
from minicnn.kernels.borders import FILL_MODES, INTERPOLATIONS
from minicnn.kernels.shift import translate, translate_gradient
from minicnn.layers import arguments
from minicnn.layers.augmentation import RandomImageLayer, factor_range, happens, spread
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

    widens = False  # the kernels do, a few images at a time

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

    def transform(self, x: Array, ctx: Context, *parameters: Any) -> Array:
        """Images x under the maps from output to input pixels that `parameters` are: matrices
        (N, 2, 2), offsets (N, 2) and, in perspective, (N, 2); kept in `ctx`."""
        ctx.save(*parameters)
        (matrix, offset), perspective = parameters[:2], (*parameters, None)[2]
        return affine(
            x, matrix, offset, self.fill_mode, self.fill_value, self.interpolation,
            perspective=perspective,
        )  # fmt: skip

    def gradient(self, dy: Array, ctx: Context) -> Array:
        (matrix, offset), perspective = ctx.saved[:2], (*ctx.saved, None)[2]
        return affine_gradient(
            dy, matrix, offset, self.fill_mode, self.interpolation, perspective=perspective
        )


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

    draws = 2

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

    def _bounds(self, shape: tuple[int, ...]) -> tuple[tuple[float, float], tuple[float, float]]:
        _, h, w, _ = shape
        (up, down), (left, right) = self.height_factor, self.width_factor
        return (up * h, down * h), (left * w, right * w)

    def parameters(self, draws: Array, shape: tuple[int, ...]) -> tuple[Any, ...]:
        shifts = [spread(draws[:, k], bounds) for k, bounds in enumerate(self._bounds(shape))]
        return (array_module(draws).stack(shifts, axis=1),)

    def transform(self, x: Array, ctx: Context, *parameters: Any) -> Array:
        (shift,) = parameters
        ctx.save(shift)
        bounds = self._bounds(x.shape)
        return translate(x, shift, bounds, self.fill_mode, self.fill_value, self.interpolation)

    def gradient(self, dy: Array, ctx: Context) -> Array:
        (shift,) = ctx.saved
        bounds = self._bounds(dy.shape)
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

    def parameters(self, draws: Array, shape: tuple[int, ...]) -> tuple[Any, ...]:
        n, h, w, _ = shape
        lower, upper = (f * 2 * math.pi for f in self.factor)
        angle = spread(draws[:, 0], (lower, upper))
        xp = array_module(angle)
        cos, sin = xp.cos(angle), xp.sin(angle)
        # rows run downward, so this turns the image counter-clockwise
        matrix = xp.stack([cos, sin, -sin, cos], axis=1).reshape(n, 2, 2)
        return matrix, _about_the_middle(matrix, h, w)


@LAYERS.register()
class RandomPerspective(RandomAffineLayer):
    """In training, shows some images in perspective.

    The upper left corner stays; each coordinate c of the others moves to c p, p from 1 - scale / 2
    to 1 + scale / 2.

    Args:
        factor: f for (0, f), or (lower, upper), from 0 to 1: range of the probability that an image
            is changed, which is drawn for each.
        scale: from 0 to 1.
        interpolation, fill_value, seed, data_format, kwargs: see `RandomAffineLayer`.

    Shape: (N, H, W, C), kept.

    Source: Heckbert, "Fundamentals of Texture Mapping and Image Warping" (1989), section 2.2.
    """

    draws = 6

    def __init__(
        self, factor: Any = 1.0, scale: float = 1.0, interpolation: str = "bilinear",
        fill_value: float = 0.0, seed: int | None = None, data_format: str | None = None,
        **kwargs: Any,
    ):  # fmt: skip
        super().__init__("constant", interpolation, seed, fill_value, data_format, **kwargs)
        self.factor = factor_range(self, "factor", factor, 0.0)
        self.scale = arguments.fraction(self, "scale", scale, below_one=False)

    def get_config(self) -> dict[str, Any]:
        """The arguments, among which is no fill_mode."""
        config = super().get_config()
        del config["fill_mode"]
        return config

    def parameters(self, draws: Array, shape: tuple[int, ...]) -> tuple[Any, ...]:
        xp = array_module(draws)
        moved = 1 + spread(draws[:, 2:], (-self.scale / 2, self.scale / 2))
        # how far out now lie the upper right and lower left corner, on their edges of the image,
        # and the lower right one, across and down
        right, bottom, across, down = xp.where(happens(draws, self.factor)[:, None], moved, 1).T
        # With 1 for width and height, (a u, e v) / (1 + g u + h v) leads from the old corners to
        # the new ones: four equations for a, e, g, h. Pixels are read by its inverse,
        # (x / a, y / e) / (1 - g x / a - h y / e).
        g_a = (bottom - down) / (across * bottom)
        h_e = (right - across) / (right * down)
        common = (across * bottom + right * down - right * bottom) / (right * bottom)
        zero = xp.zeros_like(common)
        matrix = xp.stack([common / down, zero, zero, common / across], 1).reshape(-1, 2, 2)
        height, width = (max(size - 1, 1) for size in shape[1:3])
        perspective = xp.stack([-h_e / height, -g_a / width], 1)
        return matrix, xp.zeros_like(perspective), perspective


@LAYERS.register()
class RandomShear(RandomAffineLayer):
    """In training, slants each image: at (row i, column j) is read (i + sy j, j + sx i).

    Args:
        x_factor: f from 0 to 1, for sx between -f and f; or (lower, upper), with a sign that is
            drawn, too, and is that of sy.
        y_factor: the same for sy.
        interpolation, fill_mode, fill_value, data_format, seed, kwargs: see `RandomAffineLayer`.

    Shape: (N, H, W, C), kept.
    """

    draws = 3

    def __init__(
        self, x_factor: Any = 0.0, y_factor: Any = 0.0, interpolation: str = "bilinear",
        fill_mode: str = "reflect", fill_value: float = 0.0, data_format: str | None = None,
        seed: int | None = None, **kwargs: Any,
    ):  # fmt: skip
        super().__init__(fill_mode, interpolation, seed, fill_value, data_format, **kwargs)
        self._slants = self._slant("x_factor", x_factor), self._slant("y_factor", y_factor)
        self.x_factor, self.y_factor = x_factor, y_factor  # Keras does not take (-f, f)

    def _slant(self, argument: str, value: Any) -> tuple[float, float]:
        if isinstance(value, (tuple, list)) and len(value) == 2 and value[0] == -value[1]:
            value = value[1]  # as Keras's own configurations have it
        lower, upper = factor_range(self, argument, value, 0.0)
        return (lower, upper) if isinstance(value, (tuple, list)) else (-upper, upper)

    def parameters(self, draws: Array, shape: tuple[int, ...]) -> tuple[Any, ...]:
        xp = array_module(draws)
        sign = xp.where(draws[:, 0] > 0.5, -1, 1).astype(draws.dtype)
        sx, sy = (sign * spread(draws[:, k + 1], self._slants[k]) for k in range(2))
        one = xp.ones_like(sign)
        return xp.stack([one, sy, sx, one], axis=1).reshape(-1, 2, 2), xp.zeros_like(draws[:, :2])


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

    draws = 2

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

    def parameters(self, draws: Array, shape: tuple[int, ...]) -> tuple[Any, ...]:
        n, h, w, _ = shape
        xp = array_module(draws)
        columns = rows = 1 + spread(draws[:, 0], self.height_factor)
        if self.width_factor is not None:
            columns = 1 + spread(draws[:, 1], self.width_factor)
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
