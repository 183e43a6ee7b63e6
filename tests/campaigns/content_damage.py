"""Damage to pickles, images and folders of images."""

import os
import pickle
import pickletools
import struct
import zlib

from campaigns.damage import Case

# Pickles


def other_opcodes(case: Case) -> bytes:
    """Opcodes exchanged, left out, there twice, or other ones."""
    starts = [at for _, _, at in pickletools.genops(case.data)] + [len(case.data)]
    a, b = sorted((case.below(len(starts) - 1), case.below(len(starts) - 1)))
    first, second = (case.data[starts[i] : starts[i + 1]] for i in (a, b))
    between = case.data[starts[a + 1] : starts[b]]
    before, after = case.data[: starts[a]], case.data[starts[b + 1] :]
    if a == b or case.below(2):
        changed = case.one_of((first * 2, b"", first * 1000, case.rng.bytes(1) + first[1:]))
        return before + changed + case.data[starts[a + 1] :]
    return before + second + between + first + after


def hostile_pickle(case: Case) -> bytes:
    """Opcodes that would execute something, or that ask for all memory and time."""
    command = f"touch {case.marker}".encode()
    source = f"open({str(case.marker)!r}, 'w')".encode()
    text = b"X" + struct.pack("<I", len(command)) + command
    names = [(b"os", b"system"), (b"posix", b"system"), (b"builtins", b"eval"),
             (b"builtins", b"exec"), (b"subprocess", b"call"), (b"numpy", b"load"),
             (b"numpy.core.multiarray", b"_reconstruct.__globals__"), (b"_codecs", b"open"),
             (b"numpy", b"ndarray"), (b"importlib", b"import_module")]  # fmt: skip
    module, name = case.one_of(names)
    argument = source if name in (b"eval", b"exec") else command
    text = b"X" + struct.pack("<I", len(argument)) + argument
    stream = case.one_of(
        [
            b"c" + module + b"\n" + name + b"\n(" + text + b"tR",
            b"(" + text + b"i" + module + b"\n" + name + b"\n",
            b"(c" + module + b"\n" + name + b"\n" + text + b"o",
            b"c" + module + b"\n" + name + b"\n" + text + b"\x85\x81",
            b"\x8c" + bytes([len(module)]) + module + b"\x8c" + bytes([len(name)]) + name
            + b"\x93" + text + b"\x85R",
            b"c" + module + b"\n" + name + b"\n}X\x01\0\0\0aX\x01\0\0\0bsb",
            b"\x82\x01", b"Pid\n", text + b"Q", b"F1e999\n", b"I" + b"9" * 5000 + b"\n", b"\x97",
            b"X" + struct.pack("<I", 2**32 - 1), b"\x8e" + struct.pack("<Q", 2**62),
            b"\x8a\xff" + b"\x7f" * 255, b"\x8b" + struct.pack("<i", 2**31 - 1),
            b"\x95" + struct.pack("<Q", 2**63), b"r\xff\xff\xff\xff", b"j\xff\xff\xff\xff",
            b"(" * 10**5, b"]" * 10**5, b"(l" * 10**5 + b"a" * 10**5, b")" + b"\x85" * 10**5,
            b"X\x01\0\0\0a" + b"2\x86" * case.one_of((18, 30, 60)),
            b"}" + b"X\x01\0\0\0a" + b"2\x86" * 30 + b"2s",
            b"N" * 600_000, b"]q\0" + b"h\0a" * 300_000,
        ]
    )  # fmt: skip
    match case.below(5):
        case 0:
            return b"\x80\x02" + stream + b"."
        case 1:  # in front of a good one
            return case.data[:2] + stream + b"0" + case.data[2:]
        case 2:  # after the end of a good one
            return case.data + stream + b"."
        case 3:
            return case.data[:-1] + stream + b"0."
        case _:
            return pickle.dumps(_Runs(argument.decode()), protocol=case.below(6))


class _Runs:
    """Runs a command when it is unpickled."""

    def __init__(self, command: str):
        self.command = command

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (self.command,)


