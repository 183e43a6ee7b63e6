"""Augmentation with rectangles and with other images: RandomErasing, MixUp, CutMix."""

from typing import Any

from minicnn.backend import array_module, asarray
from minicnn.dtypes import dtype_of, is_floating, widened
from minicnn.kernels.distributions import GAMMA_DRAWS, beta, normal
from minicnn.layers import arguments
from minicnn.layers.augmentation import (
    RandomImageLayer,
    factor_range,
    happens,
    spread,
    value_bounds,
)
from minicnn.layers.base import LAYERS
from minicnn.layers.context import Context
from minicnn.layers.nodes import SymbolicTensor
from minicnn.typing import Array


def _rectangles(draws: Array, heights: Array, widths: Array, shape: tuple[int, ...]) -> Array:
    """Where in images of this `shape` a rectangle lies, (N, H, W, 1), that is anywhere inside.

    Args:
        draws: (N, 2), where.
        heights, widths: (N,), as fractions of the image's.
        shape: of the images, (N, H, W, C).
    """
    xp = array_module(draws)
    covered = []
    for axis, part in enumerate((heights, widths)):
        size = shape[1 + axis]
        i, length = xp.arange(size, dtype=draws.dtype), part * size
        start = draws[:, axis] * (size - length)
        covered.append((i >= start[:, None]) & (i < (start + length)[:, None]))
    return (covered[0][:, :, None] & covered[1][:, None, :])[..., None]


