import os

import numpy as np
import pytest

os.environ["KERAS_BACKEND"] = "torch"
keras = pytest.importorskip("keras")
torch = pytest.importorskip("torch")

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
    {"use_ema": True, "ema_momentum": 0.75},
    {"use_ema": True, "ema_momentum": 0.75, "ema_overwrite_frequency": 2},
    {"gradient_accumulation_steps": 2, "loss_scale_factor": 8.0, "clipvalue": 0.125},
    {
        "use_ema": True, "gradient_accumulation_steps": 3, "ema_overwrite_frequency": 2,
        "weight_decay": 0.125,
    },
]  # fmt: skip
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
    ("Nadam", {"learning_rate": 2**-10}),
    ("Nadam", {"learning_rate": 2**-7, "beta_1": 0.75, "beta_2": 0.875, "epsilon": 1e-3}),
    ("Adamax", {"learning_rate": 2**-10}),
    ("Adamax", {"learning_rate": 2**-7, "beta_1": 0.75, "beta_2": 0.875, "epsilon": 1e-3}),
    ("Adagrad", {"learning_rate": 2**-5}),
    ("Adagrad", {"learning_rate": 2**-5, "initial_accumulator_value": 0.0, "epsilon": 1e-3}),
    ("Adadelta", {"learning_rate": 1.0}),
    ("Adadelta", {"learning_rate": 0.5, "rho": 0.75, "epsilon": 1e-3}),
]
KINDS = [n for n in optimizers.OPTIMIZERS.names() if n != "LossScaleOptimizer"]


def test_each_optimizer_has_a_case():
    assert {name for name, _ in CASES} == {*KINDS}


@pytest.mark.parametrize("name, arguments", CASES)
@pytest.mark.parametrize("common", COMMON)
def test_steps(name, arguments, common):
    rng = np.random.default_rng(0)
    starts = {"kernel": rng.normal(size=(4, 5)), "bias": rng.normal(size=5)}
    ours = getattr(optimizers, name)(**arguments, **common)
    theirs = getattr(keras.optimizers, name)(**arguments, **common)
    weights = [FakeWeight(v.copy(), n) for n, v in starts.items()]
    variables = [keras.Variable(v, dtype="float64", name=n) for n, v in starts.items()]
    for optimizer in (ours, theirs):
        optimizer.exclude_from_weight_decay(var_names=["bias"])
    theirs.build(variables)
    # some of their factors are of float32
    rounded = name == "Nadam" or {"clipnorm", "global_clipnorm", "use_ema"} & {*common}
    rounded = rounded or (name == "AdamW" and "weight_decay" not in common)
    tolerance = 1e-6 if rounded else 1e-10
    for _ in range(7 if "gradient_accumulation_steps" in common else 4):
        gradients = [rng.normal(size=w.value.shape) for w in weights]
        ours.apply(dict(zip(weights, gradients, strict=True)))
        tensors = [keras.ops.convert_to_tensor(g, dtype="float64") for g in gradients]
        theirs.apply(tensors, variables)
        for weight, variable in zip(weights, variables, strict=True):
            expected = keras.ops.convert_to_numpy(variable)
            np.testing.assert_allclose(weight.value, expected, rtol=0, atol=tolerance)
        assert ours.iterations == int(theirs.iterations)
    mine, of_keras = ours.variables, theirs.variables
    if name == "Nadam":  # of which it keeps a product that follows from the iterations
        product = float(of_keras.pop().numpy())
        assert ours.derived_state() == {"u_product": pytest.approx(product, rel=1e-5)}
    assert [v.name for v in mine] == [v.name for v in of_keras]
    for one, other in zip(mine, of_keras, strict=True):
        expected = keras.ops.convert_to_numpy(other.value)
        np.testing.assert_allclose(one.numpy(), expected, rtol=1e-6, atol=tolerance)
    ours.finalize_variable_values(weights)
    theirs.finalize_variable_values(variables)
    for weight, variable in zip(weights, variables, strict=True):
        expected = keras.ops.convert_to_numpy(variable)
        np.testing.assert_allclose(weight.value, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", KINDS)
def test_defaults_and_configurations(name):
    ours = getattr(optimizers, name)().get_config()
    theirs = getattr(keras.optimizers, name)().get_config()
    assert ours.keys() == theirs.keys()
    for key in ours.keys() - {"name"}:
        assert ours[key] == pytest.approx(theirs[key]), key
    schedule = schedules.CosineDecayRestarts(0.5, 10)
    mine = getattr(optimizers, name)(schedule, use_ema=True, gradient_accumulation_steps=2)
    theirs = keras.optimizers.deserialize(optimizers.serialize(mine))
    again = optimizers.deserialize(keras.optimizers.serialize(theirs))
    assert type(theirs).__name__ == type(again).__name__ == name
    assert again.get_config() == mine.get_config()


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
        ("CosineDecayRestarts", (0.1, 4)),
        ("CosineDecayRestarts", (0.1, 6, 1.0, 0.5, 0.1)),
        ("CosineDecayRestarts", (0.1, 5, 1.5, 0.9, 0.2)),
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
        ("l1_l2", (0.1,)),
        ("l1", (None,)),
        ("OrthogonalRegularizer", (0.1,)),
        ("orthogonal_regularizer", (0.1, "columns")),
    ]:
        ours = getattr(regularizers, name)(*arguments)
        theirs = getattr(keras.regularizers, name)(*arguments)
        tensor = torch.tensor(w, requires_grad=True)
        penalty = theirs(tensor)
        penalty.backward()
        assert ours(w) == pytest.approx(penalty.item(), rel=1e-5)
        np.testing.assert_allclose(ours.gradient(w), tensor.grad.numpy(), rtol=1e-5, atol=1e-7)
        config, their_config = ours.get_config(), theirs.get_config()
        assert config.pop("mode", None) == their_config.pop("mode", None)
        assert config == pytest.approx(their_config, rel=1e-6)
        again = regularizers.deserialize(keras.regularizers.serialize(theirs))
        assert type(again) is type(ours)
        again = keras.regularizers.deserialize(regularizers.serialize(ours))
        assert type(again) is type(theirs)


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
