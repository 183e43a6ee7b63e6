"""Gradients compared with central differences.

The function under test is made scalar by a random projection, f = sum(r * forward(x)), whose
gradients backward gives when it is handed dy = r. Along a direction d the derivative is

    df/dd = (8 (f(x + hd) - f(x - hd)) - (f(x + 2hd) - f(x - 2hd))) / 12h + O(h^4)

(Fornberg 1988, "Generation of finite difference formulas on arbitrarily spaced grids"). It is
compared with <gradient, d> along one random direction, in which every element takes part, and along
single sampled coordinates, which say where an error is. All of it in float64.

ReLU, max-pooling and the like have kinks, at which no derivative exists. One is met when the
differences taken to the right, to the left and over twice the distance disagree by as much as
backward is off; then h is reduced, and if that does not help another coordinate is taken.
"""

import math
from collections.abc import Iterator

import numpy as np

from minicnn import backend
from minicnn.gradcheck.problems import Problem
from minicnn.gradcheck.result import ArrayCheck, GradientCheck, GradientCheckError
from minicnn.typing import Array

_REDUCTIONS = (1.0, 0.1, 0.01)  # of h


def compare(
    problem: Problem, rng: np.random.Generator, samples: int, epsilon: float, tolerance: float
) -> GradientCheck:
    """The gradients of `problem` compared, array by array.

    Args:
        problem: what is checked.
        rng: of projection and directions.
        samples, epsilon, tolerance: as for `gradcheck`.

    Raises:
        GradientCheckError: as from `gradcheck`.
    """
    y = problem.outputs()
    if not np.array_equal(y, problem.outputs(), equal_nan=True):
        raise GradientCheckError(
            f"{problem.name}: forward gives another result when called again with an equal "
            "generator; a layer draws its random numbers from ctx.rng alone and keeps nothing"
        )
    if not np.isfinite(y).all():
        raise GradientCheckError(f"{problem.name}: forward gives NaN or infinity")
    projection = rng.standard_normal(y.size)
    of_arrays = problem.gradients(projection)
    gradients = {
        name: _host_gradient(problem, name, value, of_arrays.get(name))
        for name, value in problem.arrays.items()
    }
    problem.check_calls()
    result = GradientCheck(problem.name, tolerance)
    for name, value in problem.arrays.items():
        gradient = gradients[name]
        check = ArrayCheck(name, tuple(value.shape))
        result.arrays.append(check)
        if value.size == 0:
            continue
        rms = float(np.sqrt(np.mean(gradient**2)))
        for coordinate, direction in _directions(value.shape, samples, rng):
            if coordinate is not None and check.compared > samples:
                break
            analytic = float((gradient * direction).sum())
            _try_direction(
                problem, name, value, direction, y, projection, analytic, rms,
                epsilon, tolerance, coordinate, check,
            )  # fmt: skip
        if check.compared == 0:
            raise GradientCheckError(
                f"{problem.name}: no derivative with respect to {name} exists at this point: "
                "differences to the left and to the right disagree; give another x or seed"
            )
    wrong = [a for a in result.arrays if not a.error <= tolerance]
    if wrong:
        worst = wrong[0]
        raise GradientCheckError(
            f"{problem.name}: wrong gradient of {worst.name} {worst.where}: backward says "
            f"{worst.analytic:.10g}, central differences say {worst.numeric:.10g} "
            f"(relative error {worst.error:.1e}, tolerance {tolerance:.0e})\n{result}"
        )
    return result


def _try_direction(
    problem: Problem,
    name: str,
    value: Array,
    direction: np.ndarray,
    y: np.ndarray,
    projection: np.ndarray,
    analytic: float,
    rms: float,
    epsilon: float,
    tolerance: float,
    coordinate: tuple[int, ...] | None,
    check: ArrayCheck,
) -> None:
    """Compare along one direction, and note the result in `check`."""
    d = backend.asarray(direction)
    size = float(np.linalg.norm(y * projection))
    for reduction in _REDUCTIONS:
        h = epsilon * reduction
        values = {}
        try:
            for k in (-2, -1, 1, 2):
                problem.put[name](value + (k * h) * d)
                # differences of outputs first: what does not depend on `name` cancels exactly
                values[k] = float(((problem.outputs() - y) * projection).sum())
        finally:
            problem.put[name](value)
        numeric = (8 * (values[1] - values[-1]) - (values[2] - values[-2])) / (12 * h)
        rounding = 1e-15 * size / h
        scale = max(abs(analytic), abs(numeric), 1e-3 * rms, rounding / tolerance, 1e-300)
        off = abs(analytic - numeric)
        error = off / scale if math.isfinite(off) else math.inf
        if error <= tolerance:
            break
        right = (4 * values[1] - values[2]) / (2 * h)
        left = (values[-2] - 4 * values[-1]) / (2 * h)
        wide = (values[2] - values[-2]) / (4 * h)
        narrow = (values[1] - values[-1]) / (2 * h)
        if max(abs(right - left), abs(wide - narrow)) < 0.1 * off:
            break  # smooth here, so it is backward that is off
    else:
        check.kinks += 1
        return
    check.compared += 1
    if check.compared == 1 or error > check.error or math.isnan(error):
        check.error, check.coordinate = error, coordinate
        check.analytic, check.numeric = analytic, numeric


def _directions(
    shape: tuple[int, ...], samples: int, rng: np.random.Generator
) -> Iterator[tuple[tuple[int, ...] | None, np.ndarray]]:
    """One random direction of length one, then coordinates in random order: more than `samples`,
    because some may lie on kinks."""
    direction = rng.standard_normal(shape)
    yield None, direction / max(float(np.linalg.norm(direction)), 1e-300)
    for flat in rng.permutation(math.prod(shape))[: 3 * samples]:
        coordinate = tuple(int(i) for i in np.unravel_index(flat, shape))
        direction = np.zeros(shape)
        direction[coordinate] = 1.0
        yield coordinate, direction


def _host_gradient(problem: Problem, name: str, value: Array, gradient: Array | None) -> np.ndarray:
    if gradient is None:
        raise GradientCheckError(f"{problem.name}: backward gives no gradient of {name}")
    if tuple(gradient.shape) != tuple(value.shape):
        raise GradientCheckError(
            f"{problem.name}: the gradient of {name} has shape {tuple(gradient.shape)}; "
            f"{name} has shape {tuple(value.shape)}"
        )
    if gradient.dtype != np.float64:
        raise GradientCheckError(
            f"{problem.name}: the gradient of {name} is {gradient.dtype}, not float64 like {name}"
        )
    return backend.to_numpy(gradient)
