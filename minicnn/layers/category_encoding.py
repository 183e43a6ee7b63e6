"""Whole numbers to vectors of as many elements as there are categories."""

from typing import Any

import numpy as np

from minicnn import backend
from minicnn.backend import array_module
from minicnn.dtypes import dtype_of
from minicnn.layers import arguments
from minicnn.layers.base import LAYERS, Layer
from minicnn.layers.context import Context
from minicnn.typing import Array, Shape


@LAYERS.register()
class CategoryEncoding(Layer):
    """The categories of each sample, 0 to num_tokens - 1, as a vector y (num_tokens,).

    "one_hot": each category gets a vector of its own, with 1 at its place. "multi_hot": y_k is 1
    if category k is among those of the sample. "count": y_k is how often it is.

    Args:
        num_tokens: how many categories there are.
        output_mode: "multi_hot", "one_hot" or "count".
        sparse: False; there are no sparse arrays here.
        kwargs: see `Layer`.

    Shape:
        (N, categories) to (N, num_tokens), without the batch too; "one_hot" takes (...) and
        (..., 1) to (..., num_tokens).

    Raises:
        ValueError: a bad argument; numbers that are no categories, where the arrays are NumPy's.
    """

    autocast = False  # a float16 would round numbers above 2048

    def __init__(
        self,
        num_tokens: int | None = None,
        output_mode: str = "multi_hot",
        sparse: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.num_tokens = arguments.positive_int(self, "num_tokens", num_tokens)
        mode = "multi_hot" if output_mode == "binary" else output_mode
        self.output_mode = arguments.one_of(
            self, "output_mode", mode, ("multi_hot", "one_hot", "count")
        )
        self.sparse = arguments.one_of(self, "sparse", sparse, (False,))

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["sparse"]
        return config

    def __call__(  # type: ignore[override]
        self, x: Array, count_weights: Any = None, training: bool | None = None
    ) -> Any:
        """As `Layer`; on arrays, with `count_weights` of the shape of x in place of ones."""
        if count_weights is None:
            return super().__call__(x, training)
        if self.output_mode != "count":
            raise ValueError(
                f"{self.described}: count_weights go with output_mode 'count', not with "
                f"{self.output_mode!r}"
            )
        hot = self._hot(backend.asarray(x))
        return (hot * backend.asarray(count_weights, self.compute_dtype)[..., None]).sum(axis=-2)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        if self.output_mode == "one_hot":
            squeezed = len(input_shape) > 1 and input_shape[-1] == 1
            return (*(input_shape[:-1] if squeezed else input_shape), self.num_tokens)
        if len(input_shape) not in (1, 2):
            raise ValueError(
                f"{self.described} expects inputs (batch, categories); got shape "
                f"{tuple(input_shape)}"
            )
        return (*input_shape[:-1], self.num_tokens)

    def forward(self, x: Array, ctx: Context) -> Array:
        ctx.save(x)
        if self.output_mode == "one_hot":
            return self._hot(x[..., 0] if x.ndim > 1 and x.shape[-1] == 1 else x)
        hot = self._hot(x)  # (..., categories, num_tokens)
        return hot.max(axis=-2) if self.output_mode == "multi_hot" else hot.sum(axis=-2)

    def backward(self, dy: Array, ctx: Context) -> Array:
        """0: categories do not change by a little."""
        (x,) = ctx.saved
        return array_module(x).zeros_like(x)

    def _hot(self, x: Array) -> Array:
        if type(x) is np.ndarray and x.size and not (0 <= x.min() and x.max() < self.num_tokens):
            raise ValueError(
                f"{self.described} encodes the categories 0 to {self.num_tokens - 1}; got numbers "
                f"from {x.min():g} to {x.max():g}"
            )
        numbers = array_module(x).arange(self.num_tokens)
        return (x.astype("int64")[..., None] == numbers).astype(dtype_of(self.compute_dtype))
