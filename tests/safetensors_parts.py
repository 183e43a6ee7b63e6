"""A .safetensors file taken apart and put together again, for tests that damage it."""

import json
import struct


def read(path):
    """(header of the file, what stands under "minicnn", the arrays' bytes)."""
    data = path.read_bytes()
    end = 8 + struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:end])
    return header, json.loads(header["__metadata__"]["minicnn"]), data[end:]


def write(path, header, text, data, checksum=False):
    """The file anew; without its checksum, as older files are."""
    text = text if isinstance(text, str) else json.dumps(text)
    if not checksum:
        header["__metadata__"].pop("minicnn_crc32", None)
        text = text.replace(', "checked": true', "")
    header["__metadata__"]["minicnn"] = text
    encoded = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(encoded)) + encoded + data)
