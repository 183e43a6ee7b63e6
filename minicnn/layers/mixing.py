"""Augmentation with parts of images: RandomErasing, and MixUp and CutMix, which mix labels, too."""

from typing import Any, NoReturn

from minicnn.backend import array_module, asarray
from minicnn.dtypes import dtype_of, is_floating, widened
from minicnn.kernels.distributions import GAMMA_DRAWS, beta, normal
from minicnn.layers import arguments
from minicnn.layers.augmentation import (
    RandomImageLayer,
    factor_range,
    of_images,
    spread,
    value_bounds,
)
from minicnn.layers.base import LAYERS
from minicnn.layers.context import Context
from minicnn.layers.nodes import SymbolicTensor
from minicnn.typing import Array


def _rectangles(
    height: Array, width: Array, places: Array, shape: tuple[int, ...]
) -> tuple[Array, Array]:
    """A rectangle in each image, and how much of the image it is.

    Args:
        height, width: (N,), as fractions of the image's.
        places: (N, 2) from 0 to 1, left to right and from top to bottom.
        shape: of the images, (N, H, W, C).

    Returns:
        where it is, (N, H, W, 1), and its area (N,), which need not be that of whole pixels.
    """
    xp = array_module(places)
    inside = []
    for size, part, place in zip(shape[1:3], (height, width), (places[:, 1], places[:, 0]),
                                 strict=True):  # fmt: skip
        start = place * (size - part * size)
        i = xp.arange(size, dtype=places.dtype)
        inside.append((i >= start[:, None]) & (i < (start + part * size)[:, None]))
    rows, columns = inside
    return (rows[:, :, None] & columns[:, None, :])[..., None], height * width


@LAYERS.register()
class RandomErasing(RandomImageLayer):
    """In training, covers a rectangle of some images.

    Args:
        factor: f for (0, f), or (lower, upper), from 0 to 1: range of the probability that an image
            is changed, which is drawn for each.
        scale: the same for a, drawn for height and width by itself; the rectangle has sqrt(a) of
            the image's.
        fill_value: a number, or one per channel; default: normal noise times the largest value of a
            pixel. It is cut off at value_range.
        value_range: smallest and largest value of a pixel.
        seed, data_format, kwargs: see `RandomImageLayer`.

    Shape:
        (N, H, W, C), kept.

    Source: Zhong et al., "Random Erasing Data Augmentation" (2020).
    """

    def __init__(
        self,
        factor: Any = 1.0,
        scale: Any = (0.02, 0.33),
        fill_value: Any = None,
        value_range: Any = (0, 255),
        seed: int | None = None,
        data_format: str | None = None,
        **kwargs: Any,
    ):
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
        low, high = self.value_range
        height, width = xp.sqrt(spread(draws[:, :2], self.scale)).T
        covered, _ = _rectangles(height, width, draws[:, 2:4], shape)
        covered &= of_images(draws[:, 5] < spread(draws[:, 4], self.factor), covered)
        if self.fill_value is None:
            n, h, w, c = shape
            noise = normal(draws[:, 6:])[:, : h * w * c].reshape(shape)
            return covered, xp.clip(noise * high, low, high)
        values = self.fill_value if self.channels else (self.fill_value,)
        fill = xp.empty((1, 1, 1, len(values)), draws.dtype)
        for c, value in enumerate(values):
            fill[..., c] = min(max(float(value), low), high)
        return covered, fill

    def transform(self, x: Array, ctx: Context, *parameters: Any) -> Array:
        covered, fill = parameters
        ctx.save(covered)
        return array_module(x).where(covered, fill.astype(x.dtype, copy=False), x)

    def gradient(self, dy: Array, ctx: Context) -> Array:
        return dy * ~ctx.saved[0]


