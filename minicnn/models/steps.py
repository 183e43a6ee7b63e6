"""What a graph does: steps, and segments of consecutive steps.

A step is a layer call, or a part of one; in which order and pieces they are done is decided in
`minicnn.models.schedule`. A segment runs its steps on a chunk of a few images at a time, forward
and backward, so that what one layer writes is still in the processor's cache when the next reads
it.
"""

from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any, NamedTuple

from minicnn import backend
from minicnn.backend import array_module
from minicnn.dtypes import cast, dtype_of
from minicnn.kernels.windows import pad
from minicnn.layers.base import Layer
from minicnn.layers.context import Context
from minicnn.layers.dense import Dense
from minicnn.layers.nodes import Node, SymbolicTensor
from minicnn.models.whole_batch import gathered, is_gathered
from minicnn.parallel.slices import even_chunks
from minicnn.training.trainer import Trainer
from minicnn.typing import Array

# Bytes of the widest place of a segment for one chunk of images. Measured with two threads on cores
# with 512 KB of L2 cache each and 32 MB of L3 together: training the tutorial network takes 10 to
# 20 % longer with 1 MB, 5 to 10 % with 2 or 8 MB. Smaller chunks would fit L2, but make so many
# short calls that the threads wait for each other at Python's interpreter lock.
CHUNK_BYTES = 1 << 22

# The forward and the backward pass of a layer, or of a part of its work.
Passes = tuple[Callable[[Any, Context], Any], Callable[[Any, Context], Any]]


class Step:
    """One entry of the schedule: a whole layer call, or the first or the last part of one.

    Args:
        node: the layer call.
        inputs, outputs: what it reads and makes; between the parts of a call, tensors of their own.
        passes: bound methods of the layer; default: its `forward` and `backward`.

    Attributes:
        layer: that of the node.
        run, run_back: the passes.
        gathers: whether the layer has to be given the images of all shards.
        rows_and_columns: how many of its image it reads, the first ones; None for all.
        closes: whether it makes the graph's only output, so that it may leave out a softmax.
    """

    def __init__(
        self,
        node: Node,
        inputs: Sequence[SymbolicTensor],
        outputs: Sequence[SymbolicTensor],
        passes: Passes | None = None,
    ):
        self.node = node
        self.layer: Layer = node.layer
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)
        own: Passes = (self.layer.forward, self.layer.backward)
        self.run, self.run_back = own if passes is None else passes
        self.gathers = is_gathered(self.layer)
        self.rows_and_columns: tuple[int, int] | None = None
        self.closes = False

    def forward(
        self,
        values: dict[SymbolicTensor, Array],
        ctx: Context,
        crops: bool = True,
        dying: Collection[SymbolicTensor] = (),
    ) -> None:
        """Run the layer on what `values` holds for the inputs, and put the outputs there.

        Args:
            values: {tensor: array}, changed in place.
            ctx: of this layer call.
            crops: whether to leave out the rows and columns that are not read.
            dying: tensors that nobody reads after this step; they leave `values`.
        """
        xs = [values[t] for t in self.inputs]
        if crops and self.rows_and_columns is not None:
            rows, columns = self.rows_and_columns
            xs = [x[:, :rows, :columns] for x in xs]
        for tensor in dying:
            values.pop(tensor, None)
        if self.layer.autocast:
            xs = _cast(xs, self.layer, ctx)
        run = self.run if ctx.observer is None else partial(ctx.observer.call, self, "forward")
        if self.gathers and ctx.comm.size > 1:
            run = partial(gathered, run)
        y = run(xs if self.node.many_inputs else xs.pop(), ctx)
        del xs
        ys = y if self.node.many_outputs else [y]
        if self.layer.autocast:
            ys = [cast(y, self.layer.compute_dtype) for y in ys]
        values.update(zip(self.outputs, ys, strict=True))

    def backward(
        self, gradients: dict[SymbolicTensor, Array], ctx: Context, crops: bool = True
    ) -> None:
        """Take the gradients of the outputs out of `gradients`, and add those of the inputs.

        Args:
            gradients: {tensor: array}, changed in place.
            ctx: of this layer call, as forward left it.
            crops: as forward was told.
        """
        dys = [gradients.pop(t, None) for t in self.outputs]
        wanted = ctx.needs_dx or bool(self.layer.trainable_weights)
        if not wanted or all(dy is None for dy in dys):
            return
        run = self.run_back
        if ctx.observer is not None:
            run = partial(ctx.observer.call, self, "backward")
        if self.gathers and ctx.comm.size > 1:
            run = partial(gathered, run)
        dx = run(dys if self.node.many_outputs else dys[0], ctx)
        dxs = dx if self.node.many_inputs else [self._uncropped(dx) if crops else dx]
        if self.layer.autocast:
            dxs = _cast_back(dxs, self.layer, ctx)
        for tensor, part in zip(self.inputs, dxs, strict=True):
            if part is not None:
                gradients[tensor] = summed(gradients.get(tensor), part)

    def _uncropped(self, dx: Array | None) -> Array | None:
        """Adjoint of the crop in `forward`: zeros for what was not read."""
        if self.rows_and_columns is None or dx is None:
            return dx
        _, rows, columns, _ = dx.shape
        _, h, w, _ = self.inputs[0].shape
        assert h is not None and w is not None  # images whose size is known are cropped, no others
        return pad(dx, ((0, h - rows), (0, w - columns)))

    def takes_whole_batch(self, training: bool) -> bool:
        """Whether it has to, or should, see all images of a shard at once.

        Args:
            training: what the pass does, where the layer call does not say.
        """
        if self.node.training is not None:
            training = self.node.training
        # The weights of Dense are large beside what they are applied to: they would be read again
        # for every chunk. A model within the model cuts its batch itself.
        if isinstance(self.layer, (Dense, Trainer)):
            return True
        return self.gathers or self.layer.whole_batch and training

    @property
    def width(self) -> int:
        """Elements per image that it reads and writes."""
        return sum(t.size for t in (*self.inputs, *self.outputs))


