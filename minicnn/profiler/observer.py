"""The log of one forward and backward pass.

An `Observer` in the `Context` calls each layer in place of the graph, marks the time before and
after, and writes a line into its log. `measure.profile_model` adds the lines up.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from minicnn import backend
from minicnn.layers.activated import ActivatedLayer
from minicnn.layers.context import Context
from minicnn.layers.nodes import Node
from minicnn.models import Model
from minicnn.models.steps import Step
from minicnn.profiler.clocks import Span, current_clock, timed
from minicnn.typing import Array


@dataclass(frozen=True)
class Call:
    """One line of the log: a layer worked on some images.

    Args:
        node: which layer, and where in the model.
        phase: "forward" or "backward".
        span: when.
        images: how many it worked on; 0 for an activation that was put off (`Observer`).
        needs_dx: whether backward had to give the gradient of the input.
        kept: {address: bytes} of the arrays that a forward call saved.
        dtype: of what it was given.
        bytes_moved: of the arrays that it was given and made, see `Observer`.
    """

    node: Node
    phase: str
    span: Span
    images: int
    needs_dx: bool
    kept: dict[int, int]
    dtype: str
    bytes_moved: int


class Observer:
    """Calls layers in place of the graph and keeps a log of it.

    Several threads may write into the log (appending to a list cannot be interrupted), and a layer
    may be called any number of times in a pass, on a few images each. A layer whose activation is
    put off until after a max-pooling has two calls; only the first has products.

    On a GPU it also counts the bytes of the arrays that a call is given and makes. An array that is
    only handed on, as it came or reshaped, does not count, and a call that hands on all of them and
    has nothing to learn moves no bytes at all.

    Attributes:
        clock: what it measures with.
        calls: the log.
        spans: whole passes, forward and backward of each thread.
    """

    def __init__(self) -> None:
        self.clock = current_clock()
        self.calls: list[Call] = []
        self.spans: list[Span] = []
        self._counts_bytes = backend.get_backend() != "numpy"

    def call(self, step: Step, phase: str, x: Any, ctx: Context) -> Any:
        """Run a step of the schedule, and log it.

        Args:
            step: which layer, and what of its work.
            phase: "forward" or "backward".
            x: forward, the input or a list of inputs; backward, the gradients of the output.
            ctx: of the layer call.
        """
        run = step.run if phase == "forward" else step.run_back
        if isinstance(step.layer, Model):  # the layers inside are logged one by one
            return run(x, ctx)
        finishes = isinstance(step.layer, ActivatedLayer) and step.run == step.layer.finish
        images = 0 if finishes else len(next(arrays_in(x)))
        dtype = next(arrays_in(x)).dtype.name
        result, span = timed(self.clock, run, x, ctx)
        kept = _kept(ctx.all_saved()) if phase == "forward" else {}
        moved = 0
        if self._counts_bytes:
            in_place = finishes and phase == "forward"
            moved = _bytes_moved(x, result, in_place, bool(step.layer.trainable_weights))
        self.calls.append(Call(step.node, phase, span, images, ctx.needs_dx, kept, dtype, moved))
        return result


def arrays_in(x: Any) -> Iterator[Array]:
    """Everything but None in `x`: an array, or nested lists, tuples and dictionaries."""
    if isinstance(x, dict):
        x = list(x.values())
    if isinstance(x, (list, tuple)):
        for inner in x:
            yield from arrays_in(inner)
    elif x is not None:
        yield x


def united(records: Iterable[dict[int, int]]) -> dict[int, int]:
    """One {address: bytes} from several `records`: what is in more than one of them counts once."""
    union: dict[int, int] = {}
    for record in records:
        for address, size in record.items():
            union[address] = max(size, union.get(address, 0))
    return union


def _kept(saved: Any) -> dict[int, int]:
    """{address: bytes} of all arrays in nested lists: an array and a reshaped view count once."""
    return united(
        {_address(array): int(array.nbytes)}
        for array in arrays_in(saved)
        if backend.is_array(array)
    )


def _bytes_moved(given: Any, made: Any, in_place: bool, learns: bool) -> int:
    """Bytes of the arrays that a call is given and makes, see `Observer`.

    Args:
        given, made: arrays, or lists of them.
        in_place: whether it writes its results over what it is given.
        learns: whether it reads what it is given in any case.
    """
    there = {_address(array) for array in arrays_in(given)}
    new = [array for array in arrays_in(made) if in_place or _address(array) not in there]
    if not new and not learns:
        return 0
    return sum(int(array.nbytes) for array in [*arrays_in(given), *new])


def _address(array: Array) -> int:
    interface = getattr(array, "__array_interface__", None) or array.__cuda_array_interface__
    return interface["data"][0]
