"""minicnn: convolutional networks from scratch on NumPy, with CuPy for GPUs."""

import sys

from minicnn import (
    activations,
    backend,
    callbacks,
    config,
    constraints,
    data,
    datasets,
    dtype_policies,
    initializers,
    layers,
    losses,
    metrics,
    mixed_precision,
    models,
    optimizers,
    plots,
    preprocessing,
    profiler,
    random,
    regularizers,
    report,
    saving,
    utils,
)
from minicnn._version import __version__, version
from minicnn.absent import explain_in
from minicnn.backend import get_backend, set_backend
from minicnn.dtype_policies import DTypePolicy, FloatDTypePolicy
from minicnn.gradcheck import gradcheck
from minicnn.initializers import Initializer
from minicnn.layers import Input, InputSpec, Layer
from minicnn.losses import Loss
from minicnn.metrics import Metric
from minicnn.models import Model, Sequential
from minicnn.optimizers import Optimizer
from minicnn.parallel import set_num_threads, set_shards
from minicnn.regularizers import Regularizer

__all__ = [
    "__version__",
    "DTypePolicy", "FloatDTypePolicy", "Initializer", "Input", "InputSpec", "Layer", "Loss",
    "Metric", "Model", "Optimizer", "Regularizer", "Sequential", "activations", "backend",
    "callbacks", "config", "constraints", "data", "datasets", "dtype_policies", "get_backend",
    "gradcheck", "initializers", "layers", "losses", "metrics", "mixed_precision", "models",
    "optimizers", "plots", "preprocessing", "profiler", "random", "regularizers", "report",
    "saving", "set_backend", "set_num_threads", "set_shards", "utils", "version",
]  # fmt: skip

explain_in(sys.modules[__name__])