class Pass(NamedTuple):
    """What holds for one forward pass of a graph and for its backward pass.

    Attributes:
        images: of the shard.
        itemsize: bytes per element of the graph's input.
        crops: whether steps leave out rows and columns that are not read.
        needs_dx: for each step, whether anybody needs the gradients of its inputs.
        graph: the one whose steps they are.
    """

    images: int
    itemsize: int
    crops: bool
    needs_dx: dict[Step, bool]
    graph: Any


class Segment:
    """Consecutive steps: either one that takes the whole batch, or any number that go by chunks.

    Args:
        steps: in order.
        read_later: tensors that are read after the segment, or are outputs of the graph.
        whole: whether the batch stays in one piece.

    Attributes:
        inputs: tensors read that are made outside.
        outputs: tensors made that are read outside.
        dying: for each step, tensors that nobody reads after it.
        widest: elements per image that a step reads and writes, at most.
        weights: elements in the weights of the layers.
    """

    def __init__(self, steps: Sequence[Step], read_later: set[SymbolicTensor], whole: bool):
        self.steps = list(steps)
        self.whole = whole
        made = {t: None for step in steps for t in step.outputs}
        self.inputs = list(dict.fromkeys(t for s in steps for t in s.inputs if t not in made))
        self.outputs = [t for t in made if t in read_later]
        self.dying: list[list[SymbolicTensor]] = []
        seen = set(self.outputs)
        for step in reversed(self.steps):
            self.dying.append([t for t in step.inputs if t not in seen])
            seen.update(step.inputs)
        self.dying.reverse()
        self.widest = max(step.width for step in self.steps)
        layers = dict.fromkeys(step.layer for step in self.steps)
        self.weights = sum(int(w.value.size) for layer in layers for w in layer.weights)

    def chunks(self, images: int, itemsize: int) -> list[slice]:
        """The batch cut into chunks, as even as possible; in one piece on a GPU.

        Args:
            images: in the batch.
            itemsize: bytes per element.
        """
        if self.whole or backend.get_backend() != "numpy":
            return [slice(0, images)]
        # a chunk is no smaller than the weights, which are read again for each one
        chunk_bytes = max(CHUNK_BYTES, self.weights * itemsize)
        return even_chunks(images, self.widest * itemsize, chunk_bytes)

    def forward(self, values: dict[SymbolicTensor, Array], ctx: Context, this_pass: Pass) -> None:
        """Run the steps, chunk by chunk, and put the outputs of the segment into `values`.

        Args:
            values: {tensor: array of all images}, changed in place.
            ctx: of the graph.
            this_pass: what holds for it.
        """
        chunks = self.chunks(this_pass.images, this_pass.itemsize)
        for k, chunk in enumerate(chunks):
            of_chunk = {t: _cut(values[t], chunk, chunks) for t in self.inputs}
            for step, dying in zip(self.steps, self.dying, strict=True):
                inner = ctx.child(
                    (step, k), this_pass.needs_dx[step], ctx.wants_logits and step.closes,
                    step.node.training,
                )  # fmt: skip
                step.forward(of_chunk, inner, this_pass.crops, dying)
            for tensor in self.outputs:
                _paste(values, tensor, of_chunk[tensor], chunk, chunks)

    def backward(
        self, gradients: dict[SymbolicTensor, Array], ctx: Context, this_pass: Pass
    ) -> None:
        """The same backwards: takes the gradients of the outputs, adds those of the inputs.

        Args:
            gradients: {tensor: array for all images}, changed in place.
            ctx, this_pass: as forward was given them.
        """
        received = {t: gradients.pop(t) for t in self.outputs if t in gradients}
        chunks = self.chunks(this_pass.images, this_pass.itemsize)
        made: dict[SymbolicTensor, Array] = {}
        for k, chunk in enumerate(chunks):
            of_chunk = {t: _cut(dy, chunk, chunks) for t, dy in received.items()}
            for step in reversed(self.steps):
                step.backward(of_chunk, ctx.child((step, k)), this_pass.crops)
                ctx.release((step, k))
            for tensor in self.inputs:
                if of_chunk.get(tensor) is not None:
                    _paste(made, tensor, of_chunk[tensor], chunk, chunks)
        for tensor, dx in made.items():
            gradients[tensor] = summed(gradients.get(tensor), dx)


