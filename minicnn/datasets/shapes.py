"""Ten classes of shapes, drawn by the library itself: data for use without a network.

Each image shows one shape of random colour, place, size and rotation over a shaded background of
another colour, under noise. Shape and background colours come from the same distribution, so no
single pixel tells the class and a linear model fails; a small convolutional network does not.

A shape is given by its signed distance function: negative inside, positive outside, about the
distance to the outline (Quilez, https://iquilezles.org/articles/distfunctions2d/). The coverage
of a pixel is then `clip(1/2 - distance, 0, 1)`, which draws smooth edges without supersampling.
"""

from collections.abc import Callable

import numpy as np

_SIZE = 32
_CHUNK = 250  # images drawn at a time, few enough for the processor's cache

Field = np.ndarray  # float32 (n, 32, 32)


def load_data(
    n_train: int = 10_000, n_test: int = 2_000, seed: int = 0
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Drawn images as ((x_train, y_train), (x_test, y_test)), all uint8.

    x (n, 32, 32, 3) with pixels 0 to 255, y (n, 1) with labels 0 to 9 in the order of
    `CLASS_NAMES`, each class equally often, in random order. The same seed gives the same images,
    and the test images do not depend on `n_train`.

    Args:
        n_train, n_test: how many images to draw.
        seed: an integer from 0 on.

    Raises:
        ValueError: a count or the seed is negative or not an integer.
    """
    for name, value in (("n_train", n_train), ("n_test", n_test), ("seed", seed)):
        if int(value) != value or value < 0:
            raise ValueError(f"{name} should be an integer from 0 on, not {value!r}")
    return _split(n_train, [seed, 0]), _split(n_test, [seed, 1])


def _split(count: int, seed: list[int]) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(count) % len(CLASS_NAMES)).astype(np.uint8)
    x = np.empty((count, _SIZE, _SIZE, 3), np.uint8)
    for start in range(0, count, _CHUNK):
        chunk = slice(start, start + _CHUNK)
        x[chunk] = _draw(labels[chunk], rng)
    return x, labels[:, None]


def _draw(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One image (32, 32, 3) per label, uint8."""
    n = len(labels)

    def uniform(low: float, high: float, *shape: int) -> np.ndarray:
        return rng.uniform(low, high, (n, *(shape or (1, 1)))).astype(np.float32)

    radius = uniform(9.5, 13.0)  # pixels
    angle = uniform(-0.3, 0.3)  # radians, up to 17 degrees
    room = _SIZE / 2 + 0.5 - radius  # the shape lies about in this circle and stays in the image
    row = _SIZE / 2 - 0.5 + room * uniform(-1, 1)
    col = _SIZE / 2 - 0.5 + room * uniform(-1, 1)

    pixels = np.arange(_SIZE, dtype=np.float32)
    dy = pixels[None, :, None] - row  # (n, 32, 1)
    dx = pixels[None, None, :] - col  # (n, 1, 32)
    u = (np.cos(angle) * dx + np.sin(angle) * dy) / radius  # (n, 32, 32), -1 to 1 on the shape
    v = (np.cos(angle) * dy - np.sin(angle) * dx) / radius

    distance = np.empty_like(u)
    for label, shape in enumerate(_SHAPES.values()):
        of_class = labels == label
        distance[of_class] = shape(u[of_class], v[of_class])
    coverage = np.clip(0.5 - distance * radius, 0, 1)[..., None]  # (n, 32, 32, 1)

    background = uniform(40, 215, 1, 1, 3)
    # Away from the background by 70 to 125 levels per channel, in a direction with room for it.
    contrast = uniform(70, 125, 1, 1, 3)
    way = rng.random((n, 1, 1, 3)) < 0.5
    way = np.where(background < 90, True, np.where(background > 165, False, way))
    foreground = background + np.where(way, contrast, -contrast)
    slope = uniform(-1, 1, 2) * 15.0  # levels from the centre to an edge
    grid = np.linspace(-1, 1, _SIZE, dtype=np.float32)
    shade = slope[:, 0, None, None] * grid[:, None] + slope[:, 1, None, None] * grid  # (n, 32, 32)

    image = rng.standard_normal((n, _SIZE, _SIZE, 3), dtype=np.float32)
    image *= uniform(4, 10)[..., None]
    image += background + shade[..., None]
    image += coverage * (foreground - background)
    return np.clip(image, 0, 255).astype(np.uint8)


def _disc(u: Field, v: Field, radius: float = 1.0) -> Field:
    return np.hypot(u, v) - radius


def _box(u: Field, v: Field, half_width: float, half_height: float) -> Field:
    return np.maximum(np.abs(u) - half_width, np.abs(v) - half_height)


def _regular(u: Field, v: Field, sides: int, inner: float) -> Field:
    """Regular polygon whose edges lie at distance `inner` from the centre."""
    angles = 2 * np.pi * np.arange(sides) / sides
    edges = [float(np.cos(a)) * u + float(np.sin(a)) * v for a in angles]
    return np.maximum.reduce(edges) - inner


def _ring(u: Field, v: Field) -> Field:
    return np.abs(np.hypot(u, v) - 0.78) - 0.2


def _cross(u: Field, v: Field) -> Field:
    return np.minimum(_box(u, v, 0.98, 0.28), _box(u, v, 0.28, 0.98))


def _star(u: Field, v: Field) -> Field:
    """Five-pointed star: the part of the plane inside at least 4 of its 5 lines."""
    angles = 2 * np.pi * np.arange(5) / 5
    lines = np.stack([float(np.cos(a)) * u + float(np.sin(a)) * v for a in angles])
    lines.sort(axis=0)
    return lines[3] - np.float32(0.309)  # cos(72 degrees): a pentagram of circumradius 1


def _crescent(u: Field, v: Field) -> Field:
    return np.maximum(_disc(u, v), -_disc(u - 0.45, v, 0.8))


def _frame(u: Field, v: Field) -> Field:
    return np.abs(_box(u, v, 0.62, 0.62)) - 0.14


def _tee(u: Field, v: Field) -> Field:
    return np.minimum(_box(u, v + 0.5, 0.8, 0.24), _box(u, v - 0.1, 0.24, 0.84))


_SHAPES: dict[str, Callable[[Field, Field], Field]] = {
    "circle": lambda u, v: _disc(u, v, 0.9),
    "square": lambda u, v: _box(u, v, 0.74, 0.74),
    "triangle": lambda u, v: _regular(u, v, 3, 0.52),
    "cross": _cross,
    "ring": _ring,
    "star": _star,
    "crescent": _crescent,
    "bar": lambda u, v: _box(u, v, 1.0, 0.32),
    "frame": _frame,
    "tee": _tee,
}

CLASS_NAMES = list(_SHAPES)
