"""Augmentation by perspective and by elastic distortion."""

from typing import Any

from minicnn.backend import array_module
from minicnn.kernels.affine import affine, affine_gradient
from minicnn.kernels.blur import band, blur, gaussian
from minicnn.kernels.distributions import normal
from minicnn.layers import arguments
from minicnn.layers.augmentation import cut_off, factor_range, spread, value_bounds
from minicnn.layers.base import LAYERS
from minicnn.layers.context import Context
from minicnn.layers.random_affine import RandomAffineLayer
from minicnn.typing import Array


class _RandomWarp(RandomAffineLayer):
    """Base of layers that change some images: with a probability drawn from `factor`."""

    def transform(self, x: Array, ctx: Context, *parameters: Any) -> Array:
        ctx.save(*parameters)
        matrix, offset, perspective, field = parameters
        return affine(
            x, matrix, offset, self.fill_mode, self.fill_value, self.interpolation,
            perspective=perspective, field=field,
        )  # fmt: skip

    def gradient(self, dy: Array, ctx: Context) -> Array:
        matrix, offset, perspective, field = ctx.saved
        return affine_gradient(
            dy, matrix, offset, self.fill_mode, self.interpolation,
            perspective=perspective, field=field,
        )  # fmt: skip


@LAYERS.register()
class RandomPerspective(_RandomWarp):
    """In training, shows some images in perspective.

    The upper left corner stays; each coordinate c of the others moves to c p, p from 1 - scale / 2
    to 1 + scale / 2.

    Args:
        factor: f for (0, f), or (lower, upper), from 0 to 1: range of the probability that an image
            is changed, which is drawn for each.
        scale: from 0 to 1.
        interpolation, fill_value, seed, data_format, kwargs: see `RandomAffineLayer`.

    Shape:
        (N, H, W, C), kept.

    Source: Heckbert, "Fundamentals of Texture Mapping and Image Warping" (1989), section 2.2.
    """

    draws = 6

    def __init__(
        self,
        factor: Any = 1.0,
        scale: float = 1.0,
        interpolation: str = "bilinear",
        fill_value: float = 0.0,
        seed: int | None = None,
        data_format: str | None = None,
        **kwargs: Any,
    ):
        super().__init__("constant", interpolation, seed, fill_value, data_format, **kwargs)
        self.factor = factor_range(self, "factor", factor, 0.0)
        self.scale = arguments.fraction(self, "scale", scale, below_one=False)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config.pop("fill_mode")
        return config

    def parameters(self, draws: Array, shape: tuple[int, ...]) -> tuple[Any, ...]:
        xp = array_module(draws)
        changed = draws[:, 1] < spread(draws[:, 0], self.factor)
        moved = 1 + spread(draws[:, 2:], (-self.scale / 2, self.scale / 2))
        # how far out these corners now lie: upper right and lower left, on their edges of the
        # image, and lower right, across and down
        right, bottom, across, down = xp.where(changed[:, None], moved, 1).T
        # The map of the four new corners to the old ones. The one from old to new, with 1 for the
        # width and the height, is (a u, e v) / (1 + g u + h v); the corners give four equations
        # for a, e, g, h, and its inverse is (x / a, y / e) / (1 - g x / a - h y / e).
        g_a = (bottom - down) / (across * bottom)
        h_e = (right - across) / (right * down)
        common = (across * bottom + right * down - right * bottom) / (right * bottom)
        zero = xp.zeros_like(common)
        matrix = xp.stack([common / down, zero, zero, common / across], 1).reshape(-1, 2, 2)
        h, w = shape[1:3]
        perspective = xp.stack([-h_e / max(h - 1, 1), -g_a / max(w - 1, 1)], 1)
        return matrix, xp.zeros_like(perspective), perspective, None


@LAYERS.register()
class RandomElasticTransform(_RandomWarp):
    """In training, distorts some images as if they were drawn on rubber.

    Each pixel is read at a place that has moved by 0.1 s max(H, W) times a field of random numbers
    of the standard deviation sigma = 0.05 s min(H, W), blurred over as many pixels. As in Keras, s
    is drawn once a batch.

    Args:
        factor: f for (0, f), or (lower, upper), from 0 to 1: range of the probability that an image
            is changed, which is drawn for each.
        scale: the same for s, how far and how smoothly.
        interpolation, fill_mode, fill_value, seed, data_format, kwargs: see `RandomAffineLayer`.
        value_range: all images are cut off there.

    Shape:
        (N, H, W, C), kept.

    Source: Simard et al., "Best Practices for Convolutional Neural Networks" (2003).
    """

    whole_batch = True

    def __init__(
        self,
        factor: Any = 1.0,
        scale: Any = 1.0,
        interpolation: str = "bilinear",
        fill_mode: str = "reflect",
        fill_value: float = 0.0,
        value_range: Any = (0, 255),
        seed: int | None = None,
        data_format: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(fill_mode, interpolation, seed, fill_value, data_format, **kwargs)
        self.factor = factor_range(self, "factor", factor, 0.0)
        self.scale = factor_range(self, "scale", scale, 0.0)
        self.value_range = value_bounds(self, value_range)

    def draws_for(self, shape: tuple[int, ...]) -> int:
        return 3 + 2 * shape[1] * shape[2]

    def parameters(self, draws: Array, shape: tuple[int, ...]) -> tuple[Any, ...]:
        xp = array_module(draws)
        n, h, w, _ = shape
        changed = draws[:, 1] < spread(draws[:, 0], self.factor)
        scale = spread(draws[:1, 2], self.scale)
        noise = normal(draws[:, 3:]).reshape(n, 2, h, w)
        return (*_still(draws, n), None, self._field(noise, changed, scale, xp))

    def _field(self, noise: Array, changed: Array, scale: Array, xp: Any) -> Array:
        n, _, h, w = noise.shape
        sigma = xp.maximum(0.05 * min(h, w) * scale, 1e-6)
        half, most = xp.floor(6 * sigma) // 2, int(6 * 0.05 * min(h, w) * self.scale[1]) // 2
        weights = gaussian(sigma, half, most)
        smooth = blur(noise.reshape(2 * n, h, w, 1), band(h, weights), band(w, weights))
        reach = 0.1 * max(h, w) * scale * sigma * changed
        return smooth.reshape(n, 2, h, w) * reach[:, None, None, None]

    def transform(self, x: Array, ctx: Context, *parameters: Any) -> Array:
        inner = ctx.child("warp")
        y, inside = cut_off(super().transform(x, inner, *parameters), self.value_range, ctx)
        ctx.save(inside)
        return y

    def gradient(self, dy: Array, ctx: Context) -> Array:
        return super().gradient(dy * ctx.saved[0], ctx.child("warp"))


def _still(like: Array, n: int) -> tuple[Array, Array]:
    """Matrices and offsets that move nothing."""
    xp = array_module(like)
    one, zero = xp.ones(n, like.dtype), xp.zeros(n, like.dtype)
    return xp.stack([one, zero, zero, one], 1).reshape(-1, 2, 2), xp.stack([zero, zero], 1)
