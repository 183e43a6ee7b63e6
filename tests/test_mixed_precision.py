"""Computing in 16 bits with weights in float32; loss scaling in a model."""

import numpy as np
import pytest
from small_problem import CLASSES, X, Y, problem

import minicnn
from minicnn import Input, Model, Sequential, backend, mixed_precision
from minicnn.callbacks import Callback
from minicnn.dtype_policies import DTypePolicy
from minicnn.dtypes import HALVES, dtype_of, is_floating, is_half
from minicnn.layers import (
    Activation,
    Add,
    BatchNormalization,
    Conv2D,
    Dense,
    Dropout,
    GlobalAveragePooling2D,
    Layer,
    MaxPooling2D,
    Rescaling,
)
from minicnn.models import load_model
from minicnn.optimizers import SGD, Adam, LossScaleOptimizer
from minicnn.utils import set_random_seed

MIXED = [f"mixed_{half}" for half in HALVES]


@pytest.fixture(autouse=True)
def as_before():
    yield
    mixed_precision.set_global_policy(None)


def network(policy, optimizer="adam", **compiled):
    mixed_precision.set_global_policy(policy)
    set_random_seed(0)
    x = inputs = Input((8, 8, CLASSES))
    x = Conv2D(8, 3, activation="relu", padding="same")(Rescaling(2.0, -1.0)(x))
    y = BatchNormalization()(Conv2D(8, 3, padding="same", use_bias=False)(x))
    x = MaxPooling2D()(Activation("gelu")(Add()([x, y])))
    x = Dropout(0.1, seed=1)(GlobalAveragePooling2D()(x))
    model = Model(inputs, Dense(CLASSES, activation="softmax", kernel_regularizer="l2")(x))
    model.compile(optimizer, "sparse_categorical_crossentropy", ["accuracy"], **compiled)
    return model


# Policies


def test_policies():
    policy = DTypePolicy("mixed_float16")
    assert (policy.compute_dtype, policy.variable_dtype) == ("float16", "float32")
    assert policy == mixed_precision.Policy("mixed_float16") != DTypePolicy("float32")
    assert len({policy, DTypePolicy("mixed_float16")}) == 1
    assert repr(policy) == "<DTypePolicy 'mixed_float16'>"


def test_the_global_policy_is_that_of_layers_made_from_now_on():
    before = Dense(2)
    mixed_precision.set_global_policy("mixed_bfloat16")
    layer, other = Dense(2), Dense(2, dtype="float32")
    assert mixed_precision.global_policy() == layer.dtype_policy == DTypePolicy("mixed_bfloat16")
    assert (layer.dtype, layer.compute_dtype) == ("float32", "bfloat16")
    assert other.compute_dtype == before.compute_dtype == "float32"
    mixed_precision.set_global_policy(None)
    backend.set_floatx("float64")
    try:
        assert Dense(2).compute_dtype == "float64"
    finally:
        backend.set_floatx("float32")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("float16", "use 'mixed_float16', which computes in float16 with weights in float32"),
        ("mixed_flaot16", "no dtype policy 'mixed_flaot16'; did you mean 'mixed_float16'"),
        ("int8", "no dtype policy 'int8'; "),
    ],
)
def test_other_policies_are_refused(name, message):
    with pytest.raises(ValueError, match=message):
        mixed_precision.set_global_policy(name)
    with pytest.raises(ValueError, match=f"Dense 'd': there is .*{message}"):
        Dense(2, dtype=name, name="d")


def test_bfloat16_says_what_it_needs(monkeypatch):
    dtype_of.cache_clear()
    monkeypatch.setitem(__import__("sys").modules, "ml_dtypes", None)
    with pytest.raises(RuntimeError, match=r"bfloat16 needs .* pip install minicnn\[bfloat16\]"):
        DTypePolicy("mixed_bfloat16")


