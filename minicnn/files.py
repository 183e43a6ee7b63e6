"""Writing files: names that say a format, and never half a file in the place of a whole one."""

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

KERAS_SUFFIXES = (".keras", ".h5", ".hdf5")
KERAS_WEIGHTS = ".weights.h5"


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

    The temporary file lies in the same folder (a rename is atomic only within a file system) and
    ends in the name of the final one, for writers that look at the suffix. If the block raises, it
    is removed and whatever was at `path` stays as it was. Missing folders are created, and a link
    at `path` is followed.

    Raises:
        IsADirectoryError: `path` is a folder.
        OSError: the folder cannot be written to.
    """
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise IsADirectoryError(f"{path} is a folder; give the name of a file to write")
    make_folder(target.parent)
    temporary = target.with_name(f".{secrets.token_hex(4)}.{target.name}")
    try:
        temporary.touch(exist_ok=False)  # found out before the work of the block, not after it
    except OSError as error:
        raise _refusal(error, target.parent) from error
    mode = temporary.stat().st_mode
    try:
        yield temporary
        temporary.chmod(mode)  # some writers replace the file by one that only its owner may read
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


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
    return path


def _refusal(error: OSError, folder: Path) -> OSError:
    """`error` again, with a text that names the folder."""
    reason = error.strerror or str(error)
    message = (
        f"cannot write into the folder {str(folder)!r}: {reason}. "
        "Give a path in a folder that exists, or can be created, and that you may write to"
    )
    return type(error)(message)