def summed(present: Array | None, part: Array) -> Array:
    """present + part; the part itself where nothing is present."""
    return part if present is None else present + part


def _cut(values: Array, chunk: slice, chunks: Sequence[slice]) -> Array:
    return values if len(chunks) == 1 else values[chunk]


def _paste(
    target: dict[SymbolicTensor, Array],
    tensor: SymbolicTensor,
    part: Array,
    chunk: slice,
    chunks: Sequence[slice],
) -> None:
    """Put a chunk's array at its place in that of the batch."""
    if len(chunks) == 1:
        target[tensor] = part
        return
    if tensor not in target:
        shape = (chunks[-1].stop, *part.shape[1:])
        target[tensor] = array_module(part).empty(shape, part.dtype)
    target[tensor][chunk] = part


def _cast(xs: list[Array], layer: Layer, ctx: Context) -> list[Array]:
    """What a layer is given, in the dtype in which it computes."""
    dtype = dtype_of(layer.compute_dtype)
    if all(x.dtype == dtype for x in xs):  # as nearly always
        return xs
    converted = [cast(x, layer.compute_dtype) for x in xs]
    if any(a is not b for a, b in zip(converted, xs, strict=True)):
        ctx.given_dtypes = [x.dtype for x in xs]
    return converted


def _cast_back(dxs: Sequence[Array | None], layer: Layer, ctx: Context) -> list[Array | None]:
    """Adjoint of `_cast`: gradients in the dtype of what the layer was given."""
    if ctx.given_dtypes is None:
        return [dx if dx is None else cast(dx, layer.compute_dtype) for dx in dxs]
    pairs = zip(dxs, ctx.given_dtypes, strict=True)
    return [dx if dx is None else dx.astype(dtype, copy=False) for dx, dtype in pairs]
