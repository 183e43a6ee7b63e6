"""What happened in each epoch."""

from typing import Any

from minicnn.callbacks.base import Callback


class History(Callback):
    """Collects the logs of all epochs; `fit` returns one.

    A History given to one fit after another goes on where it was.

    Attributes:
        history: {"loss": [...], "accuracy": [...], "val_loss": [...], ...}, a value per epoch.
        epoch: the numbers of the epochs, counted from 0.
        params: {"epochs", "steps", "verbose"}, see `Callback`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.history: dict[str, list[Any]] = {}
        self.epoch: list[int] = []

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.epoch.append(epoch)
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(value)
        self.model.history = self
