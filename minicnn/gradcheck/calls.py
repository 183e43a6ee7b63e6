"""What gradients do not show: whether a model may run a layer on parts of a batch.

A model cuts a batch: into shards, which pass through a layer at the same time on several threads,
and into chunks of a few images. So a layer that looks across images has to say so, by
`whole_batch = True`, and must not keep anything of a call on itself: another call may come before
backward. In a model each layer is seen to by itself, with the inputs that it gets there.

No input is tried that is further from those of the check than its differences go, so that none is
met for which the layer is not made.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from minicnn import backend
from minicnn.backend import array_module
from minicnn.gradcheck.result import GradientCheckError
from minicnn.layers.base import Layer, with_inner_layers
from minicnn.layers.context import Context
from minicnn.models import Model
from minicnn.models.steps import Passes, Step
from minicnn.typing import Array

# Of the largest number in an array: rounding is far below, what depends on other images above.
AGREEMENT = 1e-9


class LayerCall:
    """A call of a layer that can be made again, on other images and with others in between.

    Args:
        layer: which is called.
        passes: its forward and backward, or those of a part of its work.
        inputs: what it is given, (N, ...) each.
        many: whether it takes a list.
        training: whether the layer runs as in training.
        seed: of `ctx.rng`.
    """

    def __init__(
        self, layer: Layer, passes: Passes, inputs: Sequence[Array], many: bool, training: bool,
        seed: int,
    ):  # fmt: skip
        self.layer = layer
        self.run, self.run_back = passes
        self.inputs = inputs
        self.many = many
        self.training = training
        self.seed = seed
        lengths = {len(x) for x in inputs}
        self.images = lengths.pop() if len(lengths) == 1 else 0  # 0: not an axis of images
        if self.images == 1:
            rng = np.random.default_rng(seed)
            self.inputs = [array_module(x).concatenate([x, moved(x, rng)]) for x in inputs]
            self.images = 2

    def check(self) -> None:
        """Raise a `GradientCheckError` if a model could not make the call on parts of a batch."""
        if self.images and not self.layer.whole_batch:
            random = self._check_images(self.seed)
            for k in range(1, 4) if random else ():  # what looks across images may do so by chance
                self._check_images(self.seed + k)
        self._check_keeps_nothing()

    def _forward(
        self, inputs: Sequence[Array], seed: int, record: bool = False
    ) -> tuple[list[Array], bool, Context]:
        """(the outputs, whether they came in a list, the record of the call)."""
        ctx = fresh_context(self.layer, self.training, seed, record)
        copies = [x.copy() for x in inputs]  # a part of a layer's work may write over them
        results = self.run(copies if self.many else copies[0], ctx)
        many = isinstance(results, (list, tuple))
        return (list(results) if many else [results]), many, ctx

    # Images

    def _check_images(self, seed: int) -> bool:
        """Each image makes the same beside others and, if nothing is random, without others;
        returns whether something is random."""
        n, whole = self.images, slice(None)
        made, _, ctx = self._forward(self.inputs, seed)
        ys = [y.copy() for y in made]
        for y in ys:
            if y.shape[:1] != (n,):
                raise GradientCheckError(
                    f"{self.layer.described}: forward makes an array of shape {tuple(y.shape)} out "
                    f"of {n} images; the first axis of what a layer makes is that of the images"
                )
        first, last = slice(0, 1), slice(n - 1, n)
        for one in (first, last):  # of the same shape, for which equal random numbers are drawn
            repeated = [array_module(x).repeat(x[one], n, axis=0) for x in self.inputs]
            self._compare_images(ys, one, self._forward(repeated, seed)[0], one)
        random = self._is_random(ctx, seed)
        for rows in () if random else (first, slice(1, n)):
            self._compare_images(ys, rows, self._alone(rows), whole)
        return random

    def _alone(self, rows: slice) -> list[Array]:
        try:
            return self._forward([x[rows] for x in self.inputs], self.seed)[0]
        except Exception as error:
            raise self._looks_across(
                f"forward works on {self.images} images, but not on {rows.stop - rows.start} of "
                f"them alone ({type(error).__name__}: {error})"
            ) from error

    def _is_random(self, ctx: Context, seed: int) -> bool:
        """Whether numbers were drawn: for other images they would be other ones."""
        unused = backend.random_generator(seed)
        next_number, first_number = (float(rng.random((1,))[0]) for rng in (ctx.rng, unused))
        seeded = any(hasattr(layer, "reseed") for layer in with_inner_layers(self.layer))
        return seeded or next_number != first_number

    def _compare_images(
        self, ys: list[Array], rows: slice, others: list[Array], of_others: slice
    ) -> None:
        for y, other in zip(ys, others, strict=True):
            a, b = backend.to_numpy(y[rows]), backend.to_numpy(other[of_others])
            if agree(a, b):
                continue
            off = abs(a - b).reshape(len(a), -1).max(axis=1) if a.shape == b.shape else np.zeros(1)
            by = f" (it changes by up to {off.max():.1e})" if off.any() else ""
            raise self._looks_across(
                f"what forward makes of image {rows.start + int(off.argmax())} depends on the "
                f"other images of the batch{by}"
            )

    def _looks_across(self, what: str) -> GradientCheckError:
        return GradientCheckError(
            f"{self.layer.described}: {what}. A model cuts a batch into parts and calls the "
            f"layer with each alone; write `whole_batch = True` in class "
            f"{type(self.layer).__name__}, and it is called with all images of the batch at once"
        )

    # Nothing kept on the layer

    def _check_keeps_nothing(self) -> None:
        """What forward made and what backward makes stay the same with other calls in between."""
        ys, many, ctx = self._forward(self.inputs, self.seed, record=True)
        rng = np.random.default_rng(self.seed)
        dys = [backend.asarray(rng.standard_normal(y.shape)) for y in ys]
        made = [y.copy() for y in ys]
        expected = self._backward(dys, many, ctx)
        again, _, ctx = self._forward(self.inputs, self.seed, record=True)
        self._call_in_between(rng)
        if not all(map(agree, again, made)):
            raise self._keeps(
                "what forward has returned changes", "make a new array for what forward returns"
            )
        advice = (
            "hand what backward needs to ctx.save(...) in forward and read ctx.saved in backward"
        )
        try:
            gradients = self._backward(dys, many, ctx)
        except Exception as error:
            raise self._keeps(
                f"backward fails ({type(error).__name__}: {error})", advice
            ) from error
        for name in expected | gradients:
            if not agree(expected.get(name), gradients.get(name)):
                raise self._keeps(f"backward gives another gradient of {name}", advice)

    def _call_in_between(self, rng: np.random.Generator) -> None:
        """Forward on the images in reverse order and a little moved, then on more of them."""
        other = [moved(x[::-1], rng) for x in self.inputs]
        self._forward(other, self.seed, record=True)
        if self.images and not self.layer.whole_batch:
            more = [array_module(x).concatenate([x, x[:1]]) for x in other]
            self._forward(more, self.seed, record=True)

    def _backward(self, dys: list[Array], many: bool, ctx: Context) -> dict[str, Any]:
        """The gradients by name: those of the inputs, None for none, and of the weights."""
        copies = [dy.copy() for dy in dys]
        dx = self.run_back(copies if many else copies[0], ctx)
        gradients: dict[str, Any] = {w.name: g for w, g in ctx.gradients.items()}
        if not self.many:
            return {"x": dx} | gradients
        return {f"x[{i}]": part for i, part in enumerate(dx)} | gradients

    def _keeps(self, what: str, advice: str) -> GradientCheckError:
        return GradientCheckError(
            f"{self.layer.described}: {what} when forward is called once more in between, so the "
            f"layer keeps something of a call on itself. Several parts of a batch pass through a "
            f"layer at once: {advice}"
        )


class InnerCalls:
    """An observer in the `Context` of a model, which checks each layer call on the way.

    Args:
        seed: as for `LayerCall`.
    """

    def __init__(self, seed: int):
        self.seed = seed

    def call(self, step: Step, phase: str, x: Any, ctx: Context) -> Any:
        """Check a call, then make it.

        Args:
            step: which layer, and what of its work.
            phase: "forward".
            x: the input or a list of inputs.
            ctx: of the layer call.
        """
        if not isinstance(step.layer, Model):  # the layers inside come one by one
            many = isinstance(x, (list, tuple))
            passes = (step.run, step.run_back)
            inputs = x if many else [x]
            LayerCall(step.layer, passes, inputs, many, bool(ctx.training), self.seed).check()
        return step.run(x, ctx)


def fresh_context(
    layer: Layer, training: bool, seed: int, record: bool, observer: Any = None
) -> Context:
    """A context in which `layer` draws the same random numbers as in any other one of this kind.

    Args:
        layer: with layers inside or without.
        training, record, observer: see `Context`.
        seed: of `ctx.rng`.
    """
    for inner in with_inner_layers(layer):
        if hasattr(inner, "reseed"):
            inner.reseed()
    rng = backend.random_generator(seed)
    return Context(training, record=record, rng=rng, observer=observer)


def moved(x: Array, rng: np.random.Generator) -> Array:
    """`x`, moved along a direction drawn from `rng`, about as far as the differences go."""
    direction = rng.standard_normal(x.shape)
    return x + backend.asarray(1e-4 / max(1.0, float(np.linalg.norm(direction))) * direction)


def agree(a: Array | None, b: Array | None) -> bool:
    """Whether `a` and `b` are equal but for rounding; None equals None alone."""
    if a is None or b is None or a.shape != b.shape:
        return a is b
    a, b = backend.to_numpy(a), backend.to_numpy(b)
    finite = abs(a[np.isfinite(a)])
    largest = float(finite.max()) if finite.size else 0.0
    return np.allclose(b, a, rtol=0, atol=AGREEMENT * largest, equal_nan=True)
