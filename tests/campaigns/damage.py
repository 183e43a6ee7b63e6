"""Damage to any file: bits, lengths, numbers, and what stands in JSON."""

import json
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass
class Case:
    """A file to damage.

    Args:
        path: where it goes.
        data: the undamaged bytes.
        head: how many bytes at the start hold more than pixels and weights.
        rng: all chance comes from it.
        marker: a file that would be there if anything in the file were executed.
    """

    path: Path
    data: bytes
    head: int
    rng: np.random.Generator
    marker: Path

    def below(self, n: int) -> int:
        """A number from 0 to `n` - 1."""
        return int(self.rng.integers(max(n, 1)))

    def one_of(self, values: Any) -> Any:
        """One of a list, as it is."""
        values = list(values)
        return values[self.below(len(values))]

    def with_data(self, data: bytes) -> "Case":
        """The same case for other `data`, such as a part of the file."""
        return Case(self.path, data, min(self.head, len(data)), self.rng, self.marker)


Change = Callable[[Case], bytes]


def flipped(case: Case) -> bytes:
    """1 to 8 bits flipped, anywhere."""
    return _flip(case, len(case.data))


def flipped_head(case: Case) -> bytes:
    """1 to 4 bits flipped in the head, or in the last bytes (a zip's list of members)."""
    if case.data[:2] == b"PK" and case.below(2):
        return case.data[:-400] + _flip(case.with_data(case.data[-400:]), 400, 4)
    return _flip(case, min(case.head, len(case.data)), 4)


def _flip(case: Case, end: int, most: int = 8) -> bytes:
    data = bytearray(case.data)
    for _ in range(1 + case.below(most)):
        data[case.below(end)] ^= 1 << case.below(8)
    return bytes(data)


def cut(case: Case) -> bytes:
    """Cut off somewhere."""
    end = case.head if case.below(2) else len(case.data)
    return case.data[: case.below(min(end, len(case.data)))]


def shifted(case: Case) -> bytes:
    """Bytes put in, left out, or there twice."""
    at = case.below(min(case.one_of((case.head, len(case.data))), len(case.data)))
    n = case.one_of((1, 2, 4, 100, 4096))
    return case.one_of(
        [
            case.data[:at] + case.rng.bytes(n) + case.data[at:],
            case.data[:at] + bytes(n) + case.data[at:],
            case.data[:at] + case.data[at + n :],
            case.data[:at] + case.data[at : at + n] * 3 + case.data[at + n :],
            case.data + case.rng.bytes(n),
        ]
    )


def extreme_numbers(case: Case) -> bytes:
    """A number of 1 to 8 bytes in the head set to one that is far too large or small."""
    data = bytearray(case.data)
    for _ in range(1 + case.below(2)):
        size = case.one_of((1, 2, 4, 8))
        value = case.one_of((0, 1, 1 << 8 * size - 1, (1 << 8 * size - 1) - 1, (1 << 8 * size) - 1,
                             1 << 8 * size - 2, len(case.data), 1000))  # fmt: skip
        at = case.below(min(case.head, len(data)) - size + 1)
        number = (value % (1 << 8 * size)).to_bytes(size, case.one_of(("little", "big")))
        data[at : at + size] = number
    return bytes(data)


def no_file(case: Case) -> bytes | None:
    """A pipe, a device, a socket, a folder, a link to nowhere or to itself, or an empty file."""
    path = case.path
    match case.below(7):
        case 0:
            os.mkfifo(path)
        case 1:
            path.symlink_to("/dev/zero")
        case 2:
            path.mkdir()
        case 3:
            path.symlink_to("nowhere")
        case 4:
            path.symlink_to(path.name)
        case 5:
            here = Path.cwd()
            os.chdir(path.parent)  # the names of sockets have to be short
            with socket.socket(socket.AF_UNIX) as made:
                made.bind(path.name)
            os.chdir(here)
        case 6:
            return b""
    return None


# JSON

VALUES = (
    None, True, False, -1, 0, 1, 2, 3.5, -1e308, 1e-320, 10**9, 2**63, 10**30, 10**400, "", "x",
    "../../x", "/etc/passwd", "a\0b", "\ud800", "relu", "Dense", "float16", "same", [], {}, [[]],
    [1, -1], [10**6, 10**6], {"class_name": "Dense"}, {"class_name": "Dense", "config": {}},
    float("nan"), float("inf"), "x" * 10**5, [0] * 10**5, [None, 4, 4, 1], [[0, 0, 0]],
)  # fmt: skip


