"""The log of one step, and how its lines are added up.

An `Observer` in the `Context` calls each layer in place of the graph, marks the time before and
after and writes a line into a log; `profile_model` makes a `Profile` of it.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median
from typing import Any

from minicnn import backend
from minicnn.batches import ArrayBatches, check_integer
from minicnn.context import Context
from minicnn.dtypes import wide
from minicnn.layers.seeded import SeededLayer
from minicnn.models import Model
from minicnn.nodes import Node
from minicnn.parallel import Communicator, one_blas_thread, run_shards
from minicnn.parallel.batch import batch_length, batch_part
from minicnn.parallel.communicator import SOLO
from minicnn.parallel.memory import keep_freed_memory
from minicnn.profiler.clocks import Copies, EventClock, Span, current_clock, product_peak, timed
from minicnn.profiler.profile import LayerProfile, Profile
from minicnn.profiler.roofline import DeviceProfile, Limits
from minicnn.slices import even_slices
from minicnn.steps import Step
from minicnn.summary import shape_text


@dataclass(frozen=True)
class Call:
    """One line of the log: a layer worked on some images.

    Attributes:
        node: which layer, and where in the model.
        phase: "forward" or "backward".
        images: how many it worked on.
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

    Several threads may write into one log (appending to a list cannot be interrupted), and a layer
    may be called any number of times in a pass, on a few images each.

    On a GPU it also counts the bytes of the arrays that a call is given and makes. One that is only
    handed on, as it came or reshaped, counts nothing, and a call that hands on all of them and has
    nothing to learn moves no bytes at all.

    Attributes:
        calls: the log.
        spans: whole passes, forward and backward of each thread.
    """

    def __init__(self) -> None:
        self.clock = current_clock()
        self.calls: list[Call] = []
        self.spans: list[Span] = []
        self._counts_bytes = backend.get_backend() != "numpy"

    def call(self, step: Step, phase: str, x: Any, ctx: Context) -> Any:
        """The step's method, "forward" on x or "backward" on the gradient of the output."""
        node = step.node
        method = getattr(node.layer, step.forward if phase == "forward" else step.backward)
        if isinstance(node.layer, Model):  # the layers inside are logged one by one
            return method(x, ctx)
        # the end of a layer's work that was put off has no products of its own
        images = 0 if step.forward == "finish" else _images(x)
        dtype = next(_arrays(x)).dtype.name
        result, span = timed(self.clock, method, x, ctx)
        kept = _kept(ctx.all_saved()) if phase == "forward" else {}
        moved = 0
        if self._counts_bytes:
            in_place = step.forward == "finish" and phase == "forward"
            moved = _bytes_moved(x, result, in_place, bool(node.layer.trainable_weights))
        self.calls.append(Call(node, phase, span, images, ctx.needs_dx, kept, dtype, moved))
        return result


def profile_model(
    model: Model, x: Any, batch_size: int = 128, repeats: int = 5, threads: int = 1
) -> Profile:
    """Time forward and backward of each layer in training; see `Model.profile`.

    Backward starts from random gradients of the outputs. Where the compiled loss takes over a
    closing softmax, as in `fit`, the softmax is left out.

    Raises:
        ValueError: the model is not built or has no layers, x does not fit it, or there are fewer
            images than threads.
    """
    model.require_built()
    repeats = check_integer("repeats", repeats)
    threads = check_integer("threads", threads)
    nodes = _nodes(model)
    if not nodes:
        raise ValueError(f"{model.described} has no layers to time")
    batch, _, _ = next(iter(ArrayBatches(x, batch_size=batch_size)))
    batch = model._prepare_inputs(batch)
    images = batch_length(batch)
    if threads > images:
        raise ValueError(f"threads={threads}, but there are {images} images; give one each")
    if threads > 1 and backend.get_backend() != "numpy":
        raise ValueError(f"threads are for the CPU; on a GPU threads must be 1, not {threads}")
    keep_freed_memory()
    with ExitStack() as stack:
        stack.enter_context(one_blas_thread())
        for layer in dict.fromkeys(node.layer for node in nodes):
            if isinstance(layer, SeededLayer):
                stack.enter_context(layer.on_the_side())
        _observed(model, batch, threads)  # warm-up: memory, threads, kernels to be compiled
        if backend.get_backend() != "numpy":
            return _device_profile(model, batch, repeats, nodes)
        passes = [_observed(model, batch, threads) for _ in range(repeats)]
    peak = product_peak(model.dtype, threads)
    rows, kept, between = _summary(nodes, passes, threads)
    return Profile(model.name, model.dtype, rows, images, threads, peak, kept, between)


