"""Saving the model while it is trained."""

import os
import warnings
from pathlib import Path
from string import Formatter
from typing import Any

from minicnn.backend import array_module
from minicnn.callbacks.base import Logs
from minicnn.callbacks.monitor import MonitorCallback
from minicnn.dtypes import widened
from minicnn.files import make_folder, model_path
from minicnn.progress import print_message
from minicnn.registry import near_matches


class ModelCheckpoint(MonitorCallback):
    """Save the model, or its weights, after every epoch or every so many batches.

    A model with a weight that is NaN or infinite is not saved: a warning says so, and the file of
    before stays.

    Args:
        filepath: where to; may hold fields as in "{epoch:02d}-{val_loss:.2f}.keras": the number of
            the epoch, from 1; that of the batch, from 1, if save_freq is a number; and the logs.
        monitor: key in the logs that says which epoch is best.
        verbose: 1 to print what is saved.
        save_best_only: save only what is better than everything before.
        save_weights_only: `model.save_weights` rather than `model.save`; to .safetensors or
            .weights.h5.
        mode: "min", "max" or "auto", see `MonitorCallback`.
        save_freq: "epoch", or a number of batches.
        initial_value_threshold: with save_best_only, save only what is better than this.

    Raises:
        ValueError: another save_freq or mode; a `filepath` whose ending says no format; or, during
            training, one with a field that the logs do not have.
        OSError, ImportError, ValueError: the folder cannot be created, a package is missing, or the
            format cannot hold the model: found out before the first epoch.
    """

    def __init__(
        self,
        filepath: str | os.PathLike[str],
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        save_weights_only: bool = False,
        mode: str = "auto",
        save_freq: str | int = "epoch",
        initial_value_threshold: float | None = None,
    ):
        super().__init__(monitor, mode)
        if save_freq != "epoch" and (not isinstance(save_freq, int) or save_freq < 1):
            raise ValueError(f"save_freq is 'epoch' or a number of batches, got {save_freq!r}")
        self.filepath = os.fspath(model_path(filepath, save_weights_only))
        self.verbose = verbose
        self.save_best_only = save_best_only
        self.save_weights_only = save_weights_only
        self.save_freq = save_freq
        self.initial_value_threshold = initial_value_threshold
        self.best = initial_value_threshold
        self._epoch = 0
        self._batches = 0

    def on_train_begin(self, logs: Logs | None = None) -> None:
        from minicnn.saving import require_saveable

        try:
            require_saveable(self.model, self.filepath, self.save_weights_only)
        except (ValueError, ImportError) as error:
            raise type(error)(
                f"ModelCheckpoint cannot save to {self.filepath!r}: {error}"
            ) from error
        folder = Path(self.filepath).parent
        if "{" not in str(folder):
            make_folder(folder)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        if self.save_freq == "epoch":
            return
        self._batches += 1
        if self._batches >= int(self.save_freq):
            self._batches = 0
            self._save(self._epoch, logs or {}, batch)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if self.save_freq == "epoch":
            self._save(epoch, logs or {})

    def _save(self, epoch: int, logs: Logs, batch: int | None = None) -> None:
        news = ""
        if self.save_best_only:
            # without the figure there is no telling which is best: keep the latest, as Keras does
            value = self.monitored(logs)
            if value is not None and not self.is_better(value, self.best):
                if self.verbose > 0:
                    print_message(
                        f"Epoch {epoch + 1}: {self.monitor} {value:.5f} did not improve from "
                        f"{self.best:.5f}"
                    )
                return
            if not self._is_finite():
                return
            if value is not None:
                before = "" if self.best is None else f" from {self.best:.5f}"
                news = f"{self.monitor} improved{before} to {value:.5f}, "
                self.best = value
        elif not self._is_finite():
            return
        path = self._path(epoch, logs, batch)
        if self.verbose > 0:
            print_message(f"Epoch {epoch + 1}: {news}saving to {path}")
        make_folder(Path(path).parent)
        if self.save_weights_only:
            self.model.save_weights(path)
        else:
            self.model.save(path)

    def _is_finite(self) -> bool:
        """Whether all weights are; else, since a file of them is of no use and may take the place
        of a good one, a warning that nothing is saved."""
        for weight in self.model.weights:
            if not bool(array_module(weight.value).isfinite(widened(weight.value)).all()):
                warnings.warn(
                    f"ModelCheckpoint saves nothing to {self.filepath!r}, and what is there stays: "
                    f"weight {weight.path!r} holds NaN or infinity",
                    stacklevel=2,
                )
                return False
        return True

    def _path(self, epoch: int, logs: Logs, batch: int | None) -> str:
        fields: dict[str, Any] = {"epoch": epoch + 1}
        if batch is not None:
            fields["batch"] = batch + 1
        wanted = {name for _, name, _, _ in Formatter().parse(self.filepath) if name is not None}
        if wanted - fields.keys():  # only now, since reading the logs of a batch costs time
            fields = {**logs, **fields}
        for name in wanted:
            if name not in fields:
                raise ValueError(
                    f"filepath {self.filepath!r} has a field {name!r}; {near_matches(name, fields)}"
                )
        return self.filepath.format(**fields)
