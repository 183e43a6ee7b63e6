"""Models to files and back: one safetensors file, or the formats of Keras.

The ending of the path decides: .safetensors is the library's own, .keras and .h5 are what Keras 3
writes (they need h5py: pip install minicnn[keras]). Nothing here uses pickle.
"""

import os
from pathlib import Path
from typing import Any

from minicnn.saving import native

KERAS_SUFFIXES = (".keras", ".h5", ".hdf5")


def save_model(model: Any, filepath: str | os.PathLike[str], overwrite: bool = True) -> None:
    """Write a whole model; see `Model.save`."""
    path = _checked(filepath, overwrite)
    _require_weights(model)
    if path.suffix in KERAS_SUFFIXES:
        from minicnn.saving import keras_format

        keras_format.save(model, path)
    else:
        native.save(model, path)


def load_model(
    filepath: str | os.PathLike[str],
    custom_objects: dict[str, type] | None = None,
    compile: bool = True,
) -> Any:
    """Read a whole model; see `minicnn.models.load_model`."""
    path = _existing(filepath, "a model")
    if path.suffix in KERAS_SUFFIXES:
        from minicnn.saving import keras_format

        return keras_format.load(path, custom_objects, compile)
    return native.load(path, custom_objects, compile)


def save_weights(model: Any, filepath: str | os.PathLike[str], overwrite: bool = True) -> None:
    """Write the weights alone; see `Model.save_weights`."""
    path = _checked(filepath, overwrite)
    if path.suffix in KERAS_SUFFIXES:
        raise ValueError(
            f"weights alone are written to .safetensors, not to {path.name!r}; for Keras, save the "
            f"whole model as .keras"
        )
    _require_weights(model)
    native.save_weights(model, path)


def load_weights(model: Any, filepath: str | os.PathLike[str]) -> None:
    """Take over weights; see `Model.load_weights`."""
    path = _existing(filepath, "weights")
    _require_weights(model)
    if path.suffix in KERAS_SUFFIXES:
        from minicnn.saving import keras_format

        source = keras_format.load(path, None, False)
        model.set_weights(source.get_weights())
    else:
        native.load_weights(model, path)


def _require_weights(model: Any) -> None:
    if not model.built:
        raise ValueError(
            f"{model.described} has no weights yet: give it an Input, build it or train it first"
        )


def _existing(filepath: str | os.PathLike[str], what: str) -> Path:
    path = Path(filepath)
    if path.is_dir():
        raise IsADirectoryError(f"{str(path)!r} is a folder; give the file to load {what} from")
    if not path.exists():
        raise FileNotFoundError(f"there is no file {str(path)!r} to load {what} from")
    return path


def _checked(filepath: str | os.PathLike[str], overwrite: bool) -> Path:
    path = Path(filepath)
    if path.suffix not in (".safetensors", *KERAS_SUFFIXES):
        raise ValueError(
            f"the file name must end in .safetensors, .keras or .h5, which say the format; got "
            f"{str(filepath)!r}"
        )
    if path.exists() and not overwrite:
        raise FileExistsError(f"{str(path)!r} exists; save with overwrite=True to replace it")
    return path
