"""Callbacks: what happens besides, while a model trains."""

from minicnn.callbacks.base import Callback, CallbackList, LazyLogs
from minicnn.callbacks.checkpoint import ModelCheckpoint
from minicnn.callbacks.early_stopping import EarlyStopping
from minicnn.callbacks.history import History
from minicnn.callbacks.learning_rate import LearningRateScheduler, ReduceLROnPlateau
from minicnn.callbacks.others import CSVLogger, LambdaCallback, TerminateOnNaN

__all__ = [
    "CSVLogger",
    "Callback",
    "CallbackList",
    "EarlyStopping",
    "History",
    "LambdaCallback",
    "LazyLogs",
    "LearningRateScheduler",
    "ModelCheckpoint",
    "ReduceLROnPlateau",
    "TerminateOnNaN",
]
