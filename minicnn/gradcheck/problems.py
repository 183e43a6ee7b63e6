"""What is checked: a layer, a model or a loss, as a function of named arrays."""

from collections.abc import Callable
from typing import Any

import numpy as np

from minicnn import backend
from minicnn.gradcheck.calls import InnerCalls, LayerCall, agree, fresh_context, moved
from minicnn.gradcheck.result import GradientCheckError
from minicnn.layers.base import Layer
from minicnn.layers.context import Context
from minicnn.layers.weight import Weight
from minicnn.models import Model
from minicnn.typing import Array


class Problem:
    """A function of named arrays with its gradients.

    Attributes:
        inputs: those of the arrays that are no weights.
        name: how messages call it.
        arrays: the arrays it depends on.
        put: for each, how to set it.
    """

    name: str
    inputs: list[Array]

    def __init__(self) -> None:
        self.arrays: dict[str, Array] = {}
        self.put: dict[str, Callable[[Array], None]] = {}

    def outputs(self) -> np.ndarray:
        """All outputs in one row, on the host."""
        raise NotImplementedError

    def gradients(self, projection: np.ndarray) -> dict[str, Array]:
        """What backward says the gradients of sum(`projection` * outputs) are."""
        raise NotImplementedError

    def check_calls(self) -> None:
        """Raise a `GradientCheckError` for what `minicnn.gradcheck.calls` finds."""
        raise NotImplementedError

    def put_input(self, i: int) -> Callable[[Array], None]:
        """How to set input `i`."""

        def put(value: Array) -> None:
            self.inputs[i] = value

        return put


class LayerProblem(Problem):
    """A layer or a model.

    Args:
        layer: built, in float64.
        inputs: (N, ...) each.
        many: whether it takes a list.
        training: whether it runs as in training.
        seed: of `ctx.rng`.
    """

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
        """(the outputs, whether they came in a list, the context); see `Context` for `record`."""
        ctx = fresh_context(self.layer, self.training, self.seed, record)
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

    def check_calls(self) -> None:
        if isinstance(self.layer, Model):
            observer = InnerCalls(self.seed)
            ctx = fresh_context(self.layer, self.training, self.seed, False, observer)
            self.layer.forward(list(self.inputs) if self.many else self.inputs[0], ctx)
        else:
            passes = (self.layer.forward, self.layer.backward)
            call = LayerCall(self.layer, passes, self.inputs, self.many, self.training, self.seed)
            call.check()


class LossProblem(Problem):
    """A loss.

    Args:
        loss: with `forward` and `backward`.
        x: predictions.
        y: targets.
        sample_weight: weights of the samples, or None.
    """

    def __init__(self, loss: Any, x: Any, y: Any, sample_weight: Any):
        super().__init__()
        self.loss = loss
        self.name = type(loss).__name__
        self.inputs = [backend.asarray(x, "float64")]
        self.y = _float64_or_integer(y)
        self.sample_weight = None if sample_weight is None else _float64_or_integer(sample_weight)
        self.arrays = {"y_pred": self.inputs[0]}
        self.put = {"y_pred": self.put_input(0)}

    def forward(self, x: Array) -> tuple[Array, Any]:
        """(the loss of predictions x, what backward needs)."""
        return self.loss.forward(self.y, x, sample_weight=self.sample_weight)

    def outputs(self) -> np.ndarray:
        return backend.to_numpy(self.forward(self.inputs[0])[0]).ravel()

    def gradients(self, projection: np.ndarray) -> dict[str, Array]:
        _, state = self.forward(self.inputs[0])
        return {"y_pred": self.loss.backward(state) * float(projection[0])}

    def check_calls(self) -> None:
        expected = self.loss.backward(self.forward(self.inputs[0])[1])
        _, state = self.forward(self.inputs[0])
        self.forward(moved(self.inputs[0][::-1], np.random.default_rng(0)))
        if not agree(expected, self.loss.backward(state)):
            raise GradientCheckError(
                f"{self.name}: backward gives another gradient when forward is called once more in "
                "between, so the loss keeps something of a call on itself. Several parts of a "
                "batch pass through a loss at once: return what backward needs beside the loss"
            )


def _put_weight(weight: Weight) -> Callable[[Array], None]:
    def put(value: Array) -> None:
        weight.value = value

    return put


def _float64_or_integer(a: Any) -> Array:
    a = backend.asarray(a)
    return a.astype("float64") if a.dtype.kind == "f" else a
