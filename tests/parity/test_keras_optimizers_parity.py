import os

import numpy as np
import pytest

os.environ["KERAS_BACKEND"] = "torch"
keras = pytest.importorskip("keras")

from minicnn import initializers, losses, optimizers, regularizers  # noqa: E402
from minicnn.optimizers import schedules  # noqa: E402

pytestmark = [
    pytest.mark.parity,
    # from inside Keras with NumPy 2
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]


class FakeWeight:
    """As much of a layer's weight as an optimizer sees."""

    def __init__(self, value, name):
        self.value = value
        self.name = name


# Keras rounds the learning rate, 1 - lr · decay and the norms to float32 whatever the weights are:
# the rates and decays here are exact in float32, the norms get a wider tolerance.
COMMON = [
    {"weight_decay": 0.0},
    {"weight_decay": 0.125},
    {"weight_decay": 0.125, "clipnorm": 0.75},
    {"weight_decay": 0.125, "clipvalue": 0.375},
    {"weight_decay": 0.125, "global_clipnorm": 0.875},
]
CASES = [
    ("SGD", {"learning_rate": 0.0625}),
    ("SGD", {"learning_rate": 0.0625, "momentum": 0.9}),
    ("SGD", {"learning_rate": 0.0625, "momentum": 0.9, "nesterov": True}),
    ("RMSprop", {"learning_rate": 2**-10}),
    ("RMSprop", {"learning_rate": 2**-10, "rho": 0.8, "momentum": 0.9}),
    ("RMSprop", {"learning_rate": 2**-10, "centered": True, "epsilon": 1e-3}),
    ("Adam", {"learning_rate": 2**-10}),
    ("Adam", {"learning_rate": 2**-10, "amsgrad": True, "beta_1": 0.8, "epsilon": 1e-3}),
    ("AdamW", {"learning_rate": 2**-10}),
    ("Lion", {"learning_rate": 2**-10}),
    ("Lion", {"learning_rate": 2**-10, "beta_1": 0.75, "beta_2": 0.875}),
]


@pytest.mark.parametrize("name, arguments", CASES)
@pytest.mark.parametrize("common", COMMON)
def test_three_steps(name, arguments, common):
    rng = np.random.default_rng(0)
    starts = {"kernel": rng.normal(size=(4, 5)), "bias": rng.normal(size=5)}
    ours = getattr(optimizers, name)(**arguments, **common)
    theirs = getattr(keras.optimizers, name)(**arguments, **common)
    weights = [FakeWeight(v.copy(), n) for n, v in starts.items()]
    variables = [keras.Variable(v, dtype="float64", name=n) for n, v in starts.items()]
    for optimizer in (ours, theirs):
        optimizer.exclude_from_weight_decay(var_names=["bias"])
    theirs.build(variables)
    tolerance = 1e-6 if "clipnorm" in common or "global_clipnorm" in common else 1e-10
    for _ in range(3):
        gradients = [rng.normal(size=w.value.shape) for w in weights]
        ours.apply(dict(zip(weights, gradients, strict=True)))
        tensors = [keras.ops.convert_to_tensor(g, dtype="float64") for g in gradients]
        theirs.apply(tensors, variables)
        for weight, variable in zip(weights, variables, strict=True):
            expected = keras.ops.convert_to_numpy(variable)
            np.testing.assert_allclose(weight.value, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", ["SGD", "RMSprop", "Adam", "AdamW"])
def test_defaults(name):
    ours = getattr(optimizers, name)().get_config()
    theirs = getattr(keras.optimizers, name)().get_config()
    for key in ours.keys() - {"name"}:
        assert ours[key] == pytest.approx(theirs[key]), key


@pytest.mark.parametrize(
    "name, arguments",
    [
        ("ExponentialDecay", (0.1, 10, 0.5)),
        ("ExponentialDecay", (0.1, 10, 0.5, True)),
        ("InverseTimeDecay", (0.1, 10, 0.5)),
        ("InverseTimeDecay", (0.1, 10, 0.5, True)),
        ("PiecewiseConstantDecay", ([5, 12], [0.1, 0.05, 0.01])),
        ("PolynomialDecay", (0.1, 10, 0.01, 0.5)),
        ("PolynomialDecay", (0.1, 10, 0.01, 1.0, True)),
        ("CosineDecay", (0.1, 10, 0.1)),
        ("CosineDecay", (0.01, 10, 0.1, "c", 0.1, 7)),
    ],
)
def test_schedules(name, arguments):
    ours = getattr(schedules, name)(*arguments)
    theirs = getattr(keras.optimizers.schedules, name)(*arguments)
    for step in range(30):
        expected = float(keras.ops.convert_to_numpy(theirs(step)))
        assert ours(step) == pytest.approx(expected, rel=1e-5, abs=1e-8)
    assert ours.get_config() == theirs.get_config()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("from_logits", [False, True])
def test_losses(smoothing, from_logits):
    rng = np.random.default_rng(0)
    predictions = rng.normal(size=(6, 5)) if from_logits else rng.uniform(size=(6, 5))
    predictions = predictions.astype("float32")
    labels, weights = rng.integers(0, 5, (6, 1)), rng.uniform(size=6).astype("float32")
    one_hot = np.eye(5, dtype="float32")[labels[:, 0]]
    arguments = {"from_logits": from_logits, "label_smoothing": smoothing}
    cases = [("CategoricalCrossentropy", one_hot, arguments), ("MeanSquaredError", one_hot, {})]
    if not smoothing:
        cases.append(("SparseCategoricalCrossentropy", labels, {"from_logits": from_logits}))
    for name, y, given in cases:
        for w in (None, weights):
            ours = getattr(losses, name)(**given)(y, predictions, w)
            theirs = getattr(keras.losses, name)(**given)(y, predictions, w)
            assert ours == pytest.approx(float(theirs), rel=1e-5), name


def test_regularizers():
    w = np.random.default_rng(0).normal(size=(3, 4)).astype("float32")
    for name, arguments in [
        ("L1", (0.1,)),
        ("L2", (0.1,)),
        ("L1L2", (0.1, 0.2)),
        ("l1_l2", (0.1, 0.2)),
    ]:
        ours = getattr(regularizers, name)(*arguments)(w)
        theirs = getattr(keras.regularizers, name)(*arguments)(keras.ops.convert_to_tensor(w))
        assert ours == pytest.approx(float(theirs), rel=1e-5)


@pytest.mark.parametrize(
    "name",
    ["GlorotUniform", "GlorotNormal", "HeUniform", "HeNormal", "LecunUniform", "LecunNormal"],
)
def test_initializers_have_the_same_spread(name):
    shape = (3, 3, 40, 60)
    ours = getattr(initializers, name)(seed=0)(shape)
    theirs = keras.ops.convert_to_numpy(getattr(keras.initializers, name)(seed=0)(shape))
    assert ours.std() == pytest.approx(theirs.std(), rel=0.02)
    assert np.abs(ours).max() == pytest.approx(np.abs(theirs).max(), rel=0.02)
    config = getattr(keras.initializers, name)(seed=3).get_config()
    assert getattr(initializers, name).from_config(config).get_config() == config
