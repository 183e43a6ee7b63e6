"""Where data comes into a model."""

from collections.abc import Sequence
from typing import Any

from minicnn.context import Context
from minicnn.layers.base import LAYERS, Layer
from minicnn.nodes import SymbolicTensor


@LAYERS.register()
class InputLayer(Layer):
    """Says the shape of one input; hands it through.

    Args:
        shape: of one image, without the batch.
        batch_size: None for any.
    """

    def __init__(
        self,
        shape: Sequence[int | None] | None = None,
        batch_size: int | None = None,
        batch_shape: Sequence[int | None] | None = None,
        **kwargs: Any,
    ):
        for old in ("input_shape", "batch_input_shape"):
            given = kwargs.pop(old, None)
            if given is not None and old == "input_shape":
                shape = given
            elif given is not None:
                batch_shape = given
        super().__init__(**kwargs)
        if shape is None and batch_shape is None:
            raise ValueError(f"{self.described} needs shape=, such as shape=(32, 32, 3)")
        if batch_shape is not None:
            batch_size, shape = batch_shape[0], batch_shape[1:]
        if not isinstance(shape, (list, tuple)):
            raise ValueError(
                f"{self.described}: shape is a tuple such as (32, 32, 3), not {shape!r}"
            )
        if any(s is None or s < 1 for s in shape):
            raise ValueError(
                f"{self.described}: sizes must be fixed and above 0, not {tuple(shape)}; only the "
                f"batch is free"
            )
        self.shape = tuple(int(s) for s in shape)
        self.batch_size = batch_size
        self.given_input_shape = self.shape
        self.tensor = SymbolicTensor((None, *self.shape), source=self)
        self.built = True
        self.input_shape = self.output_shape = (None, *self.shape)

    @property
    def input(self) -> Any:
        return self.tensor

    output = input

    def compute_output_shape(self, input_shape: Any) -> Any:
        return tuple(input_shape)

    def forward(self, x: Any, ctx: Context) -> Any:
        return x

    def backward(self, dy: Any, ctx: Context) -> Any:
        return dy


def Input(  # noqa: N802 - Keras's name
    shape: Sequence[int | None] | None = None,
    batch_size: int | None = None,
    dtype: str | None = None,
    name: str | None = None,
    batch_shape: Sequence[int | None] | None = None,
) -> SymbolicTensor:
    """An input of a functional model: a symbolic tensor of `shape`, without the batch.

    `dtype` is accepted for the sake of scripts that say "uint8": a batch is converted to the
    dtype of the model in any case.
    """
    return InputLayer(shape, batch_size, batch_shape, name=name).tensor
