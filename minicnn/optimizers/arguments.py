"""Checks of the arguments that optimizers are made with."""

from typing import Any

from minicnn.optimizers.schedules import LearningRateSchedule
from minicnn.registry import Configurable, near_matches

# What scripts written for Keras 1 and 2 say.
_OLD_ARGUMENTS = {
    "lr": "say learning_rate",
    "decay": "give learning_rate a schedule, such as schedules.InverseTimeDecay(rate, 1, decay)",
}

_COMMON = ("learning_rate", "weight_decay", "clipnorm", "clipvalue", "global_clipnorm", "name")


def unknown_argument(optimizer: Configurable, argument: str) -> TypeError:
    """The error that says which arguments `optimizer` takes in place of `argument`."""
    known = [k for k in optimizer.get_config() if k != argument] + list(_COMMON)
    hint = _OLD_ARGUMENTS.get(argument) or near_matches(argument, dict.fromkeys(known))
    return TypeError(f"{type(optimizer).__name__} has no argument {argument!r}; {hint}")


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
        if not value > 0:
            raise ValueError(f"{key} must be above 0, or None; got {value!r}")
    if weight_decay is not None and not weight_decay >= 0:
        raise ValueError(f"weight_decay must be 0 or above, or None; got {weight_decay!r}")


def checked_learning_rate(value: Any) -> float | LearningRateSchedule:
    """`value` as a float of 0 or above; a schedule as it is."""
    if isinstance(value, LearningRateSchedule):
        return value
    try:
        rate = float(value)
    except (TypeError, ValueError):
        raise TypeError(
            "learning_rate is a float or a minicnn.optimizers.schedules.LearningRateSchedule; "
            f"got {value!r} of type {type(value).__name__}"
        ) from None
    if not 0 <= rate < float("inf"):
        raise ValueError(f"learning_rate must be a finite number, 0 or above; got {value!r}")
    return rate


def check_fraction(owner: str, name: str, value: float, below_one: bool = True) -> float:
    """`value` where 0 <= value < 1 (or <= 1 unless `below_one`); else a ValueError that begins with
    the `owner` and the `name` of the argument."""
    if not (0 <= value < 1 or (value == 1 and not below_one)):
        raise ValueError(f"{owner} needs a {name} from 0 to 1; got {value!r}")
    return value
