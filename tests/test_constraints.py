"""Constraints on weights, and penalties on what layers give."""

import numpy as np
import pytest
from strategies import numbers

from minicnn import Input, Model, Sequential, constraints, layers, regularizers, set_shards
from minicnn.models import load_model
from minicnn.optimizers import SGD

CONSTRAINTS = [
    constraints.MaxNorm(0.5, axis=[0, 1, 2]),
    constraints.MinMaxNorm(0.3, 0.6, rate=0.7, axis=[0, 1, 2]),
    constraints.NonNeg(),
    constraints.UnitNorm(axis=[0, 1, 2]),
]


@pytest.mark.parametrize("constraint", CONSTRAINTS, ids=lambda c: type(c).__name__)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_they_promise(constraint, dtype):
    w = numbers((3, 3, 2, 4), 1, dtype)
    out = constraint(w)
    assert out.dtype == dtype and out.shape == w.shape
    norms = np.sqrt((w * w).sum((0, 1, 2)))
    after = np.sqrt((out * out).sum((0, 1, 2)))
    expected = {
        "MaxNorm": norms.clip(0, 0.5),
        "MinMaxNorm": 0.7 * norms.clip(0.3, 0.6) + 0.3 * norms,
        "UnitNorm": np.ones(4),
    }
    if isinstance(constraint, constraints.NonNeg):
        np.testing.assert_array_equal(out, np.where(w < 0, 0, w))
    else:
        np.testing.assert_allclose(after, expected[type(constraint).__name__], rtol=1e-5)


def test_names_configurations_and_errors():
    for name in ("max_norm", "MaxNorm", "non_neg", "unit_norm", "min_max_norm"):
        one = constraints.get(name)
        again = constraints.deserialize(constraints.serialize(one))
        assert type(again) is type(one) and again.get_config() == one.get_config()
    assert constraints.get(None) is None and constraints.get(one) is one
    assert constraints.max_norm is constraints.MaxNorm
    with pytest.raises(ValueError, match="unknown constraint 'max_nrom'; did you mean 'max_norm'"):
        layers.Dense(2, kernel_constraint="max_nrom")
    with pytest.raises(TypeError, match="a constraint is given by name, as an instance or"):
        layers.Dense(2, kernel_constraint=3)

    class Own(constraints.Constraint):
        pass

    own = constraints.deserialize({"class_name": "Own", "config": {}}, {"Own": Own})
    with pytest.raises(NotImplementedError, match="Own does not define __call__"):
        own(np.ones(2))


class Halve(constraints.Constraint):
    """Says how often it is applied."""

    def __call__(self, w):
        return w / 2


def test_after_each_step_and_to_weights_that_learn_alone():
    model = Sequential(
        [
            Input((3,)),
            layers.Dense(2, kernel_constraint=Halve(), bias_constraint=Halve()),
            layers.Dense(2, kernel_constraint=Halve(), trainable=False),
        ]
    )
    model.compile(SGD(0.0), "mse")
    before = model.get_weights()
    for _ in range(2):
        model.train_on_batch(np.ones((4, 3)), np.ones((4, 2)))
    model.evaluate(np.ones((4, 3)), np.ones((4, 2)), verbose=0)
    kernel, bias, frozen, _ = model.get_weights()
    np.testing.assert_array_equal(kernel, before[0] / 4)
    np.testing.assert_array_equal(bias, before[1] / 4)
    np.testing.assert_array_equal(frozen, before[2])


# Every argument of a layer that ends in _constraint, and the weight that it is for
ARGUMENTS = [
    (layers.Dense(2), ["kernel", "bias"]),
    (layers.Conv2D(2, 2), ["kernel", "bias"]),
    (layers.Conv2DTranspose(2, 2), ["kernel", "bias"]),
    (layers.DepthwiseConv2D(2), ["depthwise", "bias"]),
    (layers.SeparableConv2D(2, 2), ["depthwise", "pointwise", "bias"]),
    (layers.BatchNormalization(), ["gamma", "beta"]),
    (layers.LayerNormalization(), ["gamma", "beta"]),
    (layers.GroupNormalization(1), ["gamma", "beta"]),
    (layers.PReLU(), ["alpha"]),
]


