"""Averages of weights over the steps of training, which often predict better than the weights."""

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import numpy as np

from minicnn.backend import array_module
from minicnn.optimizers.on_device import arenas_of, rates_of

if TYPE_CHECKING:
    from minicnn.optimizers.base import Optimizer


def average_weights(optimizer: "Optimizer", weights: Collection[Any]) -> None:
    """average ← w + kept (average - w) for each weight w that has made a step, and now and then
    w ← average.

    Args:
        optimizer: with `use_ema`; says how much of an average is kept, and how often it takes the
            place of the weight.
        weights: which.

    Source: Polyak, Juditsky 1992, "Acceleration of stochastic approximation by averaging".
    """
    frequency = optimizer.ema_overwrite_frequency
    overwrites = frequency and (optimizer.iterations + 1) % frequency == 0
    first = next(iter(weights))
    rows: list[tuple[Any, Any, Any]]
    if array_module(first.value) is np:
        kept = optimizer._kept_average()
        rows = [(w.value, optimizer._slots_of(w)["average"], kept) for w in weights]
    else:
        arenas, rates = arenas_of(optimizer, weights), rates_of(optimizer)
        for arena in arenas:
            arena.set_rates(*rates)
        rows = [(arena.w, arena.slots["average"], arena.rates[-1:]) for arena in arenas]
    for w, average, kept in rows:
        average -= w
        average *= kept
        average += w
        if overwrites:
            w[...] = average
