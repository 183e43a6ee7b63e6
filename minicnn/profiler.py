"""Where the time of a training step goes: one row for each layer of a model.

`model.profile(x)` runs forward and backward on one batch with an `Observer` in the `Context`, which
calls each layer in place of the graph, looks at the clock before and after and writes a line into
a log. The rest of this file adds the lines up.

How to read a figure in GFLOP/s: a layer of M multiply-adds an image does 2 M floating-point
operations, 2 M N / seconds / 1e9 = GFLOP/s for N images. The most that the machine can do is the
rate of one large matrix product, measured in the same run (`product_peak`). An algorithm that needs
fewer multiplications than the definition of a convolution (Winograd) can be above that peak, as
the operations counted are those of the definition.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from threadpoolctl import threadpool_limits

from minicnn import backend
from minicnn.batches import ArrayBatches, check_integer
from minicnn.context import Context
from minicnn.layers.seeded import SeededLayer
from minicnn.models import Model
from minicnn.nodes import Node
from minicnn.parallel import Communicator, one_blas_thread, run_shards
from minicnn.parallel.batch import batch_length, batch_part
from minicnn.parallel.memory import keep_freed_memory
from minicnn.plots import Path, plot_profile
from minicnn.registry import snake_case
from minicnn.slices import even_slices
from minicnn.steps import Step
from minicnn.summary import shape_text, table_line

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class LayerProfile:
    """One layer's share in a step.

    Attributes:
        name: with the names of the models it stands in before it, "encoder/conv2d".
        type: its class.
        output_shape: as text, n for the batch.
        algorithm: how its products are computed; empty where there is no choice.
        forward_seconds, backward_seconds: for the batch; the mean over the threads.
        forward_multiply_adds, backward_multiply_adds: for the batch. Backward takes as many as
            forward for the gradient of the weights, and as many for that of the input; each only
            where somebody needs it.
        bytes_kept: what the layer's forward pass leaves in memory for its backward pass.
        multiply_adds_made: what the layer's algorithm makes of them, forward and backward;
            Winograd's are fewer.
    """

    name: str
    type: str
    output_shape: str
    algorithm: str
    forward_seconds: float
    backward_seconds: float
    forward_multiply_adds: int
    backward_multiply_adds: int
    bytes_kept: int
    multiply_adds_made: float

    @property
    def seconds(self) -> float:
        return self.forward_seconds + self.backward_seconds

    @property
    def multiply_adds(self) -> int:
        return self.forward_multiply_adds + self.backward_multiply_adds

    @property
    def forward_gflops(self) -> float | None:
        """GFLOP/s; None without products."""
        return _rate(self.forward_multiply_adds, self.forward_seconds)

    @property
    def backward_gflops(self) -> float | None:
        return _rate(self.backward_multiply_adds, self.backward_seconds)

    @property
    def gflops(self) -> float | None:
        """GFLOP/s of forward and backward together; None without products."""
        return _rate(self.multiply_adds, self.seconds)


class Profile:
    """What `model.profile` returns; as a string it is the table.

    Attributes:
        name, dtype: of the model.
        rows: a `LayerProfile` for each layer call, in the order of the forward pass.
        images: images in the batch.
        threads: threads that ran it.
        peak: GFLOP/s of a large matrix product on as many threads.
        bytes_kept: memory that holds what all layers keep for backward. An array that two layers
            keep (the output of one, the input of the next) counts once, so that this may be less
            than the sum of the rows.
        seconds_between: time of the pass outside the layers, such as for summing the gradients of
            branches.
    """

    def __init__(
        self,
        name: str,
        dtype: str,
        rows: Sequence[LayerProfile],
        images: int,
        threads: int,
        peak: float,
        bytes_kept: int,
        seconds_between: float = 0.0,
    ):
        self.name = name
        self.dtype = dtype
        self.rows = list(rows)
        self.images = images
        self.threads = threads
        self.peak = peak
        self.bytes_kept = bytes_kept
        self.seconds_between = seconds_between

    @property
    def forward_seconds(self) -> float:
        return sum(row.forward_seconds for row in self.rows)

    @property
    def backward_seconds(self) -> float:
        return sum(row.backward_seconds for row in self.rows)

    @property
    def seconds(self) -> float:
        """All of the pass: the layers, and what is between them."""
        return self.forward_seconds + self.backward_seconds + self.seconds_between

    @property
    def multiply_adds(self) -> int:
        return sum(row.multiply_adds for row in self.rows)

    @property
    def gflops(self) -> float | None:
        """GFLOP/s of the whole pass, the layers without products included in its time."""
        return _rate(self.multiply_adds, self.seconds)

    @property
    def seconds_at_peak(self) -> float:
        """What the pass would take if its algorithms made their products at `peak`, and if all
        else took no time."""
        return 2 * sum(row.multiply_adds_made for row in self.rows) / (self.peak * 1e9)

    def peak_share(self, row: LayerProfile) -> float | None:
        """A layer's GFLOP/s as a share of `peak`; None without products."""
        return None if row.gflops is None else row.gflops / self.peak

    def plot(self, path: Path | None = None, title: str | None = None) -> "Figure":
        """A bar of forward and backward time for each layer, see `minicnn.plots.plot_profile`."""
        return plot_profile(self, path, title)

    def __str__(self) -> str:
        header = [
            "Layer (type)", "Output shape", "Algorithm", "Multiply-adds", "Forward ms", "GFLOP/s",
            "Backward ms", "GFLOP/s", "Of time", "Of peak", "Kept MB",
        ]  # fmt: skip
        rows = [self._cells(row) for row in self.rows]
        widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
        numbers = range(3, len(header))
        rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        lines = [f"Profile of {self.name!r}: a step on {self.images} images, {threads}", rule]
        lines += [table_line(header, widths, numbers), rule]
        lines += [table_line(row, widths, numbers) for row in rows]
        lines += [
            rule,
            f"Time: forward {1e3 * self.forward_seconds:,.2f} ms + backward "
            f"{1e3 * self.backward_seconds:,.2f} ms + between layers "
            f"{1e3 * self.seconds_between:,.2f} ms = {1e3 * self.seconds:,.2f} ms, "
            f"{self.images / self.seconds:,.0f} images/s",
            f"Rate: {self.gflops or 0:,.1f} GFLOP/s; peak of a {self.dtype} matrix product on "
            f"{threads}: {self.peak:,.1f} GFLOP/s",
            f"Products of the algorithms at that peak, and nothing else: "
            f"{1e3 * self.seconds_at_peak:,.2f} ms",
            f"Kept for backward: {self.bytes_kept / 1e6:,.2f} MB",
        ]
        return "\n".join(lines)

    def _cells(self, row: LayerProfile) -> list[str]:
        share = self.peak_share(row)
        own_name = row.name.split("/")[-1].startswith(snake_case(row.type))  # such as conv2d_1
        return [
            row.name if own_name else f"{row.name} ({row.type})",
            row.output_shape,
            row.algorithm,
            f"{row.forward_multiply_adds // self.images:,}" if row.gflops else "",
            f"{1e3 * row.forward_seconds:,.2f}",
            "" if row.forward_gflops is None else f"{row.forward_gflops:,.1f}",
            f"{1e3 * row.backward_seconds:,.2f}",
            "" if row.backward_gflops is None else f"{row.backward_gflops:,.1f}",
            f"{row.seconds / self.seconds:.0%}",
            "" if share is None else f"{share:.0%}",
            f"{row.bytes_kept / 1e6:,.2f}",
        ]


