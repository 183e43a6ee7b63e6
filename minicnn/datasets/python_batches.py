"""CIFAR's python-format batch files, read without `pickle.load`.

Those files are pickles, and loading a pickle runs whatever its author put in. Here the stream is
only *read*: `pickletools.genops` takes it apart into opcodes, and the few opcodes that describe
dictionaries, lists, numbers, strings and one uint8 array are carried out below. Functions named
in the stream are compared with the few known names and never looked up, imported or called.
"""

import pickletools
import struct
from pathlib import Path
from typing import Any

import numpy as np

_PIXELS = 3072  # 3 planes of 32 x 32

# More than what the largest official file has (CIFAR-100's: 155 MB, some 200,000 opcodes), so that
# no file takes hours or all memory to read.
_MOST_BYTES = 200_000_000
_MOST_OPCODES = 500_000
_SHOWN = 200  # characters of what the file holds that a message quotes

# What a pickled uint8 array names: numpy._core in newer NumPy, numpy.core in older.
_RECONSTRUCT = {"numpy.core.multiarray _reconstruct", "numpy._core.multiarray _reconstruct"}
_NDARRAY, _DTYPE, _ENCODE = "numpy ndarray", "numpy dtype", "_codecs encode"
_ALLOWED = _RECONSTRUCT | {_NDARRAY, _DTYPE, _ENCODE}

_MARK = object()


class _Name(str):
    """A "module name" pair that the stream mentions: a label here, never the thing itself."""


class _DType:
    """Stands for the pickled dtype of the array; only uint8 passes."""


class _Array:
    """Stands for the pickled array: empty at first, the BUILD opcode sets its value."""

    value: np.ndarray | None = None


class _Refused(ValueError):
    """The stream holds something a batch file has no use for."""


def read_batch(path: Path, label_key: str = "labels") -> tuple[np.ndarray, np.ndarray]:
    """The labels (n,) and pixels (n, 3072), both uint8, of one python-format batch file.

    The pixels of an image are its red, green and blue planes, each row by row.

    Args:
        path: the file, such as data_batch_1.
        label_key: the entry with the labels; CIFAR-100 has "fine_labels" and "coarse_labels".

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is truncated, is not a pickle, or holds anything but such a batch.
    """
    size = path.stat().st_size
    kind, usual = (
        ("CIFAR-10", "31,035,000") if label_key == "labels" else ("CIFAR-100", "155,249,918")
    )
    try:
        if size > _MOST_BYTES:
            raise _Refused(f"it has {size:,} bytes, {_MOST_BYTES:,} at most are read")
        content = _interpret(path.read_bytes())
    except _Refused as error:
        raise ValueError(f"{path} is not a {kind} batch: {error}; nothing in it was run") from error
    except (
        ValueError, IndexError, KeyError, TypeError, EOFError, AttributeError, OverflowError,
        MemoryError, RecursionError, struct.error,
    ) as error:  # fmt: skip
        raise ValueError(
            f"{path} ({size:,} bytes) cannot be read as a {kind} python-format batch, it may be "
            f"truncated (an official one has about {usual} bytes): "
            f"{str(error)[:_SHOWN] or type(error).__name__}"
        ) from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}, not a batch's dictionary")
    missing = [key for key in ("data", label_key) if key not in content]
    if missing:
        entries = ", ".join(sorted(content))[:_SHOWN]
        raise ValueError(f"{path} has no {missing} among its {len(content)} entries: {entries}")
    return _checked(path, content[label_key], content["data"])


def _checked(path: Path, labels: Any, data: Any) -> tuple[np.ndarray, np.ndarray]:
    pixels = data.value if isinstance(data, _Array) else None
    if pixels is None or pixels.ndim != 2 or pixels.shape[1] != _PIXELS:
        found = "no array" if pixels is None else f"shape {pixels.shape}"
        raise ValueError(f"{path}: 'data' should be uint8 of shape (n, {_PIXELS}), found {found}")
    if not isinstance(labels, list) or not all(type(v) is int and 0 <= v < 256 for v in labels):
        raise ValueError(f"{path}: 'labels' should be a list of small integers")
    if len(labels) != len(pixels):
        raise ValueError(f"{path} has {len(labels)} labels for {len(pixels)} images")
    return np.array(labels, np.uint8), pixels


def _text(value: Any) -> str:
    """Python 2 strings arrive as Latin-1 text, Python 3 ones as bytes or text. Nothing else is
    made a string: a few bytes can describe a value whose text fills the memory."""
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if not isinstance(value, str):
        raise _Refused(f"its pickle has a {type(value).__name__} where a text belongs")
    return value


