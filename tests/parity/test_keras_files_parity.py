"""Model files go both ways between Keras 3 (on its torch backend) and minicnn."""

import io
import os
import zipfile

import pytest

os.environ.setdefault("KERAS_BACKEND", "torch")
pytest.importorskip("torch")
h5py = pytest.importorskip("h5py")
keras = pytest.importorskip("keras")

import numpy as np  # noqa: E402

import minicnn.activations  # noqa: E402
import minicnn.callbacks  # noqa: E402
import minicnn.initializers  # noqa: E402
import minicnn.layers as M  # noqa: E402
import minicnn.losses  # noqa: E402
import minicnn.metrics  # noqa: E402
import minicnn.models  # noqa: E402
import minicnn.optimizers  # noqa: E402
import minicnn.regularizers  # noqa: E402
from minicnn.metrics.base import METRICS  # noqa: E402

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
    models = minicnn.models


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
            L.LayerNormalization(scale=False, epsilon=1e-4),
            L.GroupNormalization(3, center=False),
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


def augmentations(k, brightness=True):
    L = k.layers
    return k.Sequential(
        [
            k.Input(SHAPE),
            L.RandomFlip("horizontal", seed=1),
            L.RandomTranslation(0.1, (-0.2, 0.1), fill_mode="constant"),
            L.RandomRotation(0.1),
            L.RandomZoom(0.1, seed=3),
            *([L.RandomBrightness(0.1, value_range=(0, 1))] if brightness else []),
            L.RandomContrast(0.2),
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


def _built(build, writer, suffix):
    if writer is keras and suffix == ".h5" and build is augmentations:
        # Keras 3.15 fails to write it there: "cannot pickle 'module' object"
        return build(writer, brightness=False)
    return build(writer)


def _shake(model, seed=0):
    """Weights that differ from their starting values."""
    rng = np.random.default_rng(seed)
    model.set_weights([w + rng.uniform(0.0, 0.1, w.shape) for w in model.get_weights()])


def _images(model, seed=1, n=3):
    rng = np.random.default_rng(seed)
    count = len(model.inputs)
    xs = [rng.normal(size=(n, *SHAPE)).astype("float32") for _ in range(count)]
    return xs if count > 1 else xs[0]


def _assert_same_predictions(one, other):
    x = _images(one)
    a, b = one.predict(x, verbose=0), other.predict(x, verbose=0)
    for u, v in zip(
        a if isinstance(a, list) else [a], b if isinstance(b, list) else [b], strict=True
    ):
        np.testing.assert_allclose(u, v, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("build", ARCHITECTURES)
@pytest.mark.parametrize("writer, reader", [(keras, _Minicnn), (_Minicnn, keras)])
def test_predictions_stay(writer, reader, build, suffix, tmp_path):
    model = _built(build, writer, suffix)
    _shake(model)
    model.save(tmp_path / f"model{suffix}")
    loaded = reader.models.load_model(tmp_path / f"model{suffix}")
    _assert_same_predictions(model, loaded)
    assert loaded.name == model.name
    assert loaded.count_params() == model.count_params()
    learning = [tuple(w.shape) for w in loaded.trainable_weights]
    assert sorted(learning) == sorted(tuple(w.shape) for w in model.trainable_weights)


@pytest.mark.parametrize("build", ARCHITECTURES)
@pytest.mark.parametrize("writer, reader", [(keras, _Minicnn), (_Minicnn, keras)])
def test_weights_alone(writer, reader, build, tmp_path):
    model, other = build(writer), build(reader)
    _shake(model)
    model.save_weights(tmp_path / "model.weights.h5")
    other.load_weights(tmp_path / "model.weights.h5")
    _assert_same_predictions(model, other)


@pytest.mark.parametrize("writer, reader", [(keras, _Minicnn), (_Minicnn, keras)])
def test_checkpoints_of_weights(writer, reader, tmp_path):
    """Those of Keras hold the optimizer's variables too, which are passed over."""
    model, other = sums(writer), sums(reader)
    model.compile("adam", "mse")
    path = str(tmp_path / "{epoch}.weights.h5")
    modules = {keras: keras.callbacks, _Minicnn: minicnn.callbacks}
    keep = modules[writer].ModelCheckpoint(path, save_weights_only=True)
    model.fit(_images(model), np.ones((3, 2)), callbacks=[keep], verbose=0)
    other.load_weights(path.format(epoch=1))
    _assert_same_predictions(model, other)
    with h5py.File(path.format(epoch=1)) as file:
        assert ("optimizer" in file) == (writer is keras)


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
    "lion": lambda k: k.optimizers.Lion(0.001, weight_decay=0.1),
    "nadam": lambda k: k.optimizers.Nadam(0.01),
    "nadam_scheduled": lambda k: k.optimizers.Nadam(_schedule(k), use_ema=True, ema_momentum=0.5),
    "adamax": lambda k: k.optimizers.Adamax(0.01, ema_overwrite_frequency=2, use_ema=True),
    "adagrad": lambda k: k.optimizers.Adagrad(0.1, gradient_accumulation_steps=2),
    "adadelta": lambda k: k.optimizers.Adadelta(1.0, loss_scale_factor=8.0),
    "all_of_rmsprop": lambda k: k.optimizers.RMSprop(
        0.01, momentum=0.5, centered=True, use_ema=True, gradient_accumulation_steps=2
    ),
}


@pytest.mark.parametrize(
    "name, suffix", [*((name, ".keras") for name in OPTIMIZERS), ("adam", ".h5")]
)
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
    loaded = reader.models.load_model(tmp_path / f"model{suffix}")
    if reader is keras and suffix == ".h5":
        # Keras 3 cannot go on from the optimizer's state in .h5, even in a file of its own
        assert int(loaded.optimizer.iterations) == 0
        loaded.train_on_batch(x, y)
        return
    assert int(loaded.optimizer.iterations) == int(model.optimizer.iterations) in (1, 3)
    assert float(loaded.optimizer.learning_rate) == pytest.approx(
        float(model.optimizer.learning_rate)
    )
    for _ in range(2):
        mine = model.train_on_batch(x, y, return_dict=True)
        theirs = loaded.train_on_batch(x, y, return_dict=True)
    assert set(mine) == set(theirs) == {"loss", "accuracy", "top"}
    for key in mine:
        assert float(mine[key]) == pytest.approx(float(theirs[key]), rel=1e-4, abs=1e-5)
    x = _images(model)
    np.testing.assert_allclose(
        model.predict(x, verbose=0), loaded.predict(x, verbose=0), rtol=1e-3, atol=1e-4
    )


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_keras_reads_its_own_description(suffix, tmp_path):
    """What comes back from minicnn is, argument for argument, what Keras wrote."""
    for build in ARCHITECTURES:
        model = _built(build, keras, suffix)
        model.save(tmp_path / f"keras{suffix}")
        minicnn.models.load_model(tmp_path / f"keras{suffix}").save(tmp_path / f"back{suffix}")
        back = keras.models.load_model(tmp_path / f"back{suffix}")
        for one in model.layers:
            other = back.get_layer(one.name)
            assert type(one) is type(other)
            if not hasattr(one, "layers"):
                assert _essential(one.get_config()) == _essential(other.get_config())


def _essential(config):
    """Ranges and shapes in one form."""
    config = dict(config)
    for key, value in config.items():
        if key.endswith("_factor") and isinstance(value, float):
            config[key] = [-value, value]
    return {k: list(v) if isinstance(v, tuple) else v for k, v in config.items()}


def test_layers_keras_cannot_predict_with_or_write_to_h5(tmp_path):
    model = _chain(M.RandomCrop(6, 6), M.LayerNormalization(axis=[2, 3]), M.Flatten())
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.layers[0].height == 6 and loaded.layers[1].axis == [2, 3]
    loaded.save(tmp_path / "back.keras")
    back = minicnn.models.load_model(tmp_path / "back.keras")
    _assert_same_predictions(model, back)


def _chain(*layers):
    return minicnn.models.Sequential([M.Input(SHAPE), *layers])


@pytest.mark.parametrize(
    "activation, config",
    [
        (minicnn.activations.ReLU(max_value=2.0, negative_slope=0.1), "ReLU"),
        (minicnn.activations.LeakyReLU(0.05), "LeakyReLU"),
        (minicnn.activations.ELU(0.5), "ELU"),
        (minicnn.activations.Softmax(axis=1), "Softmax"),
        *((name, name) for name in ("relu6", "selu", "silu", "softplus", "softsign", "sigmoid")),
    ],
)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_activations(activation, config, suffix, tmp_path):
    model = _chain(M.Conv2D(2, 3, activation=activation), M.Activation(activation), M.GELU())
    model.save(tmp_path / f"model{suffix}")
    loaded = keras.models.load_model(tmp_path / f"model{suffix}")
    _assert_same_predictions(model, loaded)
    loaded.save(tmp_path / f"back{suffix}")
    _assert_same_predictions(model, minicnn.models.load_model(tmp_path / f"back{suffix}"))


# Keras's sparsemax gives what does not sum to 1: see test_keras_activations_parity.py. It has no
# name for a threshold with arguments.
IN_KERAS = set(minicnn.activations.ACTIVATIONS.names()) - {"Sparsemax", "Threshold"}


@pytest.mark.parametrize("name", sorted(IN_KERAS))
def test_what_activations_say_of_keras(name):
    cls = minicnn.activations.ACTIVATIONS.find(name)
    function = keras.activations.get(cls.keras_name)
    x = np.linspace(-2, 2, 6, dtype="float32").reshape(2, 3)
    expected = keras.ops.convert_to_numpy(function(keras.ops.convert_to_tensor(x)))
    np.testing.assert_allclose(cls()(x), expected, rtol=1e-5, atol=1e-6)
    assert cls.has_keras_layer == hasattr(keras.layers, cls.__name__)


@pytest.mark.parametrize("name", METRICS.names())
def test_what_metrics_say_of_keras(name):
    cls = METRICS.find(name)
    assert cls.in_keras == hasattr(keras.metrics, cls.__name__)


def test_initializers_and_regularizers(tmp_path):
    initializers = [
        "zeros", "ones", minicnn.initializers.Constant(0.3), minicnn.initializers.Identity(),
        minicnn.initializers.RandomNormal(0.1, 0.2, seed=1), "random_uniform",
        minicnn.initializers.TruncatedNormal(seed=2), minicnn.initializers.Orthogonal(gain=2.0),
        minicnn.initializers.VarianceScaling(2.0, "fan_out", "uniform"), "glorot_uniform",
        "glorot_normal", "he_uniform", "he_normal", "lecun_uniform", "lecun_normal",
    ]  # fmt: skip
    penalties = [None, minicnn.regularizers.L1(0.125), minicnn.regularizers.L2(0.25), None]
    layers = [
        M.Dense(4, kernel_initializer=f, kernel_regularizer=penalties[i % 4])
        for i, f in enumerate(initializers)
    ]
    model = minicnn.models.Sequential([M.Input((4,)), *layers])
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    loaded.save(tmp_path / "back.keras")
    back = minicnn.models.load_model(tmp_path / "back.keras")
    for one, middle, other in zip(model.layers, loaded.layers, back.layers, strict=True):
        assert type(middle.kernel_initializer).__name__ == type(one.kernel_initializer).__name__
        assert one.get_config() == other.get_config()


def test_double_precision_and_frozen_layers(tmp_path):
    model = keras.Sequential(
        [
            keras.Input(SHAPE),
            keras.layers.Conv2D(2, 3, dtype="float64", trainable=False),
            keras.layers.BatchNormalization(dtype="float64"),
        ]
    )
    model.save(tmp_path / "model.keras")
    loaded = minicnn.models.load_model(tmp_path / "model.keras")
    assert [w.dtype for w in loaded.weights] == ["float64"] * 6
    assert [w.trainable for w in loaded.weights] == [False, False, True, True, False, False]


def test_half_precision_policy_becomes_single(tmp_path):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, dtype="mixed_float16")])
    model.save(tmp_path / "model.keras")
    assert minicnn.models.load_model(tmp_path / "model.keras").layers[0].dtype == "float32"


