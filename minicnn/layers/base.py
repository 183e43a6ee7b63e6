"""What every layer is: weights, a forward pass and a backward pass."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from minicnn import backend, dtype_policies, random
from minicnn.context import Context
from minicnn.dtypes import dtype_of
from minicnn.initializers import INITIALIZERS
from minicnn.kernels.bias import add_bias, add_bias_relu, add_bias_relu_gradient
from minicnn.kernels.channels import channel_sum
from minicnn.nodes import Node, Parts, Shape, SymbolicTensor
from minicnn.registry import (
    Configurable,
    Registry,
    argument_names,
    near_matches,
    snake_case,
    unique_name,
)

LAYERS = Registry("layer")


class Weight:
    """An array a layer owns.

    Attributes:
        value: the array, on the backend it was built on.
        layer: the layer it belongs to.
        learned: whether training ever changes it by gradients (moving averages: no).
        regularizer: penalty on it, or None.
    """

    def __init__(self, name: str, value: Any, layer: "Layer", learned: bool, regularizer: Any):
        self.name = name
        self.value = value
        self.layer = layer
        self.learned = learned
        self.regularizer = regularizer

    @property
    def trainable(self) -> bool:
        """Whether it learns now: `layer.trainable` is read at every step."""
        return self.learned and self.layer.trainable

    @property
    def path(self) -> str:
        return f"{self.layer.name}/{self.name}"

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.value.shape)

    @property
    def dtype(self) -> Any:
        return self.value.dtype

    def numpy(self) -> np.ndarray:
        """A copy on the host."""
        return np.array(backend.to_numpy(self.value))

    def assign(self, value: Any) -> None:
        """Take over `value`, keeping this weight's dtype.

        Raises:
            ValueError: the shape differs.
        """
        value = backend.asarray(value, self.value.dtype)
        if value.shape != self.value.shape:
            raise ValueError(
                f"{self.path} has shape {self.shape}; cannot assign an array of shape "
                f"{tuple(value.shape)}"
            )
        self.value = value.copy()

    def __repr__(self) -> str:
        return f"<Weight {self.path} shape={self.shape} dtype={self.dtype}>"


class Layer(Configurable):
    """A differentiable function with weights.

    A layer of one's own defines `forward` and `backward`, and `build` if it has weights:

        build(input_shape)      make the weights with `add_weight`; input_shape[0] is None
        forward(x, ctx) -> y    what backward needs goes to `ctx.save(...)`
        backward(dy, ctx) -> dx reads `ctx.saved`, hands gradients to `ctx.add_gradient(w, dw)`

    Layers that merge several inputs get and return lists.

    Args:
        name: "conv2d", "conv2d_1", ... where not given.
        dtype: "float32", "float64", or a policy of mixed precision (see `dtype_policies`); the
            global policy where not given.
        trainable: whether its weights learn; may be changed at any time.
        input_shape: on the first layer of a Sequential, the shape of one image.

    Attributes:
        whole_batch: whether forward looks across images (BatchNormalization); such a layer reduces
            through `ctx.comm`, everything else may be cut along the batch at will.
        by_tiles: whether it may as well see a few images at a time. False where the weights are
            large beside what they are applied to (Dense): they would be read for every few images.
        is_maximum: whether every output is the maximum of some inputs (max-pooling).
        autocast: whether a model casts what the layer takes and gives to its `compute_dtype`.
        dtype_policy: what `dtype` and `compute_dtype` follow.
    """

    whole_batch = False
    by_tiles = True
    is_maximum = False
    autocast = True

    def __init__(
        self,
        *,
        name: str | None = None,
        dtype: Any = None,
        trainable: bool = True,
        input_shape: Sequence[int | None] | None = None,
        **unknown: Any,
    ):
        if unknown:
            argument = next(iter(unknown))
            raise TypeError(
                f"{type(self).__name__} has no argument {argument!r}; "
                f"{near_matches(argument, self._argument_names())}"
            )
        self.name = name or unique_name(snake_case(type(self).__name__))
        try:
            self.dtype_policy = dtype_policies.get(dtype)
        except ValueError as error:
            raise ValueError(f"{self.described}: {error}") from None
        if isinstance(input_shape, (int, str)):
            raise TypeError(
                f"{self.described}: input_shape is a tuple such as (32, 32, 3), not {input_shape!r}"
            )
        self._trainable = trainable
        self.built = False
        self.input_shape: Any = None if input_shape is None else (None, *input_shape)
        self.output_shape: Any = None
        self.given_input_shape = None if input_shape is None else tuple(input_shape)
        self._weights: list[Weight] = []
        self._node: Node | None = None

    @classmethod
    def _argument_names(cls) -> list[str]:
        return argument_names(cls)

    # What a layer defines

    def build(self, input_shape: Any) -> None:
        """Make the weights for inputs of `input_shape`, (None, height, width, channels)."""

    def forward(self, x: Any, ctx: Context) -> Any:
        raise NotImplementedError(f"{type(self).__name__} does not define forward(x, ctx)")

    def backward(self, dy: Any, ctx: Context) -> Any:
        raise NotImplementedError(f"{type(self).__name__} does not define backward(dy, ctx)")

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Shape of the output, None for the batch. Where a layer does not say, it is tried out
        on one image of zeros."""
        shapes = input_shape if _is_shape_list(input_shape) else [input_shape]
        dtype = dtype_of(self.compute_dtype)
        zeros = [backend.current_module().zeros((1, *s[1:]), dtype) for s in shapes]
        y = self.forward(zeros if _is_shape_list(input_shape) else zeros[0], Context())
        return (None, *y.shape[1:])

    def multiply_adds(self, input_shape: Any) -> int:
        """Multiply-adds of one forward pass over one image; 0 for layers without products."""
        return 0

    def multiply_adds_made(self, input_shape: Any, results: int = 1) -> float:
        """Those that the layer's algorithm makes, where it gets by with others than the definition.

        Args:
            results: 1 for forward, or for one gradient; 2 for both gradients in one pass; 0.
        """
        return float(results * self.multiply_adds(input_shape))

    def algorithm_for(self, input_shape: Any) -> str:
        """How the products are computed, such as "im2col"; empty where there is no choice."""
        return ""

    def parts_around_maximum(self, forward: str) -> Parts | None:
        """How a maximum that follows can be taken before the end of the layer's work.

        Args:
            forward: the method whose work it is, "forward" or the last of the parts.

        Returns:
            ((forward, backward) of the part before, or None for none; those of the part after),
            as names of methods; None where the order matters.
        """
        return None

    def input_size_read(self, input_shape: Shape) -> tuple[int, int] | None:
        """(rows, columns) of an image that a pooling looks at, where that is not all of them."""
        return None

    def input_size_for(self, output_size: tuple[int, int]) -> tuple[int, int] | None:
        """(rows, columns) of an image that the first (rows, columns) of the output come from;
        None where all of it counts."""
        return None

    # What a layer is given

    def add_weight(
        self,
        name: str,
        shape: Sequence[int],
        initializer: Any = "glorot_uniform",
        regularizer: Any = None,
        trainable: bool = True,
    ) -> Weight:
        """Make a weight of `shape` in the layer's dtype; without an initializer, glorot_uniform."""
        initializer = INITIALIZERS.get(initializer or "glorot_uniform")
        value = initializer(tuple(shape), dtype=self.dtype)
        weight = Weight(name, backend.asarray(value), self, trainable, regularizer)
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
    def compute_dtype(self) -> str:
        """Of what the layer is given and gives: a model casts."""
        return self.dtype_policy.compute_dtype

    @property
    def weights(self) -> list[Weight]:
        return list(self._weights)

    @property
    def trainable_weights(self) -> list[Weight]:
        return [w for w in self.weights if w.trainable]

    @property
    def non_trainable_weights(self) -> list[Weight]:
        return [w for w in self.weights if not w.trainable]

    # Keras's other names

    @property
    def variables(self) -> list[Weight]:
        return self.weights

    @property
    def trainable_variables(self) -> list[Weight]:
        return self.trainable_weights

    @property
    def non_trainable_variables(self) -> list[Weight]:
        return self.non_trainable_weights

    def get_weights(self) -> list[np.ndarray]:
        """Copies of all weights as NumPy arrays."""
        return [w.numpy() for w in self.weights]

    def set_weights(self, values: Sequence[Any]) -> None:
        """Assign what `get_weights` returned.

        Raises:
            ValueError: another number of arrays, or another shape; nothing is assigned then.
        """
        weights = self.weights
        if len(values) != len(weights):
            raise ValueError(
                f"{self.described} has {len(weights)} weights; got {len(values)} arrays"
            )
        for weight, value in zip(weights, values, strict=True):
            if backend.shape_of(value) != weight.shape:
                raise ValueError(
                    f"{weight.path} has shape {weight.shape}; got an array of shape "
                    f"{backend.shape_of(value)}"
                )
        for weight, value in zip(weights, values, strict=True):
            weight.assign(value)

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

    def count_params(self) -> int:
        return sum(int(np.prod(w.shape)) for w in self.weights)

    @property
    def closing_softmax(self) -> bool:
        """Whether the layer ends in a softmax that a loss on logits could take over."""
        return False

    @property
    def described(self) -> str:
        """How error messages call the layer: Conv2D 'conv2d_1'."""
        return f"{type(self).__name__} {self.name!r}"

    def build_for(self, input_shape: Any) -> None:
        """Build once; the weights stay when the layer is called again."""
        if not self.built:
            self.build(input_shape)
            self.built = True
            self.input_shape = input_shape

    def unbuild(self) -> None:
        """Forget the weights; the next call builds anew."""
        self._weights = []
        self._node = None
        self.built = False

    def __call__(self, x: Any, training: bool | None = None) -> Any:
        """On symbolic tensors: a place in a model. On arrays: the result, nothing recorded.

        Args:
            training: whether dropout drops, augmentation augments and batch statistics are used.
                Where not given, a place in a model does what the model is doing, and a call on
                arrays does not.
        """
        many = isinstance(x, (list, tuple))
        tensors = list(x) if many else [x]
        if tensors and all(isinstance(t, SymbolicTensor) for t in tensors):
            return self._call_symbolic(tensors, many, training)
        dtype = dtype_of(self.compute_dtype)
        arrays = [backend.asarray(t).astype(dtype, copy=False) for t in tensors]
        shapes = [(None, *a.shape[1:]) for a in arrays]
        self.build_for(shapes if many else shapes[0])
        self.compute_output_shape(shapes if many else shapes[0])  # says what is wrong with a shape
        rng = random.device_generator() if training else None
        ctx = Context(bool(training), record=False, rng=rng)
        y = self.forward(arrays if many else arrays[0], ctx)
        for weight, value in ctx.updates.items():
            weight.assign(value)
        return y

    def _call_symbolic(
        self, tensors: list[SymbolicTensor], many: bool, training: bool | None
    ) -> Any:
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
        config = super().get_config()
        config.pop("input_shape", None)
        config["dtype"] = self.dtype_policy.name
        return config

    def __repr__(self) -> str:
        return f"<{self.described}>"


