"""The one engine under `Sequential` and the functional `Model`: a graph of layer calls.

Calling a layer on a `SymbolicTensor` records a `Node`; a `Graph` is the set of nodes between given
inputs and outputs, in an order in which each comes after what it reads. A chain is a graph without
branches.
"""

from collections.abc import Sequence
from typing import Any

from minicnn.context import Context

Shape = tuple[int | None, ...]


class SymbolicTensor:
    """The place of an array in a graph: its shape, with None for the batch, and where it is made.

    Attributes:
        shape: for images (None, height, width, channels).
        node: the layer call it comes out of; None for an input of a model.
        source: the `InputLayer` of an input of a model, else None.
    """

    def __init__(self, shape: Shape, node: "Node | None" = None, source: Any = None):
        self.shape = tuple(shape)
        self.node = node
        self.source = source

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __repr__(self) -> str:
        return f"<SymbolicTensor shape={self.shape}>"

    def __add__(self, other: "SymbolicTensor") -> "SymbolicTensor":
        if not isinstance(other, SymbolicTensor):
            return NotImplemented
        from minicnn.layers.merge import Add

        return Add()([self, other])

    def __mul__(self, other: "SymbolicTensor") -> "SymbolicTensor":
        if not isinstance(other, SymbolicTensor):
            return NotImplemented
        from minicnn.layers.merge import Multiply

        return Multiply()([self, other])


class Node:
    """One call of a layer: which tensors go in, which come out."""

    def __init__(
        self,
        layer: Any,
        inputs: Sequence[SymbolicTensor],
        many_inputs: bool,
        training: bool | None = None,
    ):
        self.layer = layer
        self.inputs = tuple(inputs)
        self.many_inputs = many_inputs  # whether the layer is handed a list
        self.training = training  # what the call said; None where the pass decides
        self.outputs: tuple[SymbolicTensor, ...] = ()
        self.many_outputs = False


class Graph:
    """The nodes between `inputs` and `outputs`, each after what it reads.

    Raises:
        ValueError: an output does not depend on the given inputs alone.
    """

    def __init__(self, inputs: Sequence[SymbolicTensor], outputs: Sequence[SymbolicTensor]):
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)
        self.nodes = self._sorted_nodes()
        readers: dict[SymbolicTensor, int] = {}
        for node in self.nodes:
            for tensor in node.inputs:
                readers[tensor] = readers.get(tensor, 0) + 1
        for tensor in self.outputs:
            readers[tensor] = readers.get(tensor, 0) + 1
        self._readers = readers

    def _sorted_nodes(self) -> list[Node]:
        """Depth-first from the outputs, without recursion: deep networks exceed Python's stack."""
        order: list[Node] = []
        done: set[SymbolicTensor] = set(self.inputs)
        stack = [(tensor, False) for tensor in reversed(self.outputs)]
        while stack:
            tensor, inputs_done = stack.pop()
            if tensor in done:
                continue
            if tensor.node is None:
                raise ValueError(
                    f"the model's output depends on an input of shape {tensor.shape} that is not "
                    f"among its inputs; pass it to Model(inputs=[...], outputs=...)"
                )
            if inputs_done:
                order.append(tensor.node)
                done.update(tensor.node.outputs)
            else:
                stack.append((tensor, True))
                stack.extend((t, False) for t in reversed(tensor.node.inputs))
        return order

    @property
    def layers(self) -> list[Any]:
        """Each layer once, in the order of its first call."""
        return list(dict.fromkeys(node.layer for node in self.nodes))

    def closing_layer(self) -> Any | None:
        """The layer that makes the only output, unless the graph reads that output itself."""
        if len(self.outputs) != 1 or not self.nodes or self.outputs[0].node is None:
            return None
        return self.nodes[-1].layer if self._readers[self.outputs[0]] == 1 else None

    def forward(self, xs: Sequence[Any], ctx: Context) -> list[Any]:
        """Arrays for the inputs to arrays of the outputs."""
        values = dict(zip(self.inputs, xs, strict=True))
        left = dict(self._readers)  # a value is let go after its last reader
        closing = self.closing_layer() if ctx.wants_logits else None
        for i, (node, needs_dx) in enumerate(zip(self.nodes, self._needs_dx(ctx), strict=True)):
            last = closing is not None and i == len(self.nodes) - 1
            inner = ctx.child(i, needs_dx, wants_logits=last, training=node.training)
            arguments = [values[t] for t in node.inputs]
            for tensor in node.inputs:
                left[tensor] -= 1
                if left[tensor] == 0:
                    del values[tensor]
            results = node.layer.forward(arguments if node.many_inputs else arguments.pop(), inner)
            del arguments
            values.update(
                zip(node.outputs, results if node.many_outputs else [results], strict=True)
            )
            if not ctx.record:
                ctx.release(i)
        return [values[t] for t in self.outputs]

    def backward(self, dys: Sequence[Any], ctx: Context) -> list[Any]:
        """Gradients of the outputs to gradients of the inputs (None where nobody needs them).

        Where a tensor is read more than once, the gradients of its readers add up:
        y = f(x), z = g(x): dx = dy df/dx + dz dg/dx.
        """
        gradients: dict[SymbolicTensor, Any] = {}
        for tensor, dy in zip(self.outputs, dys, strict=True):
            gradients[tensor] = _sum(gradients.get(tensor), dy)
        needs = self._needs_dx(ctx)
        for i in range(len(self.nodes) - 1, -1, -1):
            node = self.nodes[i]
            inner = ctx.child(i)
            received = [gradients.pop(t, None) for t in node.outputs]
            wanted = needs[i] or bool(node.layer.trainable_weights)
            if wanted and any(dy is not None for dy in received):
                dx = node.layer.backward(received if node.many_outputs else received[0], inner)
                for tensor, part in zip(node.inputs, dx if node.many_inputs else [dx], strict=True):
                    if part is not None:
                        gradients[tensor] = _sum(gradients.get(tensor), part)
            ctx.release(i)
        return [gradients.get(t) for t in self.inputs]

    def _needs_dx(self, ctx: Context) -> list[bool]:
        """For each node, whether anything before it learns (or the caller wants the input's
        gradient): below the first such layer backward has nothing to do."""
        wanted = {tensor: ctx.needs_dx for tensor in self.inputs}
        needs = []
        for node in self.nodes:
            need = any(wanted[t] for t in node.inputs)
            needs.append(need)
            learns = need or bool(node.layer.trainable_weights)
            wanted.update((t, learns) for t in node.outputs)
        return needs


def _sum(present: Any, part: Any) -> Any:
    return part if present is None else present + part
