"""minicnn: convolutional networks from scratch on NumPy, with CuPy for GPUs."""

from minicnn import (
    activations,
    backend,
    callbacks,
    constraints,
    data,
    datasets,
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
    regularizers,
    report,
    saving,
    utils,
)
from minicnn._version import __version__
from minicnn.backend import get_backend, set_backend
from minicnn.gradcheck import gradcheck
from minicnn.layers import Input, InputSpec, Layer
from minicnn.models import Model, Sequential
from minicnn.parallel import set_num_threads, set_shards

__all__ = [
    "__version__",
    "Input", "InputSpec", "Layer", "Model", "Sequential", "activations", "backend", "callbacks",
    "constraints", "data", "datasets", "get_backend", "gradcheck", "initializers", "layers",
    "losses", "metrics", "mixed_precision", "models", "optimizers", "plots", "preprocessing",
    "profiler", "regularizers", "report", "saving", "set_backend", "set_num_threads",
    "set_shards", "utils",
]  # fmt: skip