def _is_shape_list(shape: Any) -> bool:
    return isinstance(shape, list) or (
        isinstance(shape, tuple) and bool(shape) and isinstance(shape[0], (tuple, list))
    )


def with_inner_layers(layer: Layer) -> Iterator[Layer]:
    """The layer, and all layers of the models in it."""
    yield layer
    for inner in getattr(layer, "layers", ()):
        yield from with_inner_layers(inner)


def require_rank(layer: Layer, input_shape: Shape, rank: int, meaning: str) -> None:
    """Raise unless an input has `rank` axes; `meaning` names them in the message."""
    if len(input_shape) != rank:
        raise ValueError(
            f"{layer.described} expects inputs of {rank} axes, {meaning}; "
            f"got {len(input_shape)} axes, shape {tuple(input_shape)}"
        )


class ActivatedLayer(Layer):
    """A linear map, a bias and an activation function: y = f(linear(x) + b).

    A subclass defines `linear(x, ctx)` and its adjoint `linear_gradient(dz, ctx)`. The end of the
    work, bias and activation, stands apart because a graph may do it later: after a max-pooling
    that follows, on a quarter of the numbers.
    """

    activation: Any
    use_bias: bool
    bias: Weight | None
    bias_initializer: Any
    bias_regularizer: Any

    def add_bias(self, size: int) -> Weight | None:
        """The bias (size,), or None without `use_bias`."""
        if not self.use_bias:
            return None
        return self.add_weight("bias", (size,), self.bias_initializer, self.bias_regularizer)

    @property
    def closing_softmax(self) -> bool:
        return getattr(self.activation, "is_softmax", False)

    def forward(self, x: Any, ctx: Context) -> Any:
        z = self.linear(x, ctx)
        return self.finish(z, ctx.child("finish", wants_logits=ctx.wants_logits))

    def backward(self, dy: Any, ctx: Context) -> Any:
        return self.linear_gradient(self.finish_gradient(dy, ctx.child("finish")), ctx)

    def parts_around_maximum(self, forward: str) -> Parts | None:
        if not self.activation.rises or (self.bias is None and self.activation.is_linear):
            return None
        first = ("linear", "linear_gradient") if forward == "forward" else None
        return first, ("finish", "finish_gradient")

    def linear(self, x: Any, ctx: Context) -> Any:
        """z of a new array, (N, ..., channels), without the bias."""
        raise NotImplementedError(f"{type(self).__name__} does not define linear(x, ctx)")

    def linear_gradient(self, dz: Any, ctx: Context) -> Any:
        """dx; hands the gradients of the weights, without the bias, to ctx."""
        raise NotImplementedError(f"{type(self).__name__} does not define linear_gradient(dz, ctx)")

    def finish(self, z: Any, ctx: Context) -> Any:
        """y = f(z + b); z is given up and may be written over."""
        activation, bias = self.activation, None if self.bias is None else self.bias.value
        as_relu = activation.as_relu
        if bias is not None and as_relu is not None:
            negative_slope, max_value = as_relu
            y, kept = add_bias_relu(z, bias, negative_slope, max_value, ctx.record)
            ctx.save(kept)
            return y
        if bias is not None:
            z = add_bias(z, bias)
        if activation.is_linear or (ctx.wants_logits and self.closing_softmax):
            return z
        if not ctx.record:
            return activation.forward(z, out=z)
        y, kept = activation.record(z, out=z)
        ctx.save(kept)
        return y

    def finish_gradient(self, dy: Any, ctx: Context) -> Any:
        """dz from dy; hands the gradient of the bias to ctx."""
        learns = self.bias is not None and self.bias.trainable
        as_relu = self.activation.as_relu
        if learns and as_relu is not None:
            dz, gradient = add_bias_relu_gradient(dy, *ctx.saved, *as_relu)
        else:
            dz = self.activation.backward(dy, *ctx.saved) if ctx.saved else dy
            gradient = channel_sum(dz) if learns else None
        if self.bias is not None and learns:
            ctx.add_gradient(self.bias, gradient)
        return dz
