"""Activations against Keras 3, driven by Keras's own list of them."""

import inspect
import os

import numpy as np
import pytest

os.environ["KERAS_BACKEND"] = "torch"
keras = pytest.importorskip("keras")
torch = pytest.importorskip("torch")

from minicnn import activations  # noqa: E402

pytestmark = [
    pytest.mark.parity,
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]
NAMES = [n for n in dir(keras.activations) if n not in ("get", "serialize", "deserialize")]
NAMES = [n for n in NAMES if n[0] != "_"]
# Arguments beside those that each function has by default
ARGUMENTS = {
    "celu": [{"alpha": 0.5}],
    "elu": [{"alpha": 0.5}],
    "gelu": [{"approximate": True}],
    "glu": [{"axis": 0}],
    "hard_shrink": [{"threshold": 1.5}],
    "leaky_relu": [{"negative_slope": 0.3}],
    "log_softmax": [{"axis": 0}],
    "relu": [{"negative_slope": 0.1, "max_value": 2.0, "threshold": 0.5}],
    "soft_shrink": [{"threshold": 1.5}],
    "softmax": [{"axis": 0}],
    "squareplus": [{"b": 0.5}],
    "threshold": [{"threshold": 0.5, "default_value": -1.0}],
}
# In its sparsemax Keras 3.15 adds up the sums z_1 + ... + z_k, and what it gives does not sum to 1;
# tests/test_activations.py compares ours with the definition.
CASES = [(n, {}) for n in NAMES if n not in ("threshold", "sparsemax")]
CASES += [(n, arguments) for n, several in ARGUMENTS.items() for arguments in several]


@pytest.mark.parametrize("name, arguments", CASES)
def test_values_and_gradients(name, arguments):
    rng = np.random.default_rng(0)
    z, dy = rng.normal(size=(2, 6, 8)) * 4
    tensor = torch.tensor(z, requires_grad=True)
    expected = getattr(keras.activations, name)(tensor, **arguments)
    y = getattr(activations, name)(z, **arguments)
    # torch's softplus is the identity beyond 20, an error of 2e-9; its mish rests on it
    # its slope of a hard sigmoid is the 1/6 of float32
    tolerance = {"rtol": 1e-7 if "hard" in name else 1e-9, "atol": 3e-9}
    np.testing.assert_allclose(y, expected.detach().numpy(), **tolerance)
    if name == "glu":
        return
    expected.backward(torch.tensor(dy))
    activation = getattr(activations, name).activation(**arguments)
    recorded, kept = activation.record(z)
    np.testing.assert_array_equal(recorded, y)
    np.testing.assert_allclose(activation.backward(dy, kept), tensor.grad.numpy(), **tolerance)


@pytest.mark.parametrize("name", NAMES)
def test_arguments_and_configurations(name):
    ours, theirs = getattr(activations, name), getattr(keras.activations, name)
    parameters = inspect.signature(theirs).parameters.values()
    own = inspect.signature(ours).parameters.values()
    assert [(p.name, p.default) for p in own] == [(p.name, p.default) for p in parameters]
    if name not in ("glu", "threshold"):
        written = activations.serialize(name)
        assert written == keras.activations.serialize(theirs)
        assert type(activations.deserialize(keras.activations.serialize(theirs))) is ours.activation
        assert keras.activations.deserialize(written) is theirs
