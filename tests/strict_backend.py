"""A stand-in for CuPy on machines without a GPU: NumPy underneath, CuPy's strictness on top.

`StrictArray` holds its numbers in NumPy but refuses what a device array refuses: being turned into
a NumPy array on the quiet, meeting one in an operation, being handed to `np.something`. Its module
(`minicnn.backend.current_module()` while it is active) has the functions CuPy has, with the
arguments CuPy takes. So a stray `np.` in the library fails on the machine that runs the tests
rather than on the first user's GPU.

Every operation goes through `strict_cuda.done`, so that a stream can capture it; the transfers
between host and device are counted there.

The lists of what CuPy lacks were read off the source of CuPy 14.2.
"""

from __future__ import annotations

import operator
from types import SimpleNamespace
from typing import Any

import numpy as np
from strict_cuda import StrictPool, StrictStream, arrays_in, count_to_device, count_to_host, done

from minicnn import backend

# In numpy's namespace, not in cupy's.
ABSENT = frozenset(
    """
    asmatrix block bmat busday_count busday_offset char ctypeslib datetime64 einsum_path emath
    errstate frompyfunc fromregex geomspace geterr getbufsize histogram_bin_edges insert is_busday
    isnat ma matrix matvec memmap nanpercentile nanquantile ndenumerate nditer nested_iters object_
    polyder polydiv polyint rec recarray record seterr spacing str_ strings timedelta64 unstack
    vecdot vecmat void
    """.split()
)

# There in cupy, but of no use in array code: they work on the host or call Python per element.
HOST_ONLY = frozenset("fromfunction fromiter fromstring genfromtxt loadtxt vectorize".split())

_REDUCTION = frozenset({"initial", "where"})
_SPREAD = frozenset({"where", "mean", "correction"})
# Arguments that numpy takes and cupy does not, by function.
ABSENT_ARGUMENTS: dict[str, frozenset[str]] = {
    **dict.fromkeys(("sum", "prod", "max", "min", "amax", "amin"), _REDUCTION),
    **dict.fromkeys(("nansum", "nanprod", "nanmax", "nanmin"), _REDUCTION),
    **dict.fromkeys(("all", "any", "mean", "nanmean"), frozenset({"where"})),
    **dict.fromkeys(("std", "var", "nanstd", "nanvar"), _SPREAD),
    **dict.fromkeys(("argsort", "sort"), frozenset({"order", "stable"})),
    **dict.fromkeys(("partition", "argpartition"), frozenset({"kind", "order"})),
    "broadcast_arrays": frozenset({"subok"}),
    "broadcast_to": frozenset({"subok"}),
    "clip": frozenset({"min", "max"}),
    "concatenate": frozenset({"arrays"}),
    "count_nonzero": frozenset({"keepdims"}),
    "einsum": frozenset({"out", "order", "casting"}),
    "indices": frozenset({"sparse"}),
    "isin": frozenset({"kind"}),
    "lexsort": frozenset({"axis"}),
    "percentile": frozenset({"weights"}),
    "quantile": frozenset({"weights"}),
    "stack": frozenset({"arrays"}),
    "take": frozenset({"mode"}),
    "unique": frozenset({"sorted"}),
}
_NO_DEVICE = frozenset({"device", "like"})  # numpy 2 takes these in every creation function
_UFUNC_ARGUMENTS = frozenset({"out", "dtype", "casting"})  # no where=, order=, subok=
_UFUNC_AT = frozenset("add subtract maximum minimum bitwise_and bitwise_or bitwise_xor".split())

# Given bfloat16, these give float32 there and bfloat16 in numpy, or raise there.
_WITHOUT_BFLOAT16 = frozenset(
    """
    where clip round around divmod add.at subtract.at maximum.at minimum.at sort argsort partition
    argpartition lexsort searchsorted cumsum cumprod einsum
    """.split()
)
# The host waits for the device, to learn how large the result is.
_WAITING = frozenset("nonzero argwhere flatnonzero unique bincount".split())

# First argument is not an array there, so a list of numbers is welcome.
_TAKES_NUMBERS = frozenset(
    """
    array asarray asanyarray ascontiguousarray zeros ones empty full arange linspace eye identity
    indices broadcast_shapes unravel_index result_type ndindex tri
    """.split()
)
_CREATES_FROM_HOST = frozenset("array asarray asanyarray ascontiguousarray".split())
_ZERO_DIMENSIONAL = frozenset("allclose array_equal array_equiv".split())  # bool in numpy
_LINALG = "cholesky det eigh eigvalsh inv lstsq matrix_power norm pinv qr slogdet solve svd".split()

