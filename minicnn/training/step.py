"""One batch through a model: a training step, a test step, a prediction.

A batch is cut into shards. Each of them goes through the model on a thread of its own, and what
they give is put together in the order of the shards, so that the same seed gives the same bits.
"""

from typing import TYPE_CHECKING, NamedTuple

from minicnn import backend
from minicnn.dtypes import overflows_expected
from minicnn.layers.context import Context
from minicnn.layers.penalties import Penalties
from minicnn.layers.weight import Weight
from minicnn.losses import Loss
from minicnn.parallel import Communicator, run_shards, shard_count, split_work
from minicnn.parallel.memory import keep_freed_memory
from minicnn.parallel.slices import even_slices
from minicnn.regularizers import Regularizer
from minicnn.training.batches import batch_length
from minicnn.typing import Array

if TYPE_CHECKING:
    from minicnn.training.trainer import Trainer


class Shard(NamedTuple):
    """What a training step keeps of one shard.

    Attributes:
        loss: 0-d, the shard's share of the batch's loss.
        y_pred: predictions (n, ...).
        ctx: holds the gradients of the weights, and the new moving statistics.
    """

    loss: Array
    y_pred: Array
    ctx: Context


def train_step(
    model: "Trainer", xs: list[Array], y: Array, sample_weight: Array | None = None
) -> None:
    """Forward, loss and backward on each shard; the sum of their gradients; one optimizer step.

    Args:
        model: compiled.
        xs: one array (N, ...) per input, see `Trainer.prepare`.
        y: targets (N, ...).
        sample_weight: (N,), or None.
    """
    keep_freed_memory()
    slices = even_slices(batch_length(xs), shards_of(model, xs, training=True))
    generators, images = model._generators_for(len(slices)), batch_length(xs)
    wants_logits, scale = takes_logits(model), model.optimizer.loss_scale
    total = model.loss.total(y, sample_weight)

    def on_shard(comm: Communicator) -> Shard:
        mine = slices[comm.rank]
        weights = None if sample_weight is None else sample_weight[mine]
        penalties = Penalties(images, scale) if model.graph.has_penalties else None
        ctx = Context(
            training=True, rng=generators[comm.rank], comm=comm,
            needs_dx=False, wants_logits=wants_logits, penalties=penalties,
        )  # fmt: skip
        (y_pred,) = model.graph.forward([x[mine] for x in xs], ctx)
        loss = loss_on(model, ctx.softmax_left_out)
        value, state = loss.forward(y[mine], y_pred, weights, total)
        value = value if penalties is None else penalties.total(value)
        with overflows_expected(scale is not None):
            model.graph.backward([loss.backward(state, scale)], ctx)
        return Shard(value, y_pred, ctx)

    value, y_pred, gradients, ctx = _together(run_shards(len(slices), on_shard))
    value = with_penalties(model, value)  # of the weights before the optimizer's step
    add_penalty_gradients(model, gradients, scale)
    model.optimizer.apply(gradients)
    for weight in gradients:
        if weight.constraint is not None:
            weight.value[...] = weight.constraint(weight.value)
    for weight, statistics in ctx.updates.items():
        weight.value = statistics
    model._record(value, y, y_pred, sample_weight, ctx.softmax_left_out)


def _together(shards: list[Shard]) -> tuple[Array, Array, dict[Weight, Array], Context]:
    """(the loss, the predictions, {weight: gradient}) of a batch from those of its shards, and the
    context of the first, which knows of the moving statistics what all of them know."""
    value, y_pred, ctx = shards[0]
    gradients = {w: g for w, g in ctx.gradients.items() if w.trainable}
    for shard in shards[1:]:  # in the order of the ranks: the same sum each time
        value = value + shard.loss
        for weight, gradient in shard.ctx.gradients.items():
            if weight in gradients:
                gradients[weight] = _sum(gradients[weight], gradient)
            elif weight.trainable:
                gradients[weight] = gradient
    if len(shards) > 1:
        y_pred = backend.array_module(y_pred).concatenate([shard.y_pred for shard in shards])
    return value, y_pred, gradients, ctx


