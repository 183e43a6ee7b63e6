"""Damage to what stands in containers: safetensors, zip, HDF5, tar."""

import io
import json
import os
import struct
import tarfile
import zipfile

import numpy as np
import safetensors_parts
from campaigns.damage import Case, Change, extreme_numbers, flipped, flipped_head, shifted
from campaigns.file_forms import tar_members, tarred, unzipped, zipped

# safetensors


def in_safetensors(change: Change, checksum: bool = False) -> Change:
    """The change of a text, made to the description of a .safetensors file; without `checksum`
    the file becomes one of an older version, which has none."""

    def changed(case: Case) -> bytes:
        case.path.write_bytes(case.data)
        header, _, arrays = safetensors_parts.read(case.path)
        text = change(case, header["__metadata__"]["minicnn"])
        safetensors_parts.write(case.path, header, text, arrays, checksum)
        return case.path.read_bytes()

    return changed


def safetensors_header(case: Case) -> bytes:
    """The list of arrays: other shapes, types, places, names; and the length of the list."""
    size = 8 + struct.unpack("<Q", case.data[:8])[0]
    header = json.loads(case.data[8:size])
    name = case.one_of([n for n in header if n != "__metadata__"])
    far = case.one_of((0, -1, 1, 10**6, 2**31, 2**63, 2**64, 10**30, None, "1", 1.5))
    match case.below(8):
        case 0:
            header[name]["dtype"] = case.one_of(
                ("I32", "F64", "F16", "BF16", "F8_E4M3", "BOOL", "U8", "C64", "X", 3, None)
            )
        case 1:
            header[name]["shape"] = case.one_of(([far], [far, far], [], [0, far], far))
        case 2:
            header[name]["data_offsets"] = case.one_of(([0, far], [far, 0], [far, far], [], far))
        case 3:
            header[case.one_of(("../x", "", "weights/", "optimizer/", "a\0"))] = header.pop(name)
        case 4:
            del header[name]
        case 5:
            header["__metadata__"] = case.one_of(({}, None, [], {"minicnn": 3}, {"minicnn": ""}))
        case 6:
            other = case.one_of([n for n in header if n != "__metadata__"])
            header[name], header[other] = header[other], header[name]
        case _:
            length = case.one_of((0, 1, 2**31, 2**62, 2**63, 2**64 - 1, len(case.data), size))
            return struct.pack("<Q", length) + case.data[8:]
    encoded = json.dumps(header).encode()
    return struct.pack("<Q", len(encoded)) + encoded + case.data[size:]


# zip


def in_zip(change: Change, *members: str) -> Change:
    """The change, made to one of the members of a .keras file, and zipped again."""

    def changed(case: Case) -> bytes:
        parts = unzipped(case.data)
        member = case.one_of(members)
        parts[member] = change(case.with_data(parts[member]))
        return zipped(parts)

    return changed


def in_text(change: Change) -> Change:
    """The change of a text, made to bytes."""
    return lambda case: change(case, case.data.decode()).encode("utf-8", "surrogatepass")


