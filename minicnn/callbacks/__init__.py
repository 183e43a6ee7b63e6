"""Callbacks: what happens besides, while a model trains."""

from minicnn.callbacks.backup import BackupAndRestore
from minicnn.callbacks.base import Callback
from minicnn.callbacks.checkpoint import ModelCheckpoint
from minicnn.callbacks.csv_logger import CSVLogger
from minicnn.callbacks.early_stopping import EarlyStopping
from minicnn.callbacks.history import History
from minicnn.callbacks.lambda_callback import LambdaCallback
from minicnn.callbacks.lazy_logs import LazyLogs
from minicnn.callbacks.learning_rate import LearningRateScheduler, ReduceLROnPlateau
from minicnn.callbacks.list import CallbackList
from minicnn.callbacks.progbar_logger import ProgbarLogger
from minicnn.callbacks.swap_ema_weights import SwapEMAWeights
from minicnn.callbacks.tensorboard import TensorBoard
from minicnn.callbacks.terminate_on_nan import TerminateOnNaN

__all__ = [
    "BackupAndRestore",
    "CSVLogger",
    "Callback",
    "CallbackList",
    "EarlyStopping",
    "History",
    "LambdaCallback",
    "LazyLogs",
    "LearningRateScheduler",
    "ModelCheckpoint",
    "ProgbarLogger",
    "ReduceLROnPlateau",
    "SwapEMAWeights",
    "TensorBoard",
    "TerminateOnNaN",
]
