"""The hooks that fit, evaluate and predict call, and who listens to them."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

Logs = Mapping[str, Any]


class Callback:
    """Something that happens during training. A subclass defines the hooks it wants.

    At the end of an epoch `logs` is a dictionary of Python floats ("loss", "accuracy",
    "val_loss" ...) that callbacks may add to. After a batch it is a `LazyLogs`: reading it waits
    for the device, so read it only when it is needed.

    Attributes:
        model: the model in training.
        params: {"epochs", "steps", "verbose"}.
    """

    def __init__(self) -> None:
        self.model: Any = None
        self.params: dict[str, Any] = {}

    def set_params(self, params: dict[str, Any]) -> None:
        self.params = params

    def set_model(self, model: Any) -> None:
        self.model = model

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Before the first epoch."""

    def on_train_end(self, logs: Logs | None = None) -> None:
        """After the last epoch, also where training was stopped early."""

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Before an epoch; `epoch` counts from 0."""

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """After an epoch and its validation."""

    def on_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """The same as `on_train_batch_begin`."""

    def on_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """The same as `on_train_batch_end`."""

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Before a step; `batch` counts from 0 in each epoch."""
        self.on_batch_begin(batch, logs)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """After a step."""
        self.on_batch_end(batch, logs)

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """Before evaluate or the validation of an epoch."""

    def on_test_end(self, logs: Logs | None = None) -> None:
        """After evaluate or the validation of an epoch."""

    def on_test_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Before a batch of evaluate."""

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """After a batch of evaluate."""

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        """Before predict."""

    def on_predict_end(self, logs: Logs | None = None) -> None:
        """After predict."""

    def on_predict_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Before a batch of predict."""

    def on_predict_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """After a batch of predict."""


class CallbackList:
    """Callbacks called one after the other, in the order given.

    Args:
        callbacks: a callback, several, another list, or None.
        add_history: put a `History` behind them, where there is none, as `.history`.
        model: handed to each.
        params: handed to each.

    Raises:
        TypeError: something in `callbacks` is no callback.
    """

    def __init__(
        self,
        callbacks: "Callback | CallbackList | Iterable[Callback] | None" = None,
        add_history: bool = False,
        model: Any = None,
        **params: Any,
    ):
        from minicnn.callbacks.history import History

        if isinstance(callbacks, Callback):
            callbacks = [callbacks]
        self.callbacks: list[Callback] = list(callbacks or [])
        for callback in self.callbacks:
            if not isinstance(callback, Callback):
                hint = "; create it with ()" if isinstance(callback, type) else ""
                raise TypeError(f"{callback!r} is not a minicnn.callbacks.Callback{hint}")
        self.history = next((c for c in self.callbacks if isinstance(c, History)), None)
        if add_history and self.history is None:
            self.history = History()
            self.callbacks.append(self.history)  # last: it records what the others add to the logs
        for callback in self.callbacks:
            callback.set_params(params)
            callback.set_model(model)

    def append(self, callback: Callback) -> None:
        self.callbacks.append(callback)

    def __iter__(self) -> Iterator[Callback]:
        return iter(self.callbacks)

    def __len__(self) -> int:
        return len(self.callbacks)

    def __getattr__(self, hook: str) -> Callable[..., None]:
        """`callbacks.on_epoch_end(epoch, logs)` calls that hook of each; where no logs are given
        they are {}, so that functions without a default may stand in for a hook."""
        if not hook.startswith("on_") or not hasattr(Callback, hook):
            raise AttributeError(f"CallbackList has no attribute {hook!r}")

        numbered = "epoch" in hook or "batch" in hook

        def call(*args: Any, **kwargs: Any) -> None:
            if len(args) == numbered and "logs" not in kwargs:
                args = (*args, {})
            for callback in self.callbacks:
                getattr(callback, hook)(*args, **kwargs)

        return call


class LazyLogs(Mapping[str, Any]):
    """Logs that are read from the device when somebody looks at them, once.

    Args:
        read: gives the logs as a dictionary of Python floats.
    """

    def __init__(self, read: Callable[[], Mapping[str, Any]]):
        self._read = read
        self._logs: Mapping[str, Any] | None = None

    def _now(self) -> Mapping[str, Any]:
        if self._logs is None:
            self._logs = self._read()
        return self._logs

    def __getitem__(self, key: str) -> Any:
        return self._now()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._now())

    def __len__(self) -> int:
        return len(self._now())

    def __bool__(self) -> bool:
        return True  # `logs = logs or {}` does not read them

    def copy(self) -> dict[str, Any]:
        return dict(self._now())

    def __repr__(self) -> str:
        return repr(dict(self._now()))
