"""Hue and saturation of red, green and blue, without a detour over three more images.

With M the largest of the three values of a pixel, m the smallest, R = M - m, the model of Smith,
"Color Gamut Transform Pairs" (1978), describes it by its value M, its saturation S = R / M and its
hue h, a place from 0 to 6 on a circle:

    h = (g - b) / R          where red is the largest,
        (b - r) / R + 2      where green is,
        (r - g) / R + 4      where blue is.

Back again, each of the three lies w R below M, where w from 0 to 1 says how far h is from its hue.
"""

from typing import NamedTuple

from minicnn.backend import array_module
from minicnn.typing import Array

_PLACES = (3.0, 2.0, 4.0)  # where w of red is largest, and w of green and blue smallest


class _Extremes(NamedTuple):
    """Of each pixel (N, H, W): the largest value, the spread R, and which channels are the largest
    and the smallest."""

    largest: Array
    spread: Array
    top: Array
    bottom: Array


def _extremes(x: Array) -> _Extremes:
    xp = array_module(x)
    r, g, b = (x[..., c] for c in range(3))
    largest, smallest = xp.maximum(xp.maximum(r, g), b), xp.minimum(xp.minimum(r, g), b)
    # the first one, where several are equal
    top = xp.where(r == largest, 0, xp.where(g == largest, 1, 2)).astype("int8")
    bottom = xp.where(r == smallest, 0, xp.where(g == smallest, 1, 2)).astype("int8")
    return _Extremes(largest, largest - smallest, top, bottom)


def _hue(x: Array, turn: Array, extremes: _Extremes) -> tuple[Array, Array]:
    """The hue after the turn; before it the place between -1 and 1 beside the largest channel's,
    0 where there is no hue."""
    xp = array_module(x)
    r, g, b = (x[..., c] for c in range(3))
    top, spread = extremes.top, extremes.spread
    beside = xp.where(top == 0, g - b, xp.where(top == 1, b - r, r - g))
    beside /= xp.where(spread > 0, spread, 1)
    h = beside + 2 * top + 6 * turn
    h -= 6 * xp.floor(h / 6)
    return h, beside


def _below(h: Array, channel: int) -> Array:
    """w of a channel, cut off at 0 and 1 only afterwards."""
    distance = array_module(h).abs(h - _PLACES[channel])
    return 2 - distance if channel == 0 else distance - 1


def turn_hue(x: Array, turn: Array) -> Array:
    """Pixels with another hue and the same saturation and value.

    Args:
        x: (N, H, W, 3).
        turn: (N, 1, 1), by how much of a full turn.

    Returns:
        (N, H, W, 3).
    """
    xp = array_module(x)
    extremes = _extremes(x)
    h, _ = _hue(x, turn, extremes)
    y = xp.empty_like(x)
    for c in range(3):
        w = xp.clip(_below(h, c), 0, 1)
        xp.subtract(extremes.largest, extremes.spread * w, out=y[..., c])
    return y


def turn_hue_gradient(dy: Array, x: Array, turn: Array) -> Array:
    """Gradient of `turn_hue` with respect to x.

    Args:
        dy: (N, H, W, 3).
        x, turn: as for `turn_hue`.
    """
    xp = array_module(x)
    extremes = _extremes(x)
    h, beside = _hue(x, turn, extremes)
    d_largest, d_spread, d_ahead = (xp.zeros_like(h) for _ in range(3))
    for c in range(3):
        w = _below(h, c)
        slope = xp.sign(h - _PLACES[c]) * ((w > 0) & (w < 1)) * (-1 if c == 0 else 1)
        d_largest += dy[..., c]
        d_spread -= dy[..., c] * xp.clip(w, 0, 1)
        d_ahead -= dy[..., c] * slope  # of R h, but for its own R: R dh = d(R h) - h dR
    d_ahead *= extremes.spread > 0
    d_spread -= d_ahead * beside
    dx = _onto_extremes(xp.zeros_like(x), d_largest, d_spread, extremes)
    for c in range(3):
        dx[..., c] += d_ahead * (extremes.top == (c - 1) % 3)
        dx[..., c] -= d_ahead * (extremes.top == (c - 2) % 3)
    return dx


def _onto_extremes(dx: Array, d_largest: Array, d_spread: Array, extremes: _Extremes) -> Array:
    """dx, plus what M and R = M - m hand on to the channels that they are read from."""
    for c in range(3):
        dx[..., c] += (d_largest + d_spread) * (extremes.top == c)
        dx[..., c] -= d_spread * (extremes.bottom == c)
    return dx


def scale_saturation(x: Array, factor: Array, low: float, high: float) -> Array:
    """Pixels with `factor` times the saturation, cut off at `low` and `high`, and the same hue and
    value: each channel comes nearer to M, or moves away from it, y = M - (M - x) S' / S.

    Args:
        x: (N, H, W, 3).
        factor: (N, 1, 1).
        low, high: bounds of the new saturation S'.

    Returns:
        (N, H, W, 3).
    """
    largest, spread, _, _ = _extremes(x)
    ratio, _ = _ratio(largest, spread, factor, low, high)
    return largest[..., None] - (largest[..., None] - x) * ratio[..., None]


def _ratio(
    largest: Array, spread: Array, factor: Array, low: float, high: float
) -> tuple[Array, Array]:
    """S' / S, 0 where a pixel is black, and where S' was cut off."""
    xp = array_module(largest)
    saturation = xp.where(largest > 0, spread / xp.where(largest > 0, largest, 1), 0)
    wanted = saturation * factor
    given = xp.clip(wanted, low, high)
    return given / xp.where(saturation > 0, saturation, 1), given != wanted


def scale_saturation_gradient(dy: Array, x: Array, factor: Array, low: float, high: float) -> Array:
    """Gradient of `scale_saturation` with respect to x.

    Args:
        dy: (N, H, W, 3).
        x, factor, low, high: as for `scale_saturation`.
    """
    xp = array_module(x)
    extremes = _extremes(x)
    largest, spread, _, _ = extremes
    ratio, cut = _ratio(largest, spread, factor, low, high)
    # cut off, the ratio is a constant times M / R
    d_ratio = -(dy * (largest[..., None] - x)).sum(3) * ratio * cut
    d_largest = (1 - ratio) * dy.sum(3) + d_ratio / xp.where(largest > 0, largest, 1)
    d_spread = -d_ratio / xp.where(spread > 0, spread, 1)
    return _onto_extremes(dy * ratio[..., None], d_largest, d_spread, extremes)
