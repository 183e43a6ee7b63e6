"""Files of Keras 3, both ways: .keras, its .weights.h5, and the older .h5.

    keras_archive, keras_h5         the two containers
    keras_writing, keras_reading    configurations, from minicnn's terms to Keras's and back
    keras_order                     in which order Keras goes through layers and weights
    keras_state                     the arrays

Keras itself is not needed, only h5py. Nothing in a file is ever executed or unpacked to disk.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from minicnn.models import Model
from minicnn.saving import keras_archive, keras_h5
from minicnn.saving.keras_state import require_h5py


def save(model: Model, path: Path) -> None:
    """Write a model and, if it is compiled, how it is being trained.

    Args:
        model: built.
        path: ends in .keras, .h5 or .hdf5.

    Raises:
        ImportError: h5py is not installed.
        ValueError: the model has a part that Keras does not support.
    """
    require_h5py()
    (keras_archive if path.suffix == ".keras" else keras_h5).save(model, path)


def load(path: Path, custom_objects: dict[str, type] | None, compile: bool) -> Model:
    """Read a model that Keras or `save` wrote.

    Args:
        path: ends in .keras, .h5 or .hdf5.
        custom_objects, compile: see `minicnn.saving.load_model`.

    Raises:
        ImportError: h5py is not installed.
        ValueError: the file is of another kind or damaged, or the model has a part that minicnn
            does not support; the message names the file and what is wrong.
    """
    require_h5py()
    container = keras_archive if path.suffix == ".keras" else keras_h5
    with _named(path):
        return container.load(path, custom_objects, compile)


def save_weights(model: Model, path: Path) -> None:
    """Write the weights alone.

    Args:
        model: built.
        path: ends in .weights.h5.

    Raises:
        ImportError: h5py is not installed.
    """
    require_h5py()
    keras_archive.save_weights(model, path)


def load_weights(model: Model, path: Path) -> None:
    """Take over the weights of a .weights.h5 file that Keras or `save_weights` wrote.

    Args:
        model: built; has the layers of the model in the file.
        path: ends in .weights.h5.

    Raises:
        ImportError: h5py is not installed.
        ValueError: the file is of another kind, damaged, or of another model; no weight is changed.
    """
    require_h5py()
    with _named(path):
        keras_archive.load_weights(model, path)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Turn errors in what a file holds into ValueErrors that name the file."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{str(path)!r}: {error}") from error
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{str(path)!r}: what is in it is not as Keras writes it "
            f"({type(error).__name__}: {error})"
        ) from error
