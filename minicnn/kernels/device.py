"""Which version of a kernel runs: the generic one, or one in CUDA C."""

from collections.abc import Callable
from functools import wraps
from importlib import import_module
from typing import Any, TypeVar

import numpy as np

from minicnn import backend
from minicnn.dtypes import is_floating, wide
from minicnn.typing import Array

Kernel = TypeVar("Kernel", bound=Callable[..., Any])

# Indices in the CUDA kernels are 32 bits wide, and reach beyond the last element by as many as
# there are threads.
_MOST_ELEMENTS = 2**31 - 2**24


def on_cuda(x: Array) -> bool:
    """Whether kernels in CUDA C can work on `x`."""
    return (
        type(x) is not np.ndarray
        and backend.uses_cuda(x)
        and is_floating(x.dtype)
        and x.size <= _MOST_ELEMENTS
    )


def cuda_version_fits(x: Array, *others: Any) -> bool:
    """Whether a version in CUDA C takes these arguments.

    Not on AMD GPUs, nor on the CPU, nor where float32 meets float64, as in a model whose layers
    differ in dtype.

    Args:
        x: says where the arrays lie.
        others: the other arguments; floating-point arrays among them must be of the dtype of `x`,
            or of that in which its elements are calculated with.
    """
    if not on_cuda(x):
        return False
    arrays = [a for a in others if backend.is_array(a) and is_floating(a.dtype)]
    allowed = (x.dtype, wide(x.dtype))
    return all(a.dtype in allowed and a.size <= _MOST_ELEMENTS for a in arrays)


def with_cuda_version(generic: Kernel) -> Kernel:
    """Decorator of a kernel that has a version in CUDA C: the function of the same name and
    arguments in the file of the same name in `kernels/cuda`.

    Args:
        generic: the kernel; it runs itself unless its arguments pass `cuda_version_fits`.
    """
    file = generic.__module__.rpartition(".")[2]

    @wraps(generic)
    def chosen(x: Array, *args: Any, **kwargs: Any) -> Any:
        if not cuda_version_fits(x, *args):
            return generic(x, *args, **kwargs)
        version = getattr(import_module(f"minicnn.kernels.cuda.{file}"), generic.__name__)
        return version(x, *args, **kwargs)

    return chosen  # type: ignore[return-value]
