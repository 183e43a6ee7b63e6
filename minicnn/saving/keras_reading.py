"""From configurations of Keras 3, and most of Keras 2, to models and their training.

What Keras supports and minicnn does not is an error that names it, unless it is switched off.
"""

from collections import deque
from typing import Any

from minicnn import metrics
from minicnn.activations import ACTIVATIONS
from minicnn.constraints import CONSTRAINTS
from minicnn.custom_objects import get_registered_object
from minicnn.initializers import INITIALIZERS
from minicnn.layers.base import LAYERS, Layer
from minicnn.layers.input import InputLayer
from minicnn.layers.nodes import SymbolicTensor
from minicnn.losses import LOSSES, Loss
from minicnn.metrics.base import METRICS
from minicnn.models import Model, Sequential
from minicnn.optimizers import OPTIMIZERS
from minicnn.optimizers.schedules import SCHEDULES
from minicnn.registry import Registry, argument_names, is_library_code, near_matches
from minicnn.regularizers import REGULARIZERS
from minicnn.saving.reading import warn
from minicnn.training.model_checks import require_one_output

# Arguments that minicnn does not have and that change nothing here: an activation has no name; the
# rest belongs to features that are off.
_IDLE = {
    "dtype", "is_legacy_optimizer", "jit_compile", "name", "renorm_momentum",
    "trainable",
}  # fmt: skip

# Arguments that minicnn does not have, with the one value that describes what it does.
_FIXED = {"axis": -1, "groups": 1, "decay": 0.0}

# Keras 2 writes these for every convolution, even for the depthwise, which has its own.
_UNUSED = {"kernel_initializer", "kernel_regularizer", "kernel_constraint"}

_OLD_NAMES = {"alpha": "negative_slope", "lr": "learning_rate", "batch_input_shape": "batch_shape"}


