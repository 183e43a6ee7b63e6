"""Changing the learning rate between epochs."""

import inspect
import math
from collections.abc import Callable
from numbers import Real
from typing import Any

from minicnn.callbacks.base import Callback, Logs
from minicnn.callbacks.monitor import MonitorCallback
from minicnn.progress import print_message


class ReduceLROnPlateau(MonitorCallback):
    """Multiply the learning rate by `factor` when a figure has stopped improving.

    Args:
        monitor: key in the logs.
        factor: between 0 and 1.
        patience: epochs without improvement before the rate is reduced.
        verbose: 1 to print the new rate.
        mode: "min", "max" or "auto", see `MonitorCallback`.
        min_delta: an improvement of less does not count.
        cooldown: epochs after a reduction that do not count.
        min_lr: the rate goes no lower.

    The rate stands in the logs, and so in `History`, as "learning_rate".

    Raises:
        ValueError: a factor outside 0 to 1, or another mode.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        verbose: int = 0,
        mode: str = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
    ):
        super().__init__(monitor, mode, min_delta)
        if not 0 < factor < 1:
            raise ValueError(f"factor must lie between 0 and 1 to reduce the rate, got {factor}")
        self.factor = factor
        self.patience = patience
        self.verbose = verbose
        self.cooldown = cooldown
        self.min_lr = min_lr
        self.on_train_begin()

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.best = None
        self.wait = 0
        self.cooldown_counter = 0

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        logs = {} if logs is None else logs
        rate = float(self.model.optimizer.learning_rate)
        logs["learning_rate"] = rate
        value = self.monitored(logs)
        if value is None:
            return
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.wait = 0
        if self.is_better(value, self.best):
            self.best = value
            self.wait = 0
            return
        if self.cooldown_counter > 0:
            return
        self.wait += 1
        if self.wait >= self.patience and rate > self.min_lr:
            reduced = max(rate * self.factor, self.min_lr)
            self.model.optimizer.learning_rate = reduced
            self.cooldown_counter = self.cooldown
            self.wait = 0
            if self.verbose > 0:
                print_message(f"Epoch {epoch + 1}: learning rate reduced to {reduced:.6g}")


class LearningRateScheduler(Callback):
    """Set the learning rate before every epoch.

    Args:
        schedule: `schedule(epoch, learning_rate)`, or `schedule(epoch)`, gives the new rate; epoch
            counts from 0, learning_rate is the rate so far.
        verbose: 1 to print the rate.

    The rate stands in the logs, and so in `History`, as "learning_rate".

    Raises:
        TypeError: the schedule cannot be called.
        ValueError: during training, if the new rate is not a number of at least 0.
    """

    def __init__(self, schedule: Callable[..., float], verbose: int = 0):
        super().__init__()
        if not callable(schedule):
            raise TypeError(
                f"schedule is a function of the epoch, or of epoch and learning rate; got "
                f"{schedule!r}"
            )
        self.schedule = schedule
        self.verbose = verbose
        self._takes_rate = _takes_two(schedule)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        rate = float(self.model.optimizer.learning_rate)
        new = self.schedule(epoch, rate) if self._takes_rate else self.schedule(epoch)
        if hasattr(new, "item"):
            new = new.item()
        if not isinstance(new, Real) or isinstance(new, bool) or not math.isfinite(new) or new < 0:
            raise ValueError(
                f"schedule gave {new!r} for epoch {epoch}; a learning rate is a number "
                "of at least 0"
            )
        self.model.optimizer.learning_rate = float(new)
        if self.verbose > 0:
            print_message(f"Epoch {epoch + 1}: learning rate set to {float(new):.6g}")

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if logs is not None:
            logs["learning_rate"] = float(self.model.optimizer.learning_rate)


def _takes_two(schedule: Callable[..., float]) -> bool:
    try:
        inspect.signature(schedule).bind(0, 0.1)
    except TypeError:
        return False
    except ValueError:  # a function written in C may not tell
        return True
    return True
