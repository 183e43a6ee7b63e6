"""What `ImageDataGenerator` does to images, given the parameters it has drawn: geometry, channel
shift, flips, brightness."""

from collections.abc import Mapping

import numpy as np

from minicnn.preprocessing.affine import affine_matrices, warp

# The parameters of `affine_matrices`, each with the value that changes nothing.
GEOMETRY: dict[str, float] = {"theta": 0, "tx": 0, "ty": 0, "shear": 0, "zx": 1, "zy": 1}

PARAMETERS = (
    *GEOMETRY, "flip_horizontal", "flip_vertical", "channel_shift_intensity", "brightness",
)  # fmt: skip


def transformed(
    x: np.ndarray, parameters: Mapping[str, np.ndarray | None], fill_mode: str, cval: float
) -> np.ndarray:
    """Each image of a batch, transformed by its own parameters.

    Args:
        x: (n, height, width, channels); may be overwritten.
        parameters: arrays (n,) for some of `PARAMETERS`; those that are absent or None do nothing.
        fill_mode, cval: see `affine.warp`.
    """
    neutral = {k: np.full(len(x), v) for k, v in GEOMETRY.items()}
    geometry = {k: v for k in neutral if (v := parameters.get(k, neutral[k])) is not None}
    if any(np.any(geometry[k] != neutral[k]) for k in neutral):
        x = warp(x, affine_matrices(**geometry), fill_mode, cval)
    shift = parameters.get("channel_shift_intensity")
    if shift is not None:
        low, high = _range(x)
        x = np.clip(x + _per_image(shift, x), low, high)
    horizontal, vertical = parameters.get("flip_horizontal"), parameters.get("flip_vertical")
    if horizontal is not None and horizontal.any():
        x[horizontal] = x[horizontal][:, :, ::-1]
    if vertical is not None and vertical.any():
        x[vertical] = x[vertical][:, ::-1]
    factor = parameters.get("brightness")
    return x if factor is None else _brightened(x, _per_image(factor, x))


def _per_image(values: np.ndarray, x: np.ndarray) -> np.ndarray:
    """(n,) as (n, 1, 1, 1), in the dtype of x."""
    return values.astype(x.dtype).reshape(-1, 1, 1, 1)


def _range(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The smallest and the largest value of each image, (n, 1, 1, 1)."""
    return x.min(axis=(1, 2, 3), keepdims=True), x.max(axis=(1, 2, 3), keepdims=True)


def _brightened(x: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """Values times a factor, clipped at white.

    White is 255, or 1 for an image without values above 1. An image with values below 0 or above
    255 has been normalised before: its smallest value counts as black, its largest as white.
    """
    low, high = _range(x)
    normalised = (low < 0) | (high > 255)
    black = np.where(normalised, low, 0).astype(x.dtype)
    white = np.where(normalised, high, np.where(high > 1, 255, 1)).astype(x.dtype)
    return np.clip((x - black) * factor + black, black, white)
