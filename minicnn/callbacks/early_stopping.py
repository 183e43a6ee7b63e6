"""Stopping when nothing gets better any more."""

from typing import Any

import numpy as np

from minicnn.callbacks.base import Logs
from minicnn.callbacks.monitor import MonitorCallback
from minicnn.progress import print_message


class EarlyStopping(MonitorCallback):
    """Stop training when a figure has not improved for `patience` epochs.

    Args:
        monitor: key in the logs.
        min_delta: an improvement of less does not count.
        patience: epochs without improvement before training stops.
        verbose: 1 to print when it stops and which epoch is restored.
        mode: "min", "max" or "auto", see `MonitorCallback`.
        baseline: patience also runs out while the figure is no better than this.
        restore_best_weights: give the model the weights of its best epoch when training ends,
            whether or not it was stopped early.
        start_from_epoch: epochs at the beginning that do not count.

    Attributes:
        best_epoch: number of the best epoch, counted from 0.
        stopped_epoch: number of the epoch after which training was stopped; 0 if it was not.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0,
        patience: int = 0,
        verbose: int = 0,
        mode: str = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
    ):
        super().__init__(monitor, mode, min_delta)
        self.patience = patience
        self.verbose = verbose
        self.baseline = baseline
        self.restore_best_weights = restore_best_weights
        self.start_from_epoch = start_from_epoch
        self.on_train_begin()

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.wait = 0
        self.stopped_epoch = 0
        self.best = None
        self.best_epoch = 0
        self.best_weights: list[np.ndarray] | None = None

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        value = self.monitored(logs)
        if value is None or epoch < self.start_from_epoch:
            return
        self.wait += 1
        better = self.is_better(value, self.best)
        if better or (self.restore_best_weights and self.best_weights is None):
            self.best_epoch = epoch
            if self.restore_best_weights:
                self.best_weights = self.model.get_weights()
        if better:
            self.best = value
            if self.baseline is None or self.is_better(value, self.baseline):
                self.wait = 0
            return
        if self.wait >= self.patience and epoch > 0:
            self.stopped_epoch = epoch
            self.model.stop_training = True

    def on_train_end(self, logs: Logs | None = None) -> None:
        if self.stopped_epoch > 0 and self.verbose > 0:
            print_message(f"Epoch {self.stopped_epoch + 1}: early stopping")
        if self.restore_best_weights and self.best_weights is not None:
            if self.verbose > 0:
                print_message(f"Restoring the weights of the best epoch, {self.best_epoch + 1}")
            self.model.set_weights(self.best_weights)
