"""Binary cross-entropy against Keras's own, on its torch backend: values, gradients, training."""

import os

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "torch")
torch = pytest.importorskip("torch")
keras = pytest.importorskip("keras")

import minicnn  # noqa: E402
from minicnn import layers, losses  # noqa: E402

pytestmark = [
    pytest.mark.parity,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("from_logits", [False, True])
@pytest.mark.parametrize(("shape", "axis"), [((6, 1), -1), ((6, 5), -1), ((3, 4, 5), 1)])
def test_values_and_gradients(shape, axis, from_logits, smoothing, weighted, reduction):
    rng = np.random.default_rng(0)
    y_pred = rng.normal(size=shape) * 4 if from_logits else rng.uniform(size=shape)
    y_pred.reshape(-1)[:2] = (40, -40) if from_logits else (1, 0)  # clipped at both ends
    y_pred = y_pred.astype("float32")
    y_true = rng.integers(0, 2, shape).astype("float32")
    weights = rng.uniform(size=shape[0]).astype("float32") if weighted else None
    arguments = {
        "from_logits": from_logits, "label_smoothing": smoothing, "axis": axis,
        "reduction": reduction,
    }  # fmt: skip
    predictions = torch.tensor(y_pred, requires_grad=True)
    spread = weights
    if weighted and len(shape) == 3:  # which Keras wants one for each loss
        spread = np.repeat(weights[:, None], 5, axis=1)
    expected = keras.losses.BinaryCrossentropy(**arguments)(y_true, predictions, spread)
    expected.backward()
    loss = losses.BinaryCrossentropy(**arguments)
    value, state = loss.forward(y_true, y_pred, weights)
    assert value == pytest.approx(expected.item(), rel=1e-5)
    np.testing.assert_allclose(loss.backward(state), predictions.grad.numpy(), rtol=1e-5, atol=1e-6)
    each = keras.losses.binary_crossentropy(y_true, y_pred, from_logits, smoothing, axis)
    ours = losses.binary_crossentropy(y_true, y_pred, from_logits, smoothing, axis)
    np.testing.assert_allclose(ours, each.numpy(), rtol=1e-5)


@pytest.mark.parametrize("closing", ["sigmoid", "softmax", None])
def test_training(closing):
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(32, 4)).astype("float32"), rng.integers(0, 2, (32, 3))
    kernel, bias = rng.normal(size=(4, 3)).astype("float32"), np.zeros(3, "float32")

    def trained(library):
        model = library.Sequential(
            [library.layers.Input((4,)), library.layers.Dense(3, activation=closing)]
        )
        model.set_weights([kernel, bias])
        loss = library.losses.BinaryCrossentropy(from_logits=closing is None)
        model.compile(library.optimizers.SGD(0.5), loss, metrics=["binary_accuracy", "bce"])
        history = model.fit(x, y, epochs=3, batch_size=8, shuffle=False, verbose=0).history
        return history, model.get_weights()

    (ours, our_weights), (theirs, their_weights) = trained(minicnn), trained(keras)
    np.testing.assert_allclose(ours["loss"], theirs["loss"], rtol=1e-5)
    np.testing.assert_allclose(ours["binary_accuracy"], theirs["binary_accuracy"], rtol=1e-6)
    for a, b in zip(our_weights, their_weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("ending", [".keras", ".h5", ".safetensors"])
def test_files_know_the_loss(tmp_path, ending):
    model = minicnn.Sequential([layers.Input((4,)), layers.Dense(1, activation="sigmoid")])
    model.compile("sgd", losses.BinaryCrossentropy(label_smoothing=0.25), metrics=["accuracy"])
    model.fit(np.ones((4, 4)), np.ones(4), verbose=0)
    path = tmp_path / f"model{ending}"
    model.save(path)
    loss = minicnn.models.load_model(path).loss
    assert type(loss) is losses.BinaryCrossentropy and loss.label_smoothing == 0.25
    if ending != ".safetensors":
        assert keras.models.load_model(path).loss.label_smoothing == 0.25
