"""Preparing images for a network: reading, resizing, normalising, augmenting."""

from minicnn.preprocessing import image

__all__ = ["image"]
