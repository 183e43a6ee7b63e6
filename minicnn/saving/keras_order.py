"""In which order Keras goes through a model.

Keras's files name weights by the place of their layer in the model ("layers/conv2d_1/vars/0" is the
first weight of the second Conv2D) and the optimizer's arrays by nothing but their number, so that
files can only be shared by walking the layers exactly as Keras does.
"""

from collections.abc import Iterator
from typing import Any

from minicnn.layers.base import Layer, Weight
from minicnn.layers.input import InputLayer
from minicnn.models import Model, Sequential
from minicnn.nodes import Node, SymbolicTensor
from minicnn.registry import snake_case


def keras_class(layer: Layer) -> str:
    """The name of the class Keras would use.

    A chain that holds a layer twice is no Sequential there, and GELU is an Activation.
    """
    if isinstance(layer, Sequential) and len(set(layer.layers)) == len(layer.layers):
        return "Sequential"
    if isinstance(layer, Model):
        return "Functional"
    name = type(layer).__name__
    return "Activation" if name == "GELU" else name


def operations(model: Model) -> list[Any]:
    """The inputs (as their tensors) and layers of a graph in Keras's order.

    That is: the furthest from an output first; of those equally far, the one first met when going
    back from the outputs, depth-first (`keras.src.ops.function.map_graph`).
    """
    inputs = set(model.inputs)

    def made_by(tensor: SymbolicTensor) -> Any:
        return tensor if tensor in inputs else tensor.node

    def operation(source: Any) -> Any:
        return source.layer if isinstance(source, Node) else source

    met: dict[Any, int] = {}  # operation: number
    finished: list[Any] = []  # nodes and inputs, each after what it reads
    entered: set[Any] = set()
    stack: list[tuple[Any, bool]] = [(made_by(t), False) for t in reversed(model.outputs)]
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

    node_depths: dict[Any, int] = {}
    depths: dict[Any, int] = {}  # operation: steps to an output, of its furthest call
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
    """The layers with anything to compute, in Keras's order."""
    if keras_class(model) == "Sequential":
        return model.layers
    return [o for o in operations(model) if isinstance(o, Layer) and not isinstance(o, InputLayer)]


def weight_groups(
    model: Model, class_names: dict[Layer, str], path: str = "", seen: set[Layer] | None = None
) -> Iterator[tuple[str, Layer]]:
    """(group, layer) for every layer that has weights itself: "layers/conv2d/vars".

    Args:
        class_names: what Keras calls the classes of layers that are not the library's.
        seen: layers had before; one that two models share has its weights in one place.
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
    """All weights of a layer or model in Keras's order, each once, with their paths."""
    path = f"{prefix}{layer.name}/"
    if not isinstance(layer, Model):
        return {w: path + w.name for w in layer.weights}
    weights: dict[Weight, str] = {}
    for inner in keras_layers(layer):
        for weight, key in ordered_weights(inner, path).items():
            weights.setdefault(weight, key)
    return weights
