"""Gets an archive from the network into the user's cache, all of it or nothing.

Download, hash and unpacking happen in a temporary directory beside the destination.
Only a complete result is renamed into place, so an interrupted run leaves nothing behind that a
later run would take for data.
"""

import os
import shutil
import sys
import tarfile
import tempfile
from pathlib import Path

TIMEOUT = 10.0  # seconds without an answer before the network counts as absent


class DatasetUnavailable(OSError):
    """The data set is not on disk and cannot be downloaded; the message says what would help."""


def cache_directory() -> Path:
    """The user's cache directory for this library (on Linux ~/.cache/minicnn)."""
    import pooch

    return Path(pooch.os_cache("minicnn"))


def download_archive(url: str, md5: str, destination: Path, member_sizes: dict[str, int]) -> None:
    """Download a .tar.gz, check its hash and put its members into the new folder `destination`.

    Args:
        url: where the archive is (http or https).
        md5: its MD5 checksum, in hexadecimal.
        destination: the folder to make. Members must lie in a folder of this name in the archive.
        member_sizes: the wanted files of that folder, each with its exact size in bytes.

    Raises:
        OSError: no network, or the cache cannot be written.
        ValueError: the hash is wrong, or the archive does not hold what it should hold.
    """
    import pooch
    import requests

    destination.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".download-", dir=destination.parent) as work:
        try:
            archive = pooch.retrieve(
                url,
                known_hash=f"md5:{md5}",
                fname="archive.tar.gz",
                path=work,
                downloader=pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), timeout=TIMEOUT),
            )
        except requests.ConnectionError:  # its own text and causes are a page of internals
            raise OSError("no connection") from None
        unpacked = Path(work) / destination.name
        extract_members(Path(archive), unpacked, member_sizes)
        try:
            os.rename(unpacked, destination)
        except OSError:
            # Another process may have been quicker; its copy will do.
            if not all((destination / name).is_file() for name in member_sizes):
                raise


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
        with tarfile.open(archive, "r:gz") as tar:
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
    except (tarfile.TarError, EOFError) as error:
        raise ValueError(f"{archive.name} is not a readable .tar.gz archive: {error}") from error
    if wanted:
        raise ValueError(f"{archive.name} lacks {', '.join(sorted(wanted))}")
