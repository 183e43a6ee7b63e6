"""Runs that can be interrupted at any moment, and go on as if nothing had happened."""

import os
import re
import warnings
from pathlib import Path
from typing import Any

from minicnn.arrays_file import read_state, write_state
from minicnn.callbacks.base import Callback, Logs
from minicnn.files import make_folder

_NAME = re.compile(r"backup-\d{8,}\.safetensors")


class BackupAndRestore(Callback):
    """Keep where a run of `fit` stands, so that the same call goes on from there after a crash, a
    kill or Ctrl-C, and ends with the same bits as if it had never been interrupted.

        model.fit(x, y, epochs=50, callbacks=[BackupAndRestore("backup", save_freq=100)])

    Started again, the script builds and compiles the same model and calls `fit` with the same
    arguments; `fit` finds the newest whole backup and takes over weights, optimizer, moving
    statistics, random numbers, the place in the data, running metrics, the learning rate, the loss
    scale, which layers learn, and the `state` of all callbacks. What the run was begun with (data,
    batch size, model, optimizer, loss, seed) has to be the same, or it is an error that says what
    differs. More `epochs` may be asked for.

    The two newest backups are kept; each has a checksum, is written beside its place, and is on the
    disk before it counts. A backup that is cut short is passed over with a warning. It comes last
    of all callbacks.

    Data that come from an iterator: one that has `state()` and `restore(state)`, as those of the
    library, goes on where it was. A `PyDataset` is asked for the batch by its number, after as many
    calls of `on_epoch_end` as before; any other iterator is drawn forward.

    Args:
        backup_dir: a folder for this run alone; created if it is missing.
        save_freq: "epoch" for the end of each, or a number of training steps.
        double_checkpoint: for scripts written for Keras; two backups are kept in any case.
        delete_checkpoint: remove the backups when the training is over.

    Raises:
        ValueError: an empty backup_dir or another save_freq; or, when training begins, a backup of
            another run, or backups none of which is whole.
        OSError: the folder cannot be written to, found out before the first epoch.
    """

    def __init__(
        self,
        backup_dir: str | os.PathLike[str],
        save_freq: str | int = "epoch",
        double_checkpoint: bool = False,
        delete_checkpoint: bool = True,
    ):
        super().__init__()
        if not os.fspath(backup_dir):
            raise ValueError("backup_dir is empty; give the name of a folder for the backups")
        number = isinstance(save_freq, int) and not isinstance(save_freq, bool) and save_freq > 0
        if save_freq != "epoch" and not number:
            raise ValueError(
                f"save_freq is 'epoch' or a number of training steps above 0, not {save_freq!r}"
            )
        self.backup_dir = os.fspath(backup_dir)
        self.save_freq = save_freq
        self.double_checkpoint = double_checkpoint
        self.delete_checkpoint = delete_checkpoint
        self.run: Any = None  # of `fit`, see `minicnn.training.resumption.Run`
        self._epoch = 0
        self._steps = 0  # since the last backup
        self._whole: Path | None = None  # the last backup that is known to be whole

    def exists(self) -> bool:
        """Whether there is a backup to go on from."""
        return bool(self._backups())

    def newest(self) -> dict[str, Any] | None:
        """The state in the newest backup that is whole; None where there is none.

        Raises:
            ValueError: none of those that are there is whole.
        """
        broken = []
        for path in reversed(self._backups()):
            try:
                state = read_state(path)
            except (OSError, ValueError, KeyError, TypeError) as error:
                broken.append(f"{str(path)!r} is not whole ({error})")
                continue
            self._whole = path
            if broken:
                warnings.warn(f"{'; '.join(broken)}: going on from {str(path)!r}", stacklevel=2)
            return state
        if broken:
            raise ValueError(f"{'; '.join(broken)}; remove {self.backup_dir!r} to begin anew")
        return None

    def on_train_begin(self, logs: Logs | None = None) -> None:
        make_folder(self.backup_dir)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self._steps += 1
        if self.save_freq != "epoch" and self._steps >= int(self.save_freq):
            self._steps = 0
            self._save(self._epoch, batch + 1)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if self.save_freq == "epoch":
            self._save(epoch + 1, 0, logs)

    def on_train_end(self, logs: Logs | None = None) -> None:
        if self.delete_checkpoint:
            for path in self._backups():
                path.unlink()
            if not os.listdir(self.backup_dir):
                os.rmdir(self.backup_dir)

    def _save(self, epoch: int, step: int, logs: Logs | None = None) -> None:
        backups = self._backups()
        number = _number(backups[-1]) + 1 if backups else 0
        path = Path(self.backup_dir) / f"backup-{number:08d}.safetensors"
        write_state(path, self.run.state(epoch, step, logs))
        for old in backups:
            if old != self._whole:
                old.unlink()
        self._whole = path

    def _backups(self) -> list[Path]:
        """The oldest first."""
        try:
            names = os.listdir(self.backup_dir)
        except (FileNotFoundError, NotADirectoryError):
            return []
        found = [Path(self.backup_dir) / name for name in names if _NAME.fullmatch(name)]
        return sorted(found, key=_number)


def _number(path: Path) -> int:
    return int(path.stem.rpartition("-")[2])