@dataclass(frozen=True)
class Call:
    """One line of the log: a layer worked on some images.

    Attributes:
        node: which layer, and where in the model.
        phase: "forward" or "backward".
        images: how many it worked on.
        needs_dx: whether backward had to give the gradient of the input.
        kept: {address: bytes} of the arrays that a forward call saved.
    """

    node: Node
    phase: str
    seconds: float
    images: int
    needs_dx: bool
    kept: dict[int, int]


class Observer:
    """Calls layers in place of the graph and keeps a log of it.

    Several threads may write into one log (appending to a list cannot be interrupted), and a layer
    may be called any number of times in a pass, on a few images each.

    Attributes:
        calls: the log.
        seconds: what whole passes took, an entry for each thread.
    """

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.seconds: list[float] = []

    def call(self, step: Step, phase: str, x: Any, ctx: Context) -> Any:
        """The step's method, "forward" on x or "backward" on the gradient of the output."""
        node = step.node
        method = getattr(node.layer, step.forward if phase == "forward" else step.backward)
        if isinstance(node.layer, Model):  # the layers inside are logged one by one
            return method(x, ctx)
        # the end of a layer's work that was put off has no products of its own
        images = 0 if step.forward == "finish" else _images(x)
        result, seconds = _timed(method, x, ctx)
        kept = _kept(ctx.all_saved()) if phase == "forward" else {}
        self.calls.append(Call(node, phase, seconds, images, ctx.needs_dx, kept))
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
        _observed(model, batch, threads)  # warm-up: memory is allocated, threads start
        passes = [_observed(model, batch, threads) for _ in range(repeats)]
    rows = [
        _row(name, [[c for c in seen.calls if c.node is node] for seen in passes], threads)
        for node, name in nodes.items()
    ]
    kept = sum(_union(call.kept for call in passes[0].calls).values())
    peak = product_peak(model.dtype, threads)
    whole = median(sum(seen.seconds) for seen in passes) / threads
    between = max(0.0, whole - sum(row.seconds for row in rows))
    return Profile(model.name, model.dtype, rows, images, threads, peak, kept, between)


