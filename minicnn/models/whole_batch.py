"""Layers that look across images, in a batch that is split into shards.

Such a layer says `whole_batch = True`. The first shard calls it with the images of all shards,
which wait meanwhile, and each takes its own rows of the result; backward likewise. Weights get
their gradients in the first shard alone, those of all images. So the layer need not know that there
are shards, unless it `reduces_itself` and is called in each.
"""

from collections.abc import Callable, Sequence
from typing import Any

from minicnn.backend import array_module
from minicnn.layers.base import Layer
from minicnn.layers.context import Context
from minicnn.parallel import SOLO
from minicnn.training.trainer import Trainer
from minicnn.typing import Array


def is_gathered(layer: Layer) -> bool:
    """Whether `layer` has to be given the images of all shards.

    A model does not, although a layer within may: it goes through its layers itself.
    """
    return layer.whole_batch and not layer.reduces_itself and not isinstance(layer, Trainer)


def gathered(run: Callable[[Any, Context], Any], x: Any, ctx: Context) -> Any:
    """`run`, called in the first shard with what all shards have; this shard's rows of the result.

    Args:
        run: forward or backward of a layer, or of a part of its work.
        x: what it takes, for the images of this shard.
        ctx: of the layer call in this shard.
    """
    comm = ctx.comm
    of_shards = comm.allgather(x)
    ends = [sum(map(_images, of_shards[: rank + 1])) for rank in range(comm.size)]
    rows = slice(ends[comm.rank] - _images(x), ends[comm.rank])
    y = None
    if comm.rank == 0:
        y = run(_joined(of_shards), ctx.child("all", wants_logits=ctx.wants_logits, comm=SOLO))
    y, closing_left_out = comm.broadcast((y, ctx.closing_left_out))
    if closing_left_out:  # the losses of all shards have to know
        ctx.leaves_out_closing()
    return [_cut(part, rows) for part in y] if isinstance(y, (list, tuple)) else _cut(y, rows)


def _images(x: Any) -> int:
    """How many images an array is for, or a list of arrays with None for some."""
    return len(x) if not isinstance(x, (list, tuple)) else next(len(a) for a in x if a is not None)


def _joined(of_shards: Sequence[Any]) -> Any:
    """The arrays of the shards, one after the other; of lists, position by position."""
    first = of_shards[0]
    if isinstance(first, (list, tuple)):
        return [_joined(parts) for parts in zip(*of_shards, strict=True)]
    return None if first is None else array_module(first).concatenate(of_shards)


def _cut(y: Array | None, rows: slice) -> Array | None:
    return None if y is None else y[rows]
