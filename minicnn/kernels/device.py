"""Which version of a kernel runs: the generic one, or one in CUDA C."""

from collections.abc import Callable, Iterable
from functools import wraps
from importlib import import_module
from typing import Any, TypeVar

import numpy as np

from minicnn import backend
from minicnn.dtypes import is_floating, wide

Kernel = TypeVar("Kernel", bound=Callable[..., Any])

# Indices in the CUDA kernels are 32 bits wide, and reach beyond the last number by as many as there
# are threads.
_MOST_NUMBERS = 2**31 - 2**24


def on_cuda(x: Any) -> bool:
    """Whether kernels in CUDA C can work on `x`."""
    return (
        type(x) is not np.ndarray
        and backend.uses_cuda(x)
        and is_floating(x.dtype)
        and x.size <= _MOST_NUMBERS
    )


def _fit_together(x: Any, others: Iterable[Any]) -> bool:
    """Whether floating-point arrays among `others` are of the dtype of `x`, or of that in which its
    numbers are calculated with."""
    arrays = [a for a in others if backend.is_array(a) and is_floating(a.dtype)]
    allowed = (x.dtype, wide(x.dtype))
    return all(a.dtype in allowed and a.size <= _MOST_NUMBERS for a in arrays)


def with_cuda_version(generic: Kernel) -> Kernel:
    """Decorator of a kernel that has a version in CUDA C: the function of the same name and
    arguments in the file of the same name in `kernels/cuda`. The first argument says where its
    arrays lie; on AMD GPUs, as on the CPU, the generic version runs, and it does so where float32
    meets float64, as in a model whose layers differ in dtype."""
    file = generic.__module__.rpartition(".")[2]

    @wraps(generic)
    def chosen(x: Any, *args: Any, **kwargs: Any) -> Any:
        if not on_cuda(x) or not _fit_together(x, args):
            return generic(x, *args, **kwargs)
        version = getattr(import_module(f"minicnn.kernels.cuda.{file}"), generic.__name__)
        return version(x, *args, **kwargs)

    return chosen  # type: ignore[return-value]
