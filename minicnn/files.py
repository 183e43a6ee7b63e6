"""Writing files: names that say a format, and never half a file in the place of a whole one."""

import contextlib
import os
import shutil
import stat
import tempfile
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

KERAS_SUFFIXES = (".keras", ".h5", ".hdf5")
KERAS_WEIGHTS = ".weights.h5"

_DAY = 24 * 60 * 60.0


def make_folder(folder: str | os.PathLike[str]) -> Path:
    """Create `folder` and its parents if they are missing.

    Raises:
        OSError: it cannot be created; the message names the folder and what would do.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _refusal(error, folder) from error
    return folder


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Gives a temporary path; when the block ends well, the file there becomes `path`.

        with atomic_write("model.safetensors") as temporary:
            temporary.write_bytes(...)

    The temporary file has the name of the final one, for writers that look at it, in a hidden
    folder beside it (a rename is atomic only within a file system). If the block raises, the folder
    is removed and whatever was at `path` stays as it was. If the process is killed, the next write
    to `path` removes it. The permissions of a file that is replaced are kept, and the new one is on
    the disk, not only in the system's memory, before it takes the place. Missing folders are
    created, and a link at `path` is followed.

    Raises:
        IsADirectoryError: `path` is a folder.
        PermissionError: there is a file that is read-only.
        OSError: the folder cannot be written to, or something in the block could not be written,
            such as on a full disk; the message names the file.
    """
    target = Path(os.path.realpath(path))
    mode = _mode_to_keep(target, path)
    make_folder(target.parent)
    _remove_orphans(target)
    try:
        folder, lock = _locked_folder(target)
    except OSError as error:
        raise _refusal(error, target.parent) from error
    try:
        temporary = folder / target.name
        temporary.touch(exist_ok=False)  # found out before the work of the block, not after it
        if mode is None:
            mode = stat.S_IMODE(temporary.stat().st_mode)
        yield temporary
        # some writers replace the file by one that only its owner may read
        with contextlib.suppress(FileNotFoundError):
            _keep_owner(temporary, target)
        temporary.chmod(mode)
        _to_disk(temporary)
        os.replace(temporary, target)
        with contextlib.suppress(OSError):  # not every file system knows folders on disk
            _to_disk(target.parent)
    except OSError as error:
        raise unwritable(error, path) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def unwritable(error: OSError, path: str | os.PathLike[str]) -> OSError:
    """`error` again, with a text that begins with what could not be written.

    Args:
        error: what the system said.
        path: of the file.
    """
    return _same_kind(error, f"cannot write {os.fspath(path)!r}: {error.strerror or error}")


def model_path(filepath: str | os.PathLike[str], weights_only: bool = False) -> Path:
    """`filepath`, if its ending says a format that can hold what is to be saved.

    Args:
        filepath: the name of a file.
        weights_only: whether a model's weights are to be saved, without the model.

    Raises:
        ValueError: another ending.
    """
    path = Path(filepath)
    if weights_only and path.suffix != ".safetensors" and not path.name.endswith(KERAS_WEIGHTS):
        raise ValueError(
            f"weights alone are written to .safetensors, or to {KERAS_WEIGHTS} as Keras does, not "
            f"to {path.name!r}"
        )
    if path.suffix not in (".safetensors", *KERAS_SUFFIXES):
        raise ValueError(
            f"the file name must end in .safetensors, .keras or .h5, which say the format; got "
            f"{str(filepath)!r}"
        )
    if not weights_only and path.name.endswith(KERAS_WEIGHTS):
        raise ValueError(
            f"{path.name!r}: a name that ends in {KERAS_WEIGHTS} says weights alone: write these "
            f"with save_weights, or the whole model to a name that ends in .h5 alone"
        )
    return path


def _mode_to_keep(target: Path, path: str | os.PathLike[str]) -> int | None:
    """The permissions of the file that is replaced; None where there is none."""
    try:
        mode = target.stat().st_mode
    except OSError:  # what is wrong with the folder is said by `make_folder`
        return None
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(f"{path} is a folder; give the name of a file to write")
    if not stat.S_ISREG(mode):
        raise OSError(f"cannot write {os.fspath(path)!r}: it is no file but a device or a pipe")
    if not mode & 0o222 or not os.access(target, os.W_OK):  # root may write anything
        raise PermissionError(
            f"cannot write {os.fspath(path)!r}: the file there is read-only; make it writable, or "
            f"give another name"
        )
    return stat.S_IMODE(mode)


def _keep_owner(temporary: Path, target: Path) -> None:
    """Hand the new file to the owner of the one it replaces, where the system lets us."""
    old, new = target.stat(), temporary.stat()
    if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid) and hasattr(os, "chown"):
        with contextlib.suppress(PermissionError):
            os.chown(temporary, old.st_uid, old.st_gid)


def _to_disk(path: Path) -> None:
    """Wait until the file or folder is on the disk."""
    writable = 0 if path.is_dir() else os.O_RDWR
    handle = os.open(path, os.O_RDONLY | writable | getattr(os, "O_BINARY", 0))
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


# Folders of writes in progress: ".minicnn-<the target's name, as a number>-..."; their writer holds
# a lock on them, which the system takes away when it dies.


def _prefix(target: Path) -> str:
    return f".minicnn-{zlib.crc32(os.fsencode(target.name)):08x}-"


def _locked_folder(target: Path) -> tuple[Path, int | None]:
    """A new folder beside the target, and the handle whose lock says that it is in use."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_prefix(target), dir=target.parent))
        try:
            lock = _lock(folder, wait=True)
        except FileNotFoundError:  # taken for an orphan before it was locked
            continue
        if folder.is_dir():
            return folder, lock
        if lock is not None:
            os.close(lock)


def _lock(folder: Path, wait: bool) -> int | None:
    """A handle with the folder's lock; None where the file system has no locks.

    Raises:
        BlockingIOError: another process holds it.
        FileNotFoundError: the folder is gone.
    """
    if fcntl is None:
        return None
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        os.close(handle)
        raise
    except OSError:
        os.close(handle)
        return None
    return handle


def _remove_orphans(target: Path) -> None:
    """Remove what killed writes to the target have left."""
    prefix = _prefix(target)
    with contextlib.suppress(OSError), os.scandir(target.parent) as entries:
        for entry in [e for e in entries if e.name.startswith(prefix)]:
            if not entry.is_dir(follow_symlinks=False):
                continue
            folder = Path(entry)
            with contextlib.suppress(OSError):  # in use, or just removed by somebody else
                lock = _lock(folder, wait=False)
                if lock is not None or time.time() - folder.stat().st_mtime > _DAY:
                    shutil.rmtree(folder, ignore_errors=True)
                if lock is not None:
                    os.close(lock)


def _refusal(error: OSError, folder: Path) -> OSError:
    """`error` again, with a text that names the folder."""
    reason = error.strerror or str(error)
    return _same_kind(
        error,
        f"cannot write into the folder {str(folder)!r}: {reason}. "
        "Give a path in a folder that exists, or can be created, and that you may write to",
    )


def _same_kind(error: OSError, text: str) -> OSError:
    """An OSError of the built-in kind of `error` with another text."""
    kinds = [c for c in type(error).__mro__ if c.__module__ == "builtins"]
    named: OSError = kinds[0](text)
    named.errno = error.errno
    return named