class MixingLayer(RandomImageLayer):
    """Base of layers that mix each image with another one of the batch, and their labels.

    Called on {"images": ..., "labels": ...} they give a dict of both; in a model a layer sees no
    labels, so there they are refused.

    Args:
        seed, data_format, kwargs: see `RandomImageLayer`.
    """

    whole_batch = True

    def __call__(
        self, x: SymbolicTensor | Array | dict[str, Any], training: bool | None = None
    ) -> Any:
        if isinstance(x, SymbolicTensor):
            self._refuse_model()
        return super().__call__(x, training)

    def _refuse_model(self) -> NoReturn:
        raise ValueError(
            f"{self.described} mixes labels as well as images, but a layer of a model sees no "
            f'labels: call it on {{"images": x, "labels": y}}, as in dataset.map(lambda x, y: '
            f'mix({{"images": x, "labels": y}}))'
        )

    def _call_on_dict(self, data: dict[str, Any], training: bool | None) -> dict[str, Any]:
        ctx = Context(None if training is None else bool(training), record=False)
        if "labels" not in data or not self.augments(ctx):
            return super()._call_on_dict(data, training)
        self._check_keys(data)
        images, labels = asarray(data["images"]), asarray(data["labels"])
        if images.ndim == 3:  # there is no other one to mix it with
            return super()._call_on_dict(data, False)
        self.compute_output_shape(images.shape)
        self._check_labels(labels, len(images))
        images = images.astype(dtype_of(self.compute_dtype), copy=False)
        if not is_floating(labels.dtype):
            labels = labels.astype("float32")
        parameters = share, order, *_ = self.drawn(images.shape, ctx)
        y = self.transform(widened(images), ctx, *parameters).astype(images.dtype, copy=False)
        share = share.astype(labels.dtype, copy=False)[:, None]
        return {"images": y, "labels": share * labels + (1 - share) * labels[order]}

    def _check_labels(self, labels: Array, images: int) -> None:
        """Raise unless they can be mixed."""
        sparse = labels.ndim == 2 and labels.shape[1] == 1 and not is_floating(labels.dtype)
        if labels.ndim != 2 or len(labels) != images or (sparse and int(labels.max()) > 1):
            raise ValueError(
                f"{self.described} mixes one-hot labels, (N, classes) for {images} images; got "
                f"shape {tuple(labels.shape)}, {labels.dtype}: see minicnn.utils.to_categorical"
            )


@LAYERS.register()
class MixUp(MixingLayer):
    """Mixes each image and its label with those of another: y = share x + (1 - share) x_other.

    Args:
        alpha: above 0: the shares are drawn from the distribution beta(alpha, alpha); the smaller,
            the nearer to 0 or 1.
        data_format, seed, kwargs: see `MixingLayer`.

    Shape:
        images (N, H, W, C), labels (N, classes), kept.

    Source: Zhang et al., "mixup: Beyond Empirical Risk Minimization" (2018).
    """

    draws = 1 + 2 * GAMMA_DRAWS

    def __init__(
        self,
        alpha: float = 0.2,
        data_format: str | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(seed, data_format, **kwargs)
        if not arguments.finite_numbers(self, "alpha", alpha, 0) > 0:
            raise ValueError(f"{self.described}: alpha must be above 0, not {alpha!r}")
        self.alpha = float(alpha)

    def parameters(self, draws: Array, shape: tuple[int, ...]) -> tuple[Any, ...]:
        return beta(draws[:, 1:], self.alpha), array_module(draws).argsort(draws[:, 0])

    def transform(self, x: Array, ctx: Context, *parameters: Any) -> Array:
        share, order = of_images(parameters[0], x), parameters[1]
        ctx.save(share, order)
        return share * x + (1 - share) * x[order]

    def gradient(self, dy: Array, ctx: Context) -> Array:
        share, order = ctx.saved
        # the order is a permutation: argsort inverts it
        return share * dy + ((1 - share) * dy)[array_module(dy).argsort(order)]


@LAYERS.register()
class CutMix(MixingLayer):
    """Pastes a rectangle of another image into each one, and mixes the labels by its area.

    Args:
        factor: f for (0, f), or (lower, upper), from 0 to 1. An alpha is drawn from there once a
            batch, and from beta(alpha, alpha) the area that each image keeps.
        seed, data_format, kwargs: see `MixingLayer`.

    Shape:
        images (N, H, W, C), labels (N, classes), kept.

    Source: Yun et al., "CutMix" (2019).
    """

    draws = 4 + 2 * GAMMA_DRAWS

    def __init__(
        self,
        factor: Any = 1.0,
        seed: int | None = None,
        data_format: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(seed, data_format, **kwargs)
        self.factor = factor_range(self, "factor", factor, 0.0)

    def parameters(self, draws: Array, shape: tuple[int, ...]) -> tuple[Any, ...]:
        xp = array_module(draws)
        alpha = spread(draws[:1, 3], self.factor) + 1e-6
        length = xp.sqrt(1 - beta(draws[:, 4:], alpha))
        pasted, area = _rectangles(length, length, draws[:, 1:3], shape)
        return 1 - area, xp.argsort(draws[:, 0]), pasted

    def transform(self, x: Array, ctx: Context, *parameters: Any) -> Array:
        _, order, pasted = parameters
        ctx.save(order, pasted)
        return array_module(x).where(pasted, x[order], x)

    def gradient(self, dy: Array, ctx: Context) -> Array:
        order, pasted = ctx.saved
        return dy * ~pasted + (dy * pasted)[array_module(dy).argsort(order)]
