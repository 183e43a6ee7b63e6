"""Whole models on a GPU: against NumPy, the same twice, and files that go from one to the other."""

import numpy as np
import pytest
from gpu.compare import HostNumbers, close, on_both
from small_problem import CLASSES, equal_weights, problem

from minicnn import Input, Model, backend, layers
from minicnn.mixed_precision import set_global_policy
from minicnn.models import load_model
from minicnn.optimizers import SGD, Adam, RMSprop
from minicnn.optimizers.schedules import ExponentialDecay
from minicnn.training import capture
from minicnn.training.out_of_memory import explained
from minicnn.utils import set_random_seed

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("gpu")]

X, Y = problem(100)


def network(optimizer, dropout=0.0, algorithms=(None, None)):
    """Two convolutions, a branch, and all that is special about training."""
    set_random_seed(0)
    inputs = x = Input((8, 8, CLASSES))
    if dropout:
        x = layers.RandomFlip()(x)
    first, second = algorithms
    x = layers.Conv2D(8, 3, padding="same", activation="relu", algorithm=first)(x)
    x = layers.BatchNormalization()(x)
    branch = layers.Conv2D(8, 3, padding="same", kernel_regularizer="l2", algorithm=second)(x)
    x = layers.Add()([x, branch])
    x = layers.MaxPooling2D(2)(x)
    x = layers.Dropout(dropout)(x)
    x = layers.Flatten()(x)
    model = Model(inputs, layers.Dense(CLASSES, activation="softmax")(x))
    model.compile(optimizer, "sparse_categorical_crossentropy", ["accuracy"])
    return model


def trained(model):
    history = model.fit(X, Y, batch_size=32, epochs=2, validation_split=0.2, verbose=0).history
    return {
        "weights": model.get_weights(),
        "history": np.array(list(history.values())),
        "evaluated": np.array(model.evaluate(X, Y, batch_size=32, verbose=0)),
        "predicted": model.predict(X, batch_size=32, verbose=0),
    }


@pytest.mark.parametrize("algorithms", [(None, None), ("winograd", "im2col")])
@pytest.mark.parametrize(
    "dtype, tolerance, optimizer",
    [
        ("float64", 1e-9, lambda: Adam(0.01, weight_decay=0.01)),
        ("float64", 1e-9, lambda: SGD(0.05, momentum=0.9, global_clipnorm=1.0)),
        ("float32", 1e-4, lambda: SGD(0.05, momentum=0.9)),
    ],
)
def test_training_is_as_on_numpy(dtype, tolerance, optimizer, algorithms, monkeypatch):
    monkeypatch.setattr(backend, "random_generator", HostNumbers)
    monkeypatch.setattr(backend, "_floatx", dtype)
    monkeypatch.setenv("MINICNN_NUM_THREADS", "1")
    monkeypatch.setenv("MINICNN_CUDA_GRAPHS", "0")  # random numbers come from the host
    ours, expected = on_both(lambda: trained(network(optimizer(), 0.2, algorithms)))
    for a, b in zip(ours.pop("weights"), expected.pop("weights"), strict=True):
        close(a, b, tolerance)
    for key in expected:
        close(ours[key], expected[key], tolerance)


OPTIMIZERS = {
    "sgd": lambda: SGD(0.05, momentum=0.9, nesterov=True),
    "rmsprop": lambda: RMSprop(0.01, momentum=0.9, centered=True, clipnorm=1.0),
    "adam": lambda: Adam(ExponentialDecay(0.01, 1, 0.9), amsgrad=True, weight_decay=0.01),
}


@pytest.mark.parametrize("policy", ["float32", "mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_step_as_one_graph_is_the_step(optimizer, policy, monkeypatch):
    """Bit for bit; a step that could not be captured would warn, which is an error here."""
    launches = []
    run = capture._CapturedGraph.run
    monkeypatch.setattr(
        capture._CapturedGraph, "run", lambda *args: (launches.append(1), run(*args))[1]
    )

    def fitted():
        set_global_policy(policy)
        try:
            model = network(OPTIMIZERS[optimizer](), dropout=0.3)
        finally:
            set_global_policy(None)
        history = model.fit(X, Y, batch_size=20, epochs=4, verbose=0).history
        return [*history.values(), *model.get_weights()]

    graphs = fitted()
    assert len(launches) == 4 * 5 - capture.EAGER_RUNS
    monkeypatch.setenv("MINICNN_CUDA_GRAPHS", "0")
    for a, b in zip(graphs, fitted(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_is_as_on_numpy(policy, monkeypatch):
    monkeypatch.setenv("MINICNN_NUM_THREADS", "1")
    set_global_policy(policy)
    try:
        ours, expected = on_both(lambda: trained(network(SGD(0.05))))
    finally:
        set_global_policy(None)
    for a, b in zip(ours["weights"], expected["weights"], strict=True):
        close(a, b, 0.02)


def test_the_same_seed_gives_the_same_weights():
    models, figures = [], []
    for _ in range(2):
        models.append(network("adam", dropout=0.3))
        figures.append(trained(models[-1])["history"])
    assert equal_weights(*models)
    np.testing.assert_array_equal(*figures)


@pytest.mark.parametrize("first, second", [("cupy", "numpy"), ("numpy", "cupy")])
@pytest.mark.parametrize("file", ["model.safetensors", "model.keras"])
def test_a_file_of_the_other_backend(first, second, file, tmp_path):
    if file.endswith(".keras"):
        pytest.importorskip("h5py")
    backend.set_backend(first)
    model = network(SGD(0.05, momentum=0.9))
    model.fit(X, Y, batch_size=32, verbose=0)
    model.save(tmp_path / file)
    saved = model.get_weights()
    predicted = model.predict(X, verbose=0)
    model.train_on_batch(X[:32], Y[:32])
    backend.set_backend(second)
    loaded = load_model(tmp_path / file)
    assert all(type(w.value) is backend.current_module().ndarray for w in loaded.weights)
    assert all(map(np.array_equal, loaded.get_weights(), saved))
    close(loaded.predict(X, verbose=0), predicted, 1e-4)
    loaded.train_on_batch(X[:32], Y[:32])  # with the momentum that the file brought
    for a, b in zip(loaded.get_weights(), model.get_weights(), strict=True):
        close(a, b, 1e-4)


def test_more_memory_than_there_is():
    xp = backend.current_module()
    with pytest.raises(MemoryError, match=r"a batch of 64 .* try batch_size=\d+,"), explained(64):
        xp.empty(1 << 48, "uint8")