def _device_profile(
    model: Model, batch: Any, repeats: int, nodes: dict[Node, str]
) -> DeviceProfile:
    """The profile of passes on a GPU, which is kept busy with copies until all of a pass waits in
    its queue: then it goes from layer to layer without having to wait for the host.

    A queue holds about a thousand launches. In a longer pass the host is stopped there, and its own
    time for the layers that come then is too long; that of the GPU is right.
    """
    copies = Copies()
    half = max(span.launch_seconds for span in _observed(model, batch, 1).spans)

    def keep_busy() -> None:
        if isinstance(current_clock(), EventClock):
            copies.keep_busy(1.5 * half)

    passes = [_observed(model, batch, 1, keep_busy) for _ in range(repeats)]
    launch_seconds = median(_launch_seconds(model, batch) for _ in range(repeats))
    rows, kept, between = _summary(nodes, passes, 1)
    dtypes = dict.fromkeys(row.dtype for row in rows if row.multiply_adds)
    limits = Limits(
        backend.device_info()["device"],
        copies.bandwidth,
        {dtype: product_peak(dtype) for dtype in dtypes},
        backend.tensor_float_32_enabled(),
    )
    return DeviceProfile(
        model.name, model.dtype, rows, batch_length(batch), limits, kept, between, launch_seconds
    )


def _summary(
    nodes: dict[Node, str], passes: list[Observer], threads: int
) -> tuple[list[LayerProfile], int, float]:
    """(a row for each layer, bytes kept for backward by all together, seconds between layers)."""
    rows = [
        _row(name, [[c for c in seen.calls if c.node is node] for seen in passes], threads)
        for node, name in nodes.items()
    ]
    kept = sum(_union(call.kept for call in passes[0].calls).values())
    whole = median(sum(span.seconds for span in seen.spans) for seen in passes) / threads
    return rows, kept, max(0.0, whole - sum(row.seconds for row in rows))


def _observed(
    model: Model, x: Any, threads: int, before: Callable[[], None] = lambda: None
) -> Observer:
    """What an observer has seen of one forward and backward pass over a batch.

    Args:
        before: called before forward, and again before backward.
    """
    observer = Observer()
    slices = even_slices(batch_length(x), threads)

    def run(comm: Communicator) -> None:
        part = batch_part(x, slices[comm.rank])
        ctx = _training_context(model, comm, observer)
        before()
        y, forward = timed(observer.clock, model.forward, part, ctx)
        dy = _random_gradients(y, ctx.rng)
        comm.barrier()  # all that is kept is there at once, so that no address comes twice
        before()
        _, backward = timed(observer.clock, model.backward, dy, ctx)
        observer.spans += [forward, backward]

    run_shards(threads, run)
    return observer


def _launch_seconds(model: Model, x: Any) -> float:
    """What the host takes to launch one forward and backward pass on a GPU, unobserved."""
    ctx = _training_context(model, SOLO)
    backend.synchronize()
    started = time.perf_counter()
    y = model.forward(x, ctx)
    forward = time.perf_counter() - started
    dy = _random_gradients(y, ctx.rng)
    backend.synchronize()
    started = time.perf_counter()
    model.backward(dy, ctx)
    backward = time.perf_counter() - started
    backend.synchronize()
    return forward + backward


