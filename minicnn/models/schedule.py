"""In which order and pieces a graph does its work.

Three things are done in another order than a list of layers says. None of them changes a result:

- An activation that never falls, such as ReLU, gives the same after a maximum as before it:
  max(f(a), f(b)) = f(max(a, b)). So it, and the bias before it, waits until a max-pooling that
  follows has left a quarter of the elements.
- A pooling whose windows do not fill the image never looks at its last rows and columns (13 rows
  in windows of 2: the last one). A convolution that it alone reads does not compute them.
- Consecutive layers that work image by image form a segment, which goes by chunks of images (see
  `minicnn.models.steps`). A layer that looks across images (see
  `minicnn.models.whole_batch`), or whose weights are much larger than what it reads (Dense), gets
  all images at once.
"""

from collections.abc import Sequence

from minicnn.layers.activated import ActivatedLayer
from minicnn.layers.activation import Activation
from minicnn.layers.base import Layer
from minicnn.layers.conv import Conv2D
from minicnn.layers.nodes import Node, SymbolicTensor
from minicnn.layers.pooling import GlobalMaxPooling2D, MaxPooling2D, Pooling2D
from minicnn.models.penalized import behind
from minicnn.models.steps import Passes, Segment, Step
from minicnn.registry import is_library_code

# A segment ends before a step that reads less than this share of the widest place before it.
LITTLE = 0.3


def steps_of(nodes: Sequence[Node], readers: dict[SymbolicTensor, int]) -> list[Step]:
    """Steps of nodes in order, with activations behind maxima and without idle convolution.

    Args:
        nodes: layer calls, each after what it reads.
        readers: how many nodes (or outputs of the graph) read each tensor.
    """
    steps: list[Step] = []
    made_by: dict[SymbolicTensor, Step] = {}
    for node in nodes:
        before = made_by.get(node.inputs[0])
        if node.layer.activity_regularizer is not None:  # what it gives has to be there, and whole
            given, penalized = behind(node)
            steps.append(Step(node, node.inputs, given))
            steps.append(Step(penalized, given, node.outputs))
            made_by.update((t, steps[-1]) for t in node.outputs)
            continue
        step = Step(node, node.inputs, node.outputs)
        if before is None or readers[node.inputs[0]] > 1 or len(before.outputs) > 1:
            steps.append(step)
        elif not (runs_library_code(before.layer) and runs_library_code(node.layer)):
            steps.append(step)
        elif is_maximum(node.layer) and (parts := _around_maximum(before)) is not None:
            steps.remove(before)
            steps += _rearranged(before, step, *parts)
        else:
            _crop(before, step)
            steps.append(step)
        made_by.update((t, steps[-1]) for t in node.outputs)
    return steps


def runs_library_code(layer: Layer) -> bool:
    """Whether forward and backward are the library's own: what is known of its layers need not hold
    for those that a subclass defines.

    Args:
        layer: any.
    """
    return is_library_code(type(layer).forward) and is_library_code(type(layer).backward)


def is_maximum(layer: Layer) -> bool:
    """Whether every output of `layer` is the maximum of some inputs."""
    return isinstance(layer, (MaxPooling2D, GlobalMaxPooling2D))


def _around_maximum(step: Step) -> tuple[Passes | None, Passes] | None:
    """How the work of a step is split by a maximum that follows: (the part before, None for
    nothing; the part after). None where the order matters."""
    layer = step.layer
    if isinstance(layer, Activation):
        return (None, (layer.forward, layer.backward)) if layer.activation.rises else None
    if not isinstance(layer, ActivatedLayer) or not layer.activation.rises:
        return None
    if layer.bias is None and layer.activation.is_linear:
        return None
    # behind an earlier maximum only the end of the work is left
    first = (layer.linear, layer.linear_gradient) if step.run == layer.forward else None
    return first, (layer.finish, layer.finish_gradient)


def _rearranged(producer: Step, maximum: Step, first: Passes | None, last: Passes) -> list[Step]:
    """producer, maximum as: its first part (if any), the maximum, its last part."""
    (large,), (small,) = producer.outputs, maximum.outputs
    source, pooled = producer.inputs[0], SymbolicTensor(small.shape)
    steps = []
    if first is not None:
        source = SymbolicTensor(large.shape)
        steps.append(Step(producer.node, producer.inputs, [source], first))
    steps.append(Step(maximum.node, [source], [pooled]))
    if first is not None:
        linear, pooling = steps
        _crop(linear, pooling)
    return [*steps, Step(producer.node, [pooled], [small], last)]


def _crop(producer: Step, reader: Step) -> None:
    """Have a convolution make only what the pooling that reads it looks at."""
    conv, pooling = producer.layer, reader.layer
    if not (isinstance(conv, Conv2D) and isinstance(pooling, Pooling2D)):
        return
    if not (conv.padding == pooling.padding == "valid"):
        return
    if producer.run not in (conv.forward, conv.linear):
        return  # what is left of its work has no windows
    _, height, width, _ = reader.inputs[0].shape
    if height is None or width is None:
        return
    read = pooling.window.input_size(pooling.window.output_size(height, width))
    if read != (height, width):
        producer.rows_and_columns = conv.window.input_size(read)


def segments_of(
    steps: Sequence[Step], outputs: Sequence[SymbolicTensor], training: bool
) -> list[Segment]:
    """Steps grouped into segments.

    A segment also ends where little is handed on, as behind a pooling: what follows is smaller and
    goes better with more images at a time.

    Args:
        steps: of a graph, in order.
        outputs: of the graph.
        training: whether the segments are for training, where batch statistics are used.
    """
    groups: list[tuple[list[Step], bool]] = []
    for step in steps:
        whole = step.takes_whole_batch(training)
        group, group_whole = groups[-1] if groups else ([], True)
        handed_on = sum(t.size for t in step.inputs)
        widest = max((s.width for s in group), default=0)
        if whole or group_whole or handed_on <= widest * LITTLE:
            groups.append(([step], whole))
        else:
            group.append(step)
    segments: list[Segment] = []
    read_later = set(outputs)
    for group, whole in reversed(groups):
        segments.append(Segment(group, read_later, whole))
        read_later = read_later.union(segments[-1].inputs)
    return segments[::-1]
