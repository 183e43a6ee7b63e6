"""What a model is drawn with: places of arrays, and the layer calls between them."""

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, Any

from minicnn import backend
from minicnn.typing import Shape

if TYPE_CHECKING:
    from minicnn.layers.base import Layer
    from minicnn.layers.input import InputLayer


class SymbolicTensor:
    """The place of an array in a graph: its shape, and where it is made.

    Args:
        shape: with None for the batch; of images (None, height, width, channels).
        node: the layer call it comes out of; None for an input of a model.
        source: the `InputLayer` of an input of a model; None for all others.
    """

    def __init__(
        self, shape: Shape, node: "Node | None" = None, source: "InputLayer | None" = None
    ):
        self.shape = tuple(shape)
        self.node = node
        self.source = source

    @property
    def ndim(self) -> int:
        """Number of axes, with the batch."""
        return len(self.shape)

    @property
    def dtype(self) -> str:
        """Of the array, by name: what the layer that makes it computes in."""
        layer = self.source if self.node is None else self.node.layer
        return backend.floatx() if layer is None else layer.compute_dtype

    @property
    def size(self) -> int:
        """Elements per image; axes of no fixed length count as 1."""
        return prod(length or 1 for length in self.shape[1:])

    def __repr__(self) -> str:
        return f"<SymbolicTensor shape={self.shape}>"

    def activated(self, function: Any) -> Any:
        """What an activation `function` makes of it: `activations.relu(x)` is a layer."""
        from minicnn.layers.activation import Activation

        return Activation(function)(self)

    # x + y and x * y are layers: Add, Multiply, or Rescaling where one is a number

    def __add__(self, other: Any) -> Any:
        return self._rescaled(1, other) if _is_number(other) else self._merged("Add", other)

    def __sub__(self, other: Any) -> Any:
        return self._rescaled(1, -other) if _is_number(other) else self._merged("Subtract", other)

    def __rsub__(self, other: Any) -> Any:
        return self._rescaled(-1, other) if _is_number(other) else NotImplemented

    def __mul__(self, other: Any) -> Any:
        return self._rescaled(other, 0) if _is_number(other) else self._merged("Multiply", other)

    def __truediv__(self, other: Any) -> Any:
        return self._rescaled(1 / other, 0) if _is_number(other) else NotImplemented

    def __neg__(self) -> Any:
        return self._rescaled(-1, 0)

    __radd__, __rmul__ = __add__, __mul__

    def _rescaled(self, scale: float, offset: float) -> Any:
        from minicnn.layers.rescaling import Rescaling

        return Rescaling(scale, offset)(self)

    def _merged(self, layer: str, other: Any) -> Any:
        if not isinstance(other, SymbolicTensor):
            return NotImplemented
        from minicnn.layers import merge

        return getattr(merge, layer)()([self, other])


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


class Node:
    """One call of a layer: which tensors go in, which come out.

    Args:
        layer: the one that is called.
        inputs: the tensors that go in.
        many_inputs: whether the layer is handed a list of them.
        training: what the call says; None where the pass decides.

    Attributes:
        outputs: the tensors that come out.
        many_outputs: whether the layer returns a list of them.
    """

    def __init__(
        self,
        layer: "Layer",
        inputs: Sequence[SymbolicTensor],
        many_inputs: bool,
        training: bool | None = None,
    ):
        self.layer = layer
        self.inputs = tuple(inputs)
        self.many_inputs = many_inputs
        self.training = training
        self.outputs: tuple[SymbolicTensor, ...] = ()
        self.many_outputs = False

    @property
    def input_shape(self) -> Any:
        """The shape of what goes in, as layers are told it: a list of shapes for a list."""
        shapes = [tensor.shape for tensor in self.inputs]
        return shapes if self.many_inputs else shapes[0]


def nodes_between(
    inputs: Sequence[SymbolicTensor], outputs: Sequence[SymbolicTensor]
) -> list[Node]:
    """The layer calls that lead from inputs to outputs, each after what it reads.

    Depth-first from the outputs, without recursion: deep networks exceed Python's stack.

    Args:
        inputs: where the walk stops.
        outputs: where it begins.

    Raises:
        ValueError: an output does not depend on the given inputs alone.
    """
    order: list[Node] = []
    done: set[SymbolicTensor] = set(inputs)
    stack = [(tensor, False) for tensor in reversed(outputs)]
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
