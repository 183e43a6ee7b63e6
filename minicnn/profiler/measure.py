"""`profile_model`: a model's passes are observed, and the log becomes a row per layer."""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from statistics import median
from typing import Any

from minicnn import backend
from minicnn.dtypes import wide
from minicnn.layers.context import Context
from minicnn.layers.nodes import Node
from minicnn.layers.seeded import SeededLayer
from minicnn.models import Model
from minicnn.models.summary import shape_text
from minicnn.parallel import Communicator, one_blas_thread, run_shards
from minicnn.parallel.communicator import SOLO
from minicnn.parallel.memory import keep_freed_memory
from minicnn.parallel.slices import even_slices
from minicnn.profiler.algorithms import algorithm_of, multiply_adds_made
from minicnn.profiler.clocks import Copies, EventClock, Span, current_clock, product_peak, timed
from minicnn.profiler.observer import Call, Observer, united
from minicnn.profiler.profile import LayerProfile, Profile
from minicnn.profiler.roofline import DeviceProfile, Limits
from minicnn.training.batches import ArrayBatches, batch_length
from minicnn.training.data_checks import check_input_shapes, check_integer
from minicnn.training.step import takes_logits
from minicnn.typing import Array, Shape


def profile_model(
    model: Model,
    x: Array | list[Array],
    batch_size: int = 128,
    repeats: int = 5,
    threads: int = 1,
) -> Profile:
    """Time forward and backward of each layer in training.

    Backward starts from random gradients of the outputs. If the compiled loss applies a closing
    softmax, as in `fit`, the softmax is left out.

    Args:
        model, x, batch_size, repeats, threads: see `Model.profile`.

    Raises:
        ValueError: the model is not built or has no layers, x does not fit it, or there are fewer
            images than threads.
    """
    model.require_built()
    repeats = check_integer("repeats", repeats)
    threads = check_integer("threads", threads)
    if not model.graph.nodes:
        raise ValueError(f"{model.described} has no layers to time")
    xs, _, _ = next(iter(ArrayBatches(x, batch_size=batch_size)))
    check_input_shapes(model, xs)
    nodes = _nodes(model, [x.shape for x in xs])
    xs = model._prepare_inputs(xs)
    images = batch_length(xs)
    if threads > images:
        raise ValueError(f"threads={threads}, but there are {images} images; each thread needs one")
    if threads > 1 and backend.get_backend() != "numpy":
        raise ValueError(f"threads are for the CPU; on a GPU threads must be 1, not {threads}")
    keep_freed_memory()
    with ExitStack() as stack:
        stack.enter_context(one_blas_thread())
        for layer in dict.fromkeys(node.layer for node in nodes):
            if isinstance(layer, SeededLayer):
                stack.enter_context(layer.on_the_side())
        _observed(model, xs, threads)  # warm-up: memory, threads, kernels to be compiled
        if backend.get_backend() != "numpy":
            return _device_profile(model, xs, repeats, nodes)
        passes = [_observed(model, xs, threads) for _ in range(repeats)]
    peak = product_peak(model.dtype, threads)
    rows, kept, between = _summary(nodes, passes, threads)
    return Profile(model.name, model.dtype, rows, images, threads, peak, kept, between)


def _device_profile(
    model: Model, xs: list[Array], repeats: int, nodes: dict[Node, str]
) -> DeviceProfile:
    """The profile of passes on a GPU, which copies keep busy until a whole pass waits in its queue:
    then it goes from layer to layer without waiting for the host.

    A queue holds about a thousand launches. In a longer pass the host is stopped there, and its own
    time for the layers that come then is too long; that of the GPU is right.
    """
    copies = Copies()
    half = max(span.launch_seconds for span in _observed(model, xs, 1).spans)

    def keep_busy() -> None:
        if isinstance(current_clock(), EventClock):
            copies.keep_busy(1.5 * half)

    passes = [_observed(model, xs, 1, keep_busy) for _ in range(repeats)]
    launch_seconds = median(_launch_seconds(model, xs) for _ in range(repeats))
    rows, kept, between = _summary(nodes, passes, 1)
    dtypes = dict.fromkeys(row.dtype for row in rows if row.multiply_adds)
    limits = Limits(
        backend.device_info()["device"],
        copies.bandwidth,
        {dtype: product_peak(dtype) for dtype in dtypes},
        backend.tensor_float_32_enabled(),
    )
    return DeviceProfile(
        model.name, model.dtype, rows, batch_length(xs), limits, kept, between, launch_seconds
    )


def _nodes(model: Model, shapes: Sequence[Shape], prefix: str = "") -> dict[Node, str]:
    """The layer calls of a model and of the models in it on inputs of `shapes`, in order, with
    their names."""
    names: dict[Node, str] = {}
    graph = model.graph.planned_for(shapes)
    for node in dict.fromkeys([*graph.nodes, *(step.node for step in graph.steps)]):
        if isinstance(node.layer, Model):
            given = [t.shape for t in node.inputs]
            names.update(_nodes(node.layer, given, f"{prefix}{node.layer.name}/"))
        else:
            names[node] = prefix + node.layer.name
    return names


