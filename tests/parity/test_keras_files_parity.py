"""Model files go both ways between Keras 3 (on its torch backend) and minicnn."""

import os

import pytest

os.environ.setdefault("KERAS_BACKEND", "torch")
pytest.importorskip("torch")
pytest.importorskip("h5py")
keras = pytest.importorskip("keras")

import numpy as np  # noqa: E402

import minicnn.layers as M  # noqa: E402
import minicnn.losses  # noqa: E402
import minicnn.metrics  # noqa: E402
import minicnn.models  # noqa: E402
import minicnn.optimizers  # noqa: E402
import minicnn.regularizers  # noqa: E402

pytestmark = [
    pytest.mark.parity,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # Keras on NumPy 2
    pytest.mark.filterwarnings("ignore:.*HDF5 file.*"),
]

SHAPE = (8, 8, 3)
SUFFIXES = (".keras", ".h5")


class _Minicnn:
    """minicnn under the names of Keras, so that both build from one text."""

    layers = M
    Model, Sequential = minicnn.models.Model, minicnn.models.Sequential
    Input = staticmethod(M.Input)
    optimizers, losses, metrics = minicnn.optimizers, minicnn.losses, minicnn.metrics
    regularizers = minicnn.regularizers
    load_model = staticmethod(minicnn.models.load_model)


keras.load_model = keras.models.load_model  # as minicnn has it in models


def convolutions(k):
    L = k.layers
    return k.Sequential(
        [
            k.Input(SHAPE),
            L.ZeroPadding2D(((1, 0), (2, 1))),
            L.Conv2D(6, 3, padding="same", dilation_rate=2, kernel_regularizer="l2"),
            L.BatchNormalization(),
            L.ReLU(max_value=6.0),
            L.Conv2D(4, (3, 2), strides=(2, 1), groups=2, use_bias=False, name="grouped"),
            L.DepthwiseConv2D(3, padding="same", depth_multiplier=2, activation="tanh"),
            L.BatchNormalization(center=False, momentum=0.5),
            L.SeparableConv2D(5, 2, depth_multiplier=2, activation="elu"),
            L.LeakyReLU(negative_slope=0.1),
            L.MaxPooling2D(2, strides=1, padding="same"),
            L.GlobalAveragePooling2D(),
            L.Dense(4, activation="softmax", name="head"),
        ],
        name="convolutions",
    )


def normalizations(k):
    L = k.layers
    return k.Sequential(
        [
            k.Input(SHAPE),
            L.Rescaling([0.1, 0.2, 0.3], offset=-0.5),
            L.LayerNormalization(),
            L.LayerNormalization(axis=[2, 3], scale=False, epsilon=1e-4),
            L.BatchNormalization(scale=False),
            L.ELU(alpha=0.7),
            L.AveragePooling2D((2, 1)),
            L.GlobalMaxPooling2D(keepdims=True),
            L.Reshape((-1,)),
            L.Activation("gelu"),
            L.Dense(6, activation="leaky_relu", kernel_initializer="he_normal"),
            L.Dense(3, use_bias=False, bias_regularizer=k.regularizers.L1L2(0.1, 0.2)),
            L.Softmax(),
        ]
    )


def augmentations(k):
    L = k.layers
    return k.Sequential(
        [
            k.Input(SHAPE),
            L.RandomFlip("horizontal", seed=1),
            L.RandomTranslation(0.1, (-0.2, 0.1), fill_mode="constant"),
            L.RandomRotation(0.1),
            L.RandomZoom(0.1, seed=3),
            L.RandomBrightness(0.1, value_range=(0, 1)),
            L.RandomContrast(0.2),
            L.RandomCrop(6, 6),
            L.Flatten(),
            L.Dropout(0.5, seed=1),
            L.Dense(3),
        ]
    )


def branches(k):
    """Several inputs and outputs, a shared layer, merges."""
    L = k.layers
    a, b = k.Input(SHAPE, name="left"), k.Input(SHAPE, name="right")
    shared = L.Conv2D(4, 3, activation="relu", name="shared")
    x, y = shared(a), shared(b)
    z = L.Concatenate()([L.Add()([x, y]), L.Multiply()([x, y]), L.Conv2D(2, 3)(a)])
    z = L.Conv2D(5, 1)(z)
    first = L.Dense(3, name="first")(L.GlobalAveragePooling2D()(z))
    second = L.Dense(2, name="second")(L.Flatten()(x))
    return k.Model([a, b], [first, second])


def sums(k):
    """Residual blocks written with + and *."""
    L = k.layers
    inputs = x = k.Input(SHAPE)
    for _ in range(3):
        y = L.Conv2D(3, 3, padding="same", activation="relu")(x)
        x = x + y * L.Conv2D(3, 1, activation="sigmoid")(y)
    return k.Model(inputs, L.Dense(2)(L.Flatten()(x)))