@LAYERS.register()
class RandomErasing(RandomImageLayer):
    """In training, covers a rectangle of some images.

    Args:
        factor: f for (0, f), or (lower, upper), from 0 to 1: range of the probability that an image
            is changed, which is drawn for each.
        scale: the same for a, drawn for height and width by itself: the rectangle has sqrt(a) of
            the image's.
        fill_value: a number, or one per channel; default: normal noise times the largest value of a
            pixel. It is cut off at value_range.
        value_range: smallest and largest value of a pixel.
        seed, data_format, kwargs: see `RandomImageLayer`.

    Shape: (N, H, W, C), kept.

    Source: Zhong et al., "Random Erasing Data Augmentation" (2020).
    """

    def __init__(
        self, factor: Any = 1.0, scale: Any = (0.02, 0.33), fill_value: Any = None,
        value_range: Any = (0, 255), seed: int | None = None, data_format: str | None = None,
        **kwargs: Any,
    ):  # fmt: skip
        super().__init__(seed, data_format, **kwargs)
        self.factor = factor_range(self, "factor", factor, 0.0)
        self.scale = factor_range(self, "scale", scale, 0.0)
        self.value_range = value_bounds(self, value_range)
        self.fill_value = fill_value
        if fill_value is not None:
            arguments.finite_numbers(self, "fill_value", fill_value)
        if isinstance(fill_value, (tuple, list)):
            self.channels = (len(fill_value),)

    def draws_for(self, shape: tuple[int, ...]) -> int:
        _, h, w, c = shape
        return 6 + (-(-h * w * c // 2) * 2 if self.fill_value is None else 0)

    def parameters(self, draws: Array, shape: tuple[int, ...]) -> tuple[Any, ...]:
        xp = array_module(draws)
        n, h, w, c = shape
        low, high = self.value_range
        heights, widths = xp.sqrt(spread(draws[:, :2], self.scale)).T
        covered = _rectangles(draws[:, 2:4], heights, widths, shape)
        covered &= happens(draws[:, 4:6], self.factor)[:, None, None, None]
        if self.fill_value is None:
            noise = normal(draws[:, 6:])[:, : h * w * c].reshape(shape)
            return covered, xp.clip(noise * high, low, high)
        fill = xp.empty((1, 1, 1, c), draws.dtype)
        values = self.fill_value if self.channels else [self.fill_value] * c
        for k, value in enumerate(values):
            fill[..., k] = min(max(float(value), low), high)
        return covered, fill

    def transform(self, x: Array, ctx: Context, *parameters: Any) -> Array:
        covered, fill = parameters
        ctx.save(covered)
        return array_module(x).where(covered, fill.astype(x.dtype, copy=False), x)

    def gradient(self, dy: Array, ctx: Context) -> Array:
        return dy * ~ctx.saved[0]


class MixingLayer(RandomImageLayer):
    """Base of layers that mix each image with another one of the batch, and their labels.

    Called on {"images": ..., "labels": ...} they give a dict of both; labels are one-hot. In a
    model, where a layer sees no labels, they are refused.

    Args:
        seed, data_format, kwargs: see `RandomImageLayer`.
    """

    whole_batch = True

    def __call__(
        self, x: SymbolicTensor | Array | dict[str, Any], training: bool | None = None
    ) -> Any:
        if isinstance(x, SymbolicTensor):
            raise ValueError(
                f"{self.described} mixes labels as well as images, but a layer of a model sees no "
                f'labels: call it on {{"images": x, "labels": y}}, for instance in dataset.map'
            )
        return super().__call__(x, training)

    def _call_on_dict(self, data: dict[str, Any], training: bool | None) -> dict[str, Any]:
        ctx = Context(None if training is None else bool(training), record=False)
        images = asarray(data["images"])
        if "labels" not in data or not self.augments(ctx) or images.ndim == 3:  # which is alone
            return super()._call_on_dict(data, training)
        self.compute_output_shape(images.shape)
        images = images.astype(dtype_of(self.compute_dtype), copy=False)
        labels = self._mixable(asarray(data["labels"]), len(images))
        parameters = share, order, *_ = self.drawn(images.shape, ctx)
        y = self.transform(widened(images), ctx, *parameters).astype(images.dtype, copy=False)
        share = share.astype(labels.dtype, copy=False)[:, None]
        return {"images": y, "labels": share * labels + (1 - share) * labels[order]}

    def _mixable(self, labels: Array, images: int) -> Array:
        whole = not is_floating(labels.dtype)
        if (
            labels.ndim != 2
            or len(labels) != images
            or (whole and labels.shape[1] == 1 and int(labels.max()) > 1)
        ):
            raise ValueError(
                f"{self.described} mixes one-hot labels, (N, classes) for {images} images; got "
                f"{labels.dtype} of shape {tuple(labels.shape)}: see minicnn.utils.to_categorical"
            )
        return labels.astype("float32") if whole else labels


@LAYERS.register()
class MixUp(MixingLayer):
    """Mixes each image and its label with those of another: y = share x + (1 - share) x_other.

    Args:
        alpha: above 0: the shares are drawn from the distribution beta(alpha, alpha); the smaller,
            the nearer to 0 or 1.
        data_format, seed, kwargs: see `MixingLayer`.

    Shape: images (N, H, W, C), labels (N, classes), kept.

    Source: Zhang et al., "mixup: Beyond Empirical Risk Minimization" (2018).
    """

    draws = 1 + 2 * GAMMA_DRAWS

    def __init__(
        self, alpha: float = 0.2, data_format: str | None = None, seed: int | None = None,
        **kwargs: Any,
    ):  # fmt: skip
        super().__init__(seed, data_format, **kwargs)
        self.alpha = arguments.finite_numbers(self, "alpha", alpha, 1e-6)

    def parameters(self, draws: Array, shape: tuple[int, ...]) -> tuple[Any, ...]:
        return beta(draws[:, 1:], self.alpha), array_module(draws).argsort(draws[:, 0])

    def transform(self, x: Array, ctx: Context, *parameters: Any) -> Array:
        share, order = parameters
        share = share.reshape(-1, 1, 1, 1).astype(x.dtype, copy=False)
        ctx.save(share, order)
        return share * x + (1 - share) * x[order]

    def gradient(self, dy: Array, ctx: Context) -> Array:
        share, order = ctx.saved
        # argsort inverts a permutation
        return share * dy + ((1 - share) * dy)[array_module(dy).argsort(order)]


@LAYERS.register()
class CutMix(MixingLayer):
    """Pastes a rectangle of another image into each one, and mixes the labels by its area.

    Args:
        factor: f for (0, f), or (lower, upper), from 0 to 1. An alpha is drawn from there once a
            batch, and from beta(alpha, alpha) the area that each image keeps.
        seed, data_format, kwargs: see `MixingLayer`.

    Shape: images (N, H, W, C), labels (N, classes), kept.

    Source: Yun et al., "CutMix" (2019).
    """

    draws = 4 + 2 * GAMMA_DRAWS

    def __init__(
        self, factor: Any = 1.0, seed: int | None = None, data_format: str | None = None,
        **kwargs: Any,
    ):  # fmt: skip
        super().__init__(seed, data_format, **kwargs)
        self.factor = factor_range(self, "factor", factor, 0.0)

    def parameters(self, draws: Array, shape: tuple[int, ...]) -> tuple[Any, ...]:
        xp = array_module(draws)
        kept = beta(draws[:, 4:], spread(draws[:1, 3], self.factor) + 1e-6)
        length = xp.sqrt(1 - kept)
        return kept, xp.argsort(draws[:, 0]), _rectangles(draws[:, 1:3], length, length, shape)

    def transform(self, x: Array, ctx: Context, *parameters: Any) -> Array:
        _, order, pasted = parameters
        ctx.save(order, pasted)
        return array_module(x).where(pasted, x[order], x)

    def gradient(self, dy: Array, ctx: Context) -> Array:
        order, pasted = ctx.saved
        return dy * ~pasted + (dy * pasted)[array_module(dy).argsort(order)]
