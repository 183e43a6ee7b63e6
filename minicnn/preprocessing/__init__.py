"""Preparing images for a network: reading, resizing, normalising, augmenting."""

from typing import Any

from minicnn.preprocessing import image

__all__ = ["image", "image_dataset_from_directory"]


def __getattr__(name: str) -> Any:
    """`image_dataset_from_directory`, which Keras has here, too."""
    if name == "image_dataset_from_directory":
        from minicnn.datasets.folder import image_dataset_from_directory

        return image_dataset_from_directory
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
