"""Elements that are kept from the first pass that reads all of them, in memory or in a file.

The file is a zip archive, not compressed: `0.npy`, `1.npy` ... are the arrays of the first element,
then those of the second, and so on; `structure.json` says in which tuples and dictionaries.
"""

import io
import itertools
import json
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from minicnn.data.element import leaves, mapped, read_only
from minicnn.files import atomic_write

Keeper = Callable[[int], Iterator[Any]]  # the elements from a number on


def kept_in_memory(make: Callable[[], Iterator[Any]]) -> Keeper:
    """Elements from a list, once there is one; `make()` gives those to be kept."""
    kept: list[list[Any]] = []

    def fill(start: int) -> Iterator[Any]:
        elements: list[Any] = []
        for element in make():
            elements.append(mapped(read_only, element))
            if len(elements) > start:
                yield elements[-1]
        kept[:] = [elements]

    return lambda start: itertools.islice(kept[0], start, None) if kept else fill(start)


def kept_in_file(path: str | os.PathLike[str], make: Callable[[], Iterator[Any]]) -> Keeper:
    """Elements from the file at `path`, once it is there; `make()` gives those to be kept. It is
    written beside its place and renamed."""
    path = os.path.abspath(path)

    def fill(start: int) -> Iterator[Any]:
        structure, number = None, 0
        with atomic_write(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
            for count, element in enumerate(make()):
                form = _form(element)
                if structure not in (None, form):
                    raise ValueError(f"elements differ: {structure}, then {form}")
                structure = form
                for leaf in leaves(element):
                    array = np.asarray(0 if leaf is None else leaf)
                    with archive.open(f"{number}.npy", "w", force_zip64=True) as file:
                        np.lib.format.write_array(file, array, allow_pickle=False)
                    number += 1
                if count >= start:
                    yield element
            archive.writestr("structure.json", json.dumps(structure))

    return lambda start: _read(path, start) if os.path.exists(path) else fill(start)


def _form(element: Any) -> Any:
    """Its structure as JSON can hold it: a list for a tuple, a letter for a leaf."""
    if isinstance(element, dict):
        return {key: _form(part) for key, part in element.items()}
    if isinstance(element, tuple):
        return [_form(part) for part in element]
    return "t" if isinstance(element, str) else "a" if element is not None else None


def _read(path: str, start: int) -> Iterator[Any]:
    try:
        with zipfile.ZipFile(path) as archive:
            form = json.loads(archive.read("structure.json"))
            width = len(leaves(_element(form, itertools.repeat(np.zeros(0)))))
            arrays = len(archive.namelist()) - 1
            for number in range(start * width, arrays, max(width, 1)):
                names = (f"{n}.npy" for n in range(number, number + width))
                found = (
                    np.lib.format.read_array(io.BytesIO(archive.read(n)), allow_pickle=False)
                    for n in names
                )
                yield _element(form, found)
    except (zipfile.BadZipFile, zlib.error, ValueError, KeyError, EOFError) as error:
        raise ValueError(
            f"{path} is not a cache of a data set, or is damaged: {error}; delete it, and it will "
            f"be made again"
        ) from error


def _element(form: Any, arrays: Iterator[Any]) -> Any:
    if isinstance(form, dict):
        return {key: _element(part, arrays) for key, part in form.items()}
    if isinstance(form, list):
        return tuple(_element(part, arrays) for part in form)
    array = next(arrays)
    return None if form is None else str(array) if form == "t" else array
