"""Data sets: the usual ones, and one that the library draws itself, for use without a network."""

from minicnn.datasets import cifar10, cifar100, fashion_mnist, mnist, shapes
from minicnn.datasets.fetch import DatasetUnavailable

__all__ = ["DatasetUnavailable", "cifar10", "cifar100", "fashion_mnist", "mnist", "shapes"]
