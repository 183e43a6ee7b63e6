"""One batch through a model, each shard on its own thread."""

from typing import Any

from minicnn import backend
from minicnn.context import Context
from minicnn.dtypes import overflows_expected
from minicnn.layers.base import Weight
from minicnn.parallel.communicator import Communicator
from minicnn.parallel.memory import keep_freed_memory
from minicnn.parallel.threads import run_shards, shard_count, split_work
from minicnn.slices import even_slices


def batch_gradients(
    model: Any,
    loss: Any,
    x: Any,
    y: Any,
    sample_weight: Any,
    generators: list[Any],
    wants_logits: bool,
    loss_scale: Any = None,
) -> tuple[Any, Any, dict[Weight, Any], dict[Weight, Any]]:
    """Forward, loss and backward of one batch.

    Args:
        x: (N, ...), or a list of such for several inputs.
        y: targets (N, ...).
        sample_weight: (N,), or None.
        generators: a random generator for each shard; as many shards as these, see `shards_of`.
        wants_logits: whether the model's closing softmax is left to the loss.
        loss_scale: a number, or a 0-d array, that the gradients are multiplied by from the loss on.

    Returns:
        (loss, 0-d; predictions (N, ...); {weight: gradient}; {weight: new moving statistics}).
    """
    keep_freed_memory()
    samples = batch_length(x)
    slices = even_slices(samples, len(generators))

    def run(comm: Communicator) -> tuple[Any, Any, Context]:
        part = slices[comm.rank]
        ctx = Context(
            training=True, rng=generators[comm.rank], comm=comm,
            needs_dx=False, wants_logits=wants_logits,
        )  # fmt: skip
        y_pred = model.forward(batch_part(x, part), ctx)
        weights = None if sample_weight is None else sample_weight[part]
        value, state = loss.forward(y[part], y_pred, weights, samples)
        with overflows_expected(loss_scale is not None):
            model.backward(loss.backward(state, loss_scale), ctx)
        return value, y_pred, ctx

    results = run_shards(len(slices), run)
    value, y_pred, ctx = results[0]
    total = {w: g for w, g in ctx.gradients.items() if w.trainable}
    for part, _, other in results[1:]:  # in the order of the ranks: the same sum each time
        value = value + part
        for weight in total:
            total[weight] = _sum(total[weight], other.gradients[weight])
    if len(results) > 1:
        y_pred = backend.array_module(y_pred).concatenate([r[1] for r in results])
    return value, y_pred, total, ctx.updates


def batch_outputs(model: Any, x: Any, wants_logits: bool = False) -> list[Any]:
    """The outputs of one batch outside training, one array (N, ...) for each."""
    keep_freed_memory()
    slices = even_slices(batch_length(x), shards_of(model, x, training=False))

    def run(comm: Communicator) -> list[Any]:
        ctx = Context(record=False, comm=comm, wants_logits=wants_logits)
        y = model.forward(batch_part(x, slices[comm.rank]), ctx)
        return list(y) if isinstance(y, (list, tuple)) else [y]

    results = run_shards(len(slices), run)
    if len(results) == 1:
        return results[0]
    xp = backend.array_module(results[0][0])
    return [xp.concatenate(parts) for parts in zip(*results, strict=True)]


def shards_of(model: Any, x: Any, training: bool) -> int:
    """How many shards a batch is cut into."""
    passes = 3 if training else 1  # backward computes two gradients
    work = passes * model.graph.work // max(1, len(model.graph.steps))
    return shard_count(batch_length(x), max(1, work))


def batch_length(x: Any) -> int:
    """Images in a batch: an array, or a list of them for several inputs."""
    return len(x[0]) if isinstance(x, list) else len(x)


def batch_part(x: Any, part: slice) -> Any:
    """Some images of a batch: of an array, or of each in a list of them."""
    return [a[part] for a in x] if isinstance(x, list) else x[part]


def _sum(a: Any, b: Any) -> Any:
    """a + b, in a new array: two weights may share one."""
    xp = backend.array_module(a)
    total = xp.empty(a.shape, a.dtype)
    flat, left, right = (array.reshape(-1) for array in (total, a, b))

    def add(part: slice) -> None:
        with overflows_expected():  # of scaled gradients
            xp.add(left[part], right[part], out=flat[part])

    split_work(flat.size, add)
    return total
