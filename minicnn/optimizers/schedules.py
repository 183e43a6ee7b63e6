"""Learning rates that change with the number of optimizer steps taken.

A schedule is called with that number, 0 before the first step, and returns a float. There is one
step per batch, not per epoch.
"""

import bisect
import math
from collections.abc import Sequence
from typing import Any

from minicnn.registry import Configurable, Registry, serialize_object

SCHEDULES = Registry("learning-rate schedule")


class LearningRateSchedule(Configurable):
    """Base class. Your own defines `__call__`."""

    def __call__(self, step: int) -> float:
        """The rate after `step` optimizer steps."""
        raise NotImplementedError(f"{type(self).__name__} does not define __call__(step)")


def _positive_steps(owner: str, decay_steps: float) -> float:
    if not decay_steps > 0:
        raise ValueError(f"{owner} needs decay_steps above 0; got {decay_steps!r}")
    return decay_steps


@SCHEDULES.register()
class ExponentialDecay(LearningRateSchedule):
    """initial_learning_rate · decay_rate^(step / decay_steps).

    Args:
        initial_learning_rate: the rate at the beginning.
        decay_steps: a number of optimizer steps, above 0.
        decay_rate: what the rate is multiplied by in decay_steps.
        staircase: round step / decay_steps down, so that the rate stays the same in between.
        name: kept in the configuration.

    Raises:
        ValueError: decay_steps not above 0.
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        decay_rate: float,
        staircase: bool = False,
        name: str = "ExponentialDecay",
    ):
        self.initial_learning_rate = initial_learning_rate
        self.decay_steps = _positive_steps("ExponentialDecay", decay_steps)
        self.decay_rate = decay_rate
        self.staircase = staircase
        self.name = name

    def __call__(self, step: int) -> float:
        periods = step / self.decay_steps
        if self.staircase:
            periods = math.floor(periods)
        return self.initial_learning_rate * self.decay_rate**periods


@SCHEDULES.register()
class InverseTimeDecay(LearningRateSchedule):
    """initial_learning_rate / (1 + decay_rate · step / decay_steps).

    Args:
        initial_learning_rate: the rate at the beginning.
        decay_steps: a number of optimizer steps, above 0.
        decay_rate: what the divisor grows by in decay_steps.
        staircase: round step / decay_steps down, so that the rate stays the same in between.
        name: kept in the configuration.

    Raises:
        ValueError: decay_steps not above 0.
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        decay_rate: float,
        staircase: bool = False,
        name: str = "InverseTimeDecay",
    ):
        self.initial_learning_rate = initial_learning_rate
        self.decay_steps = _positive_steps("InverseTimeDecay", decay_steps)
        self.decay_rate = decay_rate
        self.staircase = staircase
        self.name = name

    def __call__(self, step: int) -> float:
        periods = step / self.decay_steps
        if self.staircase:
            periods = math.floor(periods)
        return self.initial_learning_rate / (1 + self.decay_rate * periods)


@SCHEDULES.register()
class PiecewiseConstantDecay(LearningRateSchedule):
    """values[0] up to and including step boundaries[0], values[1] up to boundaries[1], ...

    Args:
        boundaries: numbers of optimizer steps that rise.
        values: learning rates, one more than boundaries.
        name: kept in the configuration.

    Raises:
        ValueError: not exactly one value more than boundaries, or boundaries that do not rise.
    """

    def __init__(
        self, boundaries: Sequence[float], values: Sequence[float], name: str = "PiecewiseConstant"
    ):
        if len(values) != len(boundaries) + 1:
            raise ValueError(
                "PiecewiseConstantDecay takes one value more than boundaries; "
                f"got {len(values)} values and {len(boundaries)} boundaries"
            )
        if any(a >= b for a, b in zip(boundaries[:-1], boundaries[1:], strict=True)):
            raise ValueError(f"boundaries must rise; got {list(boundaries)}")
        self.boundaries = list(boundaries)
        self.values = list(values)
        self.name = name

    def __call__(self, step: int) -> float:
        return self.values[bisect.bisect_left(self.boundaries, step)]


