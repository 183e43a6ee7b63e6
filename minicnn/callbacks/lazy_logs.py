"""`LazyLogs`: the figures of a batch, read from the device only when somebody looks at them."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from minicnn.callbacks.base import Logs


class LazyLogs(Mapping[str, Any]):
    """Logs that are read from the device once, when somebody looks at them.

    Args:
        read: gives the logs as a dictionary of Python floats.
    """

    def __init__(self, read: Callable[[], Logs]):
        self._read = read
        self._logs: Logs | None = None

    def _now(self) -> Logs:
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
        """The logs as a dictionary; reads them."""
        return dict(self._now())

    def __repr__(self) -> str:
        return repr(dict(self._now()))
