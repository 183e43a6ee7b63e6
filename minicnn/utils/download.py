"""Files from the network, in the user's cache."""

import hashlib
import os
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from minicnn.datasets.fetch import cache_directory, retrieve
from minicnn.files import make_folder

_MOST = 1 << 40  # bytes of a download


def get_file(
    fname: str | os.PathLike[str] | None = None,
    origin: str | None = None,
    untar: bool = False,
    md5_hash: str | None = None,
    file_hash: str | None = None,
    cache_subdir: str = "datasets",
    hash_algorithm: str = "auto",
    extract: bool = False,
    archive_format: str | list[str] | None = "auto",
    cache_dir: str | os.PathLike[str] | None = None,
    force_download: bool = False,
) -> str:
    """Download a file unless it is in the cache, and unpack it where asked to.

    Only a whole file, of the right hash, takes its place, and only a whole archive is unpacked; no
    member of an archive lands outside its folder.

    Args:
        fname: name of the file in the cache, or, where an archive is unpacked, of its folder;
            default: the last part of `origin`.
        origin: the address.
        untar: the older form of `extract`, for archives by tar.
        md5_hash: the older form of `file_hash`.
        file_hash: MD5 or SHA-256 of the file, in hexadecimal.
        cache_subdir: the folder in the cache.
        hash_algorithm: "md5", "sha256", or "auto" to tell by the length of the hash.
        extract: whether to unpack the file.
        archive_format: "tar", "zip", a list of these, or "auto" for both.
        cache_dir: the cache; default: `KERAS_HOME`, or else the user's cache of this library.
        force_download: whether to download what is there already.

    Returns:
        The path of the file, or of the folder that it was unpacked into.

    Raises:
        ValueError: no origin, a path as fname, a wrong hash, or no archive of that format.
        OSError: no network, or the cache cannot be written.
    """
    if origin is None:
        raise ValueError("get_file needs origin=, the address of the file")
    name = os.fspath(fname) if fname else os.path.basename(urlsplit(origin).path)
    if not name or os.path.basename(name) != name or name in (".", ".."):
        raise ValueError(f"fname is the name of a file, without folders, not {name!r}")
    cache = Path(cache_dir or os.environ.get("KERAS_HOME") or cache_directory()).expanduser()
    folder = make_folder(cache / cache_subdir)
    unpacks = extract or untar
    stem = f"{name.partition('.')[0]}_extracted" if fname and "." in name else name
    kept_as = name if not unpacks or (fname and "." in name) else f"{name}_archive"
    path, unpacked = folder / kept_as, folder / stem
    known = _known_hash(file_hash or md5_hash, "md5" if md5_hash else hash_algorithm)
    fresh = force_download or not path.is_file() or not _matches(path, known)
    if fresh:
        with tempfile.TemporaryDirectory(prefix=".download-", dir=folder) as work:
            retrieve(origin, known, Path(work) / path.name, _MOST)
            os.replace(Path(work) / path.name, path)
    if not unpacks:
        return str(path)
    if fresh or not unpacked.is_dir():
        _unpack(path, unpacked, "tar" if untar else archive_format)
    return str(unpacked)


def _known_hash(value: str | None, algorithm: str) -> str | None:
    if value is None:
        return None
    if algorithm not in ("auto", "md5", "sha256"):
        raise ValueError(f"hash_algorithm is 'auto', 'md5' or 'sha256', not {algorithm!r}")
    if algorithm == "auto":
        algorithm = "sha256" if len(value) == 64 else "md5"
    return f"{algorithm}:{value.lower()}"


def _matches(path: Path, known: str | None) -> bool:
    if known is None:
        return True
    algorithm, _, value = known.partition(":")
    with open(path, "rb") as file:
        digest = hashlib.new(algorithm)
        while data := file.read(1 << 20):
            digest.update(data)
    return digest.hexdigest() == value


def _unpack(archive: Path, folder: Path, formats: str | list[str] | None) -> None:
    """Put what is in the archive into the new folder, all of it or nothing."""
    asked = [formats] if isinstance(formats, str) else list(formats or ())
    asked = ["tar", "zip"] if asked == ["auto"] else asked
    with tempfile.TemporaryDirectory(prefix=".unpack-", dir=folder.parent) as work:
        new = Path(work) / folder.name
        if "tar" in asked and tarfile.is_tarfile(archive):
            if not hasattr(tarfile, "data_filter"):
                raise ValueError(
                    f"{str(archive)!r}: this Python cannot unpack archives by tar safely; a later "
                    f"release of the same version can"
                )
            with tarfile.open(archive) as tar:
                _extract(lambda: tar.extractall(new, filter="data"), archive)
        elif "zip" in asked and zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as zipped:  # whose names never lead out of the folder
                _extract(lambda: zipped.extractall(new), archive)
        else:
            raise ValueError(f"{str(archive)!r} is no archive of the format {formats!r}")
        if folder.exists():
            shutil.rmtree(folder)
        os.rename(new, folder)


def _extract(extract: Callable[[], None], archive: Path) -> None:
    try:
        extract()
    except (tarfile.TarError, zipfile.BadZipFile, EOFError) as error:
        raise ValueError(f"{str(archive)!r} was not unpacked: {error}") from error
