"""What all formats have in common when they are read: errors that name the file, and bounds on what
a small file may ask for."""

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from minicnn.files import KERAS_SUFFIXES

# Bytes of the description of a model: of some 10,000 layers. Python needs 25 times as many for it.
MOST_TEXT = 1 << 24

# Bytes that a file may unpack to, however small it is, and how many times its size otherwise.
_ALWAYS, _TIMES = 1 << 28, 100

_LONGEST = 1000  # characters of a message


_being_read: ContextVar[Path | None] = ContextVar("_being_read", default=None)


@contextmanager
def errors_named(path: Path) -> Iterator[None]:
    """Turn whatever goes wrong in the block into a ValueError or OSError that names the file, as
    `warn` in it does.

    Args:
        path: of the file that the block reads.
    """
    outside = _being_read.set(path)
    try:
        yield
    except (ImportError, Warning):  # a package is missing; the user wants warnings to be errors
        raise
    except Exception as error:
        kind = OSError if isinstance(error, OSError) else ValueError
        raise kind(f"{str(path)!r}: {_said(error, path)}") from error
    finally:
        _being_read.reset(outside)


def warn(text: str) -> None:
    """A warning with this `text` behind the name of the file that is being read."""
    path = _being_read.get()
    warnings.warn(text if path is None else f"{str(path)!r}: {text}", stacklevel=3)


def _said(error: Exception, path: Path) -> str:
    text = str(error)
    if len(text) > _LONGEST:
        text = f"{text[:_LONGEST]} ... ({len(text):,} characters)"
    if isinstance(error, MemoryError):
        return f"it asks for more memory than there is ({text or 'no more is known'})"
    if isinstance(error, RecursionError):
        return "what is in it is nested too deeply: it is damaged, or was made to do harm"
    if isinstance(error, (ValueError, OSError)):
        return text
    writer = "Keras" if path.suffix in KERAS_SUFFIXES else "minicnn"
    return f"what is in it is not as {writer} writes it ({type(error).__name__}: {text})"


def most_bytes(path: Path) -> int:
    """What the file at `path` may unpack to: one of more was made to fill the memory."""
    return max(_ALWAYS, _TIMES * path.stat().st_size)


def from_json(text: str | bytes, name: str) -> dict[str, Any]:
    """The object that a JSON text describes.

    Args:
        text: that.
        name: what messages call it.

    Raises:
        ValueError: it is too long, no JSON, or no object.
        TypeError: a "name" in it is no text.
    """
    if len(text) > MOST_TEXT:
        raise ValueError(f"{name} has {len(text):,} characters; at most {MOST_TEXT:,} are read")
    try:
        value = json.loads(text, object_hook=_with_a_name)
    except ValueError as error:
        raise ValueError(f"{name} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{name} holds a {type(value).__name__}, not an object")
    return value


def _with_a_name(part: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(part.get("name"), (str, type(None))):
        raise TypeError(f"a name is a text, not a {type(part['name']).__name__}")
    return part


def to_json(value: dict[str, Any]) -> str:
    """`value` as JSON that `from_json` reads.

    Raises:
        ValueError: something in it has no counterpart in JSON, or it is too long.
    """
    try:
        text = json.dumps(value)
    except TypeError as error:
        raise ValueError(f"the model's configuration is not JSON ({error})") from error
    if len(text) > MOST_TEXT:
        raise ValueError(
            f"the model's configuration has {len(text):,} characters; at most {MOST_TEXT:,} can be "
            f"read again: are there arrays among the arguments of its layers?"
        )
    return text
