"""Checks of the arguments that optimizers are made with."""

import copy
import math
import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np

from minicnn.optimizers.learning_rate import LearningRate
from minicnn.optimizers.schedules import LearningRateSchedule
from minicnn.registry import Configurable, near_matches

# What scripts written for Keras 1 and 2 say.
_OLD_ARGUMENTS = {
    "lr": "say learning_rate",
    "decay": "give learning_rate a schedule, such as schedules.InverseTimeDecay(rate, 1, decay)",
}

_LARGEST = float(np.finfo("float32").max)

_COMMON = (
    "learning_rate", "weight_decay", "clipnorm", "clipvalue", "global_clipnorm", "use_ema",
    "ema_momentum", "ema_overwrite_frequency", "loss_scale_factor", "gradient_accumulation_steps",
    "name",
)  # fmt: skip


def check_unknown(optimizer: Configurable, unknown: Iterable[str]) -> None:
    """Raise a TypeError that says which arguments `optimizer` takes in place of the `unknown`
    ones. Of `decay`, which Keras 3 ignores with a warning, there is a warning here, too."""
    for argument in unknown:
        hint = _OLD_ARGUMENTS.get(argument)
        if argument == "decay":
            warnings.warn(f"decay has no effect; {hint}", stacklevel=4)
            continue
        known = [k for k in optimizer.get_config() if k != argument] + list(_COMMON)
        hint = hint or near_matches(argument, dict.fromkeys(known))
        raise TypeError(f"{type(optimizer).__name__} has no argument {argument!r}; {hint}")


def check_limits(
    clipnorm: float | None,
    clipvalue: float | None,
    global_clipnorm: float | None,
    weight_decay: float | None,
) -> None:
    """Raise a ValueError where `clipnorm`, `clipvalue`, `global_clipnorm` or `weight_decay` is out
    of range, or gradients would be clipped in more than one way."""
    clips = {"clipnorm": clipnorm, "clipvalue": clipvalue, "global_clipnorm": global_clipnorm}
    given = {k: v for k, v in clips.items() if v is not None}
    if len(given) > 1:
        raise ValueError(f"give one of clipnorm, clipvalue and global_clipnorm; got {given}")
    for key, value in given.items():
        if not _is_usable(value) or np.float32(value) == 0:
            raise ValueError(
                f"{key} must be a finite number above 0, or None for no limit; got {_shown(value)}"
            )
    if weight_decay is not None and not _is_usable(weight_decay):
        raise ValueError(
            f"weight_decay must be a finite number, 0 or above, or None; got {_shown(weight_decay)}"
        )


def check_averaging(use_ema: bool, ema_momentum: float, ema_overwrite_frequency: Any) -> None:
    """Raise a ValueError where, with `use_ema`, `ema_momentum` or `ema_overwrite_frequency` is out
    of range."""
    if not use_ema:
        return
    check_fraction("use_ema", "ema_momentum", ema_momentum, below_one=False)
    if ema_overwrite_frequency is not None and not _is_integer(ema_overwrite_frequency, 1):
        raise ValueError(
            "ema_overwrite_frequency must be an integer of 1 or above, or None for the end of "
            f"training alone; got {_shown(ema_overwrite_frequency)}"
        )


def check_accumulation(gradient_accumulation_steps: Any, loss_scale_factor: Any) -> None:
    """Raise a ValueError where `gradient_accumulation_steps` or `loss_scale_factor` is out of
    range."""
    steps, factor = gradient_accumulation_steps, loss_scale_factor
    if steps and not _is_integer(steps, 2):
        raise ValueError(
            "gradient_accumulation_steps must be an integer of 2 or above, or None; got "
            f"{_shown(steps)}"
        )
    if factor is not None and (not _is_usable(factor) or np.float32(factor) == 0):
        raise ValueError(
            f"loss_scale_factor must be a finite number above 0, or None; got {_shown(factor)}"
        )


def checked_learning_rate(value: Any) -> Any:
    """`value` as a float of 0 or above; a function without arguments as it is; a schedule with the
    rates in it as they are now: it may take the place of the very rate that it was made of."""
    if isinstance(value, LearningRateSchedule):
        vars(value).update(copy.deepcopy({k: v for k, v in vars(value).items() if _has_rate(v)}))
    if isinstance(value, LearningRateSchedule) or (callable(value) and not isinstance(value, type)):
        return value
    try:
        if isinstance(value, (str, bytes)):
            raise TypeError
        rate = float(value)
    except (TypeError, ValueError):
        raise TypeError(
            "learning_rate is a float or a minicnn.optimizers.schedules.LearningRateSchedule; "
            f"got {_shown(value)} of type {type(value).__name__}"
        ) from None
    except OverflowError:
        rate = math.inf
    if not _is_usable(rate):
        raise ValueError(f"learning_rate must be a finite number, 0 or above; got {_shown(value)}")
    return rate


def _has_rate(value: Any) -> bool:
    parts = value if isinstance(value, (list, tuple)) else [value]
    return any(isinstance(part, LearningRate) for part in parts)


def scheduled_rate(schedule: Any, step: int) -> float:
    """What a `schedule`, or a function without arguments, says after `step` steps, if a step can be
    taken with it."""
    try:
        value = schedule(step) if isinstance(schedule, LearningRateSchedule) else schedule()
    except (OverflowError, ZeroDivisionError) as error:
        value = f"{type(error).__name__}: {error}"
    try:
        rate = float(value)
    except (TypeError, ValueError):
        rate = math.nan
    if not _is_usable(rate):
        raise ValueError(
            f"learning_rate follows a {type(schedule).__name__}, which after {step} steps gives "
            f"{_shown(value)}; it must give finite numbers, 0 or above"
        )
    return rate


def check_fraction(owner: str, name: str, value: float, below_one: bool = True) -> float:
    """`value` where 0 <= value < 1 (or <= 1 unless `below_one`); else a ValueError that begins with
    the `owner` and the `name` of the argument."""
    if not _is_usable(value) or value > 1 or (value == 1 and below_one):
        raise ValueError(f"{owner} needs a {name} from 0 to 1; got {_shown(value)}")
    return value


def check_not_negative(owner: str, name: str, value: float) -> float:
    """`value` where it is a finite number of 0 or above; else a ValueError that begins with the
    `owner` and the `name` of the argument."""
    if not _is_usable(value):
        raise ValueError(f"{owner} needs a finite {name} of 0 or above; got {_shown(value)}")
    return value


def check_epsilon(owner: str, value: float) -> float:
    """`value` if it keeps quotients of zeros finite; else a ValueError that begins with the
    `owner`."""
    if not _is_usable(value) or np.float32(value) == 0:
        raise ValueError(
            f"{owner} needs an epsilon that is a finite number above 0, or gradients of 0 would "
            f"make 0 / 0; got {_shown(value)}"
        )
    return value


def _is_usable(value: Any) -> bool:
    """Whether `value` is a number of 0 or above that is finite in float32, too, as weights are."""
    if isinstance(value, (str, bytes, bool)):
        return False
    try:
        return 0 <= float(value) <= _LARGEST
    except (TypeError, ValueError, OverflowError):
        return False


def _is_integer(value: Any, least: int) -> bool:
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    return whole and value >= least


def _shown(value: Any) -> str:
    """`value` for a message, which an integer of a thousand digits would fill."""
    if isinstance(value, int) and value.bit_length() > 64:
        return f"an integer of {value.bit_length()} bits"
    return repr(value)
