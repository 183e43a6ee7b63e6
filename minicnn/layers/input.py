"""Where data comes into a model."""

from collections.abc import Sequence
from typing import Any

from minicnn.layers.base import LAYERS, Layer
from minicnn.layers.context import Context
from minicnn.layers.nodes import SymbolicTensor
from minicnn.typing import Array, Shape


@LAYERS.register()
class InputLayer(Layer):
    """Says the shape of one input; hands it through.

    Args:
        shape: of one image, without the batch; None for a size that is open.
        batch_size: said in shapes, as in Keras; batches of any size are taken.
        batch_shape: (batch_size, *shape), in place of the two.
        kwargs: see `Layer`; input_shape and batch_input_shape are older names of shape and
            batch_shape.

    Attributes:
        tensor: the input as a symbolic tensor.

    Raises:
        ValueError: no shape, or sizes below 1.
    """

    def __init__(
        self,
        shape: Sequence[int | None] | None = None,
        batch_size: int | None = None,
        batch_shape: Sequence[int | None] | None = None,
        **kwargs: Any,
    ):
        older_shape = kwargs.pop("input_shape", None)
        older_batch_shape = kwargs.pop("batch_input_shape", None)
        super().__init__(**kwargs)
        shape = shape if older_shape is None else older_shape
        batch_shape = batch_shape if older_batch_shape is None else older_batch_shape
        if shape is None and batch_shape is None:
            raise ValueError(f"{self.described} needs shape=, such as shape=(32, 32, 3)")
        if batch_shape is not None:
            batch_size, shape = batch_shape[0], batch_shape[1:]
        if not isinstance(shape, (list, tuple)):
            raise ValueError(
                f"{self.described}: shape is a tuple such as (32, 32, 3), not {shape!r}"
            )
        if any(s is not None and s < 1 for s in shape):
            raise ValueError(
                f"{self.described}: sizes must be above 0, or None for any, not {tuple(shape)}"
            )
        self.shape: Shape = tuple(None if s is None else int(s) for s in shape)
        self.batch_size = batch_size
        self.given_input_shape = self.shape
        self.tensor = SymbolicTensor((batch_size, *self.shape), source=self)
        self.built = True
        self.input_shape = self.output_shape = self.tensor.shape

    @property
    def input(self) -> SymbolicTensor:
        return self.tensor

    @property
    def output(self) -> SymbolicTensor:
        return self.tensor

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return tuple(input_shape)

    def forward(self, x: Array, ctx: Context) -> Array:
        return x

    def backward(self, dy: Array, ctx: Context) -> Array:
        return dy


def Input(  # noqa: N802 - Keras's name
    shape: Sequence[int | None] | None = None,
    batch_size: int | None = None,
    dtype: str | None = None,
    name: str | None = None,
    batch_shape: Sequence[int | None] | None = None,
) -> SymbolicTensor:
    """An input of a functional model, as a symbolic tensor.

    Args:
        shape, batch_size, name, batch_shape: see `InputLayer`.
        dtype: has no effect; accepted for scripts that say "uint8". A batch is converted to the
            dtype of the model in any case.
    """
    return InputLayer(shape, batch_size, batch_shape, name=name).tensor
