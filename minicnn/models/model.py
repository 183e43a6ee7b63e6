"""`Model`: layers put together in any graph."""

import os
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from minicnn.custom_objects import CustomObjectScope
from minicnn.layers.base import LAYERS, Layer
from minicnn.layers.context import Context
from minicnn.layers.input import InputLayer
from minicnn.layers.nodes import SymbolicTensor
from minicnn.layers.penalties import looks_across
from minicnn.layers.weight import Weight
from minicnn.models.graph import Graph
from minicnn.models.summary import model_summary
from minicnn.registry import serialize
from minicnn.training.trainer import Trainer
from minicnn.typing import Array

if TYPE_CHECKING:
    from minicnn.profiler import Profile


@LAYERS.register("Functional")
class Model(Trainer):
    """A graph of layers between symbolic inputs and outputs.

        x = inputs = Input((32, 32, 3))
        x = Conv2D(16, 3, activation="relu")(x)
        outputs = Dense(10)(GlobalAveragePooling2D()(x))
        model = Model(inputs, outputs)

    A model is a layer: it can be called on the tensors of another one, and frozen as a whole. What
    it computes is its graph; a network that is no fixed graph is a `Layer` of your own.

    Args:
        inputs: what `Input` returned, or a list of such.
        outputs: symbolic tensors that depend on the inputs alone.
        name: default: "model", "model_1" ...
        kwargs: see `Layer`.

    Attributes:
        layers: all layers, inputs first, each once.
        input_shape, output_shape: with None for the batch; lists where there are several.

    Raises:
        TypeError: other inputs or outputs; a subclass that defines forward or backward.
    """

    autocast = False  # the layers inside are cast by their own graph

    def __init_subclass__(cls, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        # training goes by the graph, and would never call these
        names = ("forward", "backward", "call", "train_step", "test_step", "predict_step")
        own = [n for n in names if getattr(cls, n, None) is not getattr(Model, n, None)]
        if own:
            hint = "derive it from minicnn.Layer, which a model can contain"
            if own[0].endswith("_step"):
                hint = "what a step does is told by the loss, the metrics and the callbacks"
            raise TypeError(
                f"{cls.__name__} defines {own[0]}, but a model computes what its graph says, and "
                f"nothing here derives a gradient by itself; {hint}"
            )

    def __init__(
        self, inputs: Any = None, outputs: Any = None, name: str | None = None, **kwargs: Any
    ):
        super().__init__(name=name, **kwargs)
        for what, given in (("inputs", inputs), ("outputs", outputs)):
            if isinstance(given, dict):
                raise TypeError(
                    f"Model({what}=...) takes a list here, whose order predict keeps to, not a "
                    f"dict: {what}=list(d.values()), and dict(zip(d, model.predict(x)))"
                )
            tensors = given if isinstance(given, (list, tuple)) else [given]
            if not tensors or not all(isinstance(t, SymbolicTensor) for t in tensors):
                raise TypeError(
                    f"Model({what}=...) takes what Input(...) or a layer called on it returns, "
                    f"not {given!r}; a network that is no fixed graph is a Layer of your own"
                )
        self._set_graph(inputs, outputs)

    def _set_graph(self, inputs: Any, outputs: Any) -> None:
        self._many_inputs = isinstance(inputs, (list, tuple))
        self._many_outputs = isinstance(outputs, (list, tuple)) and len(outputs) > 1
        ins = list(inputs) if self._many_inputs else [inputs]
        outs = list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]
        self.graph = Graph(ins, outs)
        sources = [t.source for t in ins if t.source is not None]
        self._layers = [*sources, *(la for la in self.graph.layers if la not in sources)]
        check_names(self._layers, self.described)
        self.inputs, self.outputs = ins, outs
        self.input_shape = [t.shape for t in ins] if self._many_inputs else ins[0].shape
        self.output_shape = [t.shape for t in outs] if self._many_outputs else outs[0].shape
        self.built = True
        if not self._trainable:  # said when the model was made
            self.trainable = False

    def unbuild(self) -> None:
        super().unbuild()
        for layer in self._layers:
            if not isinstance(layer, InputLayer):
                layer.unbuild()

    @property
    def layers(self) -> list[Layer]:
        """All layers, inputs first, each once."""
        return list(self._layers)

    @property
    def input(self) -> Any:
        """The symbolic tensor that `Input` returned, or a list of them."""
        self.require_built()
        return self.inputs if self._many_inputs else self.inputs[0]

    @property
    def output(self) -> Any:
        """The symbolic tensor of the output, or a list of them."""
        self.require_built()
        return self.outputs if self._many_outputs else self.outputs[0]

    def get_layer(self, name: str | None = None, index: int | None = None) -> Layer:
        """A layer by `name`, or by `index`, its place in `layers`.

        Raises:
            ValueError: there is none; both are given, or neither.
        """
        if (index is None) == (name is None):
            raise ValueError(f"give a name or an index; got name={name!r} and index={index!r}")
        if index is not None:
            if not -len(self.layers) <= index < len(self.layers):
                raise ValueError(
                    f"{self.described} has {len(self.layers)} layers; no index {index}"
                )
            return self.layers[index]
        for layer in self.layers:
            if layer.name == name:
                return layer
        names = ", ".join(layer.name for layer in self.layers)
        raise ValueError(f"{self.described} has no layer {name!r}; it has {names}")

    @property
    def trainable(self) -> bool:
        """Whether the model learns; setting it sets it on every layer inside."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self._trainable = bool(value)
        for layer in self._layers:
            layer.trainable = value

    @property
    def activity_regularizer(self) -> None:
        """None: the layers inside have theirs."""
        return None

    @activity_regularizer.setter
    def activity_regularizer(self, value: Any) -> None:
        if value is not None:
            raise TypeError(
                f"{type(self).__name__} takes no activity_regularizer: give it to the last layer"
            )

    @property
    def weights(self) -> list[Weight]:
        """All weights, each once, also those of a layer that stands at several places."""
        return list(dict.fromkeys(w for layer in self.layers for w in layer.weights))

    @property
    def whole_batch(self) -> bool:  # type: ignore[override]
        """Whether a layer inside, or the penalty on what one gives, looks across images."""
        return any(layer.whole_batch or looks_across(layer) for layer in self.layers)

    def weight_keys(self, prefix: str = "") -> dict[Weight, str]:
        """A name for every weight: layer/weight, with the names of inner models before it. Where
        this gives several weights one name, as a layer "b" in a model "a" and a layer "a/b" would,
        the later ones get a number: "a/b/kernel_1".

        Args:
            prefix: what all names begin with.
        """
        keys: dict[Weight, str] = {}
        for layer in self.layers:
            path = f"{prefix}{layer.name}/"
            if isinstance(layer, Model):
                keys.update(layer.weight_keys(path))
            else:
                keys.update((w, path + w.name) for w in layer.weights)
        return _numbered(keys)

    # As a layer

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Output shape(s) for another input shape; each layer in turn says what does not fit."""
        shapes = list(input_shape) if isinstance(input_shape, list) else [input_shape]
        if len(shapes) != len(self.inputs):
            raise ValueError(f"{self.described} has {len(self.inputs)} inputs; got {len(shapes)}")
        batch = next((shape[0] for shape in shapes if shape[0] is not None), None)
        outputs = [(batch, *t.shape[1:]) for t in self.graph.planned_for(shapes).outputs]
        return outputs if self._many_outputs else outputs[0]

    def forward(self, x: Array | list[Array], ctx: Context) -> Array | list[Array]:
        """The outputs for the inputs x, (N, ...), by the graph."""
        outputs = self.graph.forward(x if isinstance(x, (list, tuple)) else [x], ctx)
        return outputs if self._many_outputs else outputs[0]

    def backward(self, dy: Array | list[Array], ctx: Context) -> Array | list[Array]:
        """The gradients of the inputs from those of the outputs, dy."""
        dx = self.graph.backward(dy if self._many_outputs else [dy], ctx)
        return dx if self._many_inputs else dx[0]

    def multiply_adds(self, input_shape: Any = None) -> int:
        """Multiply-adds of one forward pass over one image."""
        return sum(node.layer.multiply_adds(node.input_shape) for node in self.graph.nodes)

    # Description

    def summary(
        self,
        line_length: int | None = None,
        positions: Any = None,
        print_fn: Callable[[str], Any] | None = None,
        expand_nested: bool = False,
        show_trainable: bool = False,
        layer_range: Sequence[str] | None = None,
    ) -> None:
        """Print a table: each layer's output shape, parameters, multiply-adds per image and, in a
        graph with branches, what it reads.

        Args:
            line_length: characters per line at most; default: 80.
            positions: of Keras; columns are as wide as they need to be here, which a warning says.
            print_fn: called with the table in place of `print`.
            expand_nested: whether the layers of a model within the model have lines, too.
            show_trainable: whether a column says which layers learn.
            layer_range: names of the first and last layer shown, or regular expressions for them.

        Raises:
            ValueError: no layer matches an end of layer_range.
        """
        if positions is not None:
            warnings.warn(
                "positions: the columns of minicnn's summary are as wide as they need to be",
                stacklevel=2,
            )
        table = model_summary(self, line_length, expand_nested, show_trainable, layer_range)
        (print_fn or print)(table)

    def profile(
        self,
        x: Any,
        batch_size: int = 128,
        repeats: int = 5,
        threads: int = 1,
        print_fn: Any = None,
    ) -> "Profile":
        """Time each layer's forward and backward pass in training, and print the table.

        Neither weights, moving statistics, the optimizer nor random generators are changed. The
        loss and the optimizer's step are not timed.

        Args:
            x: images (N, H, W, C), or a list of arrays for several inputs.
            batch_size: images in the batch that is timed, the first ones of x.
            repeats: passes; the figures are their medians.
            threads: shards of the batch that run at the same time, one BLAS thread each.
            print_fn: called with the table in place of `print`.

        Returns:
            `minicnn.profiler.Profile`: its `rows` hold the figures, `plot(path)` draws them.

        Raises:
            ValueError: the model is not built, or x does not fit it.
        """
        from minicnn.profiler import profile_model

        profile = profile_model(self, x, batch_size, repeats, threads)
        (print_fn or print)(str(profile))
        return profile

    def get_config(self) -> dict[str, Any]:
        """The graph in terms of JSON: layers once, then calls in order.

        Tensors are numbered: the inputs first, then the outputs of the calls.
        """
        number = {tensor: i for i, tensor in enumerate(self.inputs)}
        layers = list(self.graph.layers)
        calls = []
        for node in self.graph.nodes:
            calls.append(
                {
                    "layer": layers.index(node.layer),
                    "inputs": [number[t] for t in node.inputs],
                    "many_inputs": node.many_inputs,
                    "training": node.training,
                }
            )
            for tensor in node.outputs:
                number[tensor] = len(number)
        return {
            "name": self.name,
            "dtype": self.dtype_policy.name,
            "trainable": self.trainable,
            "inputs": [
                {
                    "name": t.source.name if t.source else None,
                    "shape": list(t.shape[1:]),
                    "batch_size": t.shape[0],
                }
                for t in self.inputs
            ],
            "many_inputs": self._many_inputs,
            "layers": [serialize(layer) for layer in layers],
            "calls": calls,
            "outputs": [number[t] for t in self.outputs],
            "many_outputs": self._many_outputs,
        }

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: dict[str, type] | None = None
    ) -> "Model":
        """A model, untrained, from what `get_config` returned.

        Args:
            config: that.
            custom_objects: {class name: class} for layers that are not the library's.
        """
        tensors = [
            InputLayer(i["shape"], i.get("batch_size"), name=i["name"]).tensor
            for i in config["inputs"]
        ]
        inputs = list(tensors)
        layers = [layer_from_config(c, custom_objects) for c in config["layers"]]
        for call in config["calls"]:
            given = [tensors[i] for i in call["inputs"]]
            layer = layers[call["layer"]]
            result = layer(given if call["many_inputs"] else given[0], call["training"])
            tensors += result if isinstance(result, list) else [result]
        outputs = [tensors[i] for i in config["outputs"]]
        model = Model(
            inputs if config["many_inputs"] else inputs[0],
            outputs if config["many_outputs"] else outputs[0],
            name=config["name"],
            dtype=config["dtype"],
        )
        model._trainable = config["trainable"]
        return model

    # Files

    def save(
        self, filepath: str | os.PathLike[str], overwrite: bool = True, **options: Any
    ) -> None:
        """Write architecture, weights and the optimizer's state to one file.

        Args:
            filepath: ending in .safetensors, or in .keras or .h5 as Keras 3 writes them.
            overwrite: whether an existing file may be replaced.
            options: see `minicnn.saving.save_model`.
        """
        from minicnn.saving import save_model

        save_model(self, filepath, overwrite, **options)

    def to_json(self, **kwargs: Any) -> str:
        """The architecture, and how it is compiled, as Keras writes it, too; `model_from_json`
        reads it.

        Args:
            kwargs: of `json.dumps`, such as indent=2.
        """
        from minicnn.saving import model_to_json

        return model_to_json(self, **kwargs)

    def save_weights(self, filepath: str | os.PathLike[str], overwrite: bool = True) -> None:
        """Write the weights alone.

        Args:
            filepath: ending in .safetensors, or in .weights.h5 for Keras.
            overwrite: whether an existing file may be replaced.
        """
        from minicnn.saving import save_weights

        save_weights(self, filepath, overwrite)

    def load_weights(
        self,
        filepath: str | os.PathLike[str],
        skip_mismatch: bool = False,
        by_name: bool = False,
    ) -> None:
        """Take over weights.

        Args:
            filepath: what `save`, `save_weights` or Keras wrote.
            skip_mismatch: leave the layers as they are whose weights are missing there, or have
                another shape, with a warning that names them.
            by_name: take over the layers that have the name of one in a .h5 file.
        """
        from minicnn.saving import load_weights

        load_weights(self, filepath, skip_mismatch, by_name)


