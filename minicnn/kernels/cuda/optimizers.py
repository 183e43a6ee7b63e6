"""The update rules of the optimizers in one kernel each, and the gathering of arrays."""

from collections.abc import Sequence

from minicnn.backend import array_module
from minicnn.kernels.cuda.launch import launch
from minicnn.kernels.optimizers import Rate, Rates, SeveralRates
from minicnn.typing import Array

_MOST_SOURCES = 16  # of `gather` in optimizers.cu


def sgd(
    w: Array,
    g: Array,
    m: Array | None,
    rate: Rate,
    momentum: float,
    nesterov: bool,
    scratch: Array | None = None,
) -> None:
    """As the generic one (w, g, m, rate, momentum, nesterov); no scratch is needed."""
    _launch("sgd", w, g, [m], rate, [momentum], int(nesterov))


def rmsprop(
    w: Array,
    g: Array,
    v: Array,
    m: Array | None,
    average: Array | None,
    rate: Rate,
    rho: float,
    momentum: float,
    epsilon: float,
    scratch: Array | None = None,
) -> None:
    """As the generic one (w, g, v, m, average, rate, rho, momentum, epsilon); no scratch is
    needed."""
    _launch("rmsprop", w, g, [v, m, average], rate, [rho, 1.0 - rho, momentum, epsilon])


def adam(
    w: Array,
    g: Array,
    m: Array,
    v: Array,
    largest: Array | None,
    rate: Rate,
    beta_1: float,
    beta_2: float,
    epsilon: float,
    scratch: Array | None = None,
) -> None:
    """As the generic one (w, g, m, v, largest, rate, beta_1, beta_2, epsilon); no scratch is
    needed."""
    _launch("adam", w, g, [m, v, largest], rate, [1.0 - beta_1, 1.0 - beta_2, epsilon])


def nadam(
    w: Array,
    g: Array,
    m: Array,
    v: Array,
    rate: SeveralRates,
    beta_1: float,
    beta_2: float,
    scratch: Array | None = None,
) -> None:
    """As the generic one (w, g, m, v, rate, beta_1, beta_2); no scratch is needed."""
    _launch("nadam", w, g, [m, v], rate, [1.0 - beta_1, 1.0 - beta_2])


def adamax(
    w: Array,
    g: Array,
    m: Array,
    u: Array,
    rate: Rate,
    beta_1: float,
    beta_2: float,
    epsilon: float,
    scratch: Array | None = None,
) -> None:
    """As the generic one (w, g, m, u, rate, beta_1, beta_2, epsilon); no scratch is needed."""
    _launch("adamax", w, g, [m, u], rate, [1.0 - beta_1, beta_2, epsilon])


def adagrad(
    w: Array, g: Array, a: Array, rate: Rate, epsilon: float, scratch: Array | None = None
) -> None:
    """As the generic one (w, g, a, rate, epsilon); no scratch is needed."""
    _launch("adagrad", w, g, [a], rate, [epsilon])


def adadelta(
    w: Array,
    g: Array,
    a: Array,
    d: Array,
    rate: Rate,
    rho: float,
    epsilon: float,
    scratch: Array | None = None,
) -> None:
    """As the generic one (w, g, a, d, rate, rho, epsilon); no scratch is needed."""
    _launch("adadelta", w, g, [a, d], rate, [1.0 - rho, epsilon])


def lion(
    w: Array,
    g: Array,
    m: Array,
    rate: Rate,
    beta_1: float,
    beta_2: float,
    scratch: Array | None = None,
) -> None:
    """As the generic one (w, g, m, rate, beta_1, beta_2); no scratch is needed."""
    _launch("lion", w, g, [m], rate, [1.0 - beta_1, 1.0 - beta_2])


def _launch(
    kernel: str,
    w: Array,
    g: Array,
    slots: list[Array | None],
    rate: Rate | SeveralRates,
    factors: list[float],
    *flags: int,
) -> None:
    if not isinstance(rate, Rates):  # of an `update` that calls the library's: no decay here
        first, *others = rate if isinstance(rate, Sequence) else [rate]
        values = array_module(w).ones(2 + len(others), w.dtype)
        values[:1] = first
        for place, other in enumerate(others, 2):
            values[place : place + 1] = other
        rate = Rates(values)
    apply_if = None if rate.apply_if is None else rate.apply_if.reshape(1)
    launch(
        "optimizers", kernel, w.dtype, w.size, w, g, *slots, rate.values, apply_if, w.size,
        rate.decaying, *map(w.dtype.type, factors), *flags,
    )  # fmt: skip


def gather(flat: Array, arrays: Sequence[Array], places: Sequence[slice]) -> None:
    """As the generic one (flat, arrays, places), sixteen arrays per kernel."""
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
