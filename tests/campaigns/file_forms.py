"""The kinds of files that the library reads: an undamaged one of each, and how it is read.

What a reader returns is a list of models, arrays and plain values, all that came out of the file;
two of these are compared by `fingerprint`.
"""

import hashlib
import io
import json
import os
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors_parts
from PIL import Image

from minicnn.backend import to_numpy
from minicnn.datasets import cifar10
from minicnn.datasets.fetch import extract_members
from minicnn.datasets.folder import image_dataset_from_directory
from minicnn.layers import BatchNormalization, Conv2D, Dense, Flatten, Input
from minicnn.models import Model, Sequential, load_model
from minicnn.optimizers import Adam
from minicnn.preprocessing.image import ImageDataGenerator, img_to_array, load_img
from minicnn.registry import serialize
from minicnn.utils import set_random_seed

IMAGES = {
    "png": ".png", "jpeg": ".jpg", "gif": ".gif", "bmp": ".bmp", "tiff": ".tif", "webp": ".webp",
    "ppm": ".ppm",
}  # fmt: skip
RECORDS = 20  # images of a batch of CIFAR-10, here
_BATCHES = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
_DAMAGED = "data_batch_3"
_TAR_SIZES = {f"data_batch_{i}.bin": RECORDS * 3073 for i in (1, 2)}