_METHODS = """
    all any argmax argmin argpartition argsort clip compress conj copy cumprod cumsum diagonal dot
    max mean min nonzero partition prod ravel repeat reshape round searchsorted squeeze std sum
    swapaxes take trace transpose var view flatten
""".split()
_OPERATORS = "add sub mul truediv floordiv mod pow matmul and or xor lshift rshift divmod".split()
_COMPARISONS = "lt le eq ne gt ge".split()


def _raw(value: Any) -> Any:
    """`value` with the NumPy arrays inside its StrictArrays; refuses arrays of the host."""
    if isinstance(value, StrictArray):
        return value._data
    if isinstance(value, np.ndarray):
        raise TypeError(
            f"Unsupported type {np.ndarray}: a NumPy array of shape {value.shape} met device arrays"
        )
    if isinstance(value, (list, tuple)):
        return type(value)(_raw(v) for v in value)
    if isinstance(value, dict):
        return {k: _raw(v) for k, v in value.items()}
    return value


def _wrapped(result: Any, *arguments: Any) -> Any:
    """`result` of a NumPy function as CuPy would return it: 0-d arrays instead of scalars, and
    the very array of `arguments` where NumPy returned that."""
    if isinstance(result, np.ndarray):
        for a in arguments:
            if isinstance(a, StrictArray) and a._data is result:
                return a
        return StrictArray(result)
    if type(result) in (list, tuple):
        return type(result)(_wrapped(r, *arguments) for r in result)
    return result


def _check_arguments(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    refused = (ABSENT_ARGUMENTS.get(name, frozenset()) | _NO_DEVICE) & set(kwargs)
    if refused:
        raise TypeError(f"cupy.{name} has no argument {', '.join(sorted(refused))}")
    if name == "repeat" and len(args) > 1 and isinstance(args[1], StrictArray):
        raise ValueError("cupy.repeat takes repeats as int, list or tuple of the host")
    first = args[0] if args else None
    if name == "where" and not hasattr(first, "astype"):
        raise AttributeError(f"the condition of cupy.where is an array, not {type(first)}")
    if name == "argsort" and kwargs.get("kind") not in (None, "stable"):
        raise ValueError("cupy.argsort has no kind but 'stable'")
    if name in _WAITING or name == "where" and len(args) == 1:
        count_to_host()
    _check_bfloat16(name, args)
    if name not in _TAKES_NUMBERS and isinstance(first, (list, tuple)) and first:
        if all(isinstance(v, (bool, int, float, np.generic)) for v in first):
            raise TypeError(f"cupy.{name} takes no list of numbers; make it an array first")


def _check_bfloat16(name: str, args: Any) -> None:
    if name not in _WITHOUT_BFLOAT16:
        return
    if any(a.dtype.name == "bfloat16" for a in arrays_in(_raw(args))):
        raise TypeError(f"cupy.{name} knows no bfloat16; give it float32")


def _count_waiting(index: Any) -> None:
    """A boolean mask as an index: its True are counted, and the host waits for their number."""
    parts = index if isinstance(index, tuple) else (index,)
    if any(isinstance(part, StrictArray) and part.dtype == bool for part in parts):
        count_to_host()


class StrictArray:
    """An array that only meets its own kind, and Python or NumPy scalars."""

    __slots__ = ("_data",)
    __array_ufunc__ = None  # np.maximum(x, 0) raises; ndarray + x asks our __radd__, which raises
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, data: np.ndarray):
        self._data = data

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. "
            "Please use `.get()` to construct a NumPy array explicitly."
        )

    def __array_function__(self, func: Any, *args: Any) -> Any:
        raise TypeError(f"numpy.{func.__name__} was given a device array; ask array_module(x)")

    # What it looks like

    shape = property(lambda self: self._data.shape)
    dtype = property(lambda self: self._data.dtype)
    ndim = property(lambda self: self._data.ndim)
    size = property(lambda self: self._data.size)
    nbytes = property(lambda self: self._data.nbytes)
    itemsize = property(lambda self: self._data.itemsize)
    strides = property(lambda self: self._data.strides)
    flags = property(lambda self: self._data.flags)
    base = property(lambda self: _wrapped(self._data.base))
    __cuda_array_interface__ = property(lambda self: self._data.__array_interface__)
    T = property(lambda self: StrictArray(self._data.T))
    real = property(lambda self: StrictArray(self._data.real))
    imag = property(lambda self: StrictArray(self._data.imag))

    def __len__(self) -> int:
        return len(self._data)

    def __iter__(self) -> Any:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        return f"Strict{self._data!r}"

    # To the host, in the open

    def get(self) -> np.ndarray:
        count_to_host()
        return self._data.copy()

    def item(self, *args: int) -> Any:
        count_to_host()
        return self._data.item(*args)

    def tolist(self) -> Any:
        return self.get().tolist()

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __bool__(self) -> bool:
        count_to_host()
        return bool(self._data)

    def __index__(self) -> int:
        return operator.index(self.item())

    def __format__(self, spec: str) -> str:
        return format(self.get(), spec)

    # Indexing

    def __getitem__(self, index: Any) -> Any:
        _count_waiting(index)
        return _wrapped(done(operator.getitem, self._data, _raw(index)))

    def __setitem__(self, index: Any, value: Any) -> None:
        if isinstance(value, (list, tuple)):
            raise TypeError(f"a device array is assigned arrays or scalars, not {type(value)}")
        _count_waiting(index)
        done(operator.setitem, self._data, _raw(index), _raw(value))

    # Methods that are more than their namesakes in NumPy

    def astype(self, dtype: Any, order: str = "K", casting: Any = None, subok: Any = None,
               copy: bool = True) -> Any:  # fmt: skip
        if casting is not None or subok is not None:
            raise TypeError("cupy.ndarray.astype supports neither casting nor subok")
        return _wrapped(done(np.ndarray.astype, self._data, dtype, order=order, copy=copy), self)

    def fill(self, value: Any) -> None:
        done(np.ndarray.fill, self._data, _raw(value))

    def sort(self, axis: int = -1) -> None:
        _check_bfloat16("sort", (self,))
        done(np.ndarray.sort, self._data, axis)

    def __copy__(self) -> StrictArray:
        return _wrapped(done(np.copy, self._data))

    def __deepcopy__(self, memo: Any) -> StrictArray:
        return _wrapped(done(np.copy, self._data))


