"""A table of what happened in each epoch."""

import csv
import io
import os
from pathlib import Path
from typing import Any

import numpy as np

from minicnn.callbacks.base import Callback, Logs
from minicnn.files import make_folder, unwritable


class CSVLogger(Callback):
    """Write the logs of each epoch into a table, a line as soon as the epoch is over.

    Args:
        filename: the file; missing folders are created.
        separator: what stands between the columns.
        append: add to a file that is there, without a second heading, instead of replacing it.

    Raises:
        OSError: the file cannot be written: found out before the first epoch or, on a full disk,
            in a later one; the table then ends in the last whole line.
    """

    def __init__(
        self, filename: str | os.PathLike[str], separator: str = ",", append: bool = False
    ):
        super().__init__()
        self.filename = os.fspath(filename)
        self.separator = separator
        self.append = append
        self._columns: list[str] | None = None

    def on_train_begin(self, logs: Logs | None = None) -> None:
        path = Path(self.filename)
        make_folder(path.parent)
        self._columns = None
        if not self.append:
            self._write("", anew=True)
            return
        self._write("")
        if path.stat().st_size:
            with open(path, newline="", encoding="utf-8") as file:
                heading = next(csv.reader(file, delimiter=self.separator), [])
            self._columns = heading[1:]
            if not path.read_bytes().endswith(b"\n"):  # a line that was cut off stays alone
                self._write("\r\n")

    def state(self) -> dict[str, Any]:
        """The whole table, so that lines of epochs that are run again do not stand in it twice."""
        path = Path(self.filename)
        table = path.read_bytes().decode(errors="surrogateescape") if path.is_file() else ""
        return {"table": table, "columns": self._columns}

    def restore(self, state: dict[str, Any]) -> None:
        self._columns = state["columns"]
        self._write(state["table"], anew=True)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        logs = logs or {}
        lines = io.StringIO(newline="")
        writer = csv.writer(lines, delimiter=self.separator)
        if self._columns is None:
            self._columns = sorted(logs)
            writer.writerow(["epoch", *self._columns])
        row = [logs.get(name, "NA") for name in self._columns]
        writer.writerow([epoch, *(v if np.ndim(v) == 0 else np.asarray(v).tolist() for v in row)])
        self._write(lines.getvalue())

    def _write(self, text: str, anew: bool = False) -> None:
        """Add whole lines, to an empty table if `anew`: all of them or, after an error, none."""
        try:
            file = open(self.filename, "wb" if anew else "ab", buffering=0)
        except OSError as error:
            raise type(error)(
                f"CSVLogger cannot write {self.filename!r}: {error.strerror}; "
                "give the name of a file in a folder you may write to"
            ) from error
        with file:
            data, before = text.encode(errors="surrogateescape"), file.seek(0, os.SEEK_END)
            try:
                written = 0
                while written < len(data):
                    written += file.write(data[written:])
            except OSError as error:
                file.truncate(before)
                raise unwritable(error, self.filename) from error
