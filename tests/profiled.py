"""What the tests of the profiler share: models to profile, and a profile on a GPU."""

import time

from small_problem import X

from minicnn import Input, Sequential
from minicnn.layers import Conv2D, Dense, Flatten, Layer, MaxPooling2D
from minicnn.profiler import LayerProfile, roofline


def quiet(model, x=X, **arguments):
    """The profile of a model, not printed."""
    return model.profile(
        x, **{"batch_size": 16, "repeats": 2, "print_fn": lambda _: None} | arguments
    )


def chain(**first):
    """A small network; the arguments are for its first layer."""
    return Sequential(
        [
            Input((8, 8, 3)),
            Conv2D(5, 3, activation="relu", name="conv", **first),
            MaxPooling2D(2, name="pool"),
            Conv2D(4, 2, name="second"),
            Flatten(name="flat"),
            Dense(10, name="head"),
        ],
        name="small",
    )


class Sleeper(Layer):
    """Does nothing, but takes its time."""

    def forward(self, x, ctx):
        time.sleep(0.01)
        return x

    def backward(self, dy, ctx):
        time.sleep(0.02)
        return dy


def limits(**changes):
    """1 TB/s and 4 TFLOP/s."""
    given = {"device": "GPU", "bandwidth": 1000.0, "peaks": {"float32": 4000.0, "float16": 9000.0}}
    return roofline.Limits(**given | changes)


def device_profile(**changes):
    """conv: forward 2 GB, 4e9 operations; backward 1 GB, 16e9."""
    conv = LayerProfile(
        "conv", "Conv2D", "(n, 8)", "im2col", 0.004, 0.008, 2 * 10**9, 8 * 10**9, 7, 1e9,
        forward_bytes=2 * 10**9, backward_bytes=10**9,
        forward_launch_seconds=0.001, backward_launch_seconds=0.002,
    )  # fmt: skip
    flat = LayerProfile("flatten", "Flatten", "(n, 64)", "", 0.001, 0.0, 0, 0, 0, 0)
    given = {"bytes_kept": 7 * 10**6, "seconds_between": 0.003, "launch_seconds": 0.002}
    rows = [conv, flat]
    return roofline.DeviceProfile("net", "float32", rows, 32, limits(), **given | changes)