@pytest.mark.parametrize(("layer", "names"), ARGUMENTS, ids=lambda v: str(v)[1:9])
def test_every_layer_that_has_them(layer, names):
    given = {f"{name}_constraint": constraints.MaxNorm(i + 1) for i, name in enumerate(names)}
    config = {k: v for k, v in layer.get_config().items() if k not in given and k != "name"}
    made = type(layer).from_config({**config, **given})
    assert {k for k in made.get_config() if k.endswith("_constraint")} == set(given)
    made.build_for((None, 4, 4, 3))
    on_weights = [w.constraint for w in made.weights if w.learned]
    assert {id(c) for c in on_weights} == {id(c) for c in given.values()}


# Penalties on activities


class Spread(regularizers.Regularizer):
    """(sum y)², times a little, which is not the sum of what it is for each image."""

    def __call__(self, w):
        return 1e-4 * w.sum() ** 2

    def gradient(self, w):
        return np.full_like(w, 2e-4 * w.sum())


def network(regularizer, of_last="l1"):
    x = inputs = Input((8, 8, 3))
    inner = Sequential([layers.Conv2D(3, 3, activity_regularizer=regularizer, name="deep")])
    x = layers.Conv2D(4, 3, activation="relu", activity_regularizer=regularizer, name="conv")(x)
    x = layers.MaxPooling2D(activity_regularizer="l2", name="pool")(x)
    x = layers.GlobalAveragePooling2D()(layers.UpSampling2D()(inner(x)))
    outputs = layers.Dense(
        4, "softmax", activity_regularizer=of_last, kernel_regularizer="l2", name="last"
    )(x)
    return Model(inputs, outputs)


X, Y = numbers((14, 8, 8, 3), 1, "float32"), np.arange(14) % 4


@pytest.mark.cpu_only("its own regularizer is written in NumPy")
@pytest.mark.parametrize("regularizer", [regularizers.L1L2(0.01, 0.02), Spread()])
@pytest.mark.parametrize("shards", [2, 5])
def test_the_same_on_any_number_of_shards(regularizer, shards):
    model, other = network(regularizer), network(regularizer)
    other.set_weights(model.get_weights())
    results = []
    for one, count in ((model, 1), (other, shards)):
        set_shards(count)
        one.compile(SGD(0.01), "sparse_categorical_crossentropy")
        losses = [one.train_on_batch(X, Y) for _ in range(3)]
        results.append([*losses, one.evaluate(X, Y, batch_size=14, verbose=0)])
    set_shards(None)
    np.testing.assert_allclose(*results, rtol=1e-5)
    for a, b in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.cpu_only("its own regularizer is written in NumPy")
@pytest.mark.parametrize("regularizer", [regularizers.L1L2(0.01, 0.02), Spread()])
def test_gradients_by_differences(regularizer, float64):
    model = network(regularizer)
    model.compile(SGD(1.0), "sparse_categorical_crossentropy")
    before = model.get_weights()

    def loss(weights):
        model.set_weights(weights)
        return model.evaluate(X, Y, batch_size=14, verbose=0)

    rng = np.random.default_rng(0)
    direction = [rng.normal(size=w.shape) for w in before]
    h = 1e-6
    slope = (
        loss([w + h * d for w, d in zip(before, direction, strict=True)])
        - loss([w - h * d for w, d in zip(before, direction, strict=True)])
    ) / (2 * h)
    model.set_weights(before)
    model.train_on_batch(X, Y)
    moved = [a - b for a, b in zip(before, model.get_weights(), strict=True)]
    expected = sum((m * d).sum() for m, d in zip(moved, direction, strict=True))
    assert slope == pytest.approx(expected, rel=1e-5)


