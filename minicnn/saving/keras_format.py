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
    """Write a model, and how it is being trained where it is compiled.

    Raises:
        ImportError: h5py is not installed.
        ValueError: the model has a part that Keras has not.
    """
    require_h5py()
    (keras_archive if path.suffix == ".keras" else keras_h5).save(model, path)


def load(path: Path, custom_objects: dict[str, type] | None, compile: bool) -> Model:
    """Read a model that Keras or `save` wrote.

    Raises:
        ImportError: h5py is not installed.
        ValueError: no such file, a damaged one, or a model with a part that minicnn has not; the
            message names the file and what is wrong.
    """
    require_h5py()
    container = keras_archive if path.suffix == ".keras" else keras_h5
    with _named(path):
        return container.load(path, custom_objects, compile)


def save_weights(model: Model, path: Path) -> None:
    """Write the weights alone, as .weights.h5.

    Raises:
        ImportError: h5py is not installed.
    """
    require_h5py()
    keras_archive.save_weights(model, path)


def load_weights(model: Model, path: Path) -> None:
    """Take over the weights of a .weights.h5 that Keras or `save_weights` wrote.

    Raises:
        ImportError: h5py is not installed.
        ValueError: no such file, a damaged one, or one of another model; no weight is changed.
    """
    require_h5py()
    with _named(path):
        keras_archive.load_weights(model, path)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Errors in what the file holds become ValueErrors that name it."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{str(path)!r}: {error}") from error
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{str(path)!r}: what is in it is not as Keras writes it "
            f"({type(error).__name__}: {error})"
        ) from error