def _sum(a: Array, b: Array) -> Array:
    """a + b, in a new array: two weights may share one."""
    xp = backend.array_module(a)
    total = xp.empty(a.shape, a.dtype)
    flat, left, right = (array.reshape(-1) for array in (total, a, b))

    def add(span: slice) -> None:
        with overflows_expected():  # of scaled gradients
            xp.add(left[span], right[span], out=flat[span])

    split_work(flat.size, add)
    return total


def test_step(
    model: "Trainer", xs: list[Array], y: Array, sample_weight: Array | None = None
) -> None:
    """Loss and metrics of one batch.

    Args:
        model, xs, y, sample_weight: as for `train_step`.
    """
    (y_pred,), on_logits, penalties = _outputs(model, xs, takes_logits(model))
    value, _ = loss_on(model, on_logits).forward(y, y_pred, sample_weight)
    for of_shard in penalties:
        value = of_shard.total(value)
    model._record(with_penalties(model, value), y, y_pred, sample_weight, on_logits)


def predict_step(model: "Trainer", xs: list[Array]) -> list[Array]:
    """The outputs for one batch outside training, one array (N, ...) for each.

    Args:
        model, xs: as for `train_step`.
    """
    return _outputs(model, xs, wants_logits=False)[0]


def _outputs(
    model: "Trainer", xs: list[Array], wants_logits: bool
) -> tuple[list[Array], bool, list[Penalties]]:
    """(the outputs for one batch, whether a closing softmax was left out, penalties by shard)."""
    keep_freed_memory()
    images = batch_length(xs)
    slices = even_slices(images, shards_of(model, xs, training=False))
    penalties = [Penalties(images) for _ in slices if model.graph.has_penalties]

    def on_shard(comm: Communicator) -> tuple[list[Array], bool]:
        mine = slices[comm.rank]
        own = penalties[comm.rank] if penalties else None
        ctx = Context(record=False, comm=comm, wants_logits=wants_logits, penalties=own)
        return model.graph.forward([x[mine] for x in xs], ctx), ctx.softmax_left_out

    shards = run_shards(len(slices), on_shard, independent=not model.whole_batch)
    ys, on_logits = shards[0]
    if len(shards) > 1:
        xp = backend.array_module(ys[0])
        ys = [xp.concatenate(parts) for parts in zip(*(ys for ys, _ in shards), strict=True)]
    return ys, on_logits, penalties


def shards_of(model: "Trainer", xs: list[Array], training: bool) -> int:
    """How many shards a batch is cut into.

    Args:
        model, xs: as for `train_step`.
        training: whether a backward pass follows.
    """
    passes = 3 if training else 1  # backward computes two gradients
    graph = model.graph.planned_for([x.shape for x in xs])
    work = passes * graph.work // max(1, len(graph.steps))
    return shard_count(batch_length(xs), max(1, work))


# Losses and regularizers


def takes_logits(model: "Trainer") -> bool:
    """Whether the loss of a `model` takes over its closing softmax: one pass, and exact where
    probabilities would round to 0 or 1."""
    return model.graph.closing_softmax and getattr(model.loss, "takes_over", None) == "softmax"


def loss_on(model: "Trainer", logits: bool) -> Loss:
    """The loss that the `model` was compiled with; that on `logits` where these are what there
    is."""
    return model.loss.with_logits() if logits else model.loss


def with_penalties(model: "Trainer", loss: Array) -> Array:
    """The loss and, on top of it, the penalties on the weights.

    Args:
        model: with the weights.
        loss: 0-d.
    """
    for weight, penalty in _penalized(model):
        loss = loss + penalty(weight.value)
    return loss


def add_penalty_gradients(
    model: "Trainer", gradients: dict[Weight, Array], scale: Array | None
) -> None:
    """Add those of the penalties to `gradients`, in place.

    Args:
        model: with the weights.
        gradients: {weight: gradient of the loss}.
        scale: what these were multiplied by, see `LossScaleOptimizer`; None for nothing.
    """
    for weight, penalty in _penalized(model):
        gradient = penalty.gradient(weight.value)
        if scale is not None:
            gradient = gradient * scale
        present = gradients.get(weight)
        gradients[weight] = gradient if present is None else present + gradient


def _penalized(model: "Trainer") -> list[tuple[Weight, Regularizer]]:
    weights = model.trainable_weights
    return [(w, w.regularizer) for w in weights if w.regularizer is not None]
