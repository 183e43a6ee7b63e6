"""Models: layers put together, `Sequential` in a chain or `Model` in any graph."""

from typing import TYPE_CHECKING, Any

from minicnn.models.cloning import clone_model
from minicnn.models.model import Model, layer_from_config
from minicnn.models.sequential import Sequential

if TYPE_CHECKING:
    from minicnn.saving import load_model, model_from_json, save_model

__all__ = [
    "Model", "Sequential", "clone_model", "layer_from_config", "load_model", "model_from_json",
    "save_model",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Keras's names for what `minicnn.saving` does, which stands above models and imports them."""
    if name in ("load_model", "model_from_json", "save_model"):
        from minicnn import saving

        return getattr(saving, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