def layer_from_config(
    config: dict[str, Any], custom_objects: dict[str, type] | None = None
) -> Layer:
    """A layer from its configuration.

    Args:
        config: {"class_name": ..., "config": ...}.
        custom_objects: {class name: class} for layers that are not the library's.
    """
    cls = LAYERS.find_saved(config["class_name"], custom_objects)
    if issubclass(cls, Model):
        return cls.from_config(config["config"], custom_objects)
    with CustomObjectScope(custom_objects):  # also its initializers, regularizers, constraints
        return cls.from_config(config["config"])  # type: ignore[attr-defined]


def _numbered(keys: dict[Weight, str]) -> dict[Weight, str]:
    """`keys`, with a number behind what an earlier weight is called."""
    taken = set(keys.values())
    if len(taken) == len(keys):
        return keys
    unique: dict[Weight, str] = {}
    seen: set[str] = set()
    for weight, key in keys.items():
        name, count = key, 0
        while name in seen or (count and name in taken):
            count += 1
            name = f"{key}_{count}"
        seen.add(name)
        unique[weight] = name
    return unique


def check_names(layers: Sequence[Layer], where: str) -> None:
    """Raise a ValueError if two of `layers` have one name; `where` begins the message."""
    seen: dict[str, Layer] = {}
    for layer in layers:
        other = seen.setdefault(layer.name, layer)
        if other is not layer:
            raise ValueError(
                f"{where}: two layers are called {layer.name!r}; give each a name of its own"
            )
