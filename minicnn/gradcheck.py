"""Is a backward pass the derivative of its forward pass? Central differences say.

    minicnn.gradcheck(MyLayer(3), input_shape=(8, 8, 3))

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
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minicnn import backend
from minicnn.dtype_policies import DTypePolicy
from minicnn.layers.base import Layer, with_inner_layers
from minicnn.layers.context import Context
from minicnn.layers.weight import Weight
from minicnn.typing import Array

_REDUCTIONS = (1.0, 0.1, 0.01)  # of h


class GradientCheckError(AssertionError):
    """A backward pass that is not the derivative of the forward pass."""


@dataclass
class ArrayCheck:
    """How well the gradient with respect to one array agrees.

    Attributes:
        name: "x", "x[1]", "kernel", "bias" ...
        shape: its shape.
        error: largest relative error of the directions tried.
        coordinate: the index at which it was found; None for the random direction.
        analytic: what backward says there.
        numeric: what central differences say there.
        compared: number of directions compared.
        kinks: number of directions left out because f has no derivative along them.
    """

    name: str
    shape: tuple[int, ...]
    error: float = 0.0
    coordinate: tuple[int, ...] | None = None
    analytic: float = 0.0
    numeric: float = 0.0
    compared: int = 0
    kinks: int = 0

    @property
    def where(self) -> str:
        """`coordinate` in words."""
        if self.coordinate is None:
            return "along a random direction"
        return f"at [{', '.join(map(str, self.coordinate))}]"


@dataclass
class GradientCheck:
    """The result of `gradcheck`; printed, it is a table with a line per array.

    Attributes:
        target: name of what was checked.
        tolerance: largest relative error allowed.
        arrays: the result for each array.
    """

    target: str
    tolerance: float
    arrays: list[ArrayCheck] = field(default_factory=list)

    @property
    def max_error(self) -> float:
        """Largest relative error over all arrays."""
        return max((a.error for a in self.arrays), default=0.0)

    def __str__(self) -> str:
        rows = [("array", "shape", "compared", "relative error")]
        rows += [(a.name, str(a.shape), str(a.compared), f"{a.error:.1e}") for a in self.arrays]
        widths = [max(len(row[i]) for row in rows) for i in range(4)]
        lines = [
            f"  {row[0]:<{widths[0]}}  {row[1]:<{widths[1]}}  {row[2]:>{widths[2]}}"
            f"  {row[3]:>{widths[3]}}"
            for row in rows
        ]
        return "\n".join([f"gradients of {self.target} (tolerance {self.tolerance:.0e})", *lines])


def gradcheck(
    target: Any,
    x: Any = None,
    y: Any = None,
    *,
    input_shape: Any = None,
    sample_weight: Any = None,
    seed: int = 0,
    samples: int = 12,
    epsilon: float = 1e-4,
    tolerance: float = 1e-6,
    training: bool = True,
    batch_size: int = 3,
) -> GradientCheck:
    """Compare the gradients of a layer, model or loss with central differences, in float64.

    A layer is built if it is not yet. Its weights are cast to float64 and moved a little off their
    values for the check (a factor of one or an offset of zero would hide mistakes), and set back
    afterwards. Random layers get an equal generator, `ctx.rng`, at every evaluation.

    Args:
        target: a `Layer`, a model, or a loss.
        x: the input with its batch axis, or a list for a layer with several inputs; for a loss the
            predictions. Default: normally distributed.
        y: for a loss the targets.
        input_shape: shape of one image or sample, without the batch axis; a list of shapes for a
            layer with several inputs. Default: the shape the layer was built for.
        sample_weight: for a loss, weights of the samples.
        seed: of input, projection, directions and `ctx.rng`.
        samples: coordinates compared in each array, besides the random direction.
        epsilon: the distance h of the differences.
        tolerance: largest relative error allowed, |a - n| / max(|a|, |n|) with a floor at a
            thousandth of the array's root-mean-square gradient and at the rounding error of f.
        training: whether the layer runs as in training.
        batch_size: samples in the default input.

    Returns:
        The relative error per array; `print` shows it as a table.

    Raises:
        GradientCheckError: a gradient is wrong, missing, or of another shape or dtype, or forward
            depends on more than its input and `ctx.rng`; the message names the array, the
            coordinate and both values.
        ValueError: neither `x` nor a shape is known, or a loss comes without targets.
    """
    rng = np.random.default_rng(seed)
    if not isinstance(target, Layer):
        if not (hasattr(target, "forward") and hasattr(target, "backward")):
            raise TypeError(f"gradcheck takes a layer, a model or a loss, not {target!r}")
        if x is None or y is None:
            raise ValueError(
                f"to check the loss {type(target).__name__} give the predictions x and the "
                "targets y, both with their batch axis"
            )
        problem: _Problem = _LossProblem(target, x, y, sample_weight)
        return _compare(problem, rng, samples, epsilon, tolerance)
    if y is not None or sample_weight is not None:
        raise ValueError("y and sample_weight belong to the check of a loss; a layer takes only x")
    inputs, many = _inputs(target, x, input_shape, batch_size, rng)
    with _float64(target):
        shapes = [(None, *a.shape[1:]) for a in inputs]
        target.build_for(shapes if many else shapes[0])
        with _moved_weights(target, rng):
            problem = _LayerProblem(target, inputs, many, training, seed)
            return _compare(problem, rng, samples, epsilon, tolerance)


# What is checked: named arrays, and a function of them


class _Problem:
    """A function of named arrays with its gradients.

    Attributes:
        name: how messages call it.
        arrays: the arrays it depends on.
        put: for each, how to set it.
    """

    name: str

    def __init__(self) -> None:
        self.arrays: dict[str, Array] = {}
        self.put: dict[str, Callable[[Array], None]] = {}

    def outputs(self) -> np.ndarray:
        """All outputs in one row, on the host."""
        raise NotImplementedError

    def gradients(self, projection: np.ndarray) -> dict[str, Array]:
        """What backward says the gradients of sum(projection * outputs) are."""
        raise NotImplementedError

    def put_input(self, i: int) -> Callable[[Array], None]:
        def put(value: Array) -> None:
            self.inputs[i] = value

        return put

    inputs: list[Array]


class _LayerProblem(_Problem):
    def __init__(self, layer: Layer, inputs: list[Array], many: bool, training: bool, seed: int):
        super().__init__()
        self.layer, self.inputs, self.many = layer, inputs, many
        self.training, self.seed = training, seed
        self.name = layer.described
        for i, value in enumerate(inputs):
            name = f"x[{i}]" if many else "x"
            self.arrays[name] = value
            self.put[name] = self.put_input(i)
        self.weights: dict[str, Weight] = {}
        names = [w.name for w in layer.trainable_weights]
        for w in layer.trainable_weights:
            name = w.name if names.count(w.name) == 1 else w.path
            self.weights[name] = w
            self.arrays[name] = w.value
            self.put[name] = _put_weight(w)

    def run(self, record: bool) -> tuple[list[Array], bool, Context]:
        for layer in with_inner_layers(self.layer):
            if hasattr(layer, "reseed"):
                layer.reseed()
        ctx = Context(self.training, record=record, rng=backend.random_generator(self.seed))
        # copies, to see whether forward overwrites its input
        kept = [a.copy() for a in self.inputs]
        results = self.layer.forward(list(self.inputs) if self.many else self.inputs[0], ctx)
        for a, b in zip(self.inputs, kept, strict=True):
            if not bool((a == b).all()):
                raise GradientCheckError(f"{self.name}: forward overwrites its input")
        many = isinstance(results, (list, tuple))
        return (list(results) if many else [results]), many, ctx

    def outputs(self) -> np.ndarray:
        results, _, _ = self.run(record=False)
        return np.concatenate([backend.to_numpy(r).ravel() for r in results])

    def gradients(self, projection: np.ndarray) -> dict[str, Array]:
        results, many, ctx = self.run(record=True)
        for r in results:
            if r.dtype != np.float64:
                raise GradientCheckError(
                    f"{self.name}: forward makes {r.dtype} out of float64; the check needs float64 "
                    "throughout, and a user of dtype='float64' does too"
                )
        cuts = np.cumsum([r.size for r in results])[:-1]
        dys = [
            backend.asarray(piece.reshape(r.shape))
            for piece, r in zip(np.split(projection, cuts), results, strict=True)
        ]
        dx: Any = self.layer.backward(dys if many else dys[0], ctx)
        gradients = dict(zip(self.arrays, dx if self.many else [dx], strict=False))
        for name, weight in self.weights.items():
            if weight not in ctx.gradients:
                raise GradientCheckError(
                    f"{self.name}: backward hands over no gradient of {name} (shape "
                    f"{weight.shape}); it is trainable, so ctx.add_gradient has to be called for it"
                )
            gradients[name] = ctx.gradients[weight]
        return gradients


class _LossProblem(_Problem):
    def __init__(self, loss: Any, x: Any, y: Any, sample_weight: Any):
        super().__init__()
        self.loss = loss
        self.name = type(loss).__name__
        self.inputs = [backend.asarray(x, "float64")]
        self.y = _float64_or_integer(y)
        self.sample_weight = None if sample_weight is None else _float64_or_integer(sample_weight)
        self.arrays = {"y_pred": self.inputs[0]}
        self.put = {"y_pred": self.put_input(0)}

    def forward(self) -> tuple[Array, Any]:
        return self.loss.forward(self.y, self.inputs[0], sample_weight=self.sample_weight)

    def outputs(self) -> np.ndarray:
        return backend.to_numpy(self.forward()[0]).ravel()

    def gradients(self, projection: np.ndarray) -> dict[str, Array]:
        _, state = self.forward()
        return {"y_pred": self.loss.backward(state) * float(projection[0])}


# The comparison


def _compare(
    problem: _Problem, rng: np.random.Generator, samples: int, epsilon: float, tolerance: float
) -> GradientCheck:
    y = problem.outputs()
    if not np.array_equal(y, problem.outputs(), equal_nan=True):
        raise GradientCheckError(
            f"{problem.name}: forward gives another result when called again with an equal "
            "generator; a layer draws its random numbers from ctx.rng alone and keeps nothing"
        )
    if not np.isfinite(y).all():
        raise GradientCheckError(f"{problem.name}: forward gives NaN or infinity")
    projection = rng.standard_normal(y.size)
    gradients = problem.gradients(projection)
    result = GradientCheck(problem.name, tolerance)
    for name, value in problem.arrays.items():
        gradient = _host_gradient(problem, name, value, gradients.get(name))
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
    problem: _Problem,
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


def _host_gradient(
    problem: _Problem, name: str, value: Array, gradient: Array | None
) -> np.ndarray:
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


# Preparing a layer


def _inputs(
    layer: Layer, x: Any, input_shape: Any, batch_size: int, rng: np.random.Generator
) -> tuple[list[Array], bool]:
    """The inputs in float64, and whether the layer takes a list."""
    if x is not None:
        many = isinstance(x, (list, tuple))
        # copies: the check must not write into the caller's arrays
        return [backend.asarray(a, "float64").copy() for a in (x if many else [x])], many
    if input_shape is None:
        known = layer.input_shape
        if known is None:
            raise ValueError(
                f"{layer.described} is not built: give gradcheck an input x, or the input_shape "
                "of one sample, for example input_shape=(8, 8, 3)"
            )
        many = isinstance(known, list) or bool(known) and isinstance(known[0], (tuple, list))
        input_shape = [s[1:] for s in known] if many else known[1:]
    else:
        many = bool(input_shape) and isinstance(input_shape[0], (tuple, list))
    shapes: Sequence[Any] = input_shape if many else [input_shape]
    return [backend.asarray(rng.standard_normal((batch_size, *s))) for s in shapes], many


def _put_weight(weight: Weight) -> Callable[[Array], None]:
    def put(value: Array) -> None:
        weight.value = value

    return put


def _float64_or_integer(a: Any) -> Array:
    a = backend.asarray(a)
    return a.astype("float64") if a.dtype.kind == "f" else a


@contextmanager
def _float64(layer: Layer) -> Iterator[None]:
    """Within the context `layer` and its inner layers compute in float64."""
    layers = list(with_inner_layers(layer))
    policies = [inner.dtype_policy for inner in layers]
    originals = {w: w.value for w in layer.weights}
    for inner in layers:
        inner.dtype_policy = DTypePolicy("float64")
    for w, value in originals.items():
        if value.dtype.kind == "f":
            w.value = value.astype("float64")
    try:
        yield
    finally:
        for inner, policy in zip(layers, policies, strict=True):
            inner.dtype_policy = policy
        for w in layer.weights:
            if w in originals:
                w.value = originals[w]
            elif w.value.dtype.kind == "f":  # built for the check
                w.value = w.value.astype(w.layer.dtype)


@contextmanager
def _moved_weights(layer: Layer, rng: np.random.Generator) -> Iterator[None]:
    """Within the context weights are off their values; averages and variances, which are not
    learned, are higher."""
    originals = {w: w.value for w in layer.weights if w.value.dtype.kind == "f"}
    for w, value in originals.items():
        change = rng.normal(0, 0.1, w.shape) if w.learned else rng.uniform(0, 0.2, w.shape)
        w.value = value + backend.asarray(change)
    try:
        yield
    finally:
        for w, value in originals.items():
            w.value = value