def zip_members(case: Case) -> bytes:
    """Members with names that lead elsewhere, that are missing, packed otherwise, or that lie about
    their size."""
    parts = unzipped(case.data)
    name = case.one_of(parts)
    kind = case.below(8)
    if kind == 0:  # more members, elsewhere
        outside = case.marker.parent / "written"
        for other in ("../../up", str(outside), "..\\up", "config.json/../x", "a" * 5000, "\0"):
            parts[other] = b"x"
    if kind == 1:  # one of the three elsewhere
        parts[case.one_of((f"../{name}", f"/{name}", f"./{name}", name.upper()))] = parts.pop(name)
    if kind == 2:
        del parts[name]
    if kind == 3:  # much of the same
        parts[name] = case.one_of((b" ", b"[", b"{", b"\0", b'"')) * (50 << 20)
    packed = case.one_of((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA,
                          zipfile.ZIP_BZIP2))  # fmt: skip
    data = bytearray(zipped(parts, zipfile.ZIP_DEFLATED if kind == 3 else packed))
    if kind in (4, 5, 6):  # the lists of members: sizes, ways of packing, flags, places
        start = case.one_of([i for i in range(len(data)) if data[i : i + 4] == b"PK\1\2"])
        at, size = case.one_of(
            ((4, 2), (6, 2), (8, 2), (10, 2), (16, 4), (20, 4), (24, 4), (28, 2), (30, 2), (42, 4))
        )
        value = case.one_of((0, 1, 500, 8, 14, 99, 2**16 - 1, 2**31, 2**32 - 1))
        data[start + at : start + at + size] = (value % (1 << 8 * size)).to_bytes(size, "little")
    if kind == 7:  # one archive after another
        return bytes(data) + case.data
    return bytes(data)


# HDF5


def hdf5_links(case: Case) -> bytes:
    """A group or an array that is a link to another file, a pipe, elsewhere in it, or to itself."""
    import h5py

    other = case.path.parent / "other.h5"
    other.write_bytes(case.data)
    pipe = case.path.parent / "pipe"
    os.mkfifo(pipe)
    buffer = io.BytesIO(case.data)
    with h5py.File(buffer, "r+") as file:
        name = case.one_of(_names(file))
        target = case.one_of((name, "/", "nowhere"))
        match case.below(6):
            case 0 | 1:
                file.move(name, "/moved")
                file[name] = h5py.ExternalLink(
                    case.one_of((str(other), other.name, str(pipe), "/dev/zero", "/etc/passwd")),
                    target,
                )
            case 2:
                file.move(name, "/moved")
                file[name] = h5py.SoftLink(
                    case.one_of(("/moved", name, "/", "nowhere", "/a" * 999))
                )
            case 3:
                if name in _arrays(file):
                    del file[name]
                file.require_group(name)["loop"] = file["/"]
            case 4:
                del file[name]
                layout = h5py.VirtualLayout((4,), "f4")
                layout[:] = h5py.VirtualSource(str(other), _arrays(file)[0], (4,))
                file.create_virtual_dataset(name, layout)
            case _:
                array = case.one_of(_arrays(file))
                shape, dtype = file[array].shape, file[array].dtype
                del file[array]
                source = case.one_of((str(pipe), str(other), "/dev/zero", "/etc/passwd"))
                size = h5py.h5f.UNLIMITED if shape else 4096
                file.create_dataset(array, shape or (1,), dtype, external=[(source, 0, size)])
    return buffer.getvalue()


def hdf5_arrays(case: Case) -> bytes:
    """An array of another type or shape, one of terabytes, or one packed by a filter."""
    import h5py

    buffer = io.BytesIO(case.data)
    with h5py.File(buffer, "r+") as file:
        name = case.one_of(_arrays(file))
        old = file[name][()]
        del file[name]
        shape = case.one_of(
            (old.shape, (2**62,), (2**31, 2**31), (10**9,), (0,), (), (1, *old.shape))
        )
        match case.below(6):
            case 0:
                kind = case.one_of(("f8", "f2", "i4", "u1", "c8", ">f4", "S5", "?"))
                file[name] = np.ones(old.shape, kind)
            case 1:
                file[name] = np.array(["os.system"], object).astype(h5py.string_dtype())
            case 2:
                chunks = tuple(min(s, 1000) for s in shape) if all(shape) and shape else None
                file.create_dataset(name, shape, "f4", chunks=chunks, fillvalue=case.one_of((0, 1)))
            case 3:
                kind = np.dtype([("a", "f4"), ("b", h5py.ref_dtype)])
                file.create_dataset(name, old.shape or (1,), kind)
            case 4:
                big = (4096, 4096)
                file.create_dataset(name, data=np.zeros(big, "u1"), chunks=big, compression="gzip")
            case _:
                file.create_group(name)["0"] = np.ones(old.shape)
    return buffer.getvalue()