def test_a_layer_of_two_models_stays_one(tmp_path):
    inputs = keras.Input((4,))
    shared = keras.layers.Dense(4)
    inner = keras.Model(inputs, shared(inputs), name="inner")
    model = keras.Model(inputs, keras.layers.Dense(2)(inner(shared(inputs))))
    model.save(tmp_path / "model.keras")
    loaded = minicnn.models.load_model(tmp_path / "model.keras")
    x = np.ones((2, 4), "float32")
    expected = model.predict(x, verbose=0)
    np.testing.assert_allclose(loaded.predict(x, verbose=0), expected, rtol=1e-5, atol=1e-6)
    loaded.save(tmp_path / "back.keras")
    back = keras.models.load_model(tmp_path / "back.keras")
    np.testing.assert_allclose(back.predict(x, verbose=0), expected, rtol=1e-5, atol=1e-6)


def test_training_argument_of_a_call(tmp_path):
    inputs = keras.Input(SHAPE)
    base = keras.Sequential([keras.Input(SHAPE), keras.layers.BatchNormalization()], name="base")
    for training in (False, True):
        keras.Model(inputs, base(inputs, training=training)).save(tmp_path / "model.keras")
        loaded = minicnn.models.load_model(tmp_path / "model.keras")
        assert [node.training for node in loaded.graph.nodes] == [training]
        loaded.save(tmp_path / "back.keras")
        assert keras.models.load_model(tmp_path / "back.keras").built
        again = minicnn.models.load_model(tmp_path / "back.keras")
        assert [node.training for node in again.graph.nodes] == [training]


