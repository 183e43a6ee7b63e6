"""Models and how they are trained, as configurations of Keras 3.

Keras describes an object as {"module", "class_name", "config", "registered_name"}; in .h5 files
layers are still described as Keras 2 did, {"class_name", "config"}.
"""

import warnings
from types import FunctionType
from typing import Any

from minicnn import metrics
from minicnn.activations import Activation
from minicnn.constraints import Constraint
from minicnn.custom_objects import get_registered_name
from minicnn.initializers import Initializer
from minicnn.layers.activation import Activation as ActivationLayer
from minicnn.layers.base import Layer
from minicnn.layers.input import InputLayer
from minicnn.layers.nodes import Node, SymbolicTensor
from minicnn.layers.noise import SpatialDropout2D
from minicnn.layers.pipeline import Pipeline
from minicnn.losses import Loss
from minicnn.metrics import Metric
from minicnn.models import Model
from minicnn.optimizers import LossScaleOptimizer, Optimizer
from minicnn.optimizers.schedules import LearningRateSchedule
from minicnn.registry import Configurable, is_library_code, serialize, snake_case
from minicnn.regularizers import Regularizer
from minicnn.saving.keras_order import keras_class, operations
from minicnn.typing import Shape

# Arguments that say how a layer computes, not what: Keras does not offer that choice.
_OWN_ARGUMENTS = ("algorithm",)


class ConfigWriter:
    """Writes one model.

    Args:
        legacy: whether layers are described as in .h5 files.
    """

    def __init__(self, legacy: bool = False):
        self.legacy = legacy
        self._written: dict[Layer, dict[str, Any]] = {}

    def layer(self, layer: Layer) -> dict[str, Any]:
        """The configuration of `layer`, which may be a model.

        Raises:
            ValueError: Keras does not support it.
        """
        if "/" in layer.name:  # as in files of Keras 2
            warnings.warn(
                f"{layer.described}: Keras 3 refuses files in which a layer has a '/' in its name; "
                f"minicnn reads them",
                stacklevel=2,
            )
        if isinstance(layer, Model):
            entry = self._model(layer)
        elif isinstance(layer, InputLayer):
            entry = self._input(layer.name, (layer.batch_size, *layer.shape), layer.dtype)
        else:
            entry = self._plain(layer)
            if layer.weights and not self.legacy:
                entry["build_config"] = {"input_shape": serialize(layer.input_shape)}
        first = self._written.setdefault(layer, entry)
        if first is not entry and not self.legacy:  # two models share the layer
            first["shared_object_id"] = entry["shared_object_id"] = id(layer)
        return entry

    def _entry(
        self, module: str, class_name: str, config: dict[str, Any], registered: str | None = None
    ) -> dict[str, Any]:
        if self.legacy:
            return {"class_name": class_name, "config": config}
        return _described(module, class_name, config, registered)

    def _plain(self, layer: Layer) -> dict[str, Any]:
        config = _layer_config(layer)
        if not is_library_code(type(layer)):
            entry = _of(layer, "", config)
            name = entry["registered_name"]
            return {"class_name": name, "config": config} if self.legacy else entry
        return self._entry("keras.layers", keras_class(layer), config)

    def _input(self, name: str, batch_shape: Shape, dtype: str) -> dict[str, Any]:
        shape = list(batch_shape)
        config = {"batch_shape": shape, "dtype": dtype, "sparse": False, "ragged": False}
        return self._entry("keras.layers", "InputLayer", {**config, "name": name})

    def _model(self, model: Model) -> dict[str, Any]:
        # In Keras a frozen model learns nothing, whatever its layers say; here the layers decide.
        learns = model.trainable or bool(model.trainable_weights)
        config: dict[str, Any] = {"name": model.name, "trainable": learns}
        if keras_class(model) == "Functional":
            config.update(self._graph(model))
            return self._entry("keras.src.models.functional", "Functional", config, "Functional")
        config["dtype"] = _policy(model.dtype_policy.name)
        layers = [model.inputs[0].source, *model.layers] if model.built else model.layers
        config["layers"] = [self.layer(layer) for layer in layers]
        if not model.built:  # it has no weights yet, and files hold none such
            return self._entry("keras", "Sequential", config)
        config["build_input_shape"] = list(model.inputs[0].shape)
        entry = self._entry("keras", "Sequential", config)
        if not self.legacy:
            entry["build_config"] = {"input_shape": list(model.inputs[0].shape)}
        return entry

    def _graph(self, model: Model) -> dict[str, Any]:
        """Layers with their calls; a tensor is [name of the layer, number of the call, number of
        the output], both numbers counted from 0."""
        places: dict[SymbolicTensor, tuple[Layer | None, str, int, int]] = {}
        taken = {layer.name for layer in model.layers}
        for i, tensor in enumerate(model.inputs):
            name = tensor.source.name if tensor.source else f"{model.name}_input_{i}"
            while tensor.source is None and name in taken:
                name += "_"
            taken.add(name)
            places[tensor] = (None, name, 0, 0)
        calls: dict[Layer, list[Node]] = {}
        for node in model.graph.nodes:
            count = len(calls.setdefault(node.layer, []))
            calls[node.layer].append(node)
            for i, tensor in enumerate(node.outputs):
                places[tensor] = (node.layer, node.layer.name, count, i)

        def described(tensor: SymbolicTensor) -> dict[str, Any]:
            history = list(places[tensor][1:])
            shape = list(tensor.shape)
            return {
                "class_name": "__keras_tensor__",
                "config": {"shape": shape, "dtype": model.dtype, "keras_history": history},
            }

        def end(tensor: SymbolicTensor) -> list[Any]:
            layer, name, call, index = places[tensor]
            # Keras counts the construction of a Functional as its first call, but only here
            return [name, call + (layer is not None and keras_class(layer) == "Functional"), index]

        layers = []
        for operation in operations(model):
            if isinstance(operation, SymbolicTensor):
                source, name = operation.source, places[operation][1]
                entry = (
                    self._input(name, operation.shape, model.dtype)
                    if source is None
                    else self.layer(source)
                )
                entry.update(name=name, inbound_nodes=[])
            else:
                entry = self.layer(operation)
                nodes: list[dict[str, Any]] = []
                for node in calls[operation]:
                    given = [described(t) for t in node.inputs]
                    arguments = [given] if node.many_inputs else given
                    keywords = {} if node.training is None else {"training": node.training}
                    nodes.append({"args": arguments, "kwargs": keywords})
                entry.update(name=operation.name, inbound_nodes=nodes)
            layers.append(entry)
        ins = [end(t) for t in model.inputs]
        outs = [end(t) for t in model.outputs]
        return {
            "layers": layers,
            "input_layers": ins if isinstance(model.input_shape, list) else ins[0],
            "output_layers": outs if isinstance(model.output_shape, list) else outs[0],
        }


