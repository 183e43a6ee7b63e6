"""`CallbackList`: the callbacks of one run of `fit`, `evaluate` or `predict`."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from minicnn.callbacks.backup import BackupAndRestore
from minicnn.callbacks.base import Callback
from minicnn.callbacks.history import History


class CallbackList:
    """Callbacks called one after the other, in the order given; a `BackupAndRestore` comes last,
    since it keeps what the others have come to.

    Args:
        callbacks: a callback, several, another list, or None.
        add_history: put a `History` behind them unless there is one already.
        model: given to each callback.
        params: given to each callback.

    Attributes:
        callbacks: the list of them.
        history: the first `History` among them, or None.

    Raises:
        TypeError: something in `callbacks` is not a callback.
    """

    def __init__(
        self,
        callbacks: "Callback | CallbackList | Iterable[Callback] | None" = None,
        add_history: bool = False,
        model: Any = None,
        **params: Any,
    ):
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
            self.callbacks.append(self.history)  # behind what the others add to the logs
        self.callbacks.sort(key=lambda callback: isinstance(callback, BackupAndRestore))
        for callback in self.callbacks:
            callback.set_params(params)
            callback.set_model(model)

    def append(self, callback: Callback) -> None:
        """Add `callback` at the end."""
        self.callbacks.append(callback)

    def __iter__(self) -> Iterator[Callback]:
        return iter(self.callbacks)

    def __len__(self) -> int:
        return len(self.callbacks)

    def __getattr__(self, hook: str) -> Callable[..., None]:
        """`callbacks.on_epoch_end(epoch, logs)` calls that hook of each; default of logs: {}, so
        that functions without a default may stand in for a hook."""
        if not hook.startswith("on_") or not hasattr(Callback, hook):
            raise AttributeError(f"CallbackList has no attribute {hook!r}")

        numbered = "epoch" in hook or "batch" in hook

        def call(*args: Any, **kwargs: Any) -> None:
            if len(args) == numbered and "logs" not in kwargs:
                args = (*args, {})
            for callback in self.callbacks:
                getattr(callback, hook)(*args, **kwargs)

        return call