def _save(tmp_path, *layers, shape=SHAPE):
    path = tmp_path / "model.keras"
    keras.Sequential([keras.Input(shape), *layers]).save(path)
    return path


def test_unknown_layers_and_arguments_are_named(tmp_path):
    L = keras.layers
    cases = [
        (
            L.EinsumDense("abcd,de->abce", (None, None, 2)),
            "layer 'EinsumDense'; did you mean 'Dense'",
        ),
        (L.BatchNormalization(renorm=True), "renorm=True, an argument that minicnn's BatchN"),
        (L.Conv2D(2, 3, activation="glu"), "unknown activation 'glu'"),
    ]
    for layer, message in cases:
        path = _save(tmp_path, layer)
        with pytest.raises(ValueError, match="model.keras") as error:
            minicnn.models.load_model(path)
        assert message in str(error.value)


def test_unknown_optimizer_loss_and_metric(tmp_path):
    path = tmp_path / "model.keras"
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    model.compile(keras.optimizers.Lamb(), keras.losses.MeanSquaredError())
    model.save(path)
    with pytest.raises(ValueError, match="no optimizer 'Lamb'.*compile=False"):
        minicnn.models.load_model(path)
    assert minicnn.models.load_model(path, compile=False).loss is None
    model.compile("sgd", keras.losses.Dice())
    model.save(path)
    with pytest.raises(ValueError, match="leaves out Dice: it is for seg.*compile=False"):
        minicnn.models.load_model(path)
    two = keras.Model(model.inputs, [model.outputs[0], keras.layers.Dense(1)(model.outputs[0])])
    two.compile("sgd", "mse")
    two.save(path)
    with pytest.raises(ValueError, match="has 2 outputs; a loss takes one.*compile=False"):
        minicnn.models.load_model(path)
    model.compile("sgd", "mse", metrics=[keras.metrics.MeanIoU(2), "mae"])
    model.save(path)
    with pytest.warns(UserWarning, match="metric is left out.*MeanIoU"):
        loaded = minicnn.models.load_model(path)
    loaded.train_on_batch(np.ones((2, 4), "float32"), np.ones((2, 2), "float32"))
    assert len(loaded.metrics) == 2


def test_seeds_kept_as_variables_are_passed_over(tmp_path):
    """Keras keeps the state of generators in the file on some backends."""
    path = _save(tmp_path, keras.layers.Dropout(0.5), keras.layers.Dense(2))
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    buffer = io.BytesIO(members["model.weights.h5"])
    with h5py.File(buffer, "r+") as file:
        file["layers/dropout/seed_generator/vars/0"] = np.array([1, 2], "uint32")
    members["model.weights.h5"] = buffer.getvalue()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    minicnn.models.load_model(path)
