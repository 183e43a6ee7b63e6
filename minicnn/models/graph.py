"""The one engine under `Sequential` and the functional `Model`: a graph of layer calls.

Calling a layer on a `SymbolicTensor` records a `Node`. A `Graph` is the set of nodes between given
inputs and outputs, in an order in which each comes after what it reads; a chain is a graph without
branches. In which pieces the work is done is told in `minicnn.models.schedule`.
"""

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from minicnn.layers.activated import ActivatedLayer
from minicnn.layers.activation import Activation
from minicnn.layers.base import Layer
from minicnn.layers.context import Context
from minicnn.layers.nodes import Node, SymbolicTensor, nodes_between
from minicnn.models.penalized import Penalized
from minicnn.models.schedule import segments_of, steps_of
from minicnn.models.steps import Pass, Segment, Step, summed
from minicnn.training.trainer import Trainer
from minicnn.typing import Array, Shape

_MOST_SIZES = 64  # of images, for which a graph remembers how it is done


class Graph:
    """The nodes between `inputs` and `outputs`.

    Args:
        inputs, outputs: symbolic tensors.

    Attributes:
        nodes: layer calls, each after what it reads.
        steps: what is done, in order; see `minicnn.models.schedule`.
        has_penalties: whether a layer has an activity regularizer, in models within too.

    Raises:
        ValueError: an output does not depend on the given inputs alone.
    """

    def __init__(self, inputs: Sequence[SymbolicTensor], outputs: Sequence[SymbolicTensor]):
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)
        self.nodes = nodes_between(self.inputs, self.outputs)
        readers: dict[SymbolicTensor, int] = {}
        for tensor in (*(t for node in self.nodes for t in node.inputs), *self.outputs):
            readers[tensor] = readers.get(tensor, 0) + 1
        self._readers = readers
        self.steps = steps_of(self.nodes, readers)
        closing = self.closing_layer()
        if closing is not None:
            self.steps[-1].closes = self.steps[-1].layer is closing
        layers = [step.layer for step in self.steps]
        self.has_penalties: bool = any(
            isinstance(la, Penalized) or (isinstance(la, Trainer) and la.graph.has_penalties)
            for la in layers
        )
        self._planned: dict[tuple[Shape, ...], Graph] = {}
        self._segment_lists: dict[bool, list[tuple[Segment, list[SymbolicTensor]]]] = {}

    @property
    def layers(self) -> list[Layer]:
        """Each layer once, in the order of its first call."""
        return list(dict.fromkeys(node.layer for node in self.nodes))

    @cached_property
    def work(self) -> int:
        """What a forward pass over one image takes: its multiply-adds, and ten for each element
        that a layer writes, which take about as long."""
        products = sum(node.layer.multiply_adds(node.input_shape) for node in self.nodes)
        return products + 10 * sum(t.size for node in self.nodes for t in node.outputs)

    def closing_layer(self) -> Layer | None:
        """The layer that makes the only output, unless the graph reads that output itself."""
        if len(self.outputs) != 1 or not self.nodes or self.outputs[0].node is None:
            return None
        return self.nodes[-1].layer if self._readers[self.outputs[0]] == 1 else None

    @property
    def closing_softmax(self) -> bool:
        """Whether the output is that of a softmax which a loss on logits could take over."""
        layer = self.closing_layer()
        if isinstance(layer, Trainer):  # a model within the model
            return bool(layer.graph.closing_softmax)
        return isinstance(layer, (Activation, ActivatedLayer)) and layer.activation.is_softmax

    def forward(self, xs: Sequence[Array], ctx: Context) -> list[Array]:
        """Arrays of the inputs to arrays of the outputs.

        Args:
            xs: one array (N, ...) per input.
            ctx: of this pass.
        """
        planned = self.planned_for([x.shape for x in xs])
        if planned is not self:
            return planned.forward(xs, ctx)
        # on a GPU a crop would have to be copied, which takes as long as what it saves
        crops = type(xs[0]) is np.ndarray
        this_pass = Pass(len(xs[0]), xs[0].dtype.itemsize, crops, self._needs_dx(ctx), self)
        ctx.save(this_pass)
        values = dict(zip(self.inputs, xs, strict=True))
        for segment, dying in self._segments(bool(ctx.training)):
            segment.forward(values, ctx, this_pass)
            for tensor in dying:
                del values[tensor]
        return [values[t] for t in self.outputs]

    def backward(self, dys: Sequence[Array | None], ctx: Context) -> list[Array | None]:
        """Gradients of the outputs (None for those that nobody read) to gradients of the inputs
        (None where nobody needs them).

        Where a tensor is read more than once, the gradients of its readers add up:
        y = f(x), z = g(x): dx = dy df/dx + dz dg/dx.

        Args:
            dys: one array (N, ...) per output.
            ctx: as forward left it.
        """
        (this_pass,) = ctx.saved  # the same chunks, whatever the dtype of dys
        if this_pass.graph is not self:
            return list(this_pass.graph.backward(dys, ctx))
        gradients: dict[SymbolicTensor, Array] = {}
        for tensor, dy in zip(self.outputs, dys, strict=True):
            if dy is not None:
                gradients[tensor] = summed(gradients.get(tensor), dy)
        for segment, _ in reversed(self._segments(bool(ctx.training))):
            segment.backward(gradients, ctx, this_pass)
        return [gradients.get(t) for t in self.inputs]

    def planned_for(self, shapes: Sequence[Shape]) -> "Graph":
        """This graph, as it is done with inputs of other `shapes` than it was made for, where sizes
        may have been open: what is left out, and how many images go through at a time, depends on
        them. Made once for each size of images."""
        sizes = tuple(shape[1:] for shape in shapes)
        if all(s == t.shape[1:] for s, t in zip(sizes, self.inputs, strict=True)):
            return self
        planned = self._planned.get(sizes)
        if planned is None:
            tensors = {
                t: SymbolicTensor((None, *s)) for t, s in zip(self.inputs, sizes, strict=True)
            }
            for node in self.nodes:
                given = [tensors[t] for t in node.inputs]
                again = Node(node.layer, given, node.many_inputs, node.training)
                result = node.layer.compute_output_shape(again.input_shape)
                again.many_outputs = node.many_outputs
                made = result if node.many_outputs else [result]
                again.outputs = tuple(SymbolicTensor(shape, again) for shape in made)
                tensors.update(zip(node.outputs, again.outputs, strict=True))
            ends = [[tensors[t] for t in places] for places in (self.inputs, self.outputs)]
            planned = Graph(*ends)
            while len(self._planned) >= _MOST_SIZES:
                self._planned.pop(next(iter(self._planned)), None)
            self._planned[sizes] = planned
        return planned

    def _segments(self, training: bool) -> list[tuple[Segment, list[SymbolicTensor]]]:
        """Segments in order, each with the tensors that nobody reads after it."""
        if training not in self._segment_lists:
            segments = segments_of(self.steps, self.outputs, training)
            dying, seen = [], set(self.outputs)
            for segment in reversed(segments):
                dying.append([t for t in segment.inputs if t not in seen])
                seen.update(segment.inputs)
            self._segment_lists[training] = list(zip(segments, reversed(dying), strict=True))
        return self._segment_lists[training]

    def _needs_dx(self, ctx: Context) -> dict[Step, bool]:
        """For each step, whether anything before it learns (or the caller wants the input's
        gradient): below the first such layer backward has nothing to do."""
        wanted = {tensor: ctx.needs_dx for tensor in self.inputs}
        needs = {}
        for step in self.steps:
            needs[step] = any(wanted[t] for t in step.inputs)
            learns = needs[step] or bool(step.layer.trainable_weights)
            wanted.update((t, learns) for t in step.outputs)
        return needs
