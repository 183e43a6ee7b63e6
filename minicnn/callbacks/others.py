"""Logging to a file, stopping at NaN, and callbacks made of functions."""

import csv
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from minicnn.callbacks.base import Callback, Logs
from minicnn.files import make_folder
from minicnn.progress import print_message
from minicnn.registry import near_matches


class CSVLogger(Callback):
    """Write the logs of each epoch into a table, a line as soon as the epoch is over.

    Args:
        filename: the file; folders on the way are created.
        separator: what stands between the columns.
        append: add to a file that is there, without a second heading, instead of replacing it.
    """

    def __init__(
        self, filename: str | os.PathLike[str], separator: str = ",", append: bool = False
    ):
        super().__init__()
        self.filename = os.fspath(filename)
        self.separator = separator
        self.append = append
        self._file: TextIO | None = None
        self._columns: list[str] | None = None

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._close()
        path = Path(self.filename)
        make_folder(path.parent)
        try:
            self._file = open(path, "a" if self.append else "w", newline="", encoding="utf-8")
        except OSError as error:
            raise type(error)(
                f"CSVLogger cannot write {self.filename!r}: {error.strerror}; "
                "give the name of a file in a folder you may write to"
            ) from error
        self._columns = None
        if self.append and path.stat().st_size:
            with open(path, newline="", encoding="utf-8") as file:
                heading = next(csv.reader(file, delimiter=self.separator), [])
            self._columns = heading[1:]

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if self._file is None:
            return
        logs = logs or {}
        writer = csv.writer(self._file, delimiter=self.separator)
        if self._columns is None:
            self._columns = sorted(logs)
            writer.writerow(["epoch", *self._columns])
        row = [logs.get(name, "NA") for name in self._columns]
        writer.writerow([epoch, *(v if np.ndim(v) == 0 else np.asarray(v).tolist() for v in row)])
        self._file.flush()

    def on_train_end(self, logs: Logs | None = None) -> None:
        self._close()

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


class TerminateOnNaN(Callback):
    """Stop training when the loss is no longer a finite number.

    It reads the loss after every batch, so on a GPU it waits for each of them.

    Args:
        raise_error: raise a RuntimeError instead of ending training in an orderly way.
    """

    def __init__(self, raise_error: bool = False):
        super().__init__()
        self.raise_error = raise_error

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        loss = (logs or {}).get("loss")
        if loss is None or math.isfinite(loss):
            return
        message = f"Batch {batch}: the loss is {loss}"
        if self.raise_error:
            raise RuntimeError(message + "; a lower learning rate or clipnorm may help")
        print_message(message + ", training stops")
        self.model.stop_training = True


class LambdaCallback(Callback):
    """A callback made of functions, called with what the hook of that name is called with.

        LambdaCallback(on_epoch_end=lambda epoch, logs: print(epoch, logs["loss"]))

    Args:
        on_epoch_begin, on_epoch_end: functions of (epoch, logs).
        on_train_begin, on_train_end: functions of (logs).
        on_train_batch_begin, on_train_batch_end: functions of (batch, logs).
        hooks: functions for other hooks of `Callback`, by name.

    Raises:
        TypeError: there is no hook of that name.
    """

    def __init__(
        self,
        on_epoch_begin: Callable[..., Any] | None = None,
        on_epoch_end: Callable[..., Any] | None = None,
        on_train_begin: Callable[..., Any] | None = None,
        on_train_end: Callable[..., Any] | None = None,
        on_train_batch_begin: Callable[..., Any] | None = None,
        on_train_batch_end: Callable[..., Any] | None = None,
        **hooks: Callable[..., Any],
    ):
        super().__init__()
        known = [name for name in dir(Callback) if name.startswith("on_")]
        for name in hooks:
            if name not in known:
                raise TypeError(f"no hook is called {name!r}; {near_matches(name, known)}")
        hooks |= {
            name: function
            for name, function in (
                ("on_epoch_begin", on_epoch_begin),
                ("on_epoch_end", on_epoch_end),
                ("on_train_begin", on_train_begin),
                ("on_train_end", on_train_end),
                ("on_train_batch_begin", on_train_batch_begin),
                ("on_train_batch_end", on_train_batch_end),
            )
            if function is not None
        }
        for name, function in hooks.items():
            setattr(self, name, function)
