"""Augmentation made of other augmentation: RandomColorJitter, RandAugment, AugMix."""

from collections.abc import Callable
from typing import Any

import numpy as np

from minicnn.backend import array_module
from minicnn.kernels.distributions import GAMMA_DRAWS, beta, log_gamma
from minicnn.layers import arguments
from minicnn.layers.augmentation import (
    RandomBrightness,
    RandomContrast,
    RandomImageLayer,
    cut_off,
    factor_range,
    value_bounds,
)
from minicnn.layers.base import LAYERS
from minicnn.layers.context import Context
from minicnn.layers.histograms import AutoContrast, Equalization
from minicnn.layers.random_affine import RandomRotation, RandomShear, RandomTranslation
from minicnn.layers.random_blur import RandomSharpness
from minicnn.layers.random_color import (
    RandomColorDegeneration,
    RandomHue,
    RandomPosterization,
    RandomSaturation,
    Solarization,
)
from minicnn.typing import Array


class Composition(RandomImageLayer):
    """Base of layers that change images by other layers, for all of which they draw at once.

    Args:
        seed, data_format, kwargs: see `RandomImageLayer`.
    """

    def _made_of(self, parts: list[RandomImageLayer]) -> None:
        self._parts = parts
        self._ends = np.cumsum([part.draws for part in parts]).tolist()
        narrow = [set(part.channels) for part in parts if part.channels]
        self.channels = tuple(sorted(set.intersection(*narrow))) if narrow else ()

    def _change(self, k: int, x: Array, ctx: Context, draws: Array) -> Array:
        """x changed by part k, for which some of the draws (N, sum over the parts) are."""
        part = self._parts[k]
        own = draws[:, self._ends[k] - part.draws : self._ends[k]]
        return part.transform(x, ctx.child(k), *part.parameters(own, x.shape))

    def _change_back(self, k: int, dy: Array, ctx: Context) -> Array:
        return self._parts[k].gradient(dy, ctx.child(k))


@LAYERS.register()
class RandomColorJitter(Composition):
    """In training, changes brightness, contrast, saturation and hue, those that are asked for, one
    after the other.

    Args:
        value_range: smallest and largest value of a pixel.
        brightness_factor, contrast_factor, saturation_factor, hue_factor: `factor` of the layer;
            default: it is left out.
        seed, data_format, kwargs: see `RandomImageLayer`.

    Shape: (N, H, W, C), kept; C 3 with saturation or hue.
    """

    def __init__(
        self, value_range: Any = (0, 255), brightness_factor: Any = None,
        contrast_factor: Any = None, saturation_factor: Any = None, hue_factor: Any = None,
        seed: int | None = None, data_format: str | None = None, **kwargs: Any,
    ):  # fmt: skip
        super().__init__(seed, data_format, **kwargs)
        self.value_range = value_bounds(self, value_range)
        self.brightness_factor, self.contrast_factor = brightness_factor, contrast_factor
        self.saturation_factor, self.hue_factor = saturation_factor, hue_factor
        kinds = {
            RandomBrightness: brightness_factor,
            RandomContrast: contrast_factor,
            RandomSaturation: saturation_factor,
            RandomHue: hue_factor,
        }
        self._made_of([cls(f, self.value_range) for cls, f in kinds.items() if f is not None])

    def draws_for(self, shape: tuple[int, ...]) -> int:
        return self._ends[-1] if self._ends else 0

    def parameters(self, draws: Array, shape: tuple[int, ...]) -> tuple[Any, ...]:
        return (draws,)

    def transform(self, x: Array, ctx: Context, *parameters: Any) -> Array:
        ctx.save(())
        for k in range(len(self._parts)):
            x = self._change(k, x, ctx, *parameters)
        return x

    def gradient(self, dy: Array, ctx: Context) -> Array:
        for k in reversed(range(len(self._parts))):
            dy = self._change_back(k, dy, ctx)
        return dy