class ConfigReader:
    """Reads one model.

    Args:
        custom_objects: {class name: class} for what is not the library's; see
            `minicnn.saving.load_model`.
        unbuilt: whether models may be of no known input shape, without weights.

    Attributes:
        class_names: {layer: what Keras calls its class}, for such layers.
    """

    def __init__(self, custom_objects: dict[str, type] | None, unbuilt: bool = False):
        self.unbuilt = unbuilt
        self._custom_objects = custom_objects or {}
        self.class_names: dict[Layer, str] = {}
        self._shared: dict[int, Layer] = {}

    def model(self, entry: dict[str, Any]) -> Model:
        """The model that an entry {"class_name", "config"} describes.

        Raises:
            ValueError: minicnn does not support something in it; the message names it.
        """
        layer = self.layer(entry)
        if not isinstance(layer, Model):
            raise ValueError(f"the file holds a {type(layer).__name__}, which is not a model")
        return layer

    def layer(self, entry: dict[str, Any]) -> Layer:
        """The layer or model that an entry describes; a shared one is made once.

        Raises:
            ValueError: as in `model`.
        """
        shared = entry.get("shared_object_id")
        if shared in self._shared:
            return self._shared[shared]
        name, config = entry["class_name"], dict(entry["config"])
        own = self._own(entry, name)
        if own is not None:
            layer = self._construct(own, config, name)
            self.class_names[layer] = name
        elif name in ("Functional", "Model"):
            layer = self._functional(config)
        elif name == "Sequential":
            layer = self._sequential(config)
        elif name == "InputLayer":
            layer = _input(config)
        else:
            layer = self._construct(_find(LAYERS, name), config, name)
        if shared is not None:
            self._shared[shared] = layer
        return layer

    def _own(self, entry: dict[str, Any], name: str) -> Any:
        """The user's class or function that an entry calls `name`; None for one of Keras's.

        Raises:
            ValueError: it is neither.
        """
        registered = entry.get("registered_name")
        found = get_registered_object(registered or name, self._custom_objects)
        if found is None and registered != name:
            found = get_registered_object(name, self._custom_objects)
        module = entry.get("module") or "keras"
        if found is None and module.split(".")[0] not in ("keras", "tf_keras"):
            raise ValueError(
                f"{name} is a class of {module!r}, not of Keras; give a class that does the same "
                f"as load_model(path, custom_objects={{{name!r}: ...}}), or register it with "
                f"minicnn.saving.register_keras_serializable"
            )
        return found

    # Models

    def _sequential(self, config: dict[str, Any]) -> Sequential:
        layers = [self.layer(entry) for entry in config["layers"]]
        model = Sequential(layers, name=config["name"], dtype=_dtype(config.get("dtype")))
        shape = config.get("build_input_shape")
        if not model.built and shape:
            model.build(tuple(shape))
        if not model.built and not self.unbuilt:
            raise ValueError(
                f"{model.described} was saved before its input shape was known, and has no weights"
            )
        _freeze(model, config)
        return model

    def _functional(self, config: dict[str, Any]) -> Model:
        entries = config["layers"]
        layers: dict[str, Layer] = {}
        made: dict[str, list[list[SymbolicTensor]]] = {}  # the outputs of each call
        waiting: dict[str, list[_Call]] = {}
        for entry in entries:
            name = entry.get("name") or entry["config"]["name"]
            layer = layers[name] = self.layer(entry)
            made[name] = [[layer.tensor]] if isinstance(layer, InputLayer) else []
            calls = [_Call(layer, node) for node in entry["inbound_nodes"]]
            waiting[name] = [call for call in calls if call.references]
        references = [r for calls in waiting.values() for call in calls for r in call.references]
        counts = {name: len(calls) for name, calls in waiting.items()}
        offsets = _offsets(layers, counts, references)

        def tensor(reference: list[Any], offsets: dict[str, int]) -> SymbolicTensor:
            name, call, index = reference[:3]
            number = call - offsets[name]
            if number < 0 or index < 0:
                raise ValueError(f"there is no output {index} of call {call} of the layer {name!r}")
            return made[name][number][index]

        readers: dict[str, list[str]] = {name: [] for name in layers}
        for name, calls in waiting.items():
            for source in {r[0] for call in calls for r in call.references}:
                readers[source].append(name)
        names = deque(waiting)  # of layers whose next call may be possible
        while names:
            name = names.popleft()
            calls, before = waiting[name], len(made[name])
            while calls and all(
                len(made[r[0]]) > r[1] - offsets[r[0]] for r in calls[0].references
            ):
                call = calls.pop(0)
                given = [tensor(r, offsets) for r in call.references]
                result = layers[name](given if call.many else given[0], call.training)
                made[name].append(result if isinstance(result, list) else [result])
            if len(made[name]) > before:
                names.extend(reader for reader in readers[name] if waiting[reader])
        stuck = [name for name, calls in waiting.items() if calls]
        if stuck:
            raise ValueError(f"what goes into the layers {stuck} is not in the file")

        def ends(key: str) -> SymbolicTensor | list[SymbolicTensor]:
            references = _references(config[key])
            offsets = _offsets(layers, counts, references, counted_from_one=True)
            tensors = [tensor(r, offsets) for r in references]
            return tensors if len(tensors) > 1 else tensors[0]

        made_by = [layer for layer in layers.values() if not isinstance(layer, InputLayer)]
        policy = made_by[0].dtype_policy if made_by else None
        ins, outs = ends("input_layers"), ends("output_layers")
        model = Model(ins, outs, name=config["name"], dtype=policy)
        _freeze(model, config)
        return model

    # Objects and their arguments

    def _construct(self, cls: type, config: dict[str, Any], name: str) -> Any:
        """An object of `cls` from Keras's arguments for it."""
        known = argument_names(cls)
        arguments: dict[str, Any] = {}
        for key, value in config.items():
            key = _OLD_NAMES.get(key, key) if key not in known else key
            if key == "batch_shape" and key not in known:
                key, value = "input_shape", value[1:]
            if key in known:
                arguments[key] = self._argument(key, value)
            elif not is_library_code(cls) and "from_config" in vars(cls):  # it may know it
                arguments[key] = value
            elif not (
                value is None
                or value is False  # a feature that is off
                or key in _IDLE
                or (key in _FIXED and value == _FIXED[key])
                or (key in _UNUSED and "depthwise_initializer" in known)
            ):
                raise ValueError(
                    f"{name} {config.get('name', '')!r} has {key}={value!r}, an argument that "
                    f"minicnn's {cls.__name__} does not support; {near_matches(key, known)}"
                )
        try:
            return cls.from_config(arguments)  # type: ignore[attr-defined]
        except TypeError as error:
            raise ValueError(f"{name}: {error}") from error

    def _argument(self, key: str, value: Any) -> Any:
        if key == "dtype":
            return _dtype(value)
        if key == "activation":
            return self.object(ACTIVATIONS, value)
        if key.endswith("_initializer"):
            return self.object(INITIALIZERS, value)
        if key.endswith("_regularizer"):
            return self.object(REGULARIZERS, value)
        if key == "layers":  # of a Pipeline
            return [self.object(LAYERS, layer) for layer in value]
        if key.endswith("_constraint"):
            return self.object(CONSTRAINTS, value)
        if key == "inner_optimizer":
            return self.object(OPTIMIZERS, value)
        if key == "learning_rate" and isinstance(value, dict):
            return self.object(SCHEDULES, value)
        if key == "seed" and isinstance(value, dict):  # a generator, by its configuration
            return value["config"].get("seed")
        if key == "reduction" and value == "auto":  # Keras 2
            return "sum_over_batch_size"
        return _plain(value)

    def object(self, registry: Registry, value: Any) -> Any:
        """An initializer, loss, optimizer ...

        Args:
            registry: of its kind.
            value: a name or {"class_name", "config"}; None for None.

        Raises:
            ValueError: minicnn does not have it, or one of its arguments.
        """
        if value is None:
            return None
        if isinstance(value, str):
            custom = get_registered_object(value, self._custom_objects)
            return registry.get(value if custom is None else custom)
        name = value["class_name"]
        if name == "function":
            return self.object(registry, value["config"])
        cls = self._own(value, name) or _find(registry, name)
        return self._construct(cls, value.get("config") or {}, name)

    # Training

    def compile(self, model: Model, config: dict[str, Any]) -> None:
        """Compile a model. A metric that minicnn does not have is left out with a warning.

        Args:
            model: built.
            config: the compile_config of .keras, or the training_config of .h5.

        Raises:
            ValueError: minicnn does not support the optimizer or the loss, or the model has several
                outputs.
        """
        try:
            optimizer = self.object(
                OPTIMIZERS, config.get("optimizer") or config.get("optimizer_config")
            )
            loss = self._loss(config)
            if loss is not None:
                require_one_output(model)
        except ValueError as error:
            raise ValueError(
                f"{error}. To leave out how the model was trained: load_model(path, compile=False)"
            ) from error
        chosen: dict[str, Any] = {"metrics": [], "weighted_metrics": []}
        for kind, found in chosen.items():
            for entry in _flat(config.get(kind)):
                try:
                    found.append(self._metric(entry))
                except ValueError as error:
                    warn(f"a metric is left out: {error}")
        model.compile(
            optimizer,
            loss,
            run_eagerly=bool(config.get("run_eagerly")),
            auto_scale_loss=config.get("auto_scale_loss", True),
            **chosen,
        )

    def _loss(self, config: dict[str, Any]) -> Loss | None:
        given = _flat(config.get("loss"))
        if not given:
            return None
        if len(given) != 1 or config.get("loss_weights") is not None:
            raise ValueError(
                f"minicnn trains with one loss; the file has loss={config.get('loss')!r}, "
                f"loss_weights={config.get('loss_weights')!r}"
            )
        loss: Loss = self.object(LOSSES, given[0])
        return loss

    def _metric(self, entry: Any) -> Any:
        if isinstance(entry, dict) and entry["class_name"] == "function":
            entry = entry["config"]
        if not isinstance(entry, str):
            return self.object(METRICS, entry)
        own = get_registered_object(entry, self._custom_objects)
        if own is not None:
            return own
        if entry not in ("accuracy", "acc"):
            metrics.get(entry)  # raises on an unknown name
        return entry