def nested(k):
    """Models as layers, one called twice and on its own output, and a frozen one."""
    L = k.layers
    base = k.Sequential(
        [k.Input(SHAPE), L.Conv2D(4, 3), L.BatchNormalization(), L.ReLU()], name="base"
    )
    base.trainable = False
    i = k.Input((6, 6, 4))
    block = k.Model(i, L.Add()([i, L.Conv2D(4, 3, padding="same")(i)]), name="block")
    two = k.Model(i, [L.Conv2D(2, 1)(i), L.Conv2D(3, 1)(i)], name="two")
    inputs = k.Input(SHAPE)
    x = block(block(base(inputs)))
    p, q = two(x)
    x = L.Concatenate()([p, q])
    inner = k.Sequential([L.Flatten(), L.Dense(5, activation="relu")], name="tail")
    outputs = L.Dense(2, activation="softmax")(inner(x))
    return k.Model(inputs, outputs, name="nested")


ARCHITECTURES = (convolutions, normalizations, augmentations, branches, sums, nested)


def _shake(model, seed=0):
    """Weights that differ from their starting values, variances above 0."""
    rng = np.random.default_rng(seed)
    model.set_weights(
        [np.abs(w) + rng.uniform(0.0, 0.1, w.shape) for w in model.get_weights()]
    )


def _images(model, seed=1, n=3):
    rng = np.random.default_rng(seed)
    count = len(model.inputs)
    xs = [rng.normal(size=(n, *SHAPE)).astype("float32") for _ in range(count)]
    return xs if count > 1 else xs[0]


def _assert_same_predictions(one, other):
    x = _images(one)
    a, b = one.predict(x, verbose=0), other.predict(x, verbose=0)
    for u, v in zip(a if isinstance(a, list) else [a], b if isinstance(b, list) else [b]):
        np.testing.assert_allclose(u, v, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("build", ARCHITECTURES)
@pytest.mark.parametrize("writer, reader", [(keras, _Minicnn), (_Minicnn, keras)])
def test_predictions_stay(writer, reader, build, suffix, tmp_path):
    model = build(writer)
    _shake(model)
    model.save(tmp_path / f"model{suffix}")
    loaded = reader.load_model(tmp_path / f"model{suffix}")
    _assert_same_predictions(model, loaded)
    assert loaded.name == model.name
    assert loaded.count_params() == model.count_params()
    learning = [tuple(w.shape) for w in loaded.trainable_weights]
    assert sorted(learning) == sorted(tuple(w.shape) for w in model.trainable_weights)


def _schedule(k):
    return k.optimizers.schedules.CosineDecay(
        0.01, 20, alpha=0.1, warmup_target=0.02, warmup_steps=1
    )


OPTIMIZERS = {
    "sgd": lambda k: k.optimizers.SGD(0.05),
    "momentum": lambda k: k.optimizers.SGD(_schedule(k), momentum=0.9, nesterov=True),
    "rmsprop": lambda k: k.optimizers.RMSprop(0.01, momentum=0.5, centered=True, clipnorm=1.0),
    "adam": lambda k: k.optimizers.Adam(_schedule(k), amsgrad=True, weight_decay=0.1),
    "adamw": lambda k: k.optimizers.AdamW(0.01, beta_1=0.8, global_clipnorm=0.5),
}


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("writer, reader", [(keras, _Minicnn), (_Minicnn, keras)])
def test_training_goes_on(writer, reader, name, suffix, tmp_path):
    model = nested(writer) if name in ("adam", "momentum") else sums(writer)
    model.compile(
        OPTIMIZERS[name](writer),
        writer.losses.SparseCategoricalCrossentropy(from_logits=name not in ("adam", "momentum")),
        metrics=["accuracy", writer.metrics.SparseTopKCategoricalAccuracy(k=1, name="top")],
    )
    x, y = _images(model, n=8), np.arange(8) % 2
    for _ in range(3):
        model.train_on_batch(x, y)
    model.save(tmp_path / f"model{suffix}")
    loaded = reader.load_model(tmp_path / f"model{suffix}")
    assert int(loaded.optimizer.iterations) == 3
    assert float(loaded.optimizer.learning_rate) == pytest.approx(
        float(model.optimizer.learning_rate)
    )
    for _ in range(2):
        mine = model.train_on_batch(x, y, return_dict=True)
        theirs = loaded.train_on_batch(x, y, return_dict=True)
    assert set(mine) == set(theirs) == {"loss", "accuracy", "top"}
    for key in mine:
        assert float(mine[key]) == pytest.approx(float(theirs[key]), rel=1e-4, abs=1e-5)
    _assert_close_after_training(model, loaded)


def _assert_close_after_training(model, loaded):
    x = _images(model)
    np.testing.assert_allclose(
        model.predict(x, verbose=0), loaded.predict(x, verbose=0), rtol=1e-3, atol=1e-4
    )
