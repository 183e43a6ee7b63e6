"""`Sequential`: layers one after the other."""

from collections.abc import Sequence
from typing import Any

from minicnn.layers.base import LAYERS, Layer
from minicnn.layers.input import InputLayer
from minicnn.layers.nodes import Shape, SymbolicTensor
from minicnn.models.model import Model, check_names, layer_from_config
from minicnn.registry import serialize


@LAYERS.register()
class Sequential(Model):
    """Layers one after the other.

        model = Sequential([Input((32, 32, 3)), Conv2D(32, 3, activation="relu"), Flatten(),
                            Dense(10, activation="softmax")])

    The weights are made once the input's shape is known: from an `Input` in front, `input_shape=`
    on the first layer, `build`, or the first data.

    Args:
        layers: a list of layers, models among them.
        name: default: "sequential", "sequential_1" ...
        kwargs: see `Layer`.
    """

    any_image_size = True  # as in Keras: layers say themselves what does not fit

    def __init__(self, layers: Sequence[Any] | None = None, name: str | None = None, **kwargs: Any):
        Layer.__init__(self, name=name, **kwargs)
        self._layers: list[Layer] = []
        self._many_inputs = self._many_outputs = False
        for layer in layers or []:
            self._append(layer)
        self._rebuild()

    @property
    def layers(self) -> list[Layer]:
        """The layers, without an `Input` in front, as Keras counts them."""
        return [layer for layer in self._layers if not isinstance(layer, InputLayer)]

    def add(self, layer: Any) -> None:
        """Put a layer at the end."""
        self._append(layer)
        try:
            self._rebuild()
        except Exception:
            self._layers.pop()
            self._rebuild()
            raise

    def pop(self) -> Layer:
        """Take the last layer off.

        Raises:
            ValueError: there is none.
        """
        if not self.layers:
            raise ValueError(f"{self.described} has no layers to take off")
        layer = self._layers.pop()
        self._rebuild()
        return layer

    def build(self, input_shape: Any = None) -> None:
        """Make the weights for inputs of `input_shape`, (None, height, width, channels)."""
        if input_shape is None or self.built:
            return
        self._build_chain(tuple(input_shape)[1:])

    def build_for(self, input_shape: Any) -> None:
        self.build(input_shape)

    def compute_output_shape(self, input_shape: Any) -> Any:
        self.build_for(input_shape)
        return super().compute_output_shape(input_shape)

    def _append(self, layer: Any) -> None:
        if isinstance(layer, SymbolicTensor) and layer.source is not None:
            layer = layer.source
        if not isinstance(layer, Layer):
            raise TypeError(
                f"{self.described} is made of layers; got {layer!r} of type "
                f"{type(layer).__name__}"
                + ("; did you forget the brackets?" if isinstance(layer, type) else "")
            )
        if isinstance(layer, InputLayer) and self._layers:
            raise ValueError(f"{self.described}: Input stands only at the beginning")
        check_names([*self._layers, layer], self.described)
        self._layers.append(layer)

    def _rebuild(self) -> None:
        """Build as soon as the shape is known and there is something to build."""
        shape = None
        if self._layers:
            first = self._layers[0]
            if first.given_input_shape is not None:
                shape = first.given_input_shape
            elif self.input_shape is not None:
                shape = self.input_shape[1:]
            elif isinstance(first, Model) and first.built:
                shape = first.input_shape[1:]
        self.built = False
        if shape is not None and self.layers:
            self._build_chain(shape)

    def _build_chain(self, shape: Shape) -> None:
        if not self.layers:
            raise ValueError(f"{self.described} has no layers")
        first = self._layers[0]
        source = first if isinstance(first, InputLayer) else None
        tensor = source.tensor if source else InputLayer(shape, name=f"{self.name}_input").tensor
        layers, end = self._layers, tensor
        unbuilt = [layer for layer in layers if not layer.built]
        try:
            for layer in self.layers:
                end = layer(end)
                if isinstance(end, list):
                    raise ValueError(
                        f"{self.described}: {layer.described} has several outputs; in a chain "
                        f"each layer has one"
                    )
        except Exception:
            for layer in unbuilt:  # other data may fit
                layer.unbuild()
            raise
        self._set_graph(tensor, end)
        self._layers = layers  # the same layer may stand twice

    def get_config(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "dtype": self.dtype_policy.name,
            "trainable": self.trainable,
            "input_shape": list(self.input_shape[1:]) if self.input_shape else None,
            "layers": [serialize(layer) for layer in self._layers],
        }

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: dict[str, type] | None = None
    ) -> "Sequential":
        """A model, untrained, from what `get_config` returned."""
        layers: list[Layer] = []
        for c in config["layers"]:
            name = c["config"].get("name")
            twin = next((la for la in layers if la.name == name), None)  # a layer may stand twice
            layers.append(twin or layer_from_config(c, custom_objects))
        model = cls(
            layers,
            name=config["name"],
            dtype=config["dtype"],
        )
        if config["input_shape"] is not None:
            model.build((None, *config["input_shape"]))
        model._trainable = config["trainable"]
        return model