# Passes


def _observed(
    model: Model,
    xs: list[Array],
    threads: int,
    before: Callable[[], None] = lambda: None,
) -> Observer:
    """What an observer has seen of one forward and backward pass over a batch.

    Args:
        before: called before forward, and again before backward.
    """
    observer = Observer()
    slices = even_slices(batch_length(xs), threads)

    def run(comm: Communicator) -> None:
        shard = [x[slices[comm.rank]] for x in xs]
        ctx = _training_context(model, comm, observer)
        before()
        ys, forward = timed(observer.clock, model.graph.forward, shard, ctx)
        dys = _random_gradients(ys, ctx.rng)
        comm.barrier()  # all that is kept exists at this point, so no address comes twice
        before()
        _, backward = timed(observer.clock, model.graph.backward, dys, ctx)
        observer.spans += [forward, backward]

    run_shards(threads, run, threads=threads)
    return observer


def _launch_seconds(model: Model, xs: list[Array]) -> float:
    """The host's time to launch one forward and backward pass on a GPU, unobserved."""
    ctx = _training_context(model, SOLO)
    backend.synchronize()
    started = time.perf_counter()
    ys = model.graph.forward(xs, ctx)
    forward = time.perf_counter() - started
    dys = _random_gradients(ys, ctx.rng)
    backend.synchronize()
    started = time.perf_counter()
    model.graph.backward(dys, ctx)
    backward = time.perf_counter() - started
    backend.synchronize()
    return forward + backward


def _training_context(
    model: Model, comm: Communicator, observer: Observer | None = None
) -> Context:
    return Context(
        training=True, rng=backend.random_generator([0, comm.rank]), comm=comm, needs_dx=False,
        wants_logits=takes_logits(model), observer=observer,
    )  # fmt: skip


def _random_gradients(ys: list[Array], generator: Any) -> list[Array]:
    """A random gradient per output."""
    return [generator.random(y.shape, dtype=wide(y.dtype)).astype(y.dtype, copy=False) for y in ys]


# Rows


def _summary(
    nodes: dict[Node, str], passes: list[Observer], threads: int
) -> tuple[list[LayerProfile], int, float]:
    """(a row per layer call, bytes kept for backward by all together, seconds between layers)."""
    rows = [
        _row(name, [[c for c in seen.calls if c.node is node] for seen in passes], threads)
        for node, name in nodes.items()
    ]
    kept = sum(united(call.kept for call in passes[0].calls).values())
    whole = median(sum(span.seconds for span in seen.spans) for seen in passes) / threads
    return rows, kept, max(0.0, whole - sum(row.seconds for row in rows))


def _row(name: str, passes: list[list[Call]], threads: int) -> LayerProfile:
    """The figures of one layer from the lines about it in the log of each pass."""
    forward = [call for call in passes[0] if call.phase == "forward"]
    backward = [call for call in passes[0] if call.phase == "backward"]
    node = forward[0].node
    layer = node.layer
    products = layer.multiply_adds(node.input_shape)  # per image
    learns = bool(layer.trainable_weights)
    made = sum(multiply_adds_made(layer, node.input_shape) * call.images for call in forward)
    for call in backward:
        results = call.needs_dx + learns
        made += multiply_adds_made(layer, node.input_shape, results) * call.images
    weights = sum(int(w.value.nbytes) for w in layer.weights)
    learned = sum(int(w.value.nbytes) for w in layer.trainable_weights)
    forward_moved = sum(call.bytes_moved for call in forward)
    backward_moved = sum(call.bytes_moved for call in backward)
    kept = sum(united(call.kept for call in forward).values())
    if backward_moved:  # also what was kept, at most what forward moved; dw, and w for dx
        backward_moved += min(kept, forward_moved)
        backward_moved += learned * (1 + any(call.needs_dx for call in backward))
    return LayerProfile(
        name=name,
        type=type(layer).__name__,
        output_shape=", ".join(shape_text(tensor.shape) for tensor in node.outputs),
        algorithm=algorithm_of(layer, node.input_shape),
        forward_seconds=_median(passes, "forward", lambda span: span.seconds) / threads,
        backward_seconds=_median(passes, "backward", lambda span: span.seconds) / threads,
        forward_multiply_adds=products * sum(call.images for call in forward),
        backward_multiply_adds=products
        * sum(call.images * (call.needs_dx + learns) for call in backward),
        bytes_kept=kept,
        multiply_adds_made=made,
        dtype=forward[0].dtype,
        forward_bytes=forward_moved + weights if forward_moved else 0,
        backward_bytes=backward_moved,
        forward_launch_seconds=_median(passes, "forward", lambda span: span.launch_seconds),
        backward_launch_seconds=_median(passes, "backward", lambda span: span.launch_seconds),
    )


def _median(passes: list[list[Call]], phase: str, seconds_of: Callable[[Span], float]) -> float:
    """Over the passes, of what all calls of a phase took together."""
    return median(sum(seconds_of(c.span) for c in p if c.phase == phase) for p in passes)
