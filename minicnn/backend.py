"""Which array library holds the arrays: NumPy on the CPU or CuPy on a GPU.

This is the only file that imports cupy. Everything else asks `array_module(x)` for the module an
array belongs to and calls the NumPy interface both libraries share:

    xp = array_module(x)
    y = xp.maximum(x, 0)

The active backend (`set_backend`, or the variable MINICNN_BACKEND) decides where *new* arrays are
made: weights, batches, random numbers.
"""

import gc
import math
import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from minicnn.registry import near_matches, reset_names
from minicnn.typing import Array

GeneratorType = TypeVar("GeneratorType", bound=Callable[[Any], Any])

EPSILON = 1e-7

_INSTALL_HINT = (
    "pip install minicnn[cuda13] (CUDA 13), minicnn[cuda12] (CUDA 12) or minicnn[rocm] (AMD ROCm 7)"
)


@dataclass(frozen=True)
class Backend:
    """An array library.

    Attributes:
        name: of the backend, for `set_backend`.
        module: what offers the NumPy interface.
        array_type: class of its arrays.
        to_numpy: copies one of them to a NumPy array.
    """

    name: str
    module: Any
    array_type: type
    to_numpy: Callable[[Any], np.ndarray]


def _load_numpy() -> Backend:
    return Backend("numpy", np, np.ndarray, np.asarray)


def _load_cupy() -> Backend:
    try:
        import cupy
    except ImportError as error:
        raise RuntimeError(
            f"the backend 'cupy' needs CuPy, which is not installed ({error}): {_INSTALL_HINT}"
        ) from error
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except Exception as error:  # CuPy raises its own runtime error where there is no driver
        raise RuntimeError(
            f"the backend 'cupy' found no usable GPU ({error}); check the driver and that the CuPy "
            f"wheel matches it: {_INSTALL_HINT}, or stay on set_backend('numpy')"
        ) from error
    if count == 0:
        raise RuntimeError("the backend 'cupy' found no GPU; stay on set_backend('numpy')")
    return Backend("cupy", cupy, cupy.ndarray, cupy.asnumpy)


_loaders: dict[str, Callable[[], Backend]] = {"numpy": _load_numpy, "cupy": _load_cupy}
_loaded: dict[str, Backend] = {"numpy": _load_numpy()}
_active: Backend = _loaded["numpy"]
_floatx = "float32"
_tensor_float_32 = os.environ.get("MINICNN_TF32", os.environ.get("CUPY_TF32")) == "1"
_cuda_generator: Callable[[Any], Any] | None = None


def register_backend(name: str, load: Callable[[], Backend]) -> None:
    """Let `set_backend` know a backend of this `name`; `load` is called when it is first chosen."""
    _loaders[name] = load


def set_backend(name: str) -> None:
    """Choose where new arrays are made.

    Models built before the call keep their weights where they were made.

    Args:
        name: "numpy" (CPU) or "cupy" (GPU).

    Raises:
        ValueError: the name is unknown.
        RuntimeError: the library is not installed, or finds no device.
    """
    global _active
    if name not in _loaders:
        raise ValueError(f"unknown backend {name!r}; {near_matches(name, _loaders)}")
    if name not in _loaded:
        _loaded[name] = _loaders[name]()
    _active = _loaded[name]


def get_backend() -> str:
    """Name of the active backend."""
    return _active.name


def backend() -> str:
    """Keras's name for `get_backend`."""
    return _active.name


def current_module() -> Any:
    """Module of the active backend: numpy, or cupy."""
    return _active.module


def array_module(x: Any) -> Any:
    """The module to which the array `x` belongs; numpy for lists and scalars."""
    if type(x) is np.ndarray:
        return np
    for candidate in _loaded.values():
        if isinstance(x, candidate.array_type):
            return candidate.module
    return np


def is_array(x: Any) -> bool:
    """Whether `x` is an array of a backend in use."""
    return any(isinstance(x, b.array_type) for b in _loaded.values())


def shape_of(x: Any) -> tuple[int, ...]:
    """The shape of `x`: an array of any backend, or lists and numbers as NumPy reads them."""
    return tuple(x.shape) if hasattr(x, "shape") else np.shape(x)


def uses_cuda(x: Any) -> bool:
    """Whether the array `x` lies on an NVIDIA GPU, and kernels in CUDA C are not turned off with
    MINICNN_CUDA_KERNELS=0."""
    return _has_cuda(array_module(x))


def cuda_is_active() -> bool:
    """Whether `uses_cuda` is true of arrays of the active backend."""
    return _has_cuda(_active.module)


def _has_cuda(module: Any) -> bool:
    return (
        module.__name__ == "cupy"
        and not module.cuda.runtime.is_hip
        and os.environ.get("MINICNN_CUDA_KERNELS") != "0"
    )


def asarray(x: Any, dtype: Any = None) -> Array:
    """`x` as an array of the active backend, copied to the device if it is not there yet.

    Args:
        x: an array of any backend, lists or a number.
        dtype: of the result; default: that of x, as NumPy reads it.
    """
    if isinstance(x, _active.array_type):
        array: Array = x
        return array if dtype is None else array.astype(dtype, copy=False)
    return _active.module.asarray(to_numpy(x), dtype=dtype)


def plain(x: Array) -> Array:
    """`x` without the methods that a class of its own adds to NumPy's arrays."""
    return np.asarray(x) if isinstance(x, np.ndarray) else x


