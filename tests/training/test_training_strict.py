"""Whole models on an array library that refuses all silent mixing with NumPy, as CuPy does."""

import numpy as np
import pytest
from strict_backend import StrictArray

from minicnn import Input, Model, Sequential, layers
from minicnn.callbacks import EarlyStopping, ModelCheckpoint, ReduceLROnPlateau
from minicnn.layers import (
    Activation,
    BatchNormalization,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAveragePooling2D,
    MaxPooling2D,
)
from minicnn.models import load_model
from minicnn.optimizers import SGD, Adam
from minicnn.training import step
from minicnn.utils import set_random_seed, to_categorical

CLASSES = 4

EVERY_LAYER = [
    lambda: layers.RandomFlip(),
    lambda: layers.RandomTranslation(0.1, 0.1),
    lambda: layers.RandomRotation(0.1),
    lambda: layers.RandomZoom(0.1),
    lambda: layers.RandomBrightness(0.1, value_range=(0, 1)),
    lambda: layers.RandomContrast(0.1),
    lambda: layers.RandomShear(0.1, 0.1),
    lambda: layers.RandomPerspective(scale=0.2),
    lambda: layers.RandomErasing(value_range=(0, 1)),
    lambda: layers.RandomColorJitter((0, 1), 0.1, 0.1, 0.5, 0.1),
    lambda: layers.RandomColorDegeneration(0.2, (0, 1)),
    lambda: layers.RandomGrayscale(),
    lambda: layers.RandomHue(0.2, (0, 1)),
    lambda: layers.RandomSaturation(0.5, (0, 1)),
    lambda: layers.RandomInvert(0.1, (0, 1)),
    lambda: layers.RandomPosterization(8, (0, 1)),
    lambda: layers.Solarization(0.1, 0.9, (0, 1)),
    lambda: layers.RandomSharpness(0.5, (0, 1)),
    lambda: layers.RandomGaussianBlur(value_range=(0, 1)),
    lambda: layers.Pipeline([layers.AutoContrast((0, 1)), layers.Equalization((0, 1))]),
    lambda: layers.AutoContrast((0, 1)),
    lambda: layers.Equalization((0, 1)),
    lambda: layers.RandAugment((0, 1), 1),
    lambda: layers.AugMix((0, 1), 1, 1),
    lambda: layers.RandomCrop(14, 14),
    lambda: layers.Rescaling(2.0, -1.0),
    lambda: layers.ZeroPadding2D(1),
    lambda: Conv2D(8, 3, padding="same", activation="relu"),
    lambda: Conv2D(8, 3, strides=2, padding="same", groups=2, kernel_regularizer="l2"),
    lambda: BatchNormalization(),
    lambda: Conv2D(8, 3, dilation_rate=2, padding="same", activation="gelu"),
    lambda: layers.ReLU(),
    lambda: layers.DepthwiseConv2D(3, padding="same"),
    lambda: layers.LeakyReLU(),
    lambda: layers.SeparableConv2D(8, 3, padding="same"),
    lambda: layers.ELU(),
    lambda: layers.LayerNormalization(),
    lambda: layers.GroupNormalization(4),
    lambda: layers.GELU(),
    lambda: MaxPooling2D(2),
    lambda: layers.AveragePooling2D(2, padding="same"),
    lambda: Dropout(0.1),
    lambda: layers.Reshape((-1, 8)),
    lambda: layers.Softmax(),
    lambda: layers.Reshape((2, 2, 8)),
    lambda: layers.Identity(),
    lambda: layers.ActivityRegularization(0.01, 0.02),
    lambda: layers.UpSampling2D(interpolation="bilinear"),
    lambda: layers.Cropping2D(1),
    lambda: layers.Conv2DTranspose(8, 3, strides=2, kernel_constraint="max_norm"),
    lambda: layers.AdaptiveMaxPooling2D(4),
    lambda: layers.AdaptiveAveragePooling2D(3),
    lambda: layers.PReLU(shared_axes=[1, 2]),
    lambda: layers.Permute((2, 1, 3)),
    lambda: layers.Normalization(),
    lambda: layers.Resizing(4, 5, "bicubic"),
    lambda: layers.CenterCrop(2, 2),
    lambda: layers.SpatialDropout2D(0.1),
    lambda: layers.GaussianDropout(0.1),
    lambda: layers.GaussianNoise(0.1),
    lambda: layers.AlphaDropout(0.1),
    lambda: layers.UnitNormalization(),
]


def problem(n=24, seed=0):
    rng = np.random.default_rng(seed)
    return rng.random((n, 16, 16, 3), "float32"), rng.integers(0, CLASSES, n)


def everything():
    set_random_seed(0)
    x = tensor = Input((16, 16, 3))
    for make in EVERY_LAYER:
        tensor = make()(tensor)
    merged = layers.Concatenate()(
        [layers.Add()([tensor, tensor]), layers.Multiply()([tensor, tensor])]
        + [layers.Average()([tensor, tensor]), layers.Subtract()([tensor, tensor])]
        + [layers.Maximum()([tensor, tensor]), layers.Minimum()([tensor, tensor])]
    )
    average = GlobalAveragePooling2D()(merged)
    parts = [
        Flatten()(layers.RepeatVector(2)(average)),
        layers.CategoryEncoding(3)(average),
        layers.GlobalMaxPooling2D()(merged),
        Flatten()(merged),
    ]
    head = Sequential([Dense(8, activation="tanh"), Dense(CLASSES, activation="softmax")])
    return Model(x, head(layers.Concatenate()(parts)))


