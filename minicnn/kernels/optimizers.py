"""The update rules of the optimizers, in place on arrays of any shape.

Every rule takes

    w, g, slots ...      weights, their gradient (not changed), and what is kept beside them
    rate                 the factor of the optimizer step: a number, or an array (1,) on a GPU;
                         nadam: several of them
    scratch              an array to calculate in

all arrays of w's shape and dtype. It works element by element, so that a weight may be cut into
pieces, or many weights laid one after the other. The versions in CUDA C need no scratch (None), and
take a `Rates` as the rate: then weight decay, and the choice to leave the step out, are part of the
same kernel.
"""

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from minicnn.backend import array_module
from minicnn.kernels.device import with_cuda_version
from minicnn.typing import Array


class Rates(NamedTuple):
    """The rate of an optimizer step in CUDA C, and what is done in the same kernel.

    Attributes:
        values: (2 or more,) on the device, where a step that was captured as a CUDA graph finds new
            ones: the factor of the step, that of the decaying weights before it, and further
            factors of the step.
        decaying: how many weights decay, counted from the first.
        apply_if: an array of one boolean on the device: where it is False, nothing changes; None
            for always.
    """

    values: Array
    decaying: int = 0
    apply_if: Array | None = None


Rate: TypeAlias = float | Array | Rates
SeveralRates: TypeAlias = Sequence[float | Array] | Rates


def _move(average: Array, goal: Array, share: float, scratch: Array) -> None:
    """average ← average + share (goal - average); the goal may lie in scratch."""
    array_module(average).subtract(goal, average, out=scratch)
    scratch *= share
    average += scratch


@with_cuda_version
def sgd(
    w: Array,
    g: Array,
    m: Array | None,
    rate: Rate,
    momentum: float,
    nesterov: bool,
    scratch: Array,
) -> None:
    """w ← w - rate g; with momentum m ← momentum m - rate g, and w ← w + m, or with nesterov
    w ← w + momentum m - rate g.

    Args:
        m: None without momentum.
        w, g, rate, scratch: see the module.
        momentum, nesterov: as above.
    """
    xp = array_module(w)
    step = xp.multiply(g, rate, out=scratch)
    if m is None:
        w -= step
        return
    m *= momentum
    m -= step
    if not nesterov:
        w += m
        return
    w -= step
    w += xp.multiply(m, momentum, out=scratch)


@with_cuda_version
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
    scratch: Array,
) -> None:
    """v ← rho v + (1 - rho) g², w ← w - rate g / sqrt(v + epsilon).

    Args:
        m: m ← momentum m + step, w ← w - m; None without momentum.
        average: of g; its square is taken from v under the root. None where not centered.
        w, g, rate, scratch: see the module.
        v, rho, momentum, epsilon: as above.
    """
    xp = array_module(w)
    t = scratch
    v *= rho
    xp.multiply(g, g, out=t)
    t *= 1.0 - rho
    v += t
    if average is not None:
        average *= rho
        average += xp.multiply(g, 1.0 - rho, out=t)
        xp.multiply(average, average, out=t)
        xp.subtract(v, t, out=t)
        t += epsilon
    else:
        xp.add(v, epsilon, out=t)
    xp.sqrt(t, out=t)
    xp.divide(g, t, out=t)
    t *= rate
    if m is not None:
        m *= momentum
        m += t
        w -= m
    else:
        w -= t


@with_cuda_version
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
    scratch: Array,
) -> None:
    """m ← m + (1 - beta_1)(g - m), v ← v + (1 - beta_2)(g² - v), w ← w - rate m / (sqrt(v) +
    epsilon).

    Args:
        largest: the largest v so far, which stands in for v (amsgrad); None for v itself.
        rate: with the bias of both averages corrected.
        w, g, scratch: see the module.
        m, v, beta_1, beta_2, epsilon: as above.
    """
    xp = array_module(w)
    t = scratch
    _move(m, g, 1.0 - beta_1, t)
    _move(v, xp.multiply(g, g, out=t), 1.0 - beta_2, t)
    if largest is not None:
        v = xp.maximum(largest, v, out=largest)
    xp.sqrt(v, out=t)
    t += epsilon
    xp.divide(m, t, out=t)
    t *= rate
    w -= t


