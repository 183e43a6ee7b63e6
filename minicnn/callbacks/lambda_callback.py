"""Callbacks made of functions."""

from collections.abc import Callable
from typing import Any

from minicnn.callbacks.base import Callback
from minicnn.registry import near_matches


class LambdaCallback(Callback):
    """A callback made of functions, each called like the hook of its name.

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
