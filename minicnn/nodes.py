"""What a model is drawn with: places of arrays, and the layer calls between them."""

from collections.abc import Sequence
from math import prod
from typing import Any

Shape = tuple[int | None, ...]
# Names of methods: (forward, backward) of the part of a layer's work before something, if any, and
# of the part after it.
Parts = tuple[tuple[str, str] | None, tuple[str, str]]


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

    @property
    def size(self) -> int:
        """Numbers an image has here; axes of no fixed length count as 1."""
        return prod(length or 1 for length in self.shape[1:])

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

    @property
    def input_shape(self) -> Any:
        """The shape of what goes in, as layers are told it: a list of them for a list."""
        shapes = [tensor.shape for tensor in self.inputs]
        return shapes if self.many_inputs else shapes[0]
