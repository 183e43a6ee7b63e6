"""Models: layers put together, `Sequential` in a chain or `Model` in any graph."""

from minicnn.models.functional import Model, layer_from_config
from minicnn.models.sequential import Sequential
from minicnn.models.storage import clone_model, load_model, save_model

__all__ = ["Model", "Sequential", "clone_model", "layer_from_config", "load_model", "save_model"]
