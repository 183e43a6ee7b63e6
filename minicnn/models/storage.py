"""Models to files, from files, and anew from their architecture."""

import os

from minicnn.models.functional import Model


def clone_model(model: Model) -> Model:
    """The same architecture with new weights."""
    return type(model).from_config(model.get_config(), _classes(model))


def _classes(model: Model) -> dict[str, type]:
    """The classes of all layers inside by name, which finds those of one's own too."""
    classes: dict[str, type] = {}
    for layer in model.layers:
        classes[type(layer).__name__] = type(layer)
        if isinstance(layer, Model):
            classes.update(_classes(layer))
    return classes


def save_model(model: Model, filepath: str | os.PathLike[str], overwrite: bool = True) -> None:
    """`model.save(filepath)` as a function."""
    model.save(filepath, overwrite)


def load_model(
    filepath: str | os.PathLike[str],
    custom_objects: dict[str, type] | None = None,
    compile: bool = True,
) -> Model:
    """Read a model that `save` wrote, or a .keras or .h5 file of Keras 3.

    Args:
        custom_objects: {class name: class} for layers, losses, optimizers and metrics that are not
            the library's (of Keras's files: layers).
        compile: take over optimizer, loss and metrics too, where the file has them.
    """
    from minicnn.saving import load_model as load

    return load(filepath, custom_objects, compile)
