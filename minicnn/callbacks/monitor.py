"""What the callbacks that watch one figure share."""

import math
import warnings

import numpy as np

from minicnn.callbacks.base import Callback, Logs
from minicnn.metrics import METRICS
from minicnn.registry import near_matches


class MonitorCallback(Callback):
    """A callback that watches whether a figure of the logs gets better.

    Args:
        monitor: key in the logs: "val_loss", "accuracy" ...
        mode: "min" if less is better, "max" if more is, "auto" to tell from the figure.
        min_delta: how much better counts as better.

    Attributes:
        best: the best value so far, None before there is one.

    Raises:
        ValueError: another mode; or, during training, "auto" for a figure of which it cannot tell.
    """

    def __init__(self, monitor: str = "val_loss", mode: str = "auto", min_delta: float = 0.0):
        super().__init__()
        if mode not in ("auto", "min", "max"):
            raise ValueError(f"mode is 'auto', 'min' or 'max', got {mode!r}")
        self.monitor = monitor
        self.mode = mode
        self.min_delta = abs(min_delta)
        self.best: float | None = None

    def monitored(self, logs: Logs | None) -> float | None:
        """The watched figure of `logs`, or None after a warning that names the figures in them."""
        logs = logs or {}
        value = logs.get(self.monitor)
        problem = "the logs do not have"
        if value is not None and np.ndim(value) > 0:
            problem = "is an array, not a single figure"
            value = None
        if value is None:
            validation = (
                "pass validation_data or validation_split to fit; "
                if self.monitor.startswith("val_") and not any(k.startswith("val_") for k in logs)
                else ""
            )
            warnings.warn(
                f"{type(self).__name__} watches {self.monitor!r}, which {problem}; "
                f"{validation}{near_matches(self.monitor, logs)}",
                stacklevel=3,
            )
            return None
        return float(value)

    def is_better(self, value: float, than: float | None) -> bool:
        """Whether `value` improves on `than` by more than min_delta; NaN never does, and any other
        value improves on None."""
        if math.isnan(value):
            return False
        if than is None:
            return True
        if self._more_is_better():
            return value - self.min_delta > than
        return value + self.min_delta < than

    def _more_is_better(self) -> bool:
        if self.mode != "auto":
            return self.mode == "max"
        name = self.monitor.removeprefix("val_")
        if name == "loss" or name.endswith("_loss"):
            return False
        direction = None
        for metric in getattr(self.model, "metrics", None) or []:
            if metric.name == name:
                direction = getattr(metric, "direction", None)
        if direction is None:
            direction = _direction_of(name)
        if direction is None:
            raise ValueError(
                f"{type(self).__name__} cannot tell whether more or less {self.monitor!r} is "
                "better; pass mode='max' or mode='min'"
            )
        return direction == "up"


def _direction_of(name: str) -> str | None:
    if name == "acc":
        return "up"
    base, _, number = name.rpartition("_")  # "precision_1" is a second Precision
    try:
        return getattr(METRICS.find(base if base and number.isdigit() else name), "direction", None)
    except ValueError:
        return None