def of_class(y: Array, x: Any) -> Array:
    """`y` with a method `numpy()` where `x`, an element of a data set, has one."""
    is_element = isinstance(x, np.ndarray) and hasattr(x, "numpy")
    return y.view(type(x)) if is_element and isinstance(y, np.ndarray) else y


def to_numpy(x: Any) -> np.ndarray:
    """`x` as a NumPy array on the host."""
    for candidate in _loaded.values():
        if isinstance(x, candidate.array_type):
            return candidate.to_numpy(x)
    return np.asarray(x)


def register_cuda_generator(make: GeneratorType) -> GeneratorType:
    """Decorator: on an NVIDIA GPU `random_generator` calls `make(seed)`."""
    global _cuda_generator
    _cuda_generator = make
    return make


def random_generator(seed: Any) -> Any:
    """A generator on the active backend; `.random(size, dtype=...)` draws uniform numbers.

    It is NumPy's or CuPy's own, but on an NVIDIA GPU `kernels.cuda.random.CounterGenerator`.

    Args:
        seed: an integer or several, as `numpy.random.SeedSequence` takes them, or one of these.
    """
    if _cuda_generator is not None and draws_by_counter():
        return _cuda_generator(seed)
    return _active.module.random.default_rng(seed)


def draws_by_counter() -> bool:
    """Whether `random_generator` gives a `CounterGenerator`."""
    return _cuda_generator is not None and cuda_is_active()


def synchronize() -> None:
    """Wait until a GPU has finished all its work; NumPy needs no waiting."""
    if _active.name == "cupy":
        _active.module.cuda.Device().synchronize()


def floatx() -> str:
    """Default dtype of weights and computations: "float32" unless changed."""
    return _floatx


def set_floatx(dtype: str) -> None:
    """Let layers made from now on compute in `dtype`, "float32" or "float64"."""
    global _floatx
    if dtype not in ("float32", "float64"):
        raise ValueError(f"floatx must be 'float32' or 'float64', not {dtype!r}")
    _floatx = dtype


def enable_tensor_float_32(enabled: bool = True) -> None:
    """Let NVIDIA GPUs multiply float32 in TF32, on their tensor cores.

    The factors of convolutions and dense products are rounded to 10 bits of fraction (a relative
    error of up to 2^-11), in forward passes and gradients; sums are made in float32. Without TF32
    results agree with those of a CPU to about 1e-5. Arrays stay float32, and all else, such as
    batch normalization or the optimizer, is calculated in float32. Nothing changes on a CPU.

    Off by default, unless the variable MINICNN_TF32 is 1, or, if it is not set, CuPy's own
    CUPY_TF32. The products that are left to CuPy (`Conv2D(algorithm="im2col")`) follow the latter
    alone, as it is set when the first of them is made.

    Args:
        enabled: whether they may.
    """
    global _tensor_float_32
    _tensor_float_32 = bool(enabled)


def tensor_float_32_enabled() -> bool:
    """Whether NVIDIA GPUs may multiply float32 in TF32."""
    return _tensor_float_32


def image_data_format() -> str:
    """Always "channels_last": images are (N, height, width, channels)."""
    return "channels_last"


def set_image_data_format(data_format: str) -> None:
    """Does nothing for the `data_format` "channels_last"; any other is a ValueError."""
    if data_format != "channels_last":
        raise ValueError(
            f"images are (N, height, width, channels) in minicnn, data_format 'channels_last', "
            f"not {data_format!r}: turn yours with x.transpose(0, 2, 3, 1)"
        )


def epsilon() -> float:
    """1e-7: losses keep probabilities between it and 1 minus it."""
    return EPSILON


def set_epsilon(value: float) -> None:
    """Does nothing for the `value` 1e-7; any other is a ValueError, as kernels hold it."""
    if value != EPSILON:
        raise ValueError(f"epsilon is {EPSILON} throughout minicnn and cannot be set to {value!r}")


def get_value(x: Any) -> Any:
    """The number, or a copy of the array, that `x` holds: a learning rate, a weight, an array."""
    return x.numpy() if hasattr(x, "numpy") else to_numpy(x)[()]


eval = get_value  # noqa: A001 - both are Keras's names


def set_value(x: Any, value: Any) -> None:
    """Let a learning rate or a weight `x` be `value`."""
    x.assign(value)


def int_shape(x: Any) -> tuple[int | None, ...]:
    """The shape of `x`, an array, a weight or a symbolic tensor."""
    return shape_of(x)


def count_params(x: Any) -> int:
    """How many elements `x` has, a weight or an array."""
    return math.prod(shape_of(x))


def clear_session(free_memory: bool = True) -> None:
    """Start the automatic layer names ("conv2d", "conv2d_1", ...) from the beginning again.

    Args:
        free_memory: also collect what nobody refers to any more, such as models in circles.
    """
    reset_names()
    if free_memory:
        gc.collect()


def device_info() -> dict[str, Any]:
    """What the active backend runs on: {"backend", "device", "version", ...}."""
    if _active.name != "cupy":
        return {
            "backend": _active.name,
            "device": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "version": np.__version__,
        }
    cupy = _active.module
    device = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)
    free, total = cupy.cuda.runtime.memGetInfo()
    free += cupy.get_default_memory_pool().free_bytes()  # taken from the device, but not in use
    return {
        "backend": "cupy",
        "device": device["name"].decode(),
        "memory_bytes": total,
        "free_bytes": free,
        "version": cupy.__version__,
    }


if os.environ.get("MINICNN_BACKEND"):
    set_backend(os.environ["MINICNN_BACKEND"])