# Images


def _chunk(kind: bytes, data: bytes) -> bytes:
    crc = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)


def _png(width: int, height: int, bits: int, colours: int, data: bytes, *more: bytes) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, bits, colours, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head)
    return start + b"".join(more) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def odd_images(case: Case) -> bytes:
    """Images that unpack to gigabytes, or that are of another kind than their name says."""
    side = case.one_of((1, 1000, 9400, 9500, 13_000, 60_000, 2**31 - 1, 0))
    other = case.one_of((side, 1, 0))
    zeros = zlib.compress(bytes(case.one_of((10, 10**6, 50 * 10**6))))
    return case.one_of(
        [
            _png(side, other, case.one_of((1, 8, 16, 3)), case.one_of((0, 2, 3, 6)), zeros),
            _png(9, 9, 8, 0, zeros, _chunk(b"zTXt", b"a\0\0" + zeros)),
            _png(9, 9, 8, 0, zeros, _chunk(b"iTXt", b"a\0\1\0\0\0" + zeros)),
            _png(9, 9, 8, 0, zeros, _chunk(b"iCCP", b"a\0\0" + zeros)),
            _png(9, 9, 8, 0, zeros, *[_chunk(b"tEXt", b"a\0b")] * 20_000),
            _png(9, 9, 8, 0, zeros, _chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0))),
            b"P6\n%d %d\n255\n" % (side, other) + bytes(1000),
            b"P5\n%d %d\n65535\n" % (side, other) + bytes(1000),
            b"P2\n%d %d\n255\n" % (side, other) + b"0 " * 10**5,
            b"P6\n" + b"9" * 10**6 + b" 1\n255\n",
            b"Pf\n%d %d\n-1.0\n" % (side, other) + bytes(1000),
            b"GIF89a" + struct.pack("<HHBBB", side % 65536, other % 65536, 0x80, 0, 0) + bytes(6)
            + b"," + struct.pack("<HHHHB", 0, 0, side % 65536, other % 65536, 0) + b"\2\1\x44\0;",
            b"BM" + struct.pack("<IHHIIiiHHIIIIII", 100, 0, 0, 54, 40, side, -other, 1,
                                case.one_of((1, 8, 24, 32)), case.below(4), 0, 1, 1, 2**31, 0),
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(" + bytes(str(case.marker), "utf-8")
            + b") (w) file closefile\n",
            b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
            b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, side, other, 8, 3) + bytes(20),
            b"\0\0\1\0\1\0" + struct.pack("<BBBBHHII", 0, 0, 0, 0, 1, 32, 2**31, 22) + case.data,
            b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", 3)
            + struct.pack("<HHII", 256, 4, 1, side) + struct.pack("<HHII", 257, 4, 1, other)
            + struct.pack("<HHII", 273, 4, 2**31 - 1, 8) + struct.pack("<I", 8),
            b"PK\3\4" + case.data, b"#!/bin/sh\ntouch " + bytes(str(case.marker), "utf-8"),
            b"import os; os.system('true')", b"\x1f\x8b" + case.data, case.data * 100,
        ]
    )  # fmt: skip


def odd_folders(case: Case) -> bytes:
    """Beside a good image, what may lie in a folder: pipes, links in circles, odd names."""
    folder = case.path.parent
    for _ in range(1 + case.below(2)):
        n = case.below(10**6)
        match case.below(8):
            case 0:
                os.mkfifo(folder / f"pipe{n}.png")
            case 1:
                (folder / f"loop{n}").symlink_to(folder.parent, True)
            case 2:
                (folder / f"here{n}.png").symlink_to(".")
            case 3:
                (folder / f"device{n}.png").symlink_to("/dev/zero")
            case 4:
                (folder / f"folder{n}.png").mkdir()
            case 5:
                (folder / f"notes{n}.txt").write_bytes(b"x")
            case 6:
                (folder.parent / f".hidden{n}").mkdir()
            case 7:
                (folder.parent / f"pipe{n}.png").symlink_to("/dev/zero")
    return case.data
