"""Gets an archive from the network into the user's cache, all of it or nothing.

Download, hash and unpacking happen in a temporary directory beside the destination.
Only a complete result is renamed into place, so an interrupted run leaves nothing behind that a
later run would take for data.
"""

import contextlib
import gzip
import os
import shutil
import sys
import tarfile
import tempfile
import threading
import time
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

TIMEOUT = 10.0  # seconds without an answer before the network counts as absent
LONGEST = 3600.0  # seconds that a download may take in all
_WORK = ".download-"  # begins the name of the folder of a download


class DatasetUnavailable(OSError):
    """The data set is not on disk and cannot be downloaded; the message says what would help."""


def cache_directory() -> Path:
    """The user's cache directory for this library (on Linux ~/.cache/minicnn)."""
    import pooch

    return Path(pooch.os_cache("minicnn"))


def download_archive(url: str, md5: str, destination: Path, member_sizes: dict[str, int]) -> None:
    """Download a .tar.gz, check its hash and put its members into the new folder `destination`.

    It may be no larger than what it should hold, and take an hour. What downloads that were killed
    have left beside the destination is removed.

    Args:
        url: where the archive is (http or https).
        md5: its MD5 checksum, in hexadecimal.
        destination: the folder to make. Members must lie in a folder of this name in the archive.
        member_sizes: the wanted files of that folder, each with its exact size in bytes.

    Raises:
        OSError: no network, more bytes or time than there should be, or the cache cannot be
            written.
        ValueError: the hash is wrong, or the archive does not hold what it should hold.
    """
    with _new_folder(destination, member_sizes) as unpacked:
        archive = unpacked.parent / "archive.tar.gz"
        retrieve(url, f"md5:{md5}", archive, sum(member_sizes.values()) + (1 << 20))
        extract_members(archive, unpacked, member_sizes)


def download_files(files: dict[str, tuple[str, str]], destination: Path, most_bytes: int) -> None:
    """The same for files that are not in an archive.

    Args:
        files: {name: (address, its hash such as "md5:...")}.
        destination: the folder to make.
        most_bytes: more than the largest file has.

    Raises:
        OSError, ValueError: as there.
    """
    with _new_folder(destination, files) as folder:
        folder.mkdir()
        for name, (url, known_hash) in files.items():
            retrieve(url, known_hash, folder / name, most_bytes)


@contextlib.contextmanager
def _new_folder(destination: Path, names: Iterable[str]) -> Iterator[Path]:
    """A folder to make and fill with files of these names; it then becomes the destination."""
    destination.parent.mkdir(parents=True, exist_ok=True)
    for old in destination.parent.glob(f"{_WORK}*"):
        with contextlib.suppress(OSError):  # somebody else may have been quicker
            if time.time() - old.stat().st_mtime > 2 * LONGEST:  # its process is dead
                shutil.rmtree(old)
    with tempfile.TemporaryDirectory(prefix=_WORK, dir=destination.parent) as work:
        folder = Path(work) / destination.name
        yield folder
        try:
            os.rename(folder, destination)
        except OSError:
            # Another process may have been quicker; its copy will do.
            if not all((destination / name).is_file() for name in names):
                raise


def retrieve(url: str, known_hash: str | None, file_path: Path, most_bytes: int) -> None:
    """Download one file of at most `most_bytes` and check its hash.

    A server that sends a byte now and then never runs into a timeout of the network, so another
    thread waits for it, and this one no longer than `LONGEST`.

    Args:
        url: its address.
        known_hash: such as "md5:..."; None for any.
        file_path: where to.
        most_bytes: more than that is an error.
    """
    import pooch
    import requests
    from tqdm import tqdm

    end = time.monotonic() + LONGEST

    def download(url: str, output_file: str, _: Any) -> None:
        with (
            requests.get(url, stream=True, timeout=TIMEOUT) as response,
            open(output_file, "wb") as file,
            tqdm(unit="B", unit_scale=True, disable=not sys.stderr.isatty()) as progress,
        ):
            response.raise_for_status()
            progress.total = int(response.headers.get("content-length", 0)) or None
            for data in response.iter_content(1 << 16):
                if file.tell() + len(data) > most_bytes:
                    raise OSError(f"the server sent more than the {most_bytes:,} bytes expected")
                if time.monotonic() > end:  # nobody waits for it any longer
                    raise OSError("it took too long")
                file.write(data)
                progress.update(len(data))

    errors: list[Exception] = []

    def work() -> None:
        try:
            pooch.retrieve(
                url,
                known_hash=known_hash,
                fname=file_path.name,
                path=file_path.parent,
                downloader=download,
            )
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=work, name="minicnn-download", daemon=True)
    thread.start()
    thread.join(LONGEST)
    if thread.is_alive():
        raise OSError(f"the download was not done after {LONGEST:g} s")
    # the text and causes of errors of the network are a page of internals
    for error in errors:
        if isinstance(error, (requests.ConnectionError, requests.Timeout)):
            raise OSError("no connection") from None
        if isinstance(error, requests.exceptions.ChunkedEncodingError):
            raise OSError("the connection broke off") from None
        raise error


def extract_members(archive: Path, destination: Path, member_sizes: dict[str, int]) -> None:
    """Unpack the files of `member_sizes`, and nothing else, into the new folder `destination`.

    Names in the archive are compared, never used as paths, so no member can land elsewhere.

    Args:
        archive: a .tar.gz file.
        destination: the folder to make, as in `download_archive`.
        member_sizes: the wanted files, as in `download_archive`.

    Raises:
        ValueError: not a readable archive; or a member is missing, is not a regular file or has
            another size.
    """
    destination.mkdir()
    wanted = {f"{destination.name}/{name}": name for name in member_sizes}
    try:
        with gzip.open(archive) as stream, tarfile.open(fileobj=stream, mode="r:") as tar:
            for member in tar:
                name = wanted.get(member.name)
                if name is None:
                    continue
                source = tar.extractfile(member) if member.isreg() else None
                if source is None or member.size != member_sizes[name]:
                    raise ValueError(
                        f"{member.name} in {archive.name} is not the regular file of "
                        f"{member_sizes[name]:,} bytes that was expected (found {member.size:,})"
                    )
                with open(destination / name, "wb") as out:
                    shutil.copyfileobj(source, out, 1 << 20)
                del wanted[member.name]
            while stream.read(1 << 20):  # gzip's checksum stands at the end
                pass
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{archive.name} is not a readable .tar.gz archive: {error}") from error
    if wanted:
        raise ValueError(f"{archive.name} lacks {', '.join(sorted(wanted))}")
