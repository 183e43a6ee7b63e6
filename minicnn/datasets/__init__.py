"""Data sets: CIFAR-10, and images the library draws itself where there is no network."""

from minicnn.datasets import cifar10, shapes
from minicnn.datasets.fetch import DatasetUnavailable

__all__ = ["DatasetUnavailable", "cifar10", "shapes"]
