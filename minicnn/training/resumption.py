"""Where a `fit` stands, and what brings another one to the same place."""

import random as python_random
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from minicnn import backend, random
from minicnn.callbacks import BackupAndRestore, CallbackList
from minicnn.layers.base import with_inner_layers
from minicnn.layers.weight import Weight
from minicnn.parallel.counts import number_of_shards
from minicnn.registry import is_library_code
from minicnn.training.fingerprint import Fingerprint, of_data, of_model
from minicnn.training.numbers import TrainingNumbers


class Run:
    """One call of `fit`: the epochs it goes through, and, with a `BackupAndRestore` among its
    callbacks, all that is needed to go on with it in another process.

    Args:
        model: compiled.
        batches: see `minicnn.training.batches`.
        validation: the same, or None.
        watchers: the callbacks.
        first: the number of the first epoch, counted from 0.

    Attributes:
        step: training steps that the present epoch has had when it begins.
        logs: figures of the last epoch.

    Raises:
        ValueError: the backup is of another run, or none is whole.
    """

    def __init__(
        self, model: Any, batches: Any, validation: Any, watchers: CallbackList, first: int
    ):
        self._model = model
        self._batches = batches
        self._validation = validation
        self._watchers = watchers
        self._epoch = first
        # the number of a pass over the data, less that of its epoch in this fit
        self._passes_before = TrainingNumbers.of(model).next_epoch(first) - first
        self.step = 0
        self.logs: dict[str, Any] = {}
        self._found: dict[str, Any] | None = None
        backups = [w for w in watchers if isinstance(w, BackupAndRestore)]
        if not backups:
            return
        if len(backups) > 1:
            raise ValueError("one BackupAndRestore is enough: a run goes on from one place")
        backups[0].run = self
        self._begun_with: Fingerprint = of_data(batches, "training")
        if validation is not None:
            self._begun_with |= of_data(validation, "validation")
        self._seeded_with = str(TrainingNumbers.of(model).stream.seed)
        self._warn_of_hidden_state()
        self._found = backups[0].newest()
        if self._found is not None:
            if not model.built:
                model.build(self._found["input_shape"])
            self._check(self._found, backups[0].backup_dir)
        self._begun_as = of_model(model) if model.built else None  # before the rate changes

    def epochs(self, last: int) -> Iterator[int]:
        """The epochs up to number `last`, begun one after the other until training is stopped.

        Raises:
            ValueError: the run that goes on is beyond them.
        """
        found = self._found
        if found is not None:
            self._epoch = found["epoch"]
            if self._epoch + (found["step"] > 0) > last:
                raise ValueError(
                    f"the run that goes on is in epoch {self._epoch + 1} already, and fit was "
                    f"asked for {last}: ask for as many epochs as before, or more"
                )
            if found["step"] == 0:
                self._restore(found)
        for epoch in range(self._epoch, last):
            if self._model.stop_training:
                return
            self._begin(epoch)
            yield epoch
            self.step = 0

    def _begin(self, epoch: int) -> None:
        numbers = TrainingNumbers.of(self._model)
        numbers.go_to(self._model, self._passes_before + epoch)
        self._batches.numbers = numbers
        self._watchers.on_epoch_begin(epoch)
        self._model.reset_metrics()
        if self._found is not None and self._found["step"] > 0:
            self._restore(self._found)

    # Keeping

    def state(self, epoch: int, step: int, logs: Any) -> dict[str, Any]:
        """All that the run needs to go on, see `minicnn.arrays_file.write_state`.

        Args:
            epoch: the number of the epoch that goes on, or begins.
            step: training steps that it has had.
            logs: figures of the epoch before it, where it begins.
        """
        model = self._model
        if self._begun_as is None:  # built by the first batch, and not changed much since
            self._begun_as = of_model(model)
        keys, optimizer = _keys(model), model.optimizer
        scheduled = callable(optimizer._learning_rate)
        numbers = TrainingNumbers.of(model)
        return {
            "epoch": epoch,
            "step": step,
            "logs": dict(logs or {}) if step == 0 else self.logs,
            "stop_training": model.stop_training,
            "begun_with": self._begun_with | self._begun_as | {"the seed": self._seeded_with},
            "shards": number_of_shards(),
            "input_shape": model.input_shape,
            "weights": [w.value for w in keys],
            "trainable": [layer._trainable for layer in with_inner_layers(model)],
            "optimizer": optimizer.state_arrays(keys),
            "learning_rate": None if scheduled else optimizer._learning_rate,
            "metrics": [dict(metric._sums) for metric in model.metrics],
            "targets_shape": model._targets_shape,
            "stream": tuple(numbers.stream),
            "passes_before": self._passes_before,
            "random": _random_state(),
            "training": self._batches.position(),
            "validation": self._validation and self._validation.position(),
            "callbacks": [(type(w).__name__, w.state()) for w in self._watchers],
        }

    # Going on

    def _check(self, found: dict[str, Any], folder: str) -> None:
        """Raise unless the run was begun with what this one is begun with."""
        mine = self._begun_with | of_model(self._model) | {"the seed": self._seeded_with}
        differing = [
            f"{what} was {was} and is {mine[what]}"
            for what, was in found["begun_with"].items()
            if mine.get(what, was) != was
        ]
        if differing:
            raise ValueError(
                f"the run in {folder!r} cannot go on, since it was begun otherwise: "
                f"{'; '.join(differing)}. Give the same again, or another folder for a new run"
            )
        if found["shards"] != number_of_shards():
            warnings.warn(
                f"the run in {folder!r} cut its batches into {found['shards']} shards, and goes on "
                f"with {number_of_shards()}: sums are rounded in another order; "
                f"minicnn.set_shards({found['shards']}) keeps the bits",
                stacklevel=4,
            )

    def _restore(self, found: dict[str, Any]) -> None:
        model, self._found = self._model, None
        self._epoch, self.step, self.logs = found["epoch"], found["step"], found["logs"]
        model.stop_training = found["stop_training"]
        keys = _keys(model)
        for weight, value in zip(keys, found["weights"], strict=True):
            weight.assign(value)
        for layer, trainable in zip(with_inner_layers(model), found["trainable"], strict=True):
            layer._trainable = trainable
        model.optimizer.load_state_arrays(found["optimizer"], keys)
        if found["learning_rate"] is not None:
            model.optimizer.learning_rate = found["learning_rate"]
        self._restore_metrics(found)
        self._restore_callbacks(found["callbacks"])
        self._batches.go_to(found["training"], self.step)
        if self._validation is not None:
            self._validation.go_to(found["validation"], 0)
        numbers = model._numbers = TrainingNumbers(random.Stream(*found["stream"]))
        self._passes_before = found["passes_before"]
        self._batches.numbers = numbers
        _set_random_state(found["random"])
        numbers.go_to(model, self._passes_before + self._epoch, self.step)

    def _restore_metrics(self, found: dict[str, Any]) -> None:
        model = self._model
        if model._metrics is None and found["targets_shape"] is not None:
            model._make_metrics(np.broadcast_to(np.uint8(0), found["targets_shape"]))
        for metric, sums in zip(model.metrics, found["metrics"], strict=True):
            metric.reset_state()
            for key, value in sums.items():
                metric._sums[key] = backend.asarray(value) if backend.is_array(value) else value

    def _restore_callbacks(self, states: list[tuple[str, dict[str, Any]]]) -> None:
        """Give the states to callbacks of the same classes, in their order."""
        left = list(self._watchers)
        for name, state in states:
            callback = next((c for c in left if type(c).__name__ == name), None)
            if callback is not None:
                left.remove(callback)
                callback.restore(state)
            elif state:
                warnings.warn(
                    f"the run had a callback {name}, which is missing now that it goes on",
                    stacklevel=2,
                )

    def _warn_of_hidden_state(self) -> None:
        source = getattr(self._batches, "source", None)
        hook = getattr(type(source), "on_epoch_end", None)
        if hook is not None and not hasattr(source, "restore") and not is_library_code(hook):
            warnings.warn(
                f"what {type(source).__name__}.on_epoch_end does is not in a backup: a run that "
                f"goes on calls it as often as there were epochs before. Where that does not lead "
                f"to the same batches, define state() and restore(state) on it",
                stacklevel=4,
            )


def _keys(model: Any) -> dict[Weight, str]:
    """The weights by their number: automatic names count up with each model that is made."""
    return {weight: str(number) for number, weight in enumerate(model.weight_keys())}


def _random_state() -> dict[str, Any]:
    """The library's own generator, and the global ones of NumPy and Python, which data of your own
    may draw from."""
    return {
        "minicnn": random.host_generator().bit_generator.state,
        "numpy": np.random.get_state(legacy=False),
        "python": python_random.getstate(),
    }


def _set_random_state(state: dict[str, Any]) -> None:
    random.host_generator().bit_generator.state = state["minicnn"]
    np.random.set_state(state["numpy"])
    python_random.setstate(state["python"])
