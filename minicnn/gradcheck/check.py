"""`gradcheck`: a layer, model or loss is prepared for the check, and set back afterwards."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from minicnn import backend
from minicnn.dtype_policies import DTypePolicy
from minicnn.gradcheck.differences import compare
from minicnn.gradcheck.problems import LayerProblem, LossProblem
from minicnn.gradcheck.result import GradientCheck
from minicnn.layers.base import Layer, with_inner_layers
from minicnn.typing import Array


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

    Further it is seen to that a model may run the layer, and each layer of a model, on parts of a
    batch: that forward looks at each image by itself, unless the class says `whole_batch = True`,
    and that nothing of a call is kept on the layer or the loss.

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
            coordinate and both values. Or forward looks across images unsaid, or keeps something
            of a call; the message says what to write.
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
        loss = LossProblem(target, x, y, sample_weight)
        return compare(loss, rng, samples, epsilon, tolerance)
    if y is not None or sample_weight is not None:
        raise ValueError("y and sample_weight belong to the check of a loss; a layer takes only x")
    inputs, many = _inputs(target, x, input_shape, batch_size, rng)
    with _float64(target):
        shapes = [(None, *a.shape[1:]) for a in inputs]
        target.build_for(shapes if many else shapes[0])
        with _moved_weights(target, rng):
            problem = LayerProblem(target, inputs, many, training, seed)
            return compare(problem, rng, samples, epsilon, tolerance)


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