def hdf5_text(change: Change) -> Change:
    """The change of a text, made to a description in a .h5 file."""

    def changed(case: Case) -> bytes:
        import h5py

        buffer = io.BytesIO(case.data)
        with h5py.File(buffer, "r+") as file:
            key = case.one_of(("model_config", "training_config"))
            text = change(case, str(file.attrs[key]))
            data = text.encode("utf-8", "surrogatepass").replace(b"\0", b"0")
            file.attrs[key] = data[:10_000_000] if data else b"{"
        return buffer.getvalue()

    return changed


def hdf5_attributes(case: Case) -> bytes:
    """The lists of names and other attributes: other types, missing, long, with names elsewhere."""
    import h5py

    buffer = io.BytesIO(case.data)
    with h5py.File(buffer, "r+") as file:
        name = case.one_of([n for n in ["/", *_names(file)] if len(file[n].attrs)])
        attributes = file[name].attrs
        key = case.one_of(attributes)
        del attributes[key]
        values = (3, 2.5, "x", b"\xff\xfe", np.zeros(0), np.zeros((50, 50)), "../..", "/", "4.0",
                  np.array([b"../x", b"/", b""]), np.array([b"a"] * 5000),
                  h5py.Empty("f4"), np.array([1 + 2j]), [np.nan] * 3, "x" * 60_000)  # fmt: skip
        if case.below(6):
            attributes[key] = case.one_of(values)
    return buffer.getvalue()


def _names(file: object) -> list[str]:
    names: list[str] = []
    file.visit(names.append)  # type: ignore[attr-defined]
    return sorted(names)


def _arrays(file: object) -> list[str]:
    return [n for n in _names(file) if hasattr(file[n], "dtype")]  # type: ignore[index]


IN_HDF5 = (flipped, flipped_head, shifted, extreme_numbers)


# tar


def tar_entries(case: Case) -> bytes:
    """Names that lead elsewhere, links, devices, pipes, and sizes that are not so."""
    members = tar_members()
    which = case.below(2)
    info, data = members[which]
    outside = case.marker.parent / "written"
    odd = tarfile.TarInfo(
        case.one_of((info.name, "../../up", str(outside), f"/{info.name}", f"./{info.name}", "x"))
    )
    odd.type = case.one_of((tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE,
                            tarfile.FIFOTYPE, tarfile.DIRTYPE, tarfile.GNUTYPE_SPARSE))  # fmt: skip
    odd.linkname = case.one_of(("/etc/passwd", "../..", info.name, str(outside)))
    odd.devmajor, odd.devminor = 1, 5
    content = b""
    if odd.type == tarfile.REGTYPE and odd.name != info.name:
        content = case.rng.bytes(100)
    odd.size = len(content)
    match case.below(4):
        case 0:
            members.insert(0, (odd, content))
        case 1:
            members[which] = (odd, content)
        case 2:
            members.append((odd, content))
        case _:
            info.size = case.one_of((0, 1, info.size - 1))
            members[which] = (info, data[: info.size])
            if case.below(2):
                plain = bytearray(_plain(members))
                at = plain.find(info.name.encode()) + 124
                size = case.one_of((8**11 - 1, 1 << 40, 3073 * 20))
                plain[at : at + 12] = b"%011o\0" % min(size, 8**11 - 1)
                return _packed(bytes(plain))
    return tarred(members)


def in_tar(change: Change) -> Change:
    """The change, made to the archive before it is packed."""
    return lambda case: _packed(change(case.with_data(_plain(tar_members()))))


def _plain(members: list[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    import gzip

    return gzip.decompress(tarred(members))


def _packed(data: bytes) -> bytes:
    import gzip

    return gzip.compress(data, 1, mtime=0)
