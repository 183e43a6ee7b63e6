"""Optimizers: how gradients change weights."""

from minicnn.optimizers import schedules
from minicnn.optimizers.adam import Adam, AdamW
from minicnn.optimizers.base import OPTIMIZERS, Optimizer, get
from minicnn.optimizers.lion import Lion
from minicnn.optimizers.loss_scale import LossScaleOptimizer
from minicnn.optimizers.rmsprop import RMSprop
from minicnn.optimizers.sgd import SGD

__all__ = [
    "OPTIMIZERS", "SGD", "Adam", "AdamW", "Lion", "LossScaleOptimizer", "Optimizer", "RMSprop",
    "get", "schedules",
]  # fmt: skip
