"""Steps of minicnn, on the networks of `examples/networks.py`."""

import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "examples")]

from networks import NETWORKS  # noqa: E402 - found through the path above

import minicnn  # noqa: E402
from minicnn import backend  # noqa: E402
from minicnn.backend import synchronize  # noqa: E402, F401 - the worker calls it
from minicnn.utils import set_random_seed  # noqa: E402

VERSIONS = {"minicnn": minicnn.__version__, "numpy": np.__version__}


def make_step(task, network, x, y, threads):
    """The step to time; MINICNN_NUM_THREADS, which the parent sets, holds `threads`."""
    set_random_seed(0)
    model = NETWORKS[network](network, x.shape[1:], 10)
    if task == "predict":
        return lambda: model.predict_on_batch(x)
    model.compile("rmsprop", "sparse_categorical_crossentropy")
    if backend.get_backend() == "numpy":
        return lambda: model.train_on_batch(x, y)
    # what `fit` does for each batch of a data set that lies on the device
    x, y = backend.asarray(x), backend.asarray(y)
    return lambda: model._train_step(*model._prepare((x, y, None)))
