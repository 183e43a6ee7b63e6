"""Models to files and back: one safetensors file, or the formats of Keras.

The ending of the path decides: .safetensors is the library's own, .keras and .h5 are what Keras 3
writes, and .weights.h5 holds weights alone (these need h5py: pip install minicnn[keras]).
Nothing here uses pickle.
"""

import os
import warnings
from pathlib import Path

from minicnn.custom_objects import (
    CustomObjectScope,
    custom_object_scope,
    get_custom_objects,
    get_registered_name,
    get_registered_object,
    register_keras_serializable,
)
from minicnn.files import KERAS_SUFFIXES, model_path
from minicnn.models import Model
from minicnn.saving import native
from minicnn.saving.objects import (
    deserialize_keras_object,
    model_from_json,
    model_to_json,
    serialize_keras_object,
)
from minicnn.saving.reading import errors_named, to_json

__all__ = [
    "CustomObjectScope", "custom_object_scope", "deserialize_keras_object", "get_custom_objects",
    "get_registered_name", "get_registered_object", "load_model", "load_weights",
    "model_from_json", "model_to_json", "register_keras_serializable",
    "require_saveable", "save_model",
    "save_weights", "serialize_keras_object",
]  # fmt: skip


def save_model(
    model: Model,
    filepath: str | os.PathLike[str],
    overwrite: bool = True,
    zipped: bool | None = None,
    include_optimizer: bool = True,
) -> None:
    """Write architecture, weights and the optimizer's state to one file.

    What another thread trains meanwhile is saved as it is in the middle of a step.

    Args:
        model: built; compiled or not.
        filepath: ending in .safetensors, or in .keras or .h5 as Keras 3 writes them.
        overwrite: whether an existing file may be replaced.
        zipped: True or None; Keras writes a folder for False.
        include_optimizer: whether to write how the model is trained, too, if it is compiled.

    Raises:
        FileExistsError: there is a file, and `overwrite` is False.
        ImportError: a file of Keras, and h5py is not installed.
        ValueError: another ending, zipped=False, a model that is not built, or one with something
            that the format cannot hold.
    """
    path = _checked(filepath, overwrite)
    if zipped is False:
        raise ValueError("minicnn writes a model into one file; it does not support zipped=False")
    _require_weights(model)
    with_training = include_optimizer and model.loss is not None
    if path.suffix in KERAS_SUFFIXES:
        from minicnn.saving import keras_format

        keras_format.save(model, path, with_training)
    else:
        native.save(model, path, with_training)


def require_saveable(
    model: Model, filepath: str | os.PathLike[str], weights_only: bool = False
) -> None:
    """Raise now what saving would raise later, such as at the end of training.

    Args:
        model: built or not; compiled or not.
        filepath: of the file, which may be there or not.
        weights_only: whether the weights alone are to be saved.

    Raises:
        ImportError: a file of Keras, and h5py is not installed.
        ValueError: an ending that says no format, or one that cannot hold something in the model.
    """
    path = model_path(filepath, weights_only)
    if path.suffix in KERAS_SUFFIXES:
        from minicnn.saving import keras_format

        keras_format.require_saveable(model, path, weights_only)
    elif not weights_only:
        to_json(native.description(model, model.loss is not None))


def load_model(
    filepath: str | os.PathLike[str],
    custom_objects: dict[str, type] | None = None,
    compile: bool = True,
    safe_mode: bool = True,
) -> Model:
    """Read a model that `save_model` wrote, or a .keras or .h5 file of Keras 3.

    Args:
        filepath: ending in .safetensors, .keras or .h5.
        custom_objects: {class name: class} for layers, losses, optimizers and metrics that are not
            the library's (in files of Keras: also activations, initializers and regularizers).
        compile: whether to take over optimizer, loss and metrics too, if the file has them.
        safe_mode: whether to refuse code in the file, as minicnn always does; it warns of False.

    Raises:
        FileNotFoundError: there is no such file.
        ImportError: a file of Keras, and h5py is not installed.
        ValueError: the file is damaged, holds no model, or one that minicnn does not support; the
            message names the file.
    """
    path = _existing(filepath, "a model")
    if not safe_mode:
        warnings.warn("safe_mode=False: code in a file is refused all the same", stacklevel=2)
    with errors_named(path), CustomObjectScope(custom_objects):
        if path.suffix in KERAS_SUFFIXES:
            from minicnn.saving import keras_format

            return keras_format.load(path, custom_objects, compile)
        return native.load(path, custom_objects, compile)


def save_weights(model: Model, filepath: str | os.PathLike[str], overwrite: bool = True) -> None:
    """Write the weights alone.

    Args:
        model: built.
        filepath: ending in .safetensors, or in .weights.h5 as Keras 3 writes them.
        overwrite: whether an existing file may be replaced.

    Raises:
        FileExistsError: there is a file, and `overwrite` is False.
        ImportError: a file of Keras, and h5py is not installed.
        ValueError: another ending, or a model that is not built.
    """
    path = _checked(filepath, overwrite, weights_only=True)
    _require_weights(model)
    if path.suffix in KERAS_SUFFIXES:
        from minicnn.saving import keras_format

        keras_format.save_weights(model, path)
    else:
        native.save_weights(model, path)


def load_weights(
    model: Model,
    filepath: str | os.PathLike[str],
    skip_mismatch: bool = False,
    by_name: bool = False,
) -> None:
    """Take over the weights of a file that `save_model`, `save_weights` or Keras wrote.

    Args:
        model: built; has the layers of the model in the file.
        filepath: ending in .safetensors, .weights.h5, .keras or .h5.
        skip_mismatch: leave the layers as they are whose weights are missing there, or have another
            shape, with a warning that names them, such as those of a head for other classes.
        by_name: take over those layers that have the name of one in the file, as Keras does from
            .h5 files.

    Raises:
        FileNotFoundError: there is no such file.
        ImportError: a file of Keras, and h5py is not installed.
        ValueError: the file is damaged, or of another model; no weight is changed.
    """
    path = _existing(filepath, "weights")
    _require_weights(model)
    if by_name and (path.suffix not in (".h5", ".hdf5") or path.name.endswith(".weights.h5")):
        raise ValueError(
            f"by_name=True is for .h5 files that hold a model or were written by Keras 2, not "
            f"{str(path)!r}; skip_mismatch=True takes over the layers that fit"
        )
    with errors_named(path):
        if path.suffix in KERAS_SUFFIXES:
            from minicnn.saving import keras_format

            keras_format.load_weights(model, path, skip_mismatch, by_name)
        else:
            native.load_weights(model, path, skip_mismatch)


def _require_weights(model: Model) -> None:
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
    if not path.is_file():
        raise OSError(f"{str(path)!r} is a device or a pipe; give the file to load {what} from")
    return path


def _checked(filepath: str | os.PathLike[str], overwrite: bool, weights_only: bool = False) -> Path:
    path = model_path(filepath, weights_only)
    if path.exists() and not overwrite:
        raise FileExistsError(f"{str(path)!r} exists; save with overwrite=True to replace it")
    return path
