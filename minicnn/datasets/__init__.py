"""Data sets: CIFAR-10, and images that the library draws itself, for use without a network."""

from minicnn.datasets import cifar10, shapes
from minicnn.datasets.fetch import DatasetUnavailable

__all__ = ["DatasetUnavailable", "cifar10", "shapes"]
