"""Stopping when the loss is no longer a number."""

import math

from minicnn.callbacks.base import Callback, Logs
from minicnn.progress import print_message


class TerminateOnNaN(Callback):
    """Stop training when the loss is no longer a finite number.

    It reads the loss after every batch, so on a GPU it waits for each of them.

    Args:
        raise_error: raise an error instead of ending training in an orderly way.

    Raises:
        RuntimeError: during training, with raise_error.
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