class _Call:
    """One call of a layer.

    Args:
        layer: what is called.
        node: the call as a file describes it.

    Attributes:
        references: where its inputs are made, [layer, number of the call, number of the output].
        many: whether the layer is given a list.
        training: that argument of the call.
    """

    def __init__(self, layer: Layer, node: Any):
        self.references: list[list[Any]] = []
        self.many = False
        self.training: bool | None = None
        if isinstance(node, list):  # Keras 2: [[layer, call, output, {keyword arguments}], ...]
            self.references = [r[:3] for r in node]
            self.many = len(node) > 1
            for reference in node:
                self._take_keywords(layer, reference[3] if len(reference) > 3 else {})
            return
        keywords = dict(node["kwargs"])
        given = list(node["args"])
        if "inputs" in keywords:
            given.append(keywords.pop("inputs"))
        self._take_keywords(layer, keywords)
        listed = len(given) == 1 and isinstance(given[0], list)
        tensors = given[0] if listed else given
        for tensor in tensors:
            if not isinstance(tensor, dict) or tensor.get("class_name") != "__keras_tensor__":
                raise ValueError(
                    f"{layer.described} is called with {tensor!r}; in minicnn a layer is called on "
                    f"a tensor or a list of tensors"
                )
            self.references.append(tensor["config"]["keras_history"])
        # Keras lets a model of one input be called on a list of one tensor
        self.many = len(tensors) > 1 or (listed and not isinstance(layer, Model))

    def _take_keywords(self, layer: Layer, keywords: dict[str, Any]) -> None:
        for key, value in keywords.items():
            if key == "training":
                self.training = value
            elif value is not None:
                raise ValueError(
                    f"{layer.described} is called with {key}={value!r}, which minicnn does not "
                    f"support"
                )