@pytest.mark.cpu_only("its own regularizer is written in NumPy")
def test_losses_are_the_penalties():
    model = network(regularizers.L2(0.5))
    assert [float(p) for p in model.losses] == pytest.approx(
        [0.01 * (model.get_layer("last").kernel.numpy() ** 2).sum()]
    )
    y = model(X)
    of_last = abs(y).sum() * 0.01 / len(X)
    losses = [float(p) for p in model.losses]
    assert len(losses) == 5 and losses[3] == pytest.approx(float(of_last))
    layer = layers.Dense(3, activity_regularizer="l2")
    z = layer(np.ones((2, 4)))
    assert float(layer.losses[0]) == pytest.approx(float(0.01 * (z * z).sum() / 2), rel=1e-6)
    model.compile(SGD(0.0), "sparse_categorical_crossentropy")
    of_data = -np.log(y[np.arange(14), Y]).mean()
    whole = model.evaluate(X, Y, batch_size=14, verbose=0)
    assert whole == pytest.approx(float(of_data) + sum(losses), rel=1e-5)


def test_nothing_is_crowded_out_by_the_schedule():
    """A penalized layer is done whole: not behind a maximum, not cropped, with its softmax."""
    steps = network("l2").graph.steps
    assert [type(s.layer).__name__ for s in steps[:4]] == [
        "Conv2D", "Penalized", "MaxPooling2D", "Penalized",
    ]  # fmt: skip
    assert all(step.rows_and_columns is None for step in steps)
    model = Sequential([Input((7, 7, 3)), layers.Conv2D(2, 2), layers.MaxPooling2D(4)])
    assert not model.graph.has_penalties and model.graph.steps[0].rows_and_columns is not None


def test_in_half_precision_the_penalty_is_scaled_as_the_loss():
    def trained(dtype):
        x = inputs = Input((8, 8, 3))
        conv = layers.Conv2D(4, 3, activity_regularizer=regularizers.L2(0.1), dtype=dtype)
        x = layers.GlobalAveragePooling2D(dtype=dtype)(conv(x))
        model = Model(inputs, layers.Dense(4, dtype="float32")(x), dtype=dtype)
        model.set_weights([0.1 * numbers(w.shape, i) for i, w in enumerate(model.weights)])
        model.compile(SGD(0.1), "mse")
        loss = model.train_on_batch(X, np.zeros((14, 4), "float32"))
        return loss, model.get_weights()

    (half, in_half), (single, in_single) = trained("mixed_float16"), trained("float32")
    assert half == pytest.approx(single, rel=1e-2)
    for a, b in zip(in_half, in_single, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("suffix", [".safetensors", ".keras", ".h5"])
def test_files(suffix, tmp_path):
    if suffix != ".safetensors":
        pytest.importorskip("h5py")
    model = Sequential(
        [
            Input((4,)),
            layers.Dense(3, activity_regularizer=regularizers.L1(0.3), kernel_constraint="non_neg"),
            layers.ActivityRegularization(0.1, 0.2),
        ]
    )
    model.save(tmp_path / f"m{suffix}")
    loaded = load_model(tmp_path / f"m{suffix}")
    assert [la.get_config() for la in loaded.layers] == [la.get_config() for la in model.layers]
    assert loaded.layers[0].activity_regularizer.l1 == 0.3
    assert loaded.layers[1].activity_regularizer.l2 == 0.2
    assert isinstance(loaded.layers[0].kernel.constraint, constraints.NonNeg)


def test_errors():
    with pytest.raises(ValueError, match="unknown regularizer 'l3'; known: L1"):
        layers.ReLU(activity_regularizer="l3")
    with pytest.raises(TypeError, match="Sequential takes no activity_regularizer: give it to the"):
        Sequential([layers.Dense(2)], activity_regularizer="l2")
    with pytest.raises(ValueError, match="the l1 factor must be a finite number, 0 or above"):
        layers.ActivityRegularization(l1=-1)


def test_profile_shows_what_a_penalty_takes():
    profile = network("l2").profile(X, print_fn=str)
    assert {"conv_penalty", "pool_penalty", "last_penalty"} <= {row.name for row in profile.rows}
