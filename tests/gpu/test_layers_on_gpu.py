"""Every layer, loss and optimizer: forward, backward and a step, against NumPy."""

import numpy as np
import pytest
from gpu.compare import HostNumbers, close, on_both
from layer_calls import run
from layers.test_every_layer import as_list, every_layer, inputs, make, with_random_weights
from optimizer_cases import CASES as OPTIMIZERS
from strategies import numbers
from test_losses import CASES as LOSSES
from test_losses import MAKERS, example

from minicnn import backend
from minicnn.gradcheck import gradcheck
from minicnn.layers import Dense

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("gpu")]

# Enough rows and channels for several blocks of threads, and some left over.
LARGE = [
    ("BatchNormalization", {}, (19, 17, 300)),
    ("Conv2D", {"filters": 40, "kernel_size": 3, "algorithm": "im2col"}, (24, 21, 33)),
    ("Conv2D", {"filters": 24, "kernel_size": 1, "strides": 2}, (33, 31, 70)),
    ("Conv2D", {"filters": 12, "kernel_size": 5, "strides": 2, "padding": "same"}, (33, 31, 5)),
    ("Conv2D", {"filters": 12, "kernel_size": 3, "groups": 3, "dilation_rate": 2}, (20, 20, 9)),
    ("Dense", {"units": 300}, (700,)),
    ("DepthwiseConv2D", {"kernel_size": 5, "padding": "same"}, (20, 24, 40)),
    ("GELU", {}, (64, 60, 33)),
    ("GlobalAveragePooling2D", {}, (30, 30, 300)),
    ("LayerNormalization", {}, (16, 16, 300)),
    ("MaxPooling2D", {"pool_size": 3, "strides": 2, "padding": "same"}, (63, 61, 40)),
    ("MaxPooling2D", {}, (64, 60, 40)),
    ("Softmax", {}, (16, 16, 300)),
]


def as_on_numpy(name, arguments, shape, training=True, tolerance=None):
    def forward_and_back():
        layer = with_random_weights(make(name, arguments), shape)
        return run(layer, inputs(shape, layer.dtype), training=training)

    ours, expected = on_both(forward_and_back)
    close(ours.y, expected.y, tolerance)
    for a, b in zip(as_list(ours.dx), as_list(expected.dx), strict=True):
        close(a, b, tolerance)
    for these, those in (
        (ours.gradients, expected.gradients),
        (ours.updates, expected.updates),
    ):
        assert these.keys() == those.keys()
        for key in those:
            close(these[key], those[key], tolerance)


@every_layer
@pytest.mark.parametrize("training", [True, False])
def test_a_layer_is_as_on_numpy(name, arguments, shape, training, monkeypatch):
    monkeypatch.setattr(backend, "random_generator", HostNumbers)
    as_on_numpy(name, arguments, shape, training)


@pytest.mark.parametrize("name, arguments, shape", LARGE)
def test_a_large_layer_is_as_on_numpy(name, arguments, shape):
    as_on_numpy(name, arguments, shape)


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_winograd_is_as_on_numpy(padding):
    """Its transforms round more than the sum itself: by 5e-6 on either side already."""
    arguments = {"filters": 40, "kernel_size": 3, "padding": padding, "algorithm": "winograd"}
    as_on_numpy("Conv2D", arguments, (24, 21, 33), tolerance=3e-5)
    as_on_numpy("Conv2D", {**arguments, "dtype": "float64"}, (24, 21, 33))


@every_layer
def test_gradients_by_differences(name, arguments, shape):
    gradcheck(make(name, arguments), inputs(shape, "float64"), samples=4)


@pytest.mark.parametrize("kind, arguments", LOSSES)
@pytest.mark.parametrize("shape", [(64, 10), (5, 4, 3, 300)])
@pytest.mark.parametrize("weighted", [True, False])
def test_a_loss_is_as_on_numpy(kind, arguments, shape, weighted):
    rng = np.random.default_rng(0)
    y_true, y_pred = example(kind, rng, shape, arguments.get("from_logits", True), "float32")
    weights = rng.random(shape[0], "float32") if weighted else None

    def forward_and_back():
        loss = MAKERS[kind](**arguments)
        given = [a if a is None else backend.asarray(a) for a in (y_true, y_pred, weights)]
        value, state = loss.forward(*given)
        return value, loss.backward(state)

    for a, b in zip(*on_both(forward_and_back), strict=True):
        close(a, b)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize(
    "more", [{}, {"weight_decay": 0.1}, {"clipnorm": 0.5}, {"global_clipnorm": 0.5},
             {"clipvalue": 0.5}], ids=str,
)  # fmt: skip
def test_an_optimizer_is_as_on_numpy(name, more):
    def steps():
        layer = Dense(130)
        layer.build_for((None, 70))
        layer.set_weights([numbers(w.shape, i) for i, w in enumerate(layer.weights)])
        optimizer = OPTIMIZERS[name](**more)
        for step in range(5):
            optimizer.apply(
                {w: backend.asarray(numbers(w.shape, 9 * step + i, "float32"))
                 for i, w in enumerate(layer.weights)}
            )  # fmt: skip
        return layer.get_weights()

    for a, b in zip(*on_both(steps), strict=True):
        close(a, b)
