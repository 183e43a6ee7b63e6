import numpy as np
import pytest

from minicnn.optimizers import SGD, Adadelta, Adagrad, Adam, Adamax, AdamW, RMSprop

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.parity


class FakeWeight:
    """As much of a layer's weight as an optimizer sees."""

    name = "kernel"

    def __init__(self, value):
        self.value = value


# Where PyTorch adds epsilon elsewhere than Keras, 1e-30 takes it out of the comparison; decay of
# 0.1 is decoupled in both for AdamW.
CASES = {
    "sgd": (SGD(0.1), lambda p: torch.optim.SGD(p, 0.1)),
    "momentum": (SGD(0.1, 0.9), lambda p: torch.optim.SGD(p, 0.1, 0.9)),
    "nesterov": (
        SGD(0.1, 0.9, nesterov=True),
        lambda p: torch.optim.SGD(p, 0.1, 0.9, nesterov=True),
    ),
    "rmsprop": (RMSprop(0.01, epsilon=1e-30), lambda p: torch.optim.RMSprop(p, 0.01, 0.9, 1e-30)),
    "rmsprop_all": (
        RMSprop(0.01, 0.8, 0.9, 1e-30, centered=True),
        lambda p: torch.optim.RMSprop(p, 0.01, 0.8, 1e-30, momentum=0.9, centered=True),
    ),
    "adam": (Adam(0.01, epsilon=1e-30), lambda p: torch.optim.Adam(p, 0.01, eps=1e-30)),
    "adamw": (
        AdamW(0.01, weight_decay=0.1, epsilon=1e-30),
        lambda p: torch.optim.AdamW(p, 0.01, eps=1e-30, weight_decay=0.1),
    ),
    "adamax": (Adamax(0.01, epsilon=1e-30), lambda p: torch.optim.Adamax(p, 0.01, eps=1e-30)),
    "adagrad": (
        Adagrad(0.1, 0.5, 1e-30),
        lambda p: torch.optim.Adagrad(p, 0.1, initial_accumulator_value=0.5, eps=1e-30),
    ),
    "adadelta": (
        Adadelta(0.5, 0.8, 1e-3),
        lambda p: torch.optim.Adadelta(p, 0.5, 0.8, 1e-3),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_three_steps(name):
    ours, make_theirs = CASES[name]
    rng = np.random.default_rng(0)
    start = rng.normal(size=(4, 5))
    weight = FakeWeight(start.copy())
    parameter = torch.nn.Parameter(torch.tensor(start))
    theirs = make_theirs([parameter])
    for _ in range(3):
        g = rng.normal(size=start.shape)
        parameter.grad = torch.tensor(g)
        theirs.step()
        ours.apply({weight: g})
        np.testing.assert_allclose(weight.value, parameter.detach().numpy(), rtol=1e-10, atol=1e-10)
