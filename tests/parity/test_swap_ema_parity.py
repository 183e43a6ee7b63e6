"""SwapEMAWeights against Keras's: figures of validation, weights at the end, what is saved."""

import os

import pytest

os.environ.setdefault("KERAS_BACKEND", "torch")
pytest.importorskip("torch")
pytest.importorskip("h5py")
keras = pytest.importorskip("keras")

import numpy as np  # noqa: E402

import minicnn  # noqa: E402

pytestmark = [
    pytest.mark.parity,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # Keras on NumPy 2
]

X = np.random.default_rng(0).normal(size=(16, 5)).astype("float32")
Y = np.random.default_rng(1).normal(size=(16, 2)).astype("float32")


def trained(k, path, swap_on_epoch):
    model = k.Sequential([k.Input((5,)), k.layers.Dense(4, activation="tanh"), k.layers.Dense(2)])
    model.set_weights([np.cos(np.arange(w.size)).reshape(w.shape) for w in model.get_weights()])
    optimizer = k.optimizers.SGD(0.1, momentum=0.9, use_ema=True, ema_momentum=0.8)
    model.compile(optimizer, "mse")
    callbacks = [
        k.callbacks.SwapEMAWeights(swap_on_epoch=swap_on_epoch),
        k.callbacks.ModelCheckpoint(str(path / (k.__name__ + "{epoch}.keras"))),
    ]
    history = model.fit(
        X, Y, batch_size=4, epochs=3, shuffle=False, verbose=0,
        validation_data=(X, Y), callbacks=callbacks,
    ).history  # fmt: skip
    return history, model.get_weights()


@pytest.mark.parametrize("swap_on_epoch", [False, True])
def test_as_in_keras(swap_on_epoch, tmp_path):
    (theirs, their_weights), (ours, our_weights) = (
        trained(k, tmp_path, swap_on_epoch) for k in (keras, minicnn)
    )
    for key in ("loss", "val_loss"):
        np.testing.assert_allclose(ours[key], theirs[key], rtol=1e-5)
    for a, b in zip(our_weights, their_weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    for epoch in (1, 2, 3):
        saved = [
            minicnn.models.load_model(tmp_path / f"{name}{epoch}.keras", compile=False)
            for name in ("minicnn", "keras")
        ]
        for a, b in zip(*(model.get_weights() for model in saved), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