class ChosenLayers(Composition):
    """Base of layers that change all images of a batch by the same few layers, chosen at random.

    Args:
        value_range: smallest and largest value of a pixel.
        factor: f for (0, f), or (lower, upper), from 0 to 1: how strong the changes are.
        interpolation: of those that move pixels, "bilinear" or "nearest".
        seed, data_format, kwargs: see `RandomImageLayer`.
        all_ops: whether brightness, colour, contrast and sharpness are changed, too.
    """

    whole_batch = True

    def __init__(
        self, value_range: Any, factor: Any, interpolation: str, seed: int | None,
        data_format: str | None, all_ops: bool = True, **kwargs: Any,
    ):  # fmt: skip
        super().__init__(seed, data_format, **kwargs)
        self.value_range = pixels = value_bounds(self, value_range)
        self.factor = f = factor_range(self, "factor", factor, 0.0)
        self.interpolation = interpolation
        parts: list[RandomImageLayer] = [
            RandomShear(f, f, interpolation),
            RandomTranslation(f, f, interpolation=interpolation),
            RandomRotation(f, interpolation=interpolation),
            RandomPosterization(max(1, int(8 * f[1])), pixels),
            Solarization(f, f, pixels),
            AutoContrast(pixels),
            Equalization(pixels),
        ]
        if all_ops:
            kinds = RandomBrightness, RandomColorDegeneration, RandomContrast, RandomSharpness
            parts += [cls(f, pixels) for cls in kinds]
        self._made_of(parts)

    def _choose(self, x: Array, ctx: Context, number: Array, draws: Array) -> Array:
        """x changed by the part of this number (1,), or unchanged if there is none."""
        ctx.save(number)
        return self._chosen(number, lambda k: self._change(k, x, ctx, draws), x)

    def _choose_back(self, dy: Array, ctx: Context) -> Array:
        return self._chosen(ctx.saved[0], lambda k: self._change_back(k, dy, ctx), dy)

    def _chosen(self, number: Array, make: Callable[[int], Array], otherwise: Array) -> Array:
        count, xp = len(self._parts), array_module(number)
        if xp is np:
            return make(int(number[0])) if number[0] < count else otherwise
        # the host does not know the number: all are made, and one is taken
        result = otherwise
        for k in range(count):
            result = xp.where(number == k, make(k), result)
        return result


@LAYERS.register()
class RandAugment(ChosenLayers):
    """In training, changes the images by `num_ops` of 11 layers, one after the other.

    They are RandomShear, RandomTranslation, RandomRotation, RandomPosterization, Solarization,
    AutoContrast, Equalization, RandomBrightness, RandomColorDegeneration, RandomContrast and
    RandomSharpness. As in Keras all images of a batch are changed by the same ones, each by its own
    amount.

    Args:
        value_range, factor, interpolation, seed, data_format, kwargs: see `ChosenLayers`.
        num_ops: how many.

    Shape: (N, H, W, C), kept; C 3 or 1.

    Source: Cubuk et al., "RandAugment" (2020).
    """

    def __init__(
        self, value_range: Any = (0, 255), num_ops: int = 2, factor: Any = 0.5,
        interpolation: str = "bilinear", seed: int | None = None, data_format: str | None = None,
        **kwargs: Any,
    ):  # fmt: skip
        super().__init__(value_range, factor, interpolation, seed, data_format, **kwargs)
        self.num_ops = arguments.positive_int(self, "num_ops", num_ops)

    def draws_for(self, shape: tuple[int, ...]) -> int:
        return self.num_ops + self._ends[-1]

    def parameters(self, draws: Array, shape: tuple[int, ...]) -> tuple[Any, ...]:
        numbers = (draws[0, : self.num_ops] * len(self._parts)).astype("int64")
        return numbers, draws[:, self.num_ops :]

    def transform(self, x: Array, ctx: Context, *parameters: Any) -> Array:
        numbers, draws = parameters
        ctx.save(())
        for op in range(self.num_ops):
            x = self._choose(x, ctx.child(("op", op)), numbers[op : op + 1], draws)
        return x

    def gradient(self, dy: Array, ctx: Context) -> Array:
        for op in reversed(range(self.num_ops)):
            dy = self._choose_back(dy, ctx.child(("op", op)))
        return dy