def product_peak(dtype: str = "float32", threads: int = 1, seconds: float = 0.2) -> float:
    """GFLOP/s of a large square matrix product: the best of those done in `seconds`.

    The products get larger, n = 512, 1024 ..., until one (2 n^3 operations) takes a twentieth of
    that time.

    Args:
        dtype: "float32" or "float64".
        threads: BLAS threads; a GPU does not ask.
    """
    xp = backend.current_module()
    generator = backend.random_generator(0)
    best, spent, n, large_enough = 0.0, 0.0, 256, False
    with threadpool_limits(limits=threads, user_api="blas"):
        while spent < seconds:
            if not large_enough:
                n *= 2
                a, b = (generator.random((n, n), dtype=dtype) for _ in range(2))
                c = xp.matmul(a, b)  # the first product of a size waits for memory
            _, took = _timed(xp.matmul, a, b, c)
            large_enough = took >= seconds / 20
            best = max(best, 2 * n**3 / took / 1e9)
            spent += took
    return best


def _observed(model: Model, x: Any, threads: int) -> Observer:
    """What an observer has seen of one forward and backward pass over a batch."""
    observer = Observer()
    slices = even_slices(batch_length(x), threads)

    def run(comm: Communicator) -> None:
        part = slices[comm.rank]
        generator = backend.random_generator([0, comm.rank])
        ctx = Context(
            training=True, rng=generator, comm=comm, needs_dx=False,
            wants_logits=model._takes_logits(), observer=observer,
        )  # fmt: skip
        y, forward_seconds = _timed(model.forward, batch_part(x, part), ctx)
        dys = [generator.random(a.shape, dtype=a.dtype) for a in _arrays(y)]
        dy = dys if isinstance(y, (list, tuple)) else dys[0]
        comm.barrier()  # all that is kept is there at once, so that no address comes twice
        _, backward_seconds = _timed(model.backward, dy, ctx)
        observer.seconds.append(forward_seconds + backward_seconds)

    run_shards(threads, run)
    return observer


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
    return LayerProfile(
        name=name,
        type=type(layer).__name__,
        output_shape=", ".join(shape_text(tensor.shape) for tensor in node.outputs),
        algorithm=layer.algorithm_for(node.input_shape),
        forward_seconds=_median_seconds(passes, "forward") / threads,
        backward_seconds=_median_seconds(passes, "backward") / threads,
        forward_multiply_adds=products * sum(call.images for call in forward),
        backward_multiply_adds=products
        * sum(call.images * (call.needs_dx + learns) for call in backward),
        bytes_kept=sum(_union(call.kept for call in forward).values()),
        multiply_adds_made=made,
    )


def _median_seconds(passes: list[list[Call]], phase: str) -> float:
    return median(sum(call.seconds for call in p if call.phase == phase) for p in passes)


def _timed(function: Callable[..., Any], *arguments: Any) -> tuple[Any, float]:
    """What a function returns, and the seconds it takes until the device is done."""
    backend.synchronize()
    start = time.perf_counter()
    result = function(*arguments)
    backend.synchronize()
    return result, time.perf_counter() - start


def _rate(multiply_adds: int, seconds: float) -> float | None:
    return 2 * multiply_adds / seconds / 1e9 if multiply_adds and seconds else None


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