def _method(name: str) -> Any:
    def call(self: StrictArray, *args: Any, **kwargs: Any) -> Any:
        _check_arguments(name, (self, *args), kwargs)
        result = done(getattr(np.ndarray, name), self._data, *_raw(args), **_raw(kwargs))
        return _wrapped(result, kwargs.get("out"))

    return call


def _operand(value: Any) -> Any:
    if isinstance(value, (list, tuple, dict, str)):
        raise TypeError(f"unsupported operand {type(value)} beside a device array")
    return _raw(value)


def _binary(function: Any, swapped: bool = False) -> Any:
    def call(self: StrictArray, other: Any) -> Any:
        pair = (self._data, _operand(other))
        return _wrapped(done(function, *(pair[::-1] if swapped else pair)))

    return call


def _in_place(function: Any) -> Any:
    def call(self: StrictArray, other: Any) -> Any:
        done(function, self._data, _operand(other))
        return self

    return call


for _name in _METHODS:
    setattr(StrictArray, _name, _method(_name))
for _name in _OPERATORS:
    _plain = divmod if _name == "divmod" else getattr(operator, f"__{_name}__")
    setattr(StrictArray, f"__{_name}__", _binary(_plain))
    setattr(StrictArray, f"__r{_name}__", _binary(_plain, swapped=True))
    if _name != "divmod":
        setattr(StrictArray, f"__i{_name}__", _in_place(getattr(operator, f"__i{_name}__")))
for _name in _COMPARISONS:
    setattr(StrictArray, f"__{_name}__", _binary(getattr(operator, f"__{_name}__")))
for _name, _plain in (
    ("__neg__", operator.neg), ("__pos__", operator.pos),
    ("__abs__", abs), ("__invert__", operator.invert),
):  # fmt: skip
    setattr(StrictArray, _name, lambda self, _plain=_plain: _wrapped(done(_plain, self._data)))


class _Ufunc:
    """A universal function with CuPy's arguments and methods."""

    def __init__(self, ufunc: np.ufunc):
        self._ufunc = ufunc

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        name = self._ufunc.__name__
        refused = set(kwargs) - _UFUNC_ARGUMENTS - ({"axes", "axis"} if name == "matmul" else set())
        if refused:
            raise TypeError(f"Wrong arguments {sorted(refused)}: cupy.{name} does not take them")
        for a in args:
            if isinstance(a, (list, tuple)):
                raise TypeError(f"Unsupported type {type(a)} in cupy.{name}")
        outs = kwargs.get("out") if isinstance(kwargs.get("out"), tuple) else (kwargs.get("out"),)
        for out in (*outs, *args[self._ufunc.nin :]):
            if out is not None and not isinstance(out, StrictArray):
                raise TypeError(f"out= of cupy.{name} has to be a device array, not {type(out)}")
        result = done(self._ufunc, *_raw(args), **_raw(kwargs))
        return _wrapped(result, *outs, *args[self._ufunc.nin :])

    def __getattr__(self, name: str) -> Any:
        if name == "outer":
            return lambda *pair, **kwargs: _wrapped(done(self._ufunc.outer, *_raw(pair), **kwargs))
        if name == "at" and self._ufunc.__name__ in _UFUNC_AT:
            return self._at
        raise AttributeError(
            f"use no cupy.{self._ufunc.__name__}.{name} in code for both libraries"
        )

    def _at(self, *args: Any) -> None:
        _check_bfloat16(f"{self._ufunc.__name__}.at", args)
        done(self._ufunc.at, *_raw(args))


