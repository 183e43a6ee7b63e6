"""What fit, evaluate and predict show while they run."""

import logging
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from tqdm import tqdm

from minicnn import backend

_BAR = "{desc}: {percentage:3.0f}%|{bar}| {remaining} left{postfix}"  # 80 columns hold it
_COUNT = "{desc}: {n_fmt} batches [{elapsed}{postfix}]"  # if the number of batches is unknown

_log = logging.getLogger("minicnn")
_interactive = True


def enable_interactive_logging() -> None:
    """Let training show what it does on standard output: so it is unless it was disabled."""
    global _interactive
    _interactive = True


def disable_interactive_logging() -> None:
    """Let lines about training go to the logger "minicnn", at level INFO; no bars are drawn."""
    global _interactive
    _interactive = False


def is_interactive_logging_enabled() -> bool:
    """Whether training shows what it does on standard output."""
    return _interactive


class ProgressBar:
    """Shows per epoch a tqdm bar, and then a line with the results; only the line; or nothing.

        progress = ProgressBar(verbose, epochs, steps)
        for epoch in range(epochs):
            progress.begin_epoch(epoch)
            for batch in batches:
                ...
                progress.update(len(batch), read_logs)
            logs = read_logs()
            progress.end_steps()
            progress.end_epoch(logs)

    Args:
        verbose: 0 silent; 1 or "auto" a bar with loss, metrics and images/s if standard output is
            a terminal or a notebook, and otherwise as 2; 2 one line per epoch.
        epochs: number of epochs in all.
        steps: batches per epoch; None if that is not known.
        title: what stands in front; default: "Epoch 3/10".

    Raises:
        ValueError: another `verbose`.
    """

    interval = 0.2  # seconds between refreshes
    device_interval = 0.5  # on a GPU, which stands idle after it has been waited for

    def __init__(
        self,
        verbose: int | str = "auto",
        epochs: int = 1,
        steps: int | None = None,
        title: str | None = None,
    ):
        if verbose not in ("auto", 0, 1, 2):
            raise ValueError(
                f"verbose is 0 (silent), 1 (bar), 2 (one line per epoch) or 'auto', got {verbose!r}"
            )
        bar = verbose in (1, "auto")
        self.style = "silent" if verbose == 0 else "bar" if bar and shows_bars() else "line"
        self.epochs = epochs
        self.steps = steps
        self.title = title
        self._bar: Any = None
        if backend.get_backend() != "numpy":
            self.interval = self.device_interval

    def begin_epoch(self, epoch: int = 0, done: int = 0) -> None:
        """Start epoch number `epoch`, counted from 0, of which `done` batches were run before."""
        self.close()
        self._heading = self.title or f"Epoch {epoch + 1}/{self.epochs}"
        self._batches, self._images = done, 0
        self._started = self._stepped = self._shown = time.monotonic()
        if self.style == "bar":
            self._bar = tqdm(
                total=self.steps,
                desc=self._heading,
                file=sys.stdout,
                bar_format=_BAR if self.steps else _COUNT,
                ncols=min(shutil.get_terminal_size().columns, 110),  # 80 where it says 0
                nrows=24,  # left to itself, tqdm hides the bar on a terminal of 0 rows
                leave=False,
            )

    def update(self, images: int, read_logs: Callable[[], Mapping[str, Any]] | None = None) -> None:
        """One more batch is done.

        Args:
            images: number of images in it.
            read_logs: gives the results so far; called only when the bar is redrawn.
        """
        self._batches += 1
        self._images += images
        self._stepped = time.monotonic()
        if self._bar is not None and self._stepped - self._shown >= self.interval:
            self._draw(read_logs() if read_logs else {})
            self._shown = self._stepped

    def end_steps(self) -> None:
        """All batches are computed, also on a GPU, which may lag behind the last `update`."""
        self._stepped = time.monotonic()

    def end_epoch(self, logs: Mapping[str, Any] | None = None) -> None:
        """The epoch is over; `logs` are its results, also those of validation.

        images/s counts up to `end_steps`, or else the last `update`: it leaves out validation.
        """
        logs = logs or {}
        self.close()
        if self.style != "silent":
            seconds = time.monotonic() - self._started
            parts = [self._heading, f"{seconds:.1f} s", *self._figures(logs)]
            print_message(" - ".join(parts), lambda text: print(text, file=sys.stdout, flush=True))

    def close(self) -> None:
        """Take the bar away, for instance after an error."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _draw(self, logs: Mapping[str, Any]) -> None:
        self._bar.n = self._batches
        self._bar.set_postfix_str(", ".join(self._figures(logs)), refresh=False)
        self._bar.refresh()

    def _figures(self, logs: Mapping[str, Any]) -> list[str]:
        seconds = self._stepped - self._started
        speed = [f"{self._images / seconds:,.0f} images/s"] if seconds > 0 and self._images else []
        return speed + [f"{k} {format_value(v)}" for k, v in logs.items() if np.ndim(v) == 0]


def format_value(value: Any) -> str:
    """A figure, `value`, with 4 decimals, or with a power of ten if they would say little."""
    value = float(value)
    if value == 0 or 1e-3 <= abs(value) < 1e5 or not np.isfinite(value):
        return f"{value:.4f}"
    return f"{value:.3e}"


def print_message(text: str, show: Callable[[str], Any] = tqdm.write) -> None:
    """Print a line of `text` above a bar that may be on the screen, or log it.

    Args:
        text: the line.
        show: prints it; default: above a bar.
    """
    (show if _interactive else _log.info)(text)


def shows_bars() -> bool:
    """Whether bars are drawn: where standard output is a terminal or a notebook."""
    return _interactive and (_is_terminal(sys.stdout) or _in_notebook())


def _in_notebook() -> bool:
    """Whether what is printed goes to the page of a notebook, on which a bar of text is redrawn as
    on a terminal; the one of widgets would need a package more."""
    kernel = sys.modules.get("ipykernel.iostream")
    return kernel is not None and isinstance(sys.stdout, kernel.OutStream)


def _is_terminal(stream: Any) -> bool:
    return bool(getattr(stream, "isatty", lambda: False)())
