"""A progress bar for loops of your own."""

import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from minicnn.progress import format_value, print_message, shows_bars


class Progbar:
    """Shows how many steps are done, and means of the figures that come with them.

    Args:
        target: steps in all; None if that is not known.
        width: characters of the bar.
        verbose: 0 silent; 1 a bar where the output is a terminal or a notebook, and a line at the
            end; 2 the line alone.
        interval: seconds between two looks of the bar.
        stateful_metrics: figures that are shown as they are, not as their mean.
        stateless_metrics: in place of these, the ones of which the mean is shown.
        unit_name: what a step is called.

    Raises:
        ValueError: both kinds of metrics are given.
    """

    def __init__(
        self,
        target: int | None,
        width: int = 20,
        verbose: int = 1,
        interval: float = 0.05,
        stateful_metrics: Iterable[str] | None = None,
        stateless_metrics: Iterable[str] | None = None,
        unit_name: str = "step",
    ):
        if stateful_metrics is not None and stateless_metrics is not None:
            raise ValueError(
                "give stateful_metrics or stateless_metrics: all others are of the other kind"
            )
        self.target = target
        self.width = width
        self.verbose = verbose
        self.interval = interval
        self.unit_name = unit_name
        self._kept = frozenset(stateful_metrics or ())
        self._averaged = None if stateless_metrics is None else frozenset(stateless_metrics)
        self._figures: dict[str, tuple[float, float]] = {}  # sum and number
        self._seen = 0
        self._began = time.monotonic()
        self._shown = 0.0
        self._bar: Any = None

    def update(
        self,
        current: int,
        values: Sequence[tuple[str, Any]] | None = None,
        finalize: bool | None = None,
    ) -> None:
        """Show that `current` steps are done.

        Args:
            current: that.
            values: (name, figure of the last step); at the end the figure of all.
            finalize: whether this is the end; default: where `target` is reached.
        """
        if finalize is None:
            finalize = self.target is not None and current >= self.target
        for name, value in values or ():
            figure = float(np.mean(value))
            averaged = name not in self._kept if self._averaged is None else name in self._averaged
            if averaged and not finalize:
                steps = max(current - self._seen, 1)
                total, count = self._figures.get(name, (0.0, 0))
                self._figures[name] = total + figure * steps, count + steps
            else:
                self._figures[name] = figure, 1
        self._seen = current
        now = time.monotonic()
        if self.verbose == 1 and shows_bars() and now - self._shown >= self.interval:
            self._draw()
            self._shown = now
        if finalize:
            self._end(now - self._began)

    def add(self, n: int, values: Sequence[tuple[str, Any]] | None = None) -> None:
        """Show that `n` more steps are done, with `values` as in `update`."""
        self.update(self._seen + n, values)

    def _draw(self) -> None:
        if self._bar is None:
            count = f"{{n_fmt}}/{{total_fmt}} |{{bar:{self.width}}}| {{remaining}} left"
            form = (count if self.target else "{n_fmt} [{elapsed}]") + "{postfix}"
            self._bar = tqdm(total=self.target, file=sys.stdout, bar_format=form, leave=False)
        self._bar.n = self._seen
        self._bar.set_postfix_str(", ".join(self._texts()), refresh=False)
        self._bar.refresh()

    def _end(self, seconds: float) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        if self.verbose:
            each = 1000 * seconds / max(self._seen, 1)
            steps = f"{self._seen}/{self.target}" if self.target else f"{self._seen}"
            parts = [steps, f"{seconds:.0f} s", f"{each:.0f} ms/{self.unit_name}", *self._texts()]
            print_message(" - ".join(parts), lambda text: print(text, flush=True))

    def _texts(self) -> list[str]:
        figures = self._figures.items()
        return [f"{name} {format_value(total / count)}" for name, (total, count) in figures]