def _function(name: str, function: Any) -> Any:
    def call(*args: Any, **kwargs: Any) -> Any:
        _check_arguments(name, args, kwargs)
        result = done(function, *_raw(args), **_raw(kwargs))
        if name in _ZERO_DIMENSIONAL:
            result = np.asarray(result)
        return _wrapped(result, *args, kwargs.get("out"))

    return call


def _creation(function: Any) -> Any:
    def call(x: Any, dtype: Any = None, **kwargs: Any) -> Any:
        if isinstance(x, StrictArray):
            return _wrapped(done(function, x._data, dtype=dtype, **kwargs), x)
        if _holds_arrays(x):
            return _wrapped(done(np.array, _raw(x), dtype=dtype))
        array = np.array(x, dtype=dtype)
        count_to_device(array)
        return _wrapped(done(np.array, array))

    return call


def _holds_arrays(x: Any) -> bool:
    if isinstance(x, (list, tuple)):
        return any(_holds_arrays(v) for v in x)
    return isinstance(x, StrictArray)


class StrictGenerator:
    """The methods that cupy.random.Generator and numpy.random.Generator share."""

    def __init__(self, seed: Any):
        self._host = np.random.default_rng(seed)

    def random(self, size: Any = None, dtype: Any = np.float64, out: Any = None) -> Any:
        return _wrapped(self._drawn(self._host.random, size, dtype=dtype, out=_raw(out)), out)

    def _drawn(self, draw: Any, *args: Any, **kwargs: Any) -> Any:
        """Numbers of a generator whose state lies on the device."""
        graph = StrictStream.capturing
        if graph is not None:
            bits, state = self._host.bit_generator, self._host.bit_generator.state
            graph.when_undone(lambda: setattr(bits, "state", state))
        return done(draw, *args, **kwargs)

    def integers(self, low: int, high: int | None = None, size: Any = None,
                 dtype: Any = np.int64, endpoint: bool = False) -> Any:  # fmt: skip
        low, high = operator.index(low), None if high is None else operator.index(high)
        drawn = self._drawn(self._host.integers, low, high, size, dtype=dtype, endpoint=endpoint)
        return _wrapped(drawn)

    def standard_normal(self, size: Any = None, dtype: Any = np.float64, out: Any = None) -> Any:
        drawn = self._drawn(self._host.standard_normal, size, dtype=dtype, out=_raw(out))
        return _wrapped(drawn, out)


class StrictModule:
    """What `array_module(x)` gives for a StrictArray: numpy's names, as far as cupy has them."""

    __name__ = "strict"
    __version__ = np.__version__
    ndarray = StrictArray

    def __init__(self) -> None:
        self.random = SimpleNamespace(default_rng=StrictGenerator, Generator=StrictGenerator)
        self.linalg = SimpleNamespace(**{n: _function(n, getattr(np.linalg, n)) for n in _LINALG})
        tricks = np.lib.stride_tricks
        self.lib = SimpleNamespace(
            stride_tricks=SimpleNamespace(
                as_strided=_function("as_strided", tricks.as_strided),
                sliding_window_view=_function("sliding_window_view", tricks.sliding_window_view),
            )
        )

    def get_default_memory_pool(self) -> StrictPool:
        return StrictPool()

    def asnumpy(self, x: Any) -> np.ndarray:
        return x.get() if isinstance(x, StrictArray) else np.asarray(x)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name in ABSENT or name in HOST_ONLY:
            raise AttributeError(f"module 'cupy' has no attribute {name!r} that array code may use")
        member = getattr(np, name)
        if isinstance(member, np.ufunc):
            member = _Ufunc(member)
        elif name in _CREATES_FROM_HOST:
            member = _creation(member)
        elif callable(member) and not isinstance(member, type):
            member = _function(name, member)
        elif not isinstance(member, (type, float, int, type(None))):
            raise AttributeError(f"cupy.{name} is not part of the stand-in")
        setattr(self, name, member)
        return member


module = StrictModule()

backend.register_backend(
    "strict", lambda: backend.Backend("strict", module, StrictArray, StrictArray.get)
)