@with_cuda_version
def nadam(
    w: Array,
    g: Array,
    m: Array,
    v: Array,
    rate: SeveralRates,
    beta_1: float,
    beta_2: float,
    scratch: Array,
) -> None:
    """m and v as in `adam`, w ← w - (rate_0 m + rate_1 g) / (sqrt(v) + rate_2).

    Args:
        rate: three, with the bias of the averages corrected.
        w, g, scratch: see the module.
        m, v, beta_1, beta_2: as above.
    """
    xp = array_module(w)
    t = scratch
    of_m, of_g, epsilon = rate
    _move(m, g, 1.0 - beta_1, t)
    _move(v, xp.multiply(g, g, out=t), 1.0 - beta_2, t)
    step = m * of_m
    step += xp.multiply(g, of_g, out=t)
    xp.sqrt(v, out=t)
    t += epsilon
    step /= t
    w -= step


@with_cuda_version
def adamax(
    w: Array,
    g: Array,
    m: Array,
    u: Array,
    rate: Rate,
    beta_1: float,
    beta_2: float,
    epsilon: float,
    scratch: Array,
) -> None:
    """m ← m + (1 - beta_1)(g - m), u ← max(beta_2 u, |g|), w ← w - rate m / (u + epsilon).

    Args:
        rate: with the bias of m corrected.
        w, g, scratch: see the module.
        m, u, beta_1, beta_2, epsilon: as above.
    """
    xp = array_module(w)
    t = scratch
    _move(m, g, 1.0 - beta_1, t)
    u *= beta_2
    xp.maximum(u, xp.abs(g, out=t), out=u)
    xp.add(u, epsilon, out=t)
    xp.divide(m, t, out=t)
    t *= rate
    w -= t


@with_cuda_version
def adagrad(w: Array, g: Array, a: Array, rate: Rate, epsilon: float, scratch: Array) -> None:
    """a ← a + g², w ← w - rate g / sqrt(a + epsilon).

    Args:
        w, g, rate, scratch: see the module.
        a, epsilon: as above.
    """
    xp = array_module(w)
    t = scratch
    a += xp.multiply(g, g, out=t)
    xp.add(a, epsilon, out=t)
    xp.sqrt(t, out=t)
    xp.divide(g, t, out=t)
    t *= rate
    w -= t


@with_cuda_version
def adadelta(
    w: Array,
    g: Array,
    a: Array,
    d: Array,
    rate: Rate,
    rho: float,
    epsilon: float,
    scratch: Array,
) -> None:
    """a ← rho a + (1 - rho) g², step = sqrt(d + epsilon) / sqrt(a + epsilon) g,
    d ← rho d + (1 - rho) step², w ← w - rate step.

    Args:
        w, g, rate, scratch: see the module.
        a, d, rho, epsilon: as above.
    """
    xp = array_module(w)
    t = scratch
    _move(a, xp.multiply(g, g, out=t), 1.0 - rho, t)
    step = xp.sqrt(d + epsilon)
    xp.add(a, epsilon, out=t)
    step /= xp.sqrt(t, out=t)
    step *= g
    _move(d, xp.multiply(step, step, out=t), 1.0 - rho, t)
    step *= rate
    w -= step


@with_cuda_version
def lion(
    w: Array,
    g: Array,
    m: Array,
    rate: Rate,
    beta_1: float,
    beta_2: float,
    scratch: Array,
) -> None:
    """w ← w - rate sign(beta_1 m + (1 - beta_1) g), then m ← beta_2 m + (1 - beta_2) g.

    Args:
        w, g, rate, scratch: see the module.
        m, beta_1, beta_2: as above.
    """
    xp = array_module(w)
    t = scratch
    xp.subtract(g, m, out=t)
    t *= 1.0 - beta_1
    t += m
    xp.sign(t, out=t)
    t *= rate
    w -= t
    _move(m, g, 1.0 - beta_2, t)


@with_cuda_version
def gather(flat: Array, arrays: Sequence[Array], places: Sequence[slice]) -> None:
    """Arrays of one dtype to their places in a flat one, which is 0 between them.

    Args:
        flat: (elements,), written.
        arrays: what goes there.
        places: one after the other; an array fills its place from the start.
    """
    xp = array_module(flat)
    pieces = []
    for array, place in zip(arrays, places, strict=True):
        pieces.append(array.reshape(-1))
        gap = place.stop - place.start - array.size
        if gap:
            pieces.append(xp.zeros(gap, flat.dtype))
    xp.concatenate(pieces, out=flat)