def model_config(model: Model, with_training: bool) -> dict[str, Any]:
    """What Keras keeps in .keras files and makes of `to_json`.

    Args:
        model: any.
        with_training: whether to say how it is being trained, too; it is compiled then.

    Raises:
        ValueError: Keras does not have something in it.
    """
    config = ConfigWriter().layer(model)
    if with_training:
        config["compile_config"] = compile_config(model)
    return config


def compile_config(model: Model) -> dict[str, Any]:
    """How the model is trained, as Keras keeps it in .keras files.

    A metric that Keras does not have is left out with a warning.

    Args:
        model: compiled.

    Raises:
        ValueError: Keras cannot do what the loss does.
    """
    unweighted, weighted = (
        [metric for metric in map(_metric, identifiers) if metric is not None]
        for identifiers in (model.metric_identifiers, model.weighted_metric_identifiers)
    )
    return {
        "optimizer": _optimizer(model.optimizer),
        "auto_scale_loss": isinstance(model.optimizer, LossScaleOptimizer),
        "loss": _loss(model.loss),
        "loss_weights": None,
        "metrics": unweighted,
        "weighted_metrics": weighted or None,
        "run_eagerly": model.run_eagerly,
        "steps_per_execution": 1,
        "jit_compile": "auto",
    }


def _optimizer(optimizer: Optimizer) -> dict[str, Any]:
    if isinstance(optimizer, LossScaleOptimizer):  # Keras's compile puts its own around it
        optimizer = optimizer.inner_optimizer
    config = optimizer.get_config()
    rate = optimizer._learning_rate
    if isinstance(rate, LearningRateSchedule):
        config["learning_rate"] = described(rate)
    return _of(optimizer, "keras.optimizers", config)


