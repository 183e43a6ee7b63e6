"""Hue and saturation of red, green and blue.

With M the largest of the three values of a pixel, m the smallest and R = M - m, the pixel has the
value M, the saturation S = R / M, and as hue h a place on a circle of length 6:

    h = (g - b) / R          where red is the largest,
        (b - r) / R + 2      where green is,
        (r - g) / R + 4      where blue is.

Back again, each of the three is M - w R, where w from 0 to 1 says how far h is from its own hue
(Smith, "Color Gamut Transform Pairs", 1978). x and dy are (N, H, W, 3), factors (N, 1, 1, 1).
"""

from typing import NamedTuple

from minicnn.backend import array_module
from minicnn.typing import Array

_PLACES = (3, 2, 4)  # where w of red is largest, and w of green and blue smallest


class _Extremes(NamedTuple):
    """Of each pixel (N, H, W): M, R, and which channels are the largest and the smallest."""

    largest: Array
    spread: Array
    top: Array
    bottom: Array


def _extremes(x: Array) -> _Extremes:
    xp = array_module(x)
    r, g, b = (x[..., c] for c in range(3))
    largest, smallest = xp.maximum(xp.maximum(r, g), b), xp.minimum(xp.minimum(r, g), b)
    top, bottom = (
        xp.where(r == end, 0, xp.where(g == end, 1, 2)).astype("int8")
        for end in (largest, smallest)
    )
    return _Extremes(largest, largest - smallest, top, bottom)


def _onto_extremes(dx: Array, d_largest: Array, d_spread: Array, extremes: _Extremes) -> Array:
    """dx, plus what M and R = M - m hand on to the channels that they are read from."""
    for c in range(3):
        dx[..., c] += (d_largest + d_spread) * (extremes.top == c)
        dx[..., c] -= d_spread * (extremes.bottom == c)
    return dx


def _turned(x: Array, turn: Array, extremes: _Extremes) -> tuple[Array, list[Array], list[Array]]:
    """The first term of h; w of each channel after the turn, and its slope by h."""
    xp = array_module(x)
    r, g, b = (x[..., c] for c in range(3))
    largest, spread, top, _ = extremes
    beside = xp.where(top == 0, g - b, xp.where(top == 1, b - r, r - g))
    beside /= xp.where(spread > 0, spread, 1)
    h = beside + 2 * top + 6 * turn[..., 0]
    h -= 6 * xp.floor(h / 6)
    from_place = [h - place for place in _PLACES]
    ws = [xp.abs(d) for d in from_place]
    ws = [xp.clip(2 - ws[0], 0, 1), xp.clip(ws[1] - 1, 0, 1), xp.clip(ws[2] - 1, 0, 1)]
    return beside, ws, from_place


def turn_hue(x: Array, turn: Array) -> Array:
    """Pixels x with another hue: by `turn` of a full circle."""
    extremes = _extremes(x)
    y = array_module(x).empty_like(x)
    for c, w in enumerate(_turned(x, turn, extremes)[1]):
        y[..., c] = extremes.largest - w * extremes.spread
    return y


def turn_hue_gradient(dy: Array, x: Array, turn: Array) -> Array:
    """dx from dy, for `turn_hue` of x by `turn`."""
    xp = array_module(x)
    extremes = _extremes(x)
    beside, ws, from_place = _turned(x, turn, extremes)
    d_spread = -sum(dy[..., c] * w for c, w in enumerate(ws))
    # of R beside, the difference of two channels: R dh = d(R beside) - beside dR
    slopes = [xp.sign(d) * ((w > 0) & (w < 1)) for d, w in zip(from_place, ws, strict=True)]
    ahead = dy[..., 0] * slopes[0] - dy[..., 1] * slopes[1] - dy[..., 2] * slopes[2]
    ahead *= extremes.spread > 0
    dx = _onto_extremes(xp.zeros_like(x), dy.sum(3), d_spread - ahead * beside, extremes)
    for c in range(3):
        dx[..., c] += ahead * (extremes.top == (c - 1) % 3) - ahead * (extremes.top == (c - 2) % 3)
    return dx


def scale_saturation(x: Array, factor: Array, bounds: tuple[float, float]) -> Array:
    """Pixels x with `factor` times the saturation, cut off at the `bounds`, and the same hue and
    value: each channel comes nearer to M or moves away from it, y = M - (M - x) S' / S."""
    largest, spread, _, _ = _extremes(x)
    ratio, _ = _ratio(largest, spread, factor, bounds)
    return largest[..., None] - (largest[..., None] - x) * ratio[..., None]


def _ratio(
    largest: Array, spread: Array, factor: Array, bounds: tuple[float, float]
) -> tuple[Array, Array]:
    """S' / S, 0 where a pixel is black, and where S' was cut off."""
    xp = array_module(largest)
    saturation = xp.where(largest > 0, spread / xp.where(largest > 0, largest, 1), 0)
    wanted = saturation * factor[..., 0]
    given = xp.clip(wanted, *bounds)
    return given / xp.where(saturation > 0, saturation, 1), given != wanted


def scale_saturation_gradient(
    dy: Array, x: Array, factor: Array, bounds: tuple[float, float]
) -> Array:
    """dx from dy, for `scale_saturation` of x by `factor` inside the `bounds`."""
    xp = array_module(x)
    extremes = _extremes(x)
    largest, spread, _, _ = extremes
    ratio, cut = _ratio(largest, spread, factor, bounds)
    # where it is cut off, the ratio is a constant times M / R
    d_ratio = -(dy * (largest[..., None] - x)).sum(3) * ratio * cut
    d_largest = (1 - ratio) * dy.sum(3) + d_ratio / xp.where(largest > 0, largest, 1)
    d_spread = -d_ratio / xp.where(spread > 0, spread, 1)
    return _onto_extremes(dy * ratio[..., None], d_largest, d_spread, extremes)
