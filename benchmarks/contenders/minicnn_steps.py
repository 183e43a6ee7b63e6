"""Steps of minicnn, on the networks of `examples/networks.py`."""

import os
import sys
from functools import partial
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "examples")]

from networks import NETWORKS  # noqa: E402 - found through the path above

import minicnn  # noqa: E402
from minicnn import backend, mixed_precision  # noqa: E402
from minicnn.backend import synchronize  # noqa: E402, F401 - the worker calls it
from minicnn.training.capture import CapturedStep  # noqa: E402
from minicnn.training.step import train_step  # noqa: E402
from minicnn.utils import set_random_seed  # noqa: E402

VERSIONS = {"minicnn": minicnn.__version__, "numpy": np.__version__}


def use_precision(name):
    """Models made from now on train in it.

    Args:
        name: "float32"; "float16" or "bfloat16" with weights in float32; or on a GPU "tf32". There
            all but "float32" make what products of float32 are left those of TF32. CuPy's own go
            by the first name that a process has asked for.
    """
    mixed_precision.set_global_policy(f"mixed_{name}" if name.endswith("float16") else "float32")
    if backend.get_backend() != "numpy":
        backend.enable_tensor_float_32(name != "float32")
        os.environ["CUPY_TF32"] = str(int(name != "float32"))


def make_step(task, network, x, y, threads, precision="float32"):
    """The work to time; MINICNN_NUM_THREADS, which the parent sets, holds `threads`.

    Args:
        precision: as `use_precision` takes it.
    """
    use_precision(precision)
    set_random_seed(0)
    model = NETWORKS[network](network, x.shape[1:], 10)
    if task == "predict":
        return lambda: model.predict_on_batch(x)
    model.compile("rmsprop", "sparse_categorical_crossentropy")
    if backend.get_backend() == "numpy":
        return lambda: model.train_on_batch(x, y)
    # what `fit` does for each batch of a data set that lies on the device
    x, y = backend.asarray(x), backend.asarray(y)
    step = CapturedStep(model, partial(train_step, model))
    return lambda: step(*model._prepare(([x], y, None)))