def _loss(loss: Loss) -> dict[str, Any]:
    config = {k: v for k, v in loss.get_config().items() if k != "name" or v is not None}
    if type(loss).__name__ == "SparseCategoricalCrossentropy" and config.pop("label_smoothing"):
        raise ValueError(
            "Keras's SparseCategoricalCrossentropy has no label_smoothing; save as .safetensors, "
            "or train with CategoricalCrossentropy on one-hot targets"
        )
    return _of(loss, "keras.losses", config)


def _metric(identifier: Any) -> str | dict[str, Any] | None:
    if identifier in ("accuracy", "acc"):
        return identifier
    if isinstance(identifier, FunctionType) and identifier.__name__ != "<lambda>":
        return _described("builtins", "function", {}, "function") | {
            "config": get_registered_name(identifier)
        }
    metric: Metric = metrics.get(identifier)
    if not metric.in_keras:
        warnings.warn(f"Keras has no metric like {metric!r}: it is left out", stacklevel=2)
        return None
    label = identifier if isinstance(identifier, str) else metric.name
    config = {**metric.get_config(), "name": label}
    return _of(metric, "keras.metrics", config)


def _layer_config(layer: Layer) -> dict[str, Any]:
    if isinstance(layer, Pipeline):
        parts = [_described("keras.layers", keras_class(p), _layer_config(p)) for p in layer.layers]
        return {"name": layer.name, "layers": parts}
    policy = _policy(layer.dtype_policy.name)
    config = {"name": layer.name, "trainable": layer.trainable, "dtype": policy}
    if isinstance(layer, SpatialDropout2D):  # Keras's does not take it
        del config["trainable"]
    if isinstance(layer, ActivationLayer) and keras_class(layer) == "Activation":
        return {**config, "activation": _activation(layer.activation, layer.described)}
    for key, plain in serialize(layer)["config"].items():
        if key not in (*config, "trainable") and key not in _OWN_ARGUMENTS:
            value = getattr(layer, key, plain)
            config[key] = _value(
                value if isinstance(value, Configurable) else plain, layer.described
            )
    return config


def described(thing: Configurable) -> Any:
    """A loss, metric, optimizer or schedule, or what layers hold, as Keras describes it.

    Args:
        thing: that.

    Raises:
        ValueError: Keras has nothing like it.
    """
    if isinstance(thing, Optimizer):
        return _optimizer(thing)
    if isinstance(thing, Loss):
        return _loss(thing)
    if isinstance(thing, Metric):
        return _of(thing, "keras.metrics", thing.get_config())
    if isinstance(thing, LearningRateSchedule):
        return _of(thing, "keras.optimizers.schedules", thing.get_config())
    return _value(thing, type(thing).__name__)


def _value(value: Any, owner: str) -> Any:
    if isinstance(value, Activation):
        return _activation(value, owner)
    if isinstance(value, Initializer):
        # older versions of Keras cannot choose the axes over which fans are counted
        config = {k: v for k, v in value.get_config().items() if v is not None or k == "seed"}
        return _of(value, "keras.initializers", config)
    for kind, family in (("regularizer", Regularizer), ("constraint", Constraint)):
        if isinstance(value, family):
            return _of(value, f"keras.{kind}s", value.get_config())
    return serialize(value)


def _activation(function: Activation, owner: str) -> str | dict[str, Any]:
    name, config = type(function).__name__, function.get_config()
    if not is_library_code(type(function)):
        return _of(function, "", config)
    if function.keras_name is not None:
        if config == type(function)().get_config():
            return function.keras_name
        if function.has_keras_layer:  # Keras accepts a layer as activation=
            return _described("keras.layers", name, {"name": snake_case(name), **config})
    raise ValueError(
        f"{owner}: a file of Keras cannot hold the activation {name} with {config}; save "
        f"as .safetensors"
    )


def _described(
    module: str, class_name: str, config: dict[str, Any], registered: str | None = None
) -> dict[str, Any]:
    return {
        "module": module,
        "class_name": class_name,
        "config": config,
        "registered_name": registered,
    }


def _policy(name: str) -> dict[str, Any]:
    return _described("keras", "DTypePolicy", {"name": name})


def _of(thing: Configurable, module: str, config: dict[str, Any]) -> dict[str, Any]:
    """`thing`, of a class that is Keras's too and stands in `module`, or of one of your own: Keras
    writes the name under which this is registered."""
    cls: Any = type(thing)
    if is_library_code(cls):
        return _described(module, cls.__name__, config)
    own: Any = None if cls.__module__ == "__main__" else cls.__module__
    return _described(own, cls.__name__, config, get_registered_name(cls))