@dataclass
class Form:
    """A kind of file.

    Args:
        name: of the kind.
        file: where such a file stands in a folder, {} is its number.
        data: the bytes of the undamaged one.
        read: what comes out of the file at a path.
        head: how many bytes at the start hold more than pixels and weights.
        checked: the format has a checksum, so that no damage may pass.
        beside: other files of the folder, {path in it: bytes}.
    """

    name: str
    file: str
    data: bytes
    read: Callable[[Path], list[Any]]
    head: int = 256
    checked: bool = False
    beside: dict[str, bytes] | None = None

    def place(self, folder: Path, number: int) -> Path:
        """Make the other files in a `folder`; returns where the damaged one of a `number` goes."""
        for name, data in (self.beside or {}).items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
        path = folder / self.file.format(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


def fingerprint(values: list[Any]) -> str:
    """A text that differs if anything in the `values` of a reader does."""
    digest = hashlib.sha256()
    for value in (part for v in values for part in (_parts(v) if isinstance(v, Model) else [v])):
        if isinstance(value, np.ndarray):
            digest.update(f"{value.dtype} {value.shape}".encode())
            digest.update(np.ascontiguousarray(value).tobytes())
        else:
            digest.update(json.dumps(value, default=serialize).encode())
    return digest.hexdigest()


def make_forms(folder: Path) -> dict[str, Form]:
    """The kinds of files by name.

    Args:
        folder: where the models are saved meanwhile.
    """
    cifar10._RECORDS = RECORDS
    forms = [*_models(folder), *_cifar(), *_images()]
    return {form.name: form for form in forms}


# Models


def network() -> Sequential:
    """A small trained network."""
    set_random_seed(0)
    model = Sequential(
        [
            Input((4, 4, 1)),
            Conv2D(2, 3, activation="relu", name="conv"),
            BatchNormalization(name="norm"),
            Flatten(name="flat"),
            Dense(3, name="head", kernel_regularizer="l2"),
        ],
        name="small",
    )
    model.compile(Adam(0.01), "mse", ["mae"])
    x = np.random.default_rng(0).random((4, 4, 4, 1), "float32")
    model.fit(x, np.ones((4, 3)), epochs=2, batch_size=2, verbose=0)
    return model


def _whole(path: Path) -> list[Any]:
    return [load_model(path)]


def _parts(model: Model) -> list[Any]:
    values: list[Any] = [serialize(model), *map(to_numpy, model.get_weights())]
    if model.loss is not None:
        keys = model.weight_keys()
        state = sorted(model.optimizer.state_arrays(keys).items())
        values += [
            serialize(model.optimizer),
            serialize(model.loss),
            list(model.metric_identifiers),
        ]
        values += [part for name, value in state for part in (name, np.asarray(value))]
    return values


def _weights_of(model: Sequential) -> Callable[[Path], list[Any]]:
    def read(path: Path) -> list[Any]:
        before = [w.copy() for w in model.get_weights()]
        try:
            model.load_weights(path)
        except Exception:
            after = model.get_weights()
            assert all(map(np.array_equal, before, after)), "some weights were taken over"
            raise
        return list(map(to_numpy, model.get_weights()))

    return read


def _models(folder: Path) -> list[Form]:
    model = network()
    other = network()
    other.set_weights([np.zeros_like(w) for w in other.get_weights()])
    read_weights = _weights_of(other)
    forms = []
    for name, read in {
        "m.safetensors": _whole, "w.safetensors": read_weights,
        "m.keras": _whole, "m.h5": _whole, "w.weights.h5": read_weights,
    }.items():  # fmt: skip
        path = folder / name
        (model.save if read is _whole else model.save_weights)(path)
        if path.suffix == ".safetensors":  # which orders its entries by chance
            header, text, arrays = safetensors_parts.read(path)
            header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
            text = header["__metadata__"]["minicnn"]
            safetensors_parts.write(path, header, text, arrays, checksum=True)
        if path.suffix == ".keras":  # which has the time in it
            path.write_bytes(zipped(unzipped(path.read_bytes())))
        data = path.read_bytes()
        first = 8 + int.from_bytes(data[:8], "little") if path.suffix == ".safetensors" else 2048
        checked = path.suffix in (".safetensors", ".keras")
        forms.append(Form(name[2:] if name[0] == "m" else name, name[0] + "{}" + name[1:], data,
                          read, first, checked))  # fmt: skip
    return forms


def unzipped(data: bytes) -> dict[str, bytes]:
    """The members of a zip archive, with nothing in them that the time decides."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    metadata = json.loads(members["metadata.json"])
    members["metadata.json"] = json.dumps(metadata | {"date_saved": "2026-01-01"}).encode()
    return members


def zipped(members: dict[str, bytes], packed: int = zipfile.ZIP_STORED) -> bytes:
    """A zip archive of `members`, `packed` in one of zipfile's ways."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", packed) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data, packed)
    return buffer.getvalue()


# CIFAR-10


def _batch(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 10, RECORDS, "uint8"), rng.integers(0, 256, (RECORDS, 3072), "uint8")


def _binary_batch(seed: int) -> bytes:
    labels, pixels = _batch(seed)
    return np.column_stack([labels, pixels]).tobytes()


def _python_batch(seed: int) -> bytes:
    labels, pixels = _batch(seed)
    names = [f"image_{i}.png" for i in range(RECORDS)]
    content = {"batch_label": "one", "labels": labels.tolist(), "data": pixels, "filenames": names}
    return pickle.dumps(content, protocol=2 + seed % 2)


def _read_cifar(path: Path) -> list[Any]:
    (x, y), (x_test, y_test) = cifar10.load_data(path.parent)
    return [x, y, x_test, y_test]


def _read_tar(path: Path) -> list[Any]:
    unpacked = path.parent / "cifar-10-batches-bin"
    extract_members(path, unpacked, _TAR_SIZES)
    return [np.fromfile(unpacked / name, np.uint8) for name in sorted(os.listdir(unpacked))]


def tarred(members: list[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    """A .tar.gz archive of `members`."""
    import gzip

    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        for info, data in members:
            tar.addfile(info, io.BytesIO(data))
    return gzip.compress(plain.getvalue(), 1, mtime=0)


def tar_members() -> list[tuple[tarfile.TarInfo, bytes]]:
    """What the undamaged archive holds."""
    members = []
    for i, name in enumerate(_TAR_SIZES):
        info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
        info.size = _TAR_SIZES[name]
        members.append((info, _binary_batch(i)))
    return members


def _cifar() -> list[Form]:
    forms = [Form("cifar.tar.gz", "cifar-{}.tar.gz", tarred(tar_members()), _read_tar, 64, True)]
    for name, ending, make in (("binary", ".bin", _binary_batch), ("python", "", _python_batch)):
        files = {batch + ending: make(i) for i, batch in enumerate(_BATCHES)}
        data = files.pop(_DAMAGED + ending)
        forms.append(Form(f"cifar {name}", _DAMAGED + ending, data, _read_cifar, 128, beside=files))
    return forms


# Images


def _read_image(path: Path) -> list[Any]:
    return [img_to_array(load_img(path))]


def _read_folder(path: Path) -> list[Any]:
    folder = image_dataset_from_directory(
        path.parent.parent, image_size=(8, 8), shuffle=False, follow_links=True, verbose=False
    )
    iterator = ImageDataGenerator().flow_from_directory(
        path.parent.parent,
        target_size=(8, 8),
        shuffle=False,
        follow_links=True,
        class_mode="sparse",
    )
    return [a for batch in (next(iter(folder)), next(iterator)) for a in batch]


def _picture(kind: str, seed: int) -> bytes:
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (5, 6, 3), "uint8"))
    image = coarse.resize((30, 24), Image.Resampling.BILINEAR)
    if kind == "gif":
        image = image.convert("P")
    buffer = io.BytesIO()
    more = {"compression": "tiff_lzw"} if kind == "tiff" and seed else {}
    image.save(buffer, kind, **more)
    return buffer.getvalue()


def _images() -> list[Form]:
    forms = [Form(k, "x{}" + e, _picture(k, 1), _read_image) for k, e in IMAGES.items()]
    beside = {"a/0.png": _picture("png", 2), "b/9.jpg": _picture("jpeg", 3)}
    forms.append(Form("folder", "b/x{}.png", _picture("png", 1), _read_folder, beside=beside))
    return forms
