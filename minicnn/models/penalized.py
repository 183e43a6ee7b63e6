"""What stands behind a layer with an `activity_regularizer` in the schedule of a model."""

from typing import Any

from minicnn.layers.base import Layer
from minicnn.layers.context import Context
from minicnn.layers.nodes import Node, SymbolicTensor
from minicnn.layers.penalties import looks_across


class Penalized(Layer):
    """Hands on what a layer gives, and adds the penalty on it to the loss.

    Args:
        node: the call of that layer.
    """

    def __init__(self, node: Node):
        super().__init__(name=f"{node.layer.name}_penalty", dtype=node.layer.dtype_policy)
        self.owner = node.layer
        self.whole_batch = looks_across(node.layer)

    def forward(self, x: Any, ctx: Context) -> Any:
        if ctx.penalties is not None:
            ctx.penalties.add(self.owner, x)
        ctx.save(x)
        return x

    def backward(self, dy: Any, ctx: Context) -> Any:
        if ctx.penalties is None:
            return dy
        (x,) = ctx.saved
        if not isinstance(x, (list, tuple)):
            return ctx.penalties.with_gradient(self.owner, dy, x)
        return [ctx.penalties.with_gradient(self.owner, *pair) for pair in zip(dy, x, strict=True)]


def behind(node: Node) -> tuple[tuple[SymbolicTensor, ...], Node]:
    """(places for what the layer of `node` gives, the call that takes them to its outputs)."""
    given = tuple(SymbolicTensor(t.shape) for t in node.outputs)
    penalized = Node(Penalized(node), given, node.many_outputs)
    penalized.outputs, penalized.many_outputs = node.outputs, node.many_outputs
    return given, penalized