def _interpret(stream: bytes) -> Any:
    """The plain value that the pickle in `stream` describes, on a stack machine like pickle's."""
    made = 0  # bytes that were not copied from the stream: texts encoded, arrays
    stack: list[Any] = []
    memo: dict[int, Any] = {}

    def pop_to_mark() -> list[Any]:
        at = len(stack) - 1
        while stack[at] is not _MARK:  # IndexError if there is none
            at -= 1
        items = stack[at + 1 :]
        del stack[at:]
        return items

    argument: Any
    for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
        if count >= _MOST_OPCODES or made > 3 * len(stream):
            raise _Refused("its pickle takes far more work than that of a batch")
        match opcode.name:
            case "PROTO" | "FRAME":
                pass
            case "STOP":
                (value,) = stack
                return value
            case "MARK":
                stack.append(_MARK)
            case "POP":
                stack.pop()
            # constants
            case "NONE":
                stack.append(None)
            case "NEWTRUE" | "NEWFALSE":
                stack.append(opcode.name == "NEWTRUE")
            case "BININT" | "BININT1" | "BININT2" | "LONG1":
                stack.append(argument)
            case (
                "SHORT_BINSTRING" | "BINSTRING" | "SHORT_BINBYTES" | "BINBYTES" | "BINBYTES8"
                | "SHORT_BINUNICODE" | "BINUNICODE" | "BINUNICODE8"
            ):  # fmt: skip
                stack.append(argument)
            # containers
            case "EMPTY_DICT":
                stack.append({})
            case "EMPTY_LIST":
                stack.append([])
            case "EMPTY_TUPLE":
                stack.append(())
            case "TUPLE":
                stack.append(tuple(pop_to_mark()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                count = int(opcode.name[-1])
                stack[-count:] = [tuple(stack[-count:])]
            case "APPEND":
                item = stack.pop()
                _expect(stack[-1], list).append(item)
            case "APPENDS":
                items = pop_to_mark()
                _expect(stack[-1], list).extend(items)
            case "SETITEM":
                pair = stack[-2:]
                del stack[-2:]
                _expect(stack[-1], dict)[_text(pair[0])] = pair[1]
            case "SETITEMS":
                items = pop_to_mark()
                _expect(stack[-1], dict).update(
                    zip(map(_text, items[::2]), items[1::2], strict=True)
                )
            # the memo: values seen before
            case "BINPUT" | "LONG_BINPUT":
                memo[argument] = stack[-1]
            case "MEMOIZE":
                memo[len(memo)] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[argument])
            # the array
            case "GLOBAL":
                stack.append(_known(argument))
            case "STACK_GLOBAL":
                module, name = stack[-2:]
                stack[-2:] = [_known(f"{_text(module)} {_text(name)}")]
            case "REDUCE":
                arguments = stack.pop()
                stack[-1] = _stand_in(stack[-1], arguments)
                made += len(stack[-1]) if isinstance(stack[-1], bytes) else 0
            case "BUILD":
                state = stack.pop()
                made += _build(stack[-1], state)
            case name:
                raise _Refused(f"its pickle uses {name}, which a batch file has no use for")
    raise ValueError("the pickle has no end")


def _expect(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise _Refused(f"its pickle treats a {type(value).__name__} as a {kind.__name__}")
    return value


def _known(name: str) -> _Name:
    if name not in _ALLOWED:
        raise _Refused(f"its pickle names {name[:_SHOWN].replace(' ', '.')!r}")
    return _Name(name)


def _stand_in(function: Any, arguments: Any) -> Any:
    """What REDUCE, "call this function", gives for the known names."""
    _expect(arguments, tuple)
    if isinstance(function, _Name) and arguments:
        if function in _RECONSTRUCT and arguments[0] == _NDARRAY:
            return _Array()
        if function == _DTYPE and arguments[0] in ("u1", b"u1"):
            return _DType()
        if function == _ENCODE and arguments[1] in ("latin1", "latin-1"):
            # Protocol 2 has no bytes: Python 3 writes them as text, to be encoded again.
            return _text(arguments[0]).encode("latin-1")
    name = function if isinstance(function, _Name) else f"a {type(function).__name__}"
    raise _Refused(f"its pickle calls {name} with arguments that no batch needs")


def _build(target: Any, state: Any) -> int:
    """Carry out BUILD, "set the state of this object"; returns the bytes that it takes."""
    if isinstance(target, _DType):
        return 0  # byte order, alignment and the like: one byte has none
    if not isinstance(target, _Array):
        raise _Refused(f"its pickle sets the state of a {type(target).__name__}")
    _, shape, dtype, fortran_order, data = state
    if not isinstance(dtype, _DType):
        raise _Refused("the array in its pickle is not of type uint8")
    flat = np.frombuffer(data.encode("latin-1") if isinstance(data, str) else data, np.uint8)
    target.value = flat.reshape(shape, order="F" if fortran_order else "C")
    return target.value.nbytes