@SCHEDULES.register()
class PolynomialDecay(LearningRateSchedule):
    """From initial_learning_rate down to end_learning_rate over decay_steps, as
    (1 - step / decay_steps)^power.

    Args:
        initial_learning_rate: the rate at the beginning.
        decay_steps: optimizer steps of the decay; above 0.
        end_learning_rate: the rate at the end.
        power: 1 is a straight line.
        cycle: start again beyond decay_steps, with decay_steps doubled, tripled ...; without it
            the rate stays at the end.
        name: kept in the configuration.

    Raises:
        ValueError: decay_steps not above 0.
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        end_learning_rate: float = 0.0001,
        power: float = 1.0,
        cycle: bool = False,
        name: str = "PolynomialDecay",
    ):
        self.initial_learning_rate = initial_learning_rate
        self.decay_steps = _positive_steps("PolynomialDecay", decay_steps)
        self.end_learning_rate = end_learning_rate
        self.power = power
        self.cycle = cycle
        self.name = name

    def __call__(self, step: int) -> float:
        span = self.decay_steps
        if self.cycle:
            span *= max(1, math.ceil(step / span))
        left = 1 - min(step, span) / span
        drop = self.initial_learning_rate - self.end_learning_rate
        return drop * left**self.power + self.end_learning_rate


@SCHEDULES.register()
class CosineDecay(LearningRateSchedule):
    """Half a cosine from a peak down to alpha · peak over decay_steps, after a linear warm-up.

    With warmup_target, the rate first climbs from initial_learning_rate to that target in
    warmup_steps, and the target is the peak; without, initial_learning_rate is.

    Args:
        initial_learning_rate: the rate at the beginning.
        decay_steps: optimizer steps of the decay, not counting the warm-up; above 0.
        alpha: the end, as a fraction of the peak.
        name: kept in the configuration.
        warmup_target: the rate after the warm-up; None for no warm-up.
        warmup_steps: optimizer steps of the warm-up.

    Raises:
        ValueError: decay_steps not above 0.

    Sources: Loshchilov, Hutter 2016, arXiv:1608.03983, equation 5; warm-up: Goyal et al. 2017,
    arXiv:1706.02677.
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        alpha: float = 0.0,
        name: str = "CosineDecay",
        warmup_target: float | None = None,
        warmup_steps: float = 0,
    ):
        self.initial_learning_rate = initial_learning_rate
        self.decay_steps = _positive_steps("CosineDecay", decay_steps)
        self.alpha = alpha
        self.name = name
        self.warmup_target = warmup_target
        self.warmup_steps = warmup_steps

    def __call__(self, step: int) -> float:
        start = self.initial_learning_rate
        peak = start if self.warmup_target is None else self.warmup_target
        warmup_steps = 0 if self.warmup_target is None else self.warmup_steps
        if step < warmup_steps:
            return start + (peak - start) * step / warmup_steps
        done = min(step - warmup_steps, self.decay_steps) / self.decay_steps
        cosine = 0.5 * (1 + math.cos(math.pi * done))
        return peak * ((1 - self.alpha) * cosine + self.alpha)


@SCHEDULES.register()
class CosineDecayRestarts(LearningRateSchedule):
    """Half a cosine from a peak down to alpha · initial_learning_rate, again and again.

    Period i = 0, 1, ... takes first_decay_steps · t_mul^i steps, and its peak is
    initial_learning_rate · ((1 - alpha) m_mul^i + alpha).

    Args:
        initial_learning_rate: the rate at the beginning.
        first_decay_steps: optimizer steps of the first period; above 0.
        t_mul: how many times as long the next period is; 1 or above.
        m_mul: how many times as high the next peak is.
        alpha: the end of each period, as a fraction of initial_learning_rate.
        name: kept in the configuration.

    Raises:
        ValueError: first_decay_steps not above 0, or periods that become shorter.

    Source: Loshchilov, Hutter 2016, arXiv:1608.03983, equation 5.
    """

    def __init__(
        self,
        initial_learning_rate: float,
        first_decay_steps: float,
        t_mul: float = 2.0,
        m_mul: float = 1.0,
        alpha: float = 0.0,
        name: str = "SGDRDecay",
    ):
        self.initial_learning_rate = initial_learning_rate
        if not first_decay_steps > 0:
            raise ValueError(
                f"CosineDecayRestarts needs first_decay_steps above 0; got {first_decay_steps!r}"
            )
        if not t_mul >= 1:  # all periods together would be finite
            raise ValueError(f"CosineDecayRestarts needs a t_mul of 1 or above; got {t_mul!r}")
        self.first_decay_steps = first_decay_steps
        self.t_mul = t_mul
        self.m_mul = m_mul
        self.alpha = alpha
        self.name = name

    def __call__(self, step: int) -> float:
        done = step / self.first_decay_steps  # in first periods
        if self.t_mul == 1:
            period = math.floor(done)
            done -= period
        else:
            # period i begins after 1 + t + ... + t^(i-1) = (t^i - 1) / (t - 1) first periods;
            # logarithms are rounded, so that the last step of one may seem to be the next's first
            period = round(math.log(1 + done * (self.t_mul - 1), self.t_mul))
            while self._begin(period) > done:
                period -= 1
            done = (done - self._begin(period)) / self.t_mul**period
        cosine = 0.5 * self.m_mul**period * (1 + math.cos(math.pi * done))
        return self.initial_learning_rate * ((1 - self.alpha) * cosine + self.alpha)

    def _begin(self, period: int) -> float:
        return (self.t_mul**period - 1) / (self.t_mul - 1)


def get(identifier: Any) -> LearningRateSchedule:
    """A schedule.

    Args:
        identifier: its configuration, or an instance.

    Raises:
        ValueError: the configuration of an unknown class; the message lists the near matches.
        TypeError: something else.
    """
    return SCHEDULES.get(identifier)


def serialize(learning_rate_schedule: LearningRateSchedule) -> dict[str, Any]:
    """A `learning_rate_schedule` as a configuration, for `deserialize`."""
    return serialize_object(learning_rate_schedule, "keras.optimizers.schedules")


def deserialize(config: Any, custom_objects: dict[str, type] | None = None) -> LearningRateSchedule:
    """A schedule from what `serialize` returned.

    Args:
        config: that.
        custom_objects: your own classes by name.
    """
    return SCHEDULES.deserialize(config, custom_objects)