def _offsets(
    layers: dict[str, Layer],
    counts: dict[str, int],
    references: list[list[Any]],
    counted_from_one: bool = False,
) -> dict[str, int]:
    """The number that the first call of each layer has: 0, but often 1 if the layer is a model.

    Keras 3 counts the construction of a Functional as a call where it lists a model's outputs
    (`counted_from_one`), Keras 2 everywhere.
    """
    offsets = dict.fromkeys(layers, 0)
    for name, call, *_ in references:
        layer = layers[name]
        if isinstance(layer, Model):
            functional = not isinstance(layer, Sequential)
            if (counted_from_one and functional) or call >= counts[name]:
                offsets[name] = 1
    return offsets


def _references(place: Any) -> list[list[Any]]:
    """[layer, call, output], or a list or dict of such, as a list."""
    if isinstance(place, dict):
        place = list(place.values())
    elif isinstance(place[0], str):
        return [place]
    return [reference for inner in place for reference in _references(inner)]


def _input(config: dict[str, Any]) -> InputLayer:
    shape = config.get("batch_shape") or config.get("batch_input_shape")
    return InputLayer(batch_shape=shape, name=config["name"])


def _freeze(model: Model, config: dict[str, Any]) -> None:
    """Freeze a model that was saved frozen."""
    if not config.get("trainable", True):
        model.trainable = False


def _dtype(value: Any) -> str | None:
    """The name of a dtype policy, which newer versions of Keras describe as an object."""
    return value["config"]["name"] if isinstance(value, dict) else value


def _find(registry: Registry, name: str) -> type:
    try:
        return registry.find(name)
    except ValueError:
        if registry.why_left_out(name):
            raise
        raise ValueError(
            f"minicnn has no {registry.kind} {name!r}; {near_matches(name, registry.names())}. If "
            f"it is a class of your own: custom_objects={{{name!r}: {name}}}"
        ) from None


def _plain(value: Any) -> Any:
    """The list in what Keras wraps, such as an array; anything else as it is."""
    if isinstance(value, dict) and value.get("class_name") in ("__numpy__", "__tensor__"):
        return value["config"]["value"]
    return value


def _flat(value: Any) -> list[Any]:
    """The objects in what may be one, a list of lists, or a dict by output."""
    if value is None:
        return []
    if isinstance(value, dict) and "class_name" not in value:
        value = list(value.values())
    return [v for inner in value for v in _flat(inner)] if isinstance(value, list) else [value]