def places(value: Any) -> list[tuple[Any, Any]]:
    """All (container, key) in a JSON value."""
    found: list[tuple[Any, Any]] = []
    left = [value]
    while left:
        part = left.pop()
        keys = (
            part if isinstance(part, dict) else range(len(part)) if isinstance(part, list) else ()
        )
        for key in keys:
            found.append((part, key))
            left.append(part[key])
    return found


def other_values(case: Case, text: str) -> str:
    """One to three values of a JSON text replaced, left out, or exchanged."""
    value = json.loads(text)
    for _ in range(1 + case.below(3)):
        if not places(value):
            break
        container, key = case.one_of(places(value))
        match case.below(6):
            case 0:
                del container[key]
            case 1:  # the same value at two places
                other, name = case.one_of(places(value))
                container[key] = json.loads(json.dumps(other[name]))
            case 2 if isinstance(container[key], int) and not isinstance(container[key], bool):
                container[key] = case.one_of((-container[key], container[key] * 10**7, 10**12, 0))
            case _:
                container[key] = json.loads(json.dumps(case.one_of(VALUES)))
    return json.dumps(value)


def odd_json(case: Case, text: str) -> str:
    """A JSON text with deep nesting, a name twice, long numbers, NaN, or other characters."""
    at = case.below(len(text))
    depth = case.one_of((500, 990, 2000, 10**5))
    value = json.loads(text)
    container, key = case.one_of(places(value))
    match case.below(6):
        case 0:
            return "[" * depth + "]" * depth
        case 1:
            return '{"a":' * depth + "1" + "}" * depth
        case 2:
            container[key] = "@@"
            nested = case.one_of(
                ("[" * depth + "]" * depth, '{"config":' * depth + "1" + "}" * depth)
            )
            return json.dumps(value).replace('"@@"', nested, 1)
        case 3:
            container[key] = "@@"
            number = case.one_of(("9" * 5000, "NaN", "-Infinity", "1e999", "-0", "1" * 100, "1.0"))
            return json.dumps(value).replace('"@@"', number, 1)
        case 4:
            first, last = text.split("{", 1)
            return first + '{"class_name": 1, "config": [], "model": 3, "version": 1, ' + last
        case _:
            odd = case.one_of(("\u202e", "é", "\\ud800", "\\u0000", '"', "}", "\x00", " " * 10**5))
            return text[:at] + odd + text[at + case.below(3) :]


def hostile_values(case: Case, text: str) -> str:
    """A value that names something to execute, in the ways that Keras and pickle know."""
    command = f"touch {case.marker}"
    code = f"open({str(case.marker)!r}, 'w')"
    hostile = case.one_of(
        [
            {"module": "os", "class_name": "system", "config": command, "registered_name": None},
            {"module": "os", "class_name": "system", "config": {"command": command}},
            {"module": "builtins", "class_name": "function", "config": "eval",
             "registered_name": "eval"},
            {"module": "builtins", "class_name": "eval", "config": {"source": code}},
            {"class_name": "__lambda__", "config": {"value": code}},
            {"class_name": "Lambda", "config": {"function": ["4wEAAAAA", None, None]}},
            {"class_name": "Lambda", "config": {"name": "l", "function": code}},
            {"module": "subprocess", "class_name": "Popen", "config": {"args": ["touch", "x"]}},
            {"class_name": "os.system", "config": {"command": command}},
            {"class_name": "../../os", "config": {}},
            {"class_name": "__import__", "config": {"name": "antigravity"}},
            {"class_name": "__reduce__", "config": {"args": [command]}},
            {"class_name": "TorchModuleWrapper", "config": {"module": "gASVAA=="}},
            "os.system", "__import__('os')", code, "eval", "builtins>eval",
        ]
    )  # fmt: skip
    value = json.loads(text)
    named = [p for p in places(value) if isinstance(p[0][p[1]], (dict, str))]
    container, key = case.one_of(named)
    container[key] = hostile
    return json.dumps(value)