def test_every_kind_of_layer_in_one_model(strict):
    model = everything()
    used = {type(la).__name__ for la in (*model.layers, *model.layers[-1].layers)}
    in_no_model = {"Model", "Functional", "Activation", "MixUp", "CutMix", *_aliases()}
    assert used >= {*layers.LAYERS.names()} - in_no_model
    model.compile("adam", "sparse_categorical_crossentropy", ["accuracy"])
    x, y = problem()
    history = model.fit(x, y, batch_size=8, epochs=2, validation_split=0.25, verbose=0).history
    assert all(np.isfinite(v).all() for v in history.values())
    assert all(isinstance(w.value, StrictArray) for w in model.weights)
    loss, accuracy = model.evaluate(x, y, verbose=0)
    assert np.isfinite(loss) and 0 <= accuracy <= 1
    predicted = model.predict(x, verbose=0)
    assert type(predicted) is np.ndarray and predicted.dtype == np.float32
    np.testing.assert_allclose(predicted.sum(1), 1, rtol=1e-5)


def _aliases():
    names = layers.LAYERS.names()
    return [n for n in names if layers.LAYERS.find(n).__name__ != n or not hasattr(layers, n)]


def network(optimizer, **compiled):
    set_random_seed(0)
    model = Sequential(
        [
            Input((16, 16, 3)),
            layers.RandomFlip(),
            layers.RandomRotation(0.05),
            Conv2D(4, 3, activation="relu", kernel_regularizer="l2"),
            BatchNormalization(),
            MaxPooling2D(2),
            Dropout(0.2),
            Flatten(),
            Dense(CLASSES),
            Activation("softmax"),
        ]
    )
    compiled = {"loss": "sparse_categorical_crossentropy", "metrics": ["accuracy"], **compiled}
    model.compile(optimizer, **compiled)
    return model


OPTIMIZERS = {
    "sgd": lambda: SGD(0.1, momentum=0.9, nesterov=True),
    "clipnorm": lambda: SGD(0.1, clipnorm=1.0),
    "global_clipnorm": lambda: Adam(global_clipnorm=1.0),
    "rmsprop": lambda: "rmsprop",
    "adam": lambda: Adam(weight_decay=1e-4),
    "adamw": lambda: "adamw",
}


@pytest.mark.parametrize("optimizer", list(OPTIMIZERS))
def test_a_training_step_copies_nothing_but_its_batch(strict, optimizer):
    model = network(OPTIMIZERS[optimizer]())
    x, y = problem()
    model.train_on_batch(x, y)
    prepared = model._prepare(([x], y, None))
    strict.reset()
    step.train_step(model, *prepared)
    assert (strict.to_device, strict.to_host) == (0, 0)
    step.test_step(model, *prepared)
    assert (strict.to_device, strict.to_host) == (0, 0)
    model._prepare(([x], y, np.ones(len(x))))
    assert (strict.to_device, strict.to_host) == (3, 0)  # images, labels, weights


@pytest.mark.parametrize("steps", [1, 2, 8])
def test_an_epoch_copies_the_same_whatever_its_steps(strict, steps):
    model = network("rmsprop", metrics=["accuracy", "precision", "f1_score"])
    x, y = problem(8 * steps)
    strict.reset()
    model.fit(x, y, batch_size=8, verbose=0)
    assert (strict.to_device, strict.to_host) == (3, 1)  # images, labels, order; the figures


@pytest.mark.parametrize(
    "metrics",
    [["accuracy", "sparse_top_k_categorical_accuracy"], ["precision", "recall", "f1_score"]],
)
def test_metrics_and_one_hot_targets(strict, metrics):
    sparse = metrics[0] == "accuracy"
    loss = "sparse_categorical_crossentropy" if sparse else "categorical_crossentropy"
    model = network("adam", loss=loss, metrics=metrics)
    x, y = problem()
    y = y if sparse else to_categorical(y, CLASSES)
    model.fit(x, y, class_weight={0: 2.0}, sample_weight=np.ones(len(x)), verbose=0)
    results = model.evaluate(x, y, verbose=0, return_dict=True)
    assert set(results) == {"loss", *metrics}


def test_callbacks_and_files(strict, tmp_path):
    model = network("adam")
    x, y = problem()
    path = tmp_path / "best.safetensors"
    callbacks = [
        EarlyStopping(patience=1, restore_best_weights=True),
        ReduceLROnPlateau(patience=1),
        ModelCheckpoint(path, save_best_only=True),
    ]
    model.fit(x, y, epochs=3, validation_split=0.25, callbacks=callbacks, verbose=0)
    model.save(tmp_path / "m.safetensors")
    again = load_model(tmp_path / "m.safetensors")
    assert isinstance(again.weights[0].value, StrictArray) and path.exists()
    np.testing.assert_array_equal(model.predict(x, verbose=0), again.predict(x, verbose=0))
    again.train_on_batch(x, y)


def test_the_numbers_are_those_of_numpy(strict, monkeypatch):
    from minicnn import backend

    monkeypatch.setenv("MINICNN_NUM_THREADS", "1")
    x, y = problem()
    results = []
    for name in ("strict", "numpy"):
        backend.set_backend(name)
        model = network("rmsprop")
        model.fit(x, y, epochs=2, batch_size=8, verbose=0)
        results.append((model.get_weights(), model.predict(x, verbose=0)))
    for a, b in zip(*(w for w, _ in results), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(results[0][1], results[1][1], rtol=1e-4, atol=1e-5)
