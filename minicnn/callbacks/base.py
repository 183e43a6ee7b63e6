"""The hooks that fit, evaluate and predict call, and who listens to them."""

import inspect
from collections.abc import Mapping
from typing import Any

from minicnn.arrays_file import is_plain

Logs = Mapping[str, Any]


class Callback:
    """Something that happens during training. A subclass defines the hooks it wants.

    All hooks get `logs`. At the end of an epoch it is a dictionary of Python floats ("loss",
    "accuracy", "val_loss" ...) that callbacks may add to. After a batch it is a `LazyLogs`:
    reading it waits for the device, so read it only when it is needed.

    Attributes:
        model: the model in training.
        params: {"epochs", "steps", "verbose"}; steps are the batches per epoch.
    """

    def __init__(self) -> None:
        self.model: Any = None
        self.params: dict[str, Any] = {}

    def set_params(self, params: dict[str, Any]) -> None:
        """Called before the first hook, with what becomes the attribute `params`."""
        self.params = params

    def set_model(self, model: Any) -> None:
        """Called before the first hook, with what becomes the attribute `model`."""
        self.model = model

    def state(self) -> dict[str, Any]:
        """What training has made of the callback, for a run that goes on elsewhere: see
        `BackupAndRestore`.

        These are the attributes that are numbers, texts, arrays, or lists, tuples and dictionaries
        of them, without the arguments of the constructor. A callback that keeps anything else, or
        something outside itself, overrides this and `restore`.
        """
        inits = [vars(cls)["__init__"] for cls in type(self).__mro__ if "__init__" in vars(cls)]
        given = {name for init in inits[:-1] for name in inspect.signature(init).parameters}
        own = vars(self).items()
        return {k: v for k, v in own if k not in given | {"model", "params"} and is_plain(v)}

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what `state` returned, after `on_train_begin`.

        Args:
            state: that.
        """
        vars(self).update(state)

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Before the first epoch."""

    def on_train_end(self, logs: Logs | None = None) -> None:
        """After the last epoch, also when training was stopped early."""

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Before an epoch; `epoch` counts from 0."""

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """After an epoch and its validation; `epoch` counts from 0."""

    def on_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """The same as `on_train_batch_begin`, with the same `batch`."""

    def on_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """The same as `on_train_batch_end`, with the same `batch`."""

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Before a training step; `batch` counts from 0 in each epoch."""
        self.on_batch_begin(batch, logs)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """After a training step; `batch` counts from 0 in each epoch."""
        self.on_batch_end(batch, logs)

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """Before evaluate or the validation of an epoch."""

    def on_test_end(self, logs: Logs | None = None) -> None:
        """After evaluate or the validation of an epoch."""

    def on_test_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Before a batch of evaluate or validation; `batch` counts from 0."""

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """After a batch of evaluate or validation; `batch` counts from 0."""

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        """Before predict."""

    def on_predict_end(self, logs: Logs | None = None) -> None:
        """After predict."""

    def on_predict_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Before a batch of predict; `batch` counts from 0."""

    def on_predict_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """After a batch of predict; `batch` counts from 0."""
