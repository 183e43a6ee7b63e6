"""In which order Keras goes through a model.

Keras's files name weights by the place of their layer in the model ("layers/conv2d_1/vars/0" is the
first weight of the second Conv2D), and the optimizer's arrays by their number alone. So files can
only be shared by going through the layers exactly as Keras does.
"""

from collections.abc import Iterator
from typing import TypeAlias

from minicnn.layers.activation import Activation
from minicnn.layers.base import Layer
from minicnn.layers.input import InputLayer
from minicnn.layers.nodes import Node, SymbolicTensor
from minicnn.layers.weight import Weight
from minicnn.models import Model, Sequential
from minicnn.registry import is_library_code, snake_case

# A layer, or an input of a model.
Operation: TypeAlias = Layer | SymbolicTensor


def keras_class(layer: Layer) -> str:
    """The name of the class that Keras would use for `layer`.

    A chain that holds a layer twice is not a Sequential there, and an activation without a layer of
    its own, such as GELU, is an Activation.
    """
    if isinstance(layer, Sequential) and len(set(layer.layers)) == len(layer.layers):
        return "Sequential"
    if isinstance(layer, Model):
        return "Functional"
    if (
        isinstance(layer, Activation)
        and is_library_code(type(layer))
        and not layer.activation.has_keras_layer
    ):
        return "Activation"
    return type(layer).__name__


def operations(model: Model) -> list[Operation]:
    """The inputs (as their tensors) and layers of a graph in Keras's order.

    That is: the furthest from an output first; of those equally far, the one first met when going
    back from the outputs, depth-first (`keras.src.ops.function.map_graph`).

    Args:
        model: built.
    """
    inputs = set(model.inputs)

    def made_by(tensor: SymbolicTensor) -> Node | SymbolicTensor:
        return tensor if tensor in inputs or tensor.node is None else tensor.node

    def operation(source: Node | SymbolicTensor) -> Operation:
        return source.layer if isinstance(source, Node) else source

    met: dict[Operation, int] = {}  # operation: number
    finished: list[Node | SymbolicTensor] = []  # calls and inputs, each after what it reads
    entered: set[Node | SymbolicTensor] = set()
    stack = [(made_by(t), False) for t in reversed(model.outputs)]
    while stack:
        source, left = stack.pop()
        if left:
            finished.append(source)
        elif source not in entered:
            entered.add(source)
            met.setdefault(operation(source), len(met))
            stack.append((source, True))
            if isinstance(source, Node):
                stack.extend((made_by(t), False) for t in reversed(source.inputs))

    node_depths: dict[Node | SymbolicTensor, int] = {}
    depths: dict[Operation, int] = {}  # operation: calls up to an output, from its furthest call
    for source in reversed(finished):
        depth = max(node_depths.get(source, 0), depths.get(operation(source), 0))
        node_depths[source] = depths[operation(source)] = depth
        if isinstance(source, Node):
            for tensor in source.inputs:
                before = made_by(tensor)
                node_depths[before] = max(depth + 1, node_depths.get(before, 0))
    for tensor in model.inputs:  # nothing reads it
        if tensor not in depths:
            depths[tensor], met[tensor] = 0, -1
    return sorted(depths, key=lambda o: (-depths[o], met[o]))


def keras_layers(model: Model) -> list[Layer]:
    """The layers of `model` that compute something, in Keras's order."""
    if keras_class(model) == "Sequential":
        return model.layers
    return [o for o in operations(model) if isinstance(o, Layer) and not isinstance(o, InputLayer)]


def weight_groups(
    model: Model, class_names: dict[Layer, str], path: str = "", seen: set[Layer] | None = None
) -> Iterator[tuple[str, Layer]]:
    """(group, layer) for every layer that has weights itself: "layers/conv2d/vars".

    Args:
        model: built.
        class_names: what Keras calls the classes of layers that are not the library's.
        path: the group of the model itself; it ends in "/" if it is not empty.
        seen: layers met before; one that two models share has its weights in one place.
    """
    seen = set() if seen is None else seen
    counts: dict[str, int] = {}
    for layer in keras_layers(model):
        base = snake_case(class_names.get(layer) or keras_class(layer))
        count = counts[base] = counts.get(base, -1) + 1
        place = f"{path}layers/{base}_{count}" if count else f"{path}layers/{base}"
        if layer in seen:
            continue
        seen.add(layer)
        if isinstance(layer, Model):
            yield from weight_groups(layer, class_names, place + "/", seen)
        elif layer.weights:
            yield place + "/vars", layer


def ordered_weights(layer: Layer, prefix: str = "") -> dict[Weight, str]:
    """All weights of a layer or model in Keras's order, each once, with their paths.

    Args:
        layer: built.
        prefix: what the paths begin with.
    """
    path = f"{prefix}{layer.name}/"
    if not isinstance(layer, Model):
        return {w: path + w.name for w in layer.weights}
    weights: dict[Weight, str] = {}
    for inner in keras_layers(layer):
        for weight, key in ordered_weights(inner, path).items():
            weights.setdefault(weight, key)
    return weights
