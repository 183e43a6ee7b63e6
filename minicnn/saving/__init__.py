"""Models to files and back: one safetensors file, or the formats of Keras.

The ending of the path decides: .safetensors is the library's own, .keras and .h5 are what Keras 3
writes, and .weights.h5 are its weights alone (these need h5py: pip install minicnn[keras]).
Nothing here uses pickle.
"""

import os
from pathlib import Path
from typing import Any

from minicnn.files import KERAS_SUFFIXES, KERAS_WEIGHTS, model_path
from minicnn.saving import native


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
    path = _checked(filepath, overwrite, weights_only=True)
    _require_weights(model)
    if path.suffix in KERAS_SUFFIXES:
        from minicnn.saving import keras_format

        keras_format.save_weights(model, path)
    else:
        native.save_weights(model, path)


def load_weights(model: Any, filepath: str | os.PathLike[str]) -> None:
    """Take over weights; see `Model.load_weights`."""
    path = _existing(filepath, "weights")
    _require_weights(model)
    if path.suffix in KERAS_SUFFIXES:
        from minicnn.saving import keras_format

        if path.name.endswith(KERAS_WEIGHTS):
            keras_format.load_weights(model, path)
        else:
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


def _checked(filepath: str | os.PathLike[str], overwrite: bool, weights_only: bool = False) -> Path:
    path = model_path(filepath, weights_only)
    if path.exists() and not overwrite:
        raise FileExistsError(f"{str(path)!r} exists; save with overwrite=True to replace it")
    return path