def test_dtypes():
    assert [is_half(dtype_of(n)) for n in (*HALVES, "float32", "int16")] == [
        True,
        True,
        False,
        False,
    ]
    assert [is_floating(dtype_of(n)) for n in (*HALVES, "float64", "int16")] == [True] * 3 + [False]


# A model


@pytest.mark.parametrize("policy", MIXED)
def test_each_layer_is_given_its_own_dtype(policy):
    seen = []

    class Look(Layer):
        def forward(self, x, ctx):
            seen.append(x.dtype.name)
            return x

        def backward(self, dy, ctx):
            seen.append(dy.dtype.name)
            return dy

    half = DTypePolicy(policy).compute_dtype
    layers = Look(dtype=policy), Dense(3, dtype=policy), Look(dtype="float32")
    model = Sequential([Input((4,)), *layers, Look(dtype="float64"), Look(dtype=policy)])
    model.compile("sgd", "mse")
    seen.clear()  # shapes were tried out
    model.train_on_batch(np.ones((2, 4)), np.ones((2, 3)))
    assert seen == [half, "float32", "float64", half, half, "float64", "float32"]
    assert model.predict(np.ones((2, 4)), verbose=0).dtype == np.float32
    assert {w.dtype.name for w in model.weights} == {"float32"}


@pytest.mark.parametrize("policy", MIXED)
def test_learns_as_in_float32(policy):
    expected = network("float32").fit(X, Y, epochs=8, verbose=0).history
    model = network(policy)
    assert {la.compute_dtype for la in model.layers} == {policy.removeprefix("mixed_")}
    history = model.fit(X, Y, epochs=8, verbose=0).history
    np.testing.assert_allclose(history["loss"], expected["loss"], rtol=0.05)
    assert {w.dtype.name for w in model.weights} == {"float32"}
    probabilities = model.predict(X, verbose=0)
    assert probabilities.dtype == np.float32
    assert model.evaluate(X, Y, verbose=0)[1] == (probabilities.argmax(-1) == Y).mean()


def test_bytes_and_large_integers():
    """Bytes are exact in 16 bits; what is larger goes to the first layer in float32."""
    images = problem(8)[0]
    model = network("mixed_float16")
    large = Sequential([Input((1,)), Rescaling(1 / 1e5, dtype="float32")])
    assert abs(large.predict(np.array([[80_000]]), verbose=0) - 0.8) < 1e-6
    a = model.predict((images * 255).astype("uint8"), verbose=0)
    b = model.predict((images * 255).astype("uint8").astype("float32"), verbose=0)
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("policy", MIXED)
@pytest.mark.parametrize("file", ["model.safetensors", "model.keras"])
def test_files_keep_policies(tmp_path, policy, file):
    if file.endswith(".keras"):
        pytest.importorskip("h5py")
    model = network(policy)
    model.fit(X, Y, verbose=0)
    model.save(tmp_path / file)
    again = load_model(tmp_path / file)
    assert [la.dtype_policy for la in again.layers] == [la.dtype_policy for la in model.layers]
    assert type(again.optimizer) is type(model.optimizer)
    np.testing.assert_array_equal(again.predict(X, verbose=0), model.predict(X, verbose=0))
    if file.endswith(".safetensors"):
        for m in (model, again):
            m.fit(X, Y, shuffle=False, verbose=0)
        # dropout draws from where it is
        np.testing.assert_allclose(again.get_weights()[0], model.get_weights()[0], atol=0.01)


# Loss scaling


def test_compile_scales_in_float16_alone():
    assert isinstance(network("mixed_float16").optimizer, LossScaleOptimizer)
    assert type(network("mixed_bfloat16").optimizer) is Adam
    assert type(network("float32").optimizer) is Adam
    assert type(network("mixed_float16", auto_scale_loss=False).optimizer) is Adam
    given = LossScaleOptimizer(SGD(), initial_scale=4)
    assert network("mixed_float16", given).optimizer is given