@LAYERS.register()
class AugMix(ChosenLayers):
    """In training, mixes images with several chains of changed ones:

        y = m x + (1 - m) (w_1 chain_1(x) + w_2 chain_2(x) + ...)

    m is drawn from beta(alpha, alpha), the w from a Dirichlet distribution of alpha, and for each
    place of a chain one of the layers of `RandAugment`, or none. As in Keras all of that is drawn
    once a batch; how much a layer changes an image is drawn for each.

    Args:
        value_range: the result is cut off there.
        num_chains: how many chains.
        chain_depth: how many places in a chain.
        factor: see `ChosenLayers`.
        alpha: above 0.
        all_ops, interpolation, seed, data_format, kwargs: see `ChosenLayers`.

    Shape: (N, H, W, C), kept; C 3 or 1 with all_ops.

    Source: Hendrycks et al., "AugMix" (2020).
    """

    def __init__(
        self, value_range: Any = (0, 255), num_chains: int = 3, chain_depth: int = 3,
        factor: Any = 0.3, alpha: float = 1.0, all_ops: bool = True,
        interpolation: str = "bilinear", seed: int | None = None, data_format: str | None = None,
        **kwargs: Any,
    ):  # fmt: skip
        super().__init__(
            value_range, factor, interpolation, seed, data_format, all_ops=all_ops, **kwargs
        )
        self.num_chains = arguments.positive_int(self, "num_chains", num_chains)
        self.chain_depth = arguments.positive_int(self, "chain_depth", chain_depth)
        self.alpha = arguments.finite_numbers(self, "alpha", alpha, 1e-6)
        self.all_ops = bool(all_ops)

    def draws_for(self, shape: tuple[int, ...]) -> int:
        places = self.num_chains * self.chain_depth
        return (2 + self.num_chains) * GAMMA_DRAWS + places * (1 + self._ends[-1])

    def parameters(self, draws: Array, shape: tuple[int, ...]) -> tuple[Any, ...]:
        xp = array_module(draws)
        first, second = 2 * GAMMA_DRAWS, (2 + self.num_chains) * GAMMA_DRAWS
        kept = beta(draws[:1, :first], self.alpha)
        # gamma variates over their sum; the largest is taken out before exp can overflow
        logs = log_gamma(draws[0, first:second].reshape(-1, GAMMA_DRAWS), self.alpha)
        weights = xp.exp(logs - logs.max())
        places = draws[:, second:].reshape(len(draws), -1, 1 + self._ends[-1])
        numbers = (places[0, :, 0] * (len(self._parts) + 1)).astype("int64")
        return kept, weights / weights.sum(), numbers, places[:, :, 1:]

    def transform(self, x: Array, ctx: Context, *parameters: Any) -> Array:
        kept, weights, numbers, draws = parameters
        kept, weights = (a.astype(x.dtype, copy=False) for a in (kept, weights))
        y = kept * x
        for chain, places in enumerate(self._places()):
            z = x
            for k in places:
                z = self._choose(z, ctx.child(("place", k)), numbers[k : k + 1], draws[:, k])
            y += (1 - kept) * weights[chain : chain + 1] * z
        y, inside = cut_off(y, self.value_range, ctx)
        ctx.save(kept, weights, inside)
        return y

    def gradient(self, dy: Array, ctx: Context) -> Array:
        kept, weights, inside = ctx.saved
        dy = dy * inside
        dx = kept * dy
        for chain, places in enumerate(self._places()):
            dz = (1 - kept) * weights[chain : chain + 1] * dy
            for k in reversed(places):
                dz = self._choose_back(dz, ctx.child(("place", k)))
            dx += dz
        return dx

    def _places(self) -> list[range]:
        depth = self.chain_depth
        return [range(chain * depth, (chain + 1) * depth) for chain in range(self.num_chains)]
