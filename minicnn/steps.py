"""The order in which a graph does its work: steps, and segments of steps.

Three things are done otherwise than a list of layers says, none of which changes a result:

- An activation that never falls, such as ReLU, gives the same after a maximum as before it:
  max(f(a), f(b)) = f(max(a, b)). So it, and the bias before it, waits until a max-pooling that
  follows has left a quarter of the numbers.
- A pooling whose windows do not fill the image never looks at its last rows and columns (13 rows
  in windows of 2: the last one). A convolution that it alone reads does not compute them.
- Consecutive layers that work image by image run on a few images at a time, forward and backward,
  so that what one layer writes is still in the processor's cache when the next reads it. Layers
  that look across images (BatchNormalization in training) or whose weights are much larger than
  what they read (Dense) get all images at once.
"""

from collections.abc import Sequence
from typing import Any

from minicnn import backend
from minicnn.kernels.windows import pad
from minicnn.nodes import Node, Parts, SymbolicTensor
from minicnn.slices import even_slices

# Bytes of the widest place of a segment for one tile of images. Measured with two threads on cores
# with 512 KB of L2 cache each and 32 MB of L3 together: training the tutorial network takes 10 to
# 20 % longer with 1 MB, 5 to 10 % with 2 or 8 MB. Smaller tiles would fit L2, but make so many
# short calls that the threads wait for each other at Python's interpreter lock.
TILE_BYTES = 1 << 22

# A segment ends before a step that reads less than this share of the widest place before it.
LITTLE = 0.3


class Step:
    """One thing to do: a whole layer call, or the first or the last part of one.

    Attributes:
        node: the layer call.
        forward, backward: names of the layer's methods.
        inputs, outputs: what it reads and makes; between parts of a call tensors of their own.
        rows_and_columns: how many of its image it reads, the first ones; None for all.
    """

    def __init__(
        self,
        node: Node,
        inputs: Sequence[SymbolicTensor],
        outputs: Sequence[SymbolicTensor],
        forward: str = "forward",
        backward: str = "backward",
    ):
        self.node = node
        self.layer = node.layer
        self.forward = forward
        self.backward = backward
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)
        self.rows_and_columns: tuple[int, int] | None = None

    def cropped(self, x: Any) -> Any:
        """What the step reads of its input."""
        if self.rows_and_columns is None:
            return x
        rows, columns = self.rows_and_columns
        return x[:, :rows, :columns]

    def uncropped(self, dx: Any) -> Any:
        """Adjoint of `cropped`: zeros for what was not read."""
        if self.rows_and_columns is None or dx is None:
            return dx
        n, rows, columns, c = dx.shape
        _, h, w, _ = self.inputs[0].shape
        return pad(dx, ((0, h - rows), (0, w - columns)))

    def takes_whole_batch(self, training: bool) -> bool:
        """Whether it has to, or should, see all images of a shard at once."""
        if self.node.training is not None:
            training = self.node.training
        return not self.layer.by_tiles or (self.layer.whole_batch and training)


class Segment:
    """Consecutive steps, either one that takes the whole batch or any number that go by tiles.

    Attributes:
        steps: in order.
        inputs: tensors read that are made outside.
        outputs: tensors made that are read outside.
        dying: for each step, tensors that nobody reads after it.
        whole: whether the batch stays in one piece.
        widest: numbers an image that a step reads and writes, at most.
        weights: numbers in the weights of the layers.
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
        self.widest = max(map(_width, self.steps))
        layers = dict.fromkeys(step.layer for step in self.steps)
        self.weights = sum(int(w.value.size) for layer in layers for w in layer.weights)

    def tiles(self, images: int, itemsize: int) -> list[slice]:
        """The batch cut into tiles, as even as possible; in one on a GPU."""
        if self.whole or backend.get_backend() != "numpy":
            return [slice(0, images)]
        # a tile is no smaller than the weights, which are read again for each one
        tile_bytes = max(TILE_BYTES, self.weights * itemsize)
        count = max(1, min(images, round(images * self.widest * itemsize / tile_bytes)))
        return even_slices(images, count)


def steps_of(nodes: Sequence[Node], readers: dict[SymbolicTensor, int]) -> list[Step]:
    """Steps of nodes in order, with activations behind maxima and without idle convolution.

    Args:
        readers: how many nodes (or outputs of the graph) read each tensor.
    """
    steps: list[Step] = []
    made_by: dict[SymbolicTensor, Step] = {}
    for node in nodes:
        step = Step(node, node.inputs, node.outputs)
        before = made_by.get(node.inputs[0])
        if before is None or readers[node.inputs[0]] > 1 or len(before.outputs) > 1:
            steps.append(step)
        elif not (_is_known(before.layer) and _is_known(node.layer)):
            steps.append(step)
        elif (parts := _parts_around(before, step)) is not None:
            steps.remove(before)
            steps += _rearranged(before, step, *parts)
        else:
            _crop(before, step)
            steps.append(step)
        made_by.update((t, steps[-1]) for t in node.outputs)
    return steps


def _is_known(layer: Any) -> bool:
    """Whether forward and backward are the library's own: what its layers say about theirs need
    not hold for those that a subclass defines."""
    own = __name__.partition(".")[0]
    methods = (type(layer).forward, type(layer).backward)
    return all(method.__module__.partition(".")[0] == own for method in methods)


def _parts_around(producer: Step, reader: Step) -> Parts | None:
    """How the producer's work is split by its reader, if that is a maximum."""
    if not reader.layer.is_maximum:
        return None
    return producer.layer.parts_around_maximum(producer.forward)


def _rearranged(
    producer: Step, maximum: Step, first: tuple[str, str] | None, last: tuple[str, str]
) -> list[Step]:
    """producer, maximum as: its first part (if any), the maximum, its last part."""
    (large,), (small,) = producer.outputs, maximum.outputs
    source, pooled = producer.inputs[0], SymbolicTensor(small.shape)
    steps = []
    if first is not None:
        source = SymbolicTensor(large.shape)
        steps.append(Step(producer.node, producer.inputs, [source], *first))
    steps.append(Step(maximum.node, [source], [pooled]))
    if first is not None:
        _crop(*steps)
    return [*steps, Step(producer.node, [pooled], [small], *last)]


def _crop(producer: Step, reader: Step) -> None:
    """Have the producer make only what the reader looks at."""
    size = reader.layer.input_size_read(reader.inputs[0].shape)
    if size is not None and producer.forward in ("forward", "linear"):
        producer.rows_and_columns = producer.layer.input_size_for(size)


def segments_of(
    steps: Sequence[Step], outputs: Sequence[SymbolicTensor], training: bool
) -> list[Segment]:
    """Steps grouped into segments; `outputs` are those of the graph.

    A segment also ends where little is handed on, as behind a pooling: what follows is smaller and
    goes better with more images at a time.
    """
    groups: list[tuple[list[Step], bool]] = []
    for step in steps:
        whole = step.takes_whole_batch(training)
        group, group_whole = groups[-1] if groups else ([], True)
        handed_on = sum(t.size for t in step.inputs)
        if whole or group_whole or handed_on <= max(map(_width, group)) * LITTLE:
            groups.append(([step], whole))
        else:
            group.append(step)
    segments: list[Segment] = []
    read_later = set(outputs)
    for group, whole in reversed(groups):
        segments.append(Segment(group, read_later, whole))
        read_later = read_later.union(segments[-1].inputs)
    return segments[::-1]


def _width(step: Step) -> int:
    """Numbers an image that a step reads and writes."""
    return sum(t.size for t in (*step.inputs, *step.outputs))
