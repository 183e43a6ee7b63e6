"""`clone_model`: the same architecture with new weights, layer by layer as you like."""

from collections.abc import Callable
from typing import Any

from minicnn.layers.base import Layer
from minicnn.layers.input import InputLayer
from minicnn.layers.nodes import SymbolicTensor
from minicnn.models.model import Model
from minicnn.models.sequential import Sequential


def clone_model(
    model: Model,
    input_tensors: Any = None,
    clone_function: Callable[[Layer], Layer] | None = None,
) -> Model:
    """The same architecture as that of `model`, with new weights.

    Args:
        model: built or, if it is a Sequential, not.
        input_tensors: what `Input` returned, in place of inputs like those of `model`; a list for
            several.
        clone_function: called with each layer, inputs apart; returns the one that takes its place.
            Default: a new layer of the same configuration.

    Raises:
        ValueError: another number of inputs than the model has.
    """
    if input_tensors is None and clone_function is None:
        return type(model).from_config(model.get_config(), _classes(model))
    clone = clone_function or _like
    given = input_tensors if isinstance(input_tensors, (list, tuple)) else [input_tensors]
    if input_tensors is not None and (not model.built or len(given) != len(model.inputs)):
        wanted = len(model.inputs) if model.built else "no"
        raise ValueError(f"{model.described} has {wanted} inputs; got {len(given)} input_tensors")
    if isinstance(model, Sequential):
        start = [] if input_tensors is None else list(given)
        if not start and model.built:
            shape = model.input_shape
            start = [
                InputLayer(shape[1:], shape[0], name=model._layers[0].name)
                if isinstance(model._layers[0], InputLayer)
                else InputLayer(shape[1:])
            ]
        made = {layer: clone(layer) for layer in model.layers}
        return Sequential([*start, *(made[layer] for layer in model.layers)], name=model.name)
    inputs = (
        list(given)
        if input_tensors is not None
        else [
            InputLayer(t.shape[1:], t.shape[0], name=t.source.name if t.source else None).tensor
            for t in model.inputs
        ]
    )
    made, tensors = {}, dict(zip(model.inputs, inputs, strict=True))
    for node in model.graph.nodes:
        if node.layer not in made:
            made[node.layer] = clone(node.layer)
        taken: list[SymbolicTensor] = [tensors[t] for t in node.inputs]
        given_out = made[node.layer](taken if node.many_inputs else taken[0], node.training)
        outputs = given_out if isinstance(given_out, list) else [given_out]
        tensors.update(zip(node.outputs, outputs, strict=True))
    outs = [tensors[t] for t in model.outputs]
    return Model(
        inputs if model._many_inputs else inputs[0],
        outs if model._many_outputs else outs[0],
        name=model.name,
    )


def _like(layer: Layer) -> Layer:
    return (
        clone_model(layer)
        if isinstance(layer, Model)
        else type(layer).from_config(layer.get_config())
    )


def _classes(model: Model) -> dict[str, type]:
    """The classes of all layers inside by name, your own among them."""
    classes: dict[str, type] = {}
    for layer in model.layers:
        classes[type(layer).__name__] = type(layer)
        if isinstance(layer, Model):
            classes.update(_classes(layer))
    return classes
