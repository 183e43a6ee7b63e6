"""The types of floating-point numbers, and how arrays of 16 bits are calculated with.

| name | bits of exponent, fraction | largest | where |
|---|---|---|---|
| float64 | 11, 52 | 1.8e308 | gradient checks |
| float32 | 8, 23 | 3.4e38 | everything unless asked otherwise |
| bfloat16 | 8, 7 | 3.4e38 | activations, under `mixed_bfloat16` |
| float16 | 5, 10 | 65504 | activations, under `mixed_float16` |

Arrays of 16 bits save memory and go through the matrix units of a GPU; sums over them are made in
float32. NumPy itself does not support bfloat16: the package ml_dtypes adds it.
"""

from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

import numpy as np

from minicnn.typing import Array

HALVES = ("float16", "bfloat16")


@cache
def dtype_of(name: str) -> np.dtype:
    """The NumPy dtype of this `name`.

    Raises:
        RuntimeError: bfloat16 without the package ml_dtypes.
    """
    if name != "bfloat16":
        return np.dtype(name)
    try:
        from ml_dtypes import bfloat16
    except ImportError as error:
        raise RuntimeError(
            "bfloat16 needs the package ml_dtypes: pip install minicnn[bfloat16]"
        ) from error
    return np.dtype(bfloat16)


def is_floating(dtype: Any) -> bool:
    """Whether `dtype` is one of floating-point numbers; by NumPy's `kind` bfloat16 is none."""
    return dtype.kind == "f" or dtype.name == "bfloat16"


def is_half(dtype: Any) -> bool:
    """Whether `dtype` is one of floating-point numbers of 16 bits."""
    return dtype.itemsize == 2 and is_floating(dtype)


def wide(dtype: Any) -> np.dtype:
    """The dtype in which arrays of `dtype` are calculated: float32 for those of 16 bits."""
    return np.dtype("float32") if is_half(dtype) else dtype


def widened(x: Array) -> Array:
    """`x` in the dtype in which it is calculated; `x` itself unless it is of 16 bits."""
    return x.astype(wide(x.dtype), copy=False)


def narrowed(y: Array, dtype: Any) -> Array:
    """`y`, calculated from `widened` arrays of `dtype`, in `dtype` again: rounded if that has 16
    bits, else `y` itself."""
    return y.astype(dtype, copy=False) if is_half(dtype) else y


def overflows_expected(expected: bool = True) -> AbstractContextManager[None]:
    """Within the context NumPy does not warn of overflow in this thread: a scaled loss may overflow
    on trial. With `expected` False nothing changes."""
    return np.errstate(over="ignore", invalid="ignore") if expected else nullcontext()


def cast(x: Array, name: str) -> Array:
    """A floating-point array `x` in the dtype of this `name`; others as they are."""
    dtype = dtype_of(name)
    return x if x.dtype == dtype or not is_floating(x.dtype) else x.astype(dtype)
