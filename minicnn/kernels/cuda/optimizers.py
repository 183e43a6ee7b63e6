"""The steps of the optimizers in one kernel each, and the gathering of arrays.

The generic versions are the `update` of each optimizer in `minicnn.optimizers`, weight decay before
it, and `Arena.gather`.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from minicnn.backend import array_module
from minicnn.kernels.cuda.launch import launch

_MOST_SOURCES = 16  # of `gather` in optimizers.cu


class Step(NamedTuple):
    """What the steps of all optimizers take.

    Attributes:
        w: weights, (numbers,), changed in place.
        g: their gradient, (numbers,).
        rates: the factor of the step, and that of the weights before it, (2,).
        decaying: so many weights, from the first on, are multiplied by the latter.
        apply_if: an array of one boolean on the device: where it is False, nothing changes.
    """

    w: Any
    g: Any
    rates: Any
    decaying: int
    apply_if: Any = None


def sgd(step: Step, m: Any, momentum: float, nesterov: bool) -> None:
    """`SGD.update`; m is None without momentum."""
    _launch("sgd", step, [m], [momentum], int(nesterov))


def rmsprop(step: Step, v: Any, m: Any, average: Any, rho: float, momentum: float,
            epsilon: float) -> None:  # fmt: skip
    """`RMSprop.update`; m is None without momentum, the average gradient where not centered."""
    _launch("rmsprop", step, [v, m, average], [rho, 1.0 - rho, momentum, epsilon])


def adam(step: Step, m: Any, v: Any, largest: Any, beta_1: float, beta_2: float,
         epsilon: float) -> None:  # fmt: skip
    """`Adam.update`; the largest v so far is None without amsgrad."""
    _launch("adam", step, [m, v, largest], [1.0 - beta_1, 1.0 - beta_2, epsilon])


def _launch(kernel: str, step: Step, slots: list[Any], numbers: list[float], *flags: int) -> None:
    w, g, rates, decaying, apply_if = step
    launch(
        "optimizers", kernel, w.dtype, w.size, w, g, *slots, rates,
        None if apply_if is None else apply_if.reshape(1), w.size, decaying,
        *map(w.dtype.type, numbers), *flags,
    )  # fmt: skip


def gather(flat: Any, arrays: Sequence[Any], places: Sequence[slice]) -> None:
    """Arrays of one dtype to their places in a flat one, which is 0 between them.

    Args:
        places: rising, without overlap; each as long as its array.
    """
    xp = array_module(flat)
    sources = [
        (xp.ascontiguousarray(array.reshape(-1)), place.start, place.start + array.size)
        for array, place in zip(arrays, places, strict=True)
        if array.size
    ]
    written = 0
    while sources:
        chunk, sources = sources[:_MOST_SOURCES], sources[_MOST_SOURCES:]
        end = sources[0][1] if sources else flat.size
        unused = [(None, end, end)] * (_MOST_SOURCES - len(chunk))
        launch(
            "optimizers", "gather", flat.dtype, end - written, flat, written, end,
            *(argument for source in (*chunk, *unused) for argument in source),
        )  # fmt: skip
        written = end
