"""One forward and backward pass through a layer, on whichever backend is active."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from strategies import numbers

from minicnn import backend
from minicnn.layers.context import Context
from minicnn.parallel.communicator import SOLO


@dataclass
class Pass:
    """What came out, on the host: output, input gradient(s), weight gradients and updates."""

    y: np.ndarray
    dx: Any
    gradients: dict[str, np.ndarray]
    updates: dict[str, np.ndarray]


def run(
    layer, x, dy=None, training=True, needs_dx=True, wants_logits=False, seed=0, comm=SOLO
) -> Pass:
    """`x` an array or a list of them; `dy` is random by default."""
    many = isinstance(x, list)
    arrays = [backend.asarray(a) for a in (x if many else [x])]
    shapes = [(None, *a.shape[1:]) for a in arrays]
    layer.build_for(shapes if many else shapes[0])
    ctx = Context(
        training, True, backend.random_generator(seed), comm,
        needs_dx=needs_dx, wants_logits=wants_logits,
    )  # fmt: skip
    y = layer.forward(arrays if many else arrays[0], ctx)
    if dy is None:
        dy = numbers(y.shape, 99, y.dtype)
    dx = layer.backward(backend.asarray(dy), ctx)
    return Pass(
        backend.to_numpy(y),
        [_host(d) for d in dx] if many else _host(dx),
        {w.name: backend.to_numpy(g) for w, g in ctx.gradients.items()},
        {w.name: backend.to_numpy(v) for w, v in ctx.updates.items()},
    )


def set_weights(layer, input_shape, seed=5):
    """Build `layer` and give it random weights, all positive so that variances are too."""
    layer.build_for(input_shape)
    layer.set_weights(
        [0.1 + np.abs(numbers(w.shape, seed + i)) for i, w in enumerate(layer.weights)]
    )
    return layer


def _host(a):
    return None if a is None else backend.to_numpy(a)