@pytest.mark.parametrize("scaled", [True, False])
def test_small_gradients_survive(scaled):
    mixed_precision.set_global_policy("mixed_float16")
    model = Sequential([Input((4,)), Rescaling(1.0), Dense(1, use_bias=False)])
    model.compile(SGD(1e6), "mse", auto_scale_loss=scaled)
    before = model.get_weights()[0]
    x = np.ones((1, 4))
    target = model.predict(x, verbose=0) + np.array([[0.001]])
    # d loss / d y_pred = -2 (target - y_pred) weight = 2e-3 * 1e-6, which float16 rounds to 0
    model.train_on_batch(x, target, sample_weight=np.array([1e-6]))
    moved = np.abs(model.get_weights()[0] - before).max()
    assert (moved > 1e-4) == scaled


def test_an_overflow_leaves_the_step_out_and_halves_the_scale():
    model = network("mixed_float16", LossScaleOptimizer(Adam(), 2.0**24, 2))
    optimizer, weights = model.optimizer, model.get_weights()
    learned = [w.learned for w in model.weights]
    scales, moved = [], []
    for _ in range(30):
        model.train_on_batch(X, Y)
        now = model.get_weights()
        pairs = zip(now, weights, learned, strict=True)
        moved.append(any(not np.array_equal(a, b) for a, b, learns in pairs if learns))
        assert all(np.isfinite(w).all() for w in now)
        scales.append(float(optimizer.loss_scale))
        weights = now
    before = [2.0**24, *scales[:-1]]
    assert not moved[0]
    for was, now, took_step in zip(before, scales, moved, strict=True):
        assert now == was / 2 if not took_step else now in (was, was * 2)
    assert sum(moved) > 10
    assert optimizer.iterations == 30


def test_callbacks_change_the_rate_of_the_optimizer_inside():
    class Halve(Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.optimizer.learning_rate /= 2

    model = network("mixed_float16", Adam(0.01))
    model.fit(X, Y, epochs=2, callbacks=Halve(), verbose=0)
    assert model.optimizer.inner_optimizer.learning_rate == 0.0025


def test_state_goes_round():
    model = network("mixed_float16", LossScaleOptimizer(Adam(), 64, 2))
    model.train_on_batch(X, Y)
    keys = model.weight_keys()
    state = model.optimizer.state_arrays(keys)
    np.testing.assert_array_equal(state["loss_scale"], [64, 1])
    again = LossScaleOptimizer(Adam(), 8, 2)
    again.load_state_arrays(state, keys)
    assert float(again.loss_scale) == 64 and again.iterations == 1
    with pytest.raises(ValueError, match="'loss_scale' holds two numbers"):
        again.load_state_arrays(state | {"loss_scale": np.ones(3)}, keys)


# On a device


@pytest.mark.parametrize("policy", MIXED)
def test_a_step_stays_on_the_device(policy, strict):
    model = network(policy)
    model.fit(X, Y, batch_size=32, verbose=0)
    strict.reset()
    model.fit(X, Y, batch_size=32, epochs=2, verbose=0)
    assert strict.to_device == 2 + 2  # images, labels; each epoch's order
    assert strict.to_host == 2  # the sums of each epoch


def test_the_same_on_a_device(strict, monkeypatch):
    monkeypatch.setenv("MINICNN_NUM_THREADS", "1")  # dropout draws for each shard
    ours = network("mixed_float16", SGD(0.1))
    ours.fit(X, Y, epochs=2, shuffle=False, verbose=0)
    backend.set_backend("numpy")
    theirs = network("mixed_float16", SGD(0.1))
    theirs.fit(X, Y, epochs=2, shuffle=False, verbose=0)
    for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-3)


def test_all_names():
    assert minicnn.mixed_precision.dtype_policy is minicnn.mixed_precision.global_policy
    assert minicnn.mixed_precision.LossScaleOptimizer is LossScaleOptimizer