def _training_context(model: Model, comm: Communicator, observer: Any = None) -> Context:
    return Context(
        training=True, rng=backend.random_generator([0, comm.rank]), comm=comm, needs_dx=False,
        wants_logits=model._takes_logits(), observer=observer,
    )  # fmt: skip


def _random_gradients(y: Any, generator: Any) -> Any:
    """Gradients of the outputs y, as `Model.backward` takes them."""
    dys = [
        generator.random(a.shape, dtype=wide(a.dtype)).astype(a.dtype, copy=False)
        for a in _arrays(y)
    ]
    return dys if isinstance(y, (list, tuple)) else dys[0]


def _nodes(model: Model, prefix: str = "") -> dict[Node, str]:
    """The layer calls of a model and of the models in it, in order, with their names."""
    names: dict[Node, str] = {}
    for node in model.graph.nodes:
        if isinstance(node.layer, Model):
            names.update(_nodes(node.layer, f"{prefix}{node.layer.name}/"))
        else:
            names[node] = prefix + node.layer.name
    return names


def _row(name: str, passes: list[list[Call]], threads: int) -> LayerProfile:
    """The figures of one layer from the lines about it in the log of each pass."""
    forward = [call for call in passes[0] if call.phase == "forward"]
    backward = [call for call in passes[0] if call.phase == "backward"]
    node = forward[0].node
    layer = node.layer
    products = layer.multiply_adds(node.input_shape)  # for one image
    learns = bool(layer.trainable_weights)
    made = sum(layer.multiply_adds_made(node.input_shape) * call.images for call in forward)
    for call in backward:
        results = call.needs_dx + learns
        made += layer.multiply_adds_made(node.input_shape, results) * call.images
    weights = sum(int(w.value.nbytes) for w in layer.weights)
    learned = sum(int(w.value.nbytes) for w in layer.trainable_weights)
    forward_moved = sum(call.bytes_moved for call in forward)
    backward_moved = sum(call.bytes_moved for call in backward)
    kept = sum(_union(call.kept for call in forward).values())
    if backward_moved:  # what was kept need be no more than what forward saw; dw, and w for dx
        backward_moved += min(kept, forward_moved)
        backward_moved += learned * (1 + any(call.needs_dx for call in backward))
    return LayerProfile(
        name=name,
        type=type(layer).__name__,
        output_shape=", ".join(shape_text(tensor.shape) for tensor in node.outputs),
        algorithm=layer.algorithm_for(node.input_shape),
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


def _bytes_moved(given: Any, made: Any, in_place: bool, learns: bool) -> int:
    """Bytes of the arrays that a call is given and makes, see `Observer`.

    Args:
        in_place: whether it writes its results over what it is given.
        learns: whether it reads what it is given in any case.
    """
    there = {_address(array) for array in _arrays(given)}
    new = [array for array in _arrays(made) if in_place or _address(array) not in there]
    if not new and not learns:
        return 0
    return sum(int(array.nbytes) for array in [*_arrays(given), *new])


def _kept(saved: Any) -> dict[int, int]:
    """{address: bytes} of all arrays in nested lists: an array and a reshaped view count once."""
    return _union(
        {_address(array): int(array.nbytes)} for array in _arrays(saved) if backend.is_array(array)
    )


def _address(array: Any) -> int:
    interface = getattr(array, "__array_interface__", None) or array.__cuda_array_interface__
    return interface["data"][0]


def _union(parts: Iterable[dict[int, int]]) -> dict[int, int]:
    union: dict[int, int] = {}
    for part in parts:
        for address, size in part.items():
            union[address] = max(size, union.get(address, 0))
    return union


def _arrays(x: Any) -> Iterator[Any]:
    """What is in nested lists, tuples and dictionaries."""
    if isinstance(x, dict):
        x = list(x.values())
    if isinstance(x, (list, tuple)):
        for inner in x:
            yield from _arrays(inner)
    elif x is not None:
        yield x


def _images(x: Any) -> int:
    return len(next(_arrays(x)))
