"""`Layer`: what every layer is, a forward pass, a backward pass and weights."""

from collections.abc import Iterator, Sequence
from inspect import signature
from typing import Any

from minicnn import backend, dtype_policies, initializers, random, regularizers
from minicnn.dtypes import dtype_of
from minicnn.layers.context import Context
from minicnn.layers.deferred import new_weight
from minicnn.layers.input_spec import check_input
from minicnn.layers.nodes import Node, SymbolicTensor
from minicnn.layers.penalties import Penalties
from minicnn.layers.weight import Weight, WeightOwner
from minicnn.registry import (
    Configurable,
    Registry,
    argument_names,
    checked_name,
    near_matches,
    snake_case,
    unique_name,
)
from minicnn.typing import Array, Shape

LAYERS = Registry("layer")


class Layer(Configurable, WeightOwner):
    """A differentiable function with weights.

    Your own layer defines `forward` and `backward`, and `build` if it has weights:

        build(input_shape)      makes the weights with `add_weight`; input_shape[0] is None
        forward(x, ctx) -> y    hands what backward needs to `ctx.save(...)`
        backward(dy, ctx) -> dx reads `ctx.saved`, hands gradients to `ctx.add_gradient(w, dw)`

    Layers that merge several inputs get and return lists.

    Args:
        name: default: "conv2d", "conv2d_1", ...
        dtype: "float32", "float64", or a policy of mixed precision (see `dtype_policies`); default:
            the global policy.
        activity_regularizer: penalty on what the layer gives, divided by the number of images and
            added to the loss, an object of `minicnn.regularizers` or its name; default: none.
        trainable: whether its weights learn; may be changed at any time.
        input_shape: on the first layer of a Sequential, the shape of one image.
        unknown: anything else is an error.

    Raises:
        TypeError: an unknown argument, or an input_shape that is no tuple.
        ValueError: a name that is no string, or an unknown dtype.

    Attributes:
        whole_batch: whether forward looks across images; such a layer gets all images of the batch
            at once, for any other a model may cut the batch at will.
        reduces_itself: whether a layer of the whole batch is content with the images of its shard,
            because it reduces through `ctx.comm` (BatchNormalization), and in training alone.
        autocast: whether a model casts what the layer takes and gives to its `compute_dtype`.
        input_spec: an `InputSpec` that inputs have to keep to, or a list of them; None: any.
        dtype_policy: what `dtype` and `compute_dtype` follow.
    """

    whole_batch = False
    reduces_itself = False
    autocast = True
    input_spec: Any = None

    def __init__(
        self,
        *,
        name: str | None = None,
        dtype: Any = None,
        trainable: bool = True,
        activity_regularizer: Any = None,
        input_shape: Sequence[int | None] | None = None,
        **unknown: Any,
    ):
        if unknown:
            argument = next(iter(unknown))
            raise TypeError(
                f"{type(self).__name__} has no argument {argument!r}; "
                f"{near_matches(argument, self._argument_names())}"
            )
        self.name = checked_name(self, name) or unique_name(snake_case(type(self).__name__))
        try:
            self.dtype_policy = dtype_policies.get(dtype)
        except ValueError as error:
            raise ValueError(f"{self.described}: {error}") from None
        if isinstance(input_shape, (int, str)):
            raise TypeError(
                f"{self.described}: input_shape is a tuple such as (32, 32, 3), not {input_shape!r}"
            )
        self._trainable = trainable
        self.activity_regularizer: Any = regularizers.get(activity_regularizer)
        self.built = False
        self.input_shape: Any = None if input_shape is None else (None, *input_shape)
        self.output_shape: Any = None
        self.given_input_shape = None if input_shape is None else tuple(input_shape)
        self._weights: list[Weight] = []
        self._node: Node | None = None
        self._penalties: list[Array] = []  # on what the last call on arrays gave

    @classmethod
    def _argument_names(cls) -> list[str]:
        return argument_names(cls)

    # What a layer defines

    def build(self, input_shape: Any) -> None:
        """Make the weights for inputs of `input_shape`, (None, height, width, channels)."""

    def forward(self, x: Array, ctx: Context) -> Array:
        """y from x, (N, ...); a list of arrays where there are several."""
        keras = ""
        if hasattr(self, "call"):
            keras = (
                "; it has Keras's call(x), but nothing here derives a gradient by itself: define "
                "forward(x, ctx) and backward(dy, ctx)"
            )
        raise NotImplementedError(f"{type(self).__name__} does not define forward(x, ctx){keras}")

    def backward(self, dy: Array, ctx: Context) -> Array | None:
        """dx from dy, of the shapes of x and y; None where `ctx.needs_dx` is False."""
        raise NotImplementedError(f"{type(self).__name__} does not define backward(dy, ctx)")

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Shape of the output, None for the batch, from the `input_shape`. A layer that does not
        define it is tried out on one image of zeros."""
        many = _is_shape_list(input_shape)
        shapes = input_shape if many else [input_shape]
        dtype = dtype_of(self.compute_dtype)
        tried = []
        for size in (32, 48)[: 1 + any(None in s[1:] for s in shapes)]:  # for those that are open
            images = [(1, *(size if s is None else s for s in shape[1:])) for shape in shapes]
            zeros = [backend.current_module().zeros(shape, dtype) for shape in images]
            y = self.forward(zeros if many else zeros[0], Context())
            tried.append([a.shape for a in (y if isinstance(y, (list, tuple)) else [y])])
        made = [
            (
                shapes[0][0],
                *(s if s == t else None for s, t in zip(one[1:], other[1:], strict=True)),
            )
            for one, other in zip(tried[0], tried[-1], strict=True)
        ]
        return made if isinstance(y, (list, tuple)) else made[0]

    def multiply_adds(self, input_shape: Any) -> int:
        """Multiply-adds of one forward pass over one image of `input_shape`; 0 without products."""
        return 0

    # What a layer is given

    def add_weight(
        self,
        name: str | None = None,
        shape: Sequence[int] = (),
        initializer: Any = "glorot_uniform",
        regularizer: Any = None,
        trainable: bool = True,
        constraint: Any = None,
    ) -> Weight:
        """Make a weight in the layer's dtype.

        Args:
            name: such as "kernel"; each weight of a layer has its own. Default: "variable",
                "variable_1", ...
            shape: of the array.
            initializer: its first values, a name or an object; None for glorot_uniform.
            regularizer: penalty on it, an object of `minicnn.regularizers`.
            trainable: whether gradients change it.
            constraint: what is made of it after each step, an object of `minicnn.constraints`.

        Raises:
            ValueError: the layer has a weight of that name.
        """
        taken = {weight.name for weight in self._weights}
        if name is None:
            numbered = ("variable", *(f"variable_{i}" for i in range(1, len(taken) + 1)))
            name = next(free for free in numbered if free not in taken)
        if name in taken:
            raise ValueError(
                f"{self.described} has a weight {name!r} already; files tell the weights of a "
                f"layer apart by their names: give each add_weight of the layer another name"
            )
        initializer = initializers.get("glorot_uniform" if initializer is None else initializer)
        weight = new_weight(
            name,
            tuple(shape),
            self.dtype,
            self,
            initializer,
            learned=trainable,
            regularizer=regularizer,
            constraint=constraint,
        )
        self._weights.append(weight)
        return weight

    @property
    def trainable(self) -> bool:
        """Whether the weights learn; read at every step."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self._trainable = bool(value)

    @property
    def dtype(self) -> str:
        """Of the weights."""
        return self.dtype_policy.variable_dtype

    @property
    def variable_dtype(self) -> str:
        """Keras's other name for `dtype`."""
        return self.dtype

    @property
    def compute_dtype(self) -> str:
        """Of what the layer is given and gives: a model casts."""
        return self.dtype_policy.compute_dtype

    @property
    def weights(self) -> list[Weight]:
        """All weights, in the order in which they were made."""
        return list(self._weights)

    @property
    def losses(self) -> list[Array]:
        """Penalties: those of activity regularizers on what the last call on arrays gave, then
        those on weights that learn."""
        of_activity = [p for layer in with_inner_layers(self) for p in layer._penalties]
        weights = self.trainable_weights
        return of_activity + [w.regularizer(w.value) for w in weights if w.regularizer is not None]

    @property
    def input(self) -> Any:
        """The symbolic tensor (or list of them) of the layer's last call in a model."""
        node = self._last_call()
        return list(node.inputs) if node.many_inputs else node.inputs[0]

    @property
    def output(self) -> Any:
        """What the layer's last call in a model gives, as a symbolic tensor (or a list)."""
        node = self._last_call()
        return list(node.outputs) if node.many_outputs else node.outputs[0]

    def _last_call(self) -> Node:
        if self._node is None:
            raise ValueError(f"{self.described} stands in no built model yet")
        return self._node

    @property
    def described(self) -> str:
        """How error messages call the layer: Conv2D 'conv2d_1'."""
        return f"{type(self).__name__} {self.name!r}"

    def build_for(self, input_shape: Any) -> None:
        """Build for inputs of `input_shape`, once; the weights stay when it is called again."""
        if not self.built:
            self.build(input_shape)
            self.built = True
            self.input_shape = input_shape

    def unbuild(self) -> None:
        """Forget the weights; the next call builds anew."""
        self._weights = []
        self._node = None
        self.built = False

    def __call__(
        self,
        x: SymbolicTensor | Array | Sequence[SymbolicTensor | Array],
        training: bool | None = None,
    ) -> Any:
        """On symbolic tensors: a place in a model. On arrays: the result, nothing recorded.

        Args:
            x: one of these, or a list for several inputs.
            training: whether dropout drops, augmentation augments and batch statistics are used.
                Default: a place in a model does what the model is doing; of a call on arrays,
                augmentation augments and all else does as outside training.
        """
        many = isinstance(x, (list, tuple))
        tensors: list[Any] = list(x) if isinstance(x, (list, tuple)) else [x]
        if tensors and all(isinstance(t, SymbolicTensor) for t in tensors):
            return self._call_symbolic(tensors, many, training)
        dtype = dtype_of(self.compute_dtype if self.autocast else self.dtype)
        arrays = [backend.plain(backend.asarray(t)).astype(dtype, copy=False) for t in tensors]
        if self.input_spec is not None:
            check_input(self.input_spec, self.described, arrays)
        shapes = [(None, *a.shape[1:]) for a in arrays]
        self.build_for(shapes if many else shapes[0])
        if type(self).compute_output_shape is not Layer.compute_output_shape:  # which is forward
            self.compute_output_shape(shapes if many else shapes[0])  # says what is wrong with it
        rng = random.device_generator() if training else None
        # None, which nobody but augmentation tells from False, goes on to the layers of a model
        training = None if training is None else bool(training)
        penalties = Penalties(len(arrays[0]) if arrays[0].ndim else 1)
        ctx = Context(training, record=False, rng=rng, penalties=penalties)
        y = self.forward(arrays if many else arrays[0], ctx)
        if self.activity_regularizer is not None:
            penalties.add(self, y)
        for layer in with_inner_layers(self):
            layer._penalties = [p for owner, p in penalties.of_layers.items() if owner is layer]
        for weight, value in ctx.updates.items():
            weight.assign(value)
        return y if isinstance(y, list) else backend.of_class(y, tensors[0])

    def _call_symbolic(
        self, tensors: list[SymbolicTensor], many: bool, training: bool | None
    ) -> Any:
        if self.input_spec is not None:
            check_input(self.input_spec, self.described, tensors)
        shapes = [t.shape for t in tensors]
        self.build_for(shapes if many else shapes[0])
        node = self._node = Node(self, tensors, many, training)
        shape = self.compute_output_shape(shapes if many else shapes[0])
        node.many_outputs = _is_shape_list(shape)
        node.outputs = tuple(
            SymbolicTensor(s, node) for s in (shape if node.many_outputs else [shape])
        )
        self.output_shape = shape
        return list(node.outputs) if node.many_outputs else node.outputs[0]

    def get_config(self) -> dict[str, Any]:
        """The arguments that an equal layer is made with."""
        config = super().get_config()
        config.pop("input_shape", None)
        if self.activity_regularizer is None:  # which only those mention that name the argument
            init = type(self).__init__
            if init is Layer.__init__ or "activity_regularizer" not in signature(init).parameters:
                del config["activity_regularizer"]
        config["dtype"] = self.dtype_policy.name
        return config

    @classmethod
    def _made_with(cls, arguments: dict[str, Any]) -> Any:
        taken = signature(cls).parameters
        if any(p.kind is p.VAR_KEYWORD for p in taken.values()):
            return cls(**arguments)
        # a constructor of your own that takes nothing of what all layers have, such as the name
        rest = {k: v for k, v in arguments.items() if k not in taken and k in _OF_ALL_LAYERS}
        layer = cls(**{k: v for k, v in arguments.items() if k not in rest})
        layer.name = rest.get("name", layer.name)
        layer._trainable = rest.get("trainable", layer._trainable)
        layer.dtype_policy = dtype_policies.get(rest.get("dtype", layer.dtype_policy.name))
        return layer

    def __repr__(self) -> str:
        return f"<{self.described}>"


_OF_ALL_LAYERS = ("name", "dtype", "trainable")


def _is_shape_list(shape: Any) -> bool:
    return isinstance(shape, list) or (
        isinstance(shape, tuple) and bool(shape) and isinstance(shape[0], (tuple, list))
    )


def with_inner_layers(layer: Layer) -> Iterator[Layer]:
    """The `layer`, and all layers of the models in it."""
    yield layer
    for inner in getattr(layer, "layers", ()):
        yield from with_inner_layers(inner)


def require_rank(layer: Layer, input_shape: Shape, rank: int, meaning: str) -> None:
    """Raise a ValueError unless the `input_shape` of a `layer` has `rank` axes; `meaning` names
    them in the message."""
    if len(input_shape) != rank:
        raise ValueError(
            f"{layer.described} expects inputs of {rank} axes, {meaning}; "
            f"got {len(input_shape)} axes, shape {tuple(input_shape)}"
        )
