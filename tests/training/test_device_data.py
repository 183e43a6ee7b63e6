"""Data that fit on the device are copied there once; nothing else crosses until the figures do."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_problem import CLASSES, X, Y, close_weights, network
from strict_backend import StrictArray
from strict_cuda import transfers

from minicnn import Input, Model, Sequential, backend
from minicnn.callbacks import LambdaCallback
from minicnn.layers import (
    Add,
    BatchNormalization,
    Conv2D,
    Dense,
    GlobalAveragePooling2D,
    Reshape,
)
from minicnn.metrics import ConfusionMatrix, Mean, Metric
from minicnn.metrics.base import read_sums
from minicnn.progress import ProgressBar
from minicnn.training import device_data
from minicnn.training.batches import ArrayBatches
from minicnn.training.data_checks import check_finite
from minicnn.training.device_data import Outputs, bytes_to_copy, keep_on_device
from minicnn.utils import set_random_seed, to_categorical

BYTES = (X * 255).astype("uint8")
sizes = st.integers(1, 20)


@pytest.fixture(autouse=True)
def one_shard(monkeypatch):
    """As on a device, also where the test compares with NumPy."""
    monkeypatch.setenv("MINICNN_NUM_THREADS", "1")


@pytest.fixture
def memory(monkeypatch):
    """Call it with the bytes that are free on the device; it is asked whatever the data's size."""
    monkeypatch.setattr(device_data, "PIECE_BYTES", 1)

    def limit(free_bytes):
        monkeypatch.setattr(backend, "device_info", lambda: {"free_bytes": free_bytes})

    return limit


def on_strict(function):
    """What `function` returns on the strict backend, and the transfers it made."""
    backend.set_backend("strict")
    transfers.reset()
    try:
        return function(), (transfers.to_device, transfers.to_host)
    finally:
        backend.set_backend("numpy")


class Given:
    """Batches that come one by one."""

    def __init__(self, *items):
        self.items = items

    def __iter__(self):
        return iter(self.items)


def kept(data, dtype="float32"):
    keep_on_device([data], dtype)
    return data


# What crosses


@settings(max_examples=10)
@given(n=st.integers(1, 40), batch_size=sizes, epochs=st.integers(1, 3), shuffle=st.booleans())
def test_fit(n, batch_size, epochs, shuffle):
    def fit():
        network().fit(
            BYTES[:n], Y[:n], batch_size=batch_size, epochs=epochs, shuffle=shuffle, verbose=0
        )

    _, of_network = on_strict(network)
    _, (up, down) = on_strict(fit)
    assert up - of_network[0] == 2 + epochs * shuffle  # images, labels; each epoch's order
    assert down == epochs  # the figures


@pytest.mark.parametrize("batch_size", [4, 16, 96])
def test_fit_with_weights_and_validation(strict, batch_size):
    model = network(metrics=["accuracy", "f1_score", ConfusionMatrix(CLASSES)])
    strict.reset()
    model.fit(
        X, Y, batch_size=batch_size, epochs=3, sample_weight=np.linspace(0, 2, len(X)),
        class_weight={1: 2.0}, validation_split=0.25, validation_freq=2, verbose=0,
    )  # fmt: skip
    assert strict.to_device == 3 + 3 + 3  # training, validation, an order per epoch
    assert strict.to_host == 3 + 1  # figures of training, and of validation in one epoch of three


@pytest.mark.parametrize("batch_size", [4, 16, 96])
def test_evaluate_and_predict(strict, batch_size):
    model = network()
    strict.reset()
    model.evaluate(X, Y, batch_size=batch_size, verbose=0)
    assert (strict.to_device, strict.to_host) == (2, 1)
    strict.reset()
    model.evaluate(X, Y, batch_size=batch_size, sample_weight=np.ones(len(X)), verbose=0)
    assert (strict.to_device, strict.to_host) == (3, 1)
    strict.reset()
    model.predict(X, batch_size=batch_size, verbose=0)
    assert (strict.to_device, strict.to_host) == (1, 1)


def test_a_callback_that_reads_the_logs_of_a_batch_waits_for_it_once(strict):
    model = network(metrics=["accuracy", "f1_score"])
    strict.reset()
    seen = []
    reads = LambdaCallback(on_train_batch_end=lambda batch, logs: seen.append(dict(logs)))
    model.fit(X, Y, batch_size=24, callbacks=[reads], verbose=0)
    assert len(seen) == strict.to_host == 4  # the last one's figures are those of the epoch


def test_the_speed_shown_is_that_of_finished_steps(strict, monkeypatch):
    figures_read = []
    monkeypatch.setattr(ProgressBar, "end_steps", lambda bar: figures_read.append(strict.to_host))
    model = network()
    strict.reset()
    model.fit(X, Y, epochs=2, validation_split=0.5, verbose=0)
    model.evaluate(X, Y, verbose=0)
    model.predict(X, verbose=0)
    assert figures_read == [1, 3, 5, 6]  # not those of validation, which are 2 and 4


def test_class_weights_of_one_batch(strict):
    model = network()
    strict.reset()
    loss, _ = model.train_on_batch(X, Y, class_weight={0: 0.0, 1: 0.0, 2: 0.0})
    assert loss == 0
    assert (strict.to_device, strict.to_host) == (3, 1)


def test_iterators_copy_batch_by_batch(strict):
    model = network()
    strict.reset()
    model.fit(Given((X[:8], Y[:8]), (X[8:16], Y[8:16]), (X, Y)), epochs=2, verbose=0)
    assert (strict.to_device, strict.to_host) == (3 * 2 * 2, 2)


# What is computed


def both(function, tolerance=1e-5):
    """Run `function` on NumPy and on the device; the models it returns must agree."""
    there, crossed = on_strict(function)
    here = function()
    backend.set_backend("numpy")
    close_weights(here, there, tolerance)
    return here, there, crossed


FITS = {
    "bytes": lambda m: m.fit(BYTES, Y, batch_size=20, epochs=2, verbose=0),
    "float64": lambda m: m.fit(X.astype("float64"), Y[:, None], batch_size=20, verbose=0),
    "weights": lambda m: m.fit(
        X, Y, batch_size=20, epochs=2, class_weight={0: 3.0, 2: 0.5},
        sample_weight=np.linspace(0, 2, len(X)), verbose=0,
    ),
    "class weights of an iterator": lambda m: m.fit(
        Given((X[:20], Y[:20], np.linspace(0, 2, 20)), (X[20:50], Y[20:50])),
        class_weight={0: 3.0, 2: 0.5}, verbose=0,
    ),
    "validation": lambda m: m.fit(X, Y, epochs=2, validation_split=0.3, verbose=0),
    "in order": lambda m: m.fit(
        X, Y, batch_size=24, shuffle=False, steps_per_epoch=2, epochs=2, verbose=0
    ),
}  # fmt: skip


@pytest.mark.cpu_only("compares NumPy with the stand-in for CuPy")
@pytest.mark.parametrize("fit", FITS.values(), ids=FITS.keys())
@pytest.mark.parametrize("free_bytes", [math.inf, 0], ids=["fits", "does not fit"])
def test_the_numbers_are_those_of_numpy(fit, free_bytes, memory):
    memory(free_bytes)
    histories = []

    def train():
        model = network(extra=[BatchNormalization()])
        histories.append(fit(model).history)
        return model

    both(train)
    assert histories[0].keys() == histories[1].keys()
    for name, values in histories[0].items():
        np.testing.assert_allclose(values, histories[1][name], rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore:the data ran out")
@given(n=sizes, batch_size=sizes, steps=st.none() | sizes, seed=st.integers(0, 99))
def test_the_order_is_that_of_the_host(n, batch_size, steps, seed):
    x = np.arange(n, dtype="uint8")[:, None]

    def epochs():
        set_random_seed(seed)
        data = kept(ArrayBatches([x, x], x, x[:, 0], batch_size, shuffle=True, steps=steps))
        parts = [part for _ in range(2) for part in data]
        return [[backend.to_numpy(a).ravel().tolist() for a in (*xs, y, w)] for xs, y, w in parts]

    there, _ = on_strict(epochs)
    assert there == epochs()


def test_several_inputs_and_outputs():
    def model():
        set_random_seed(0)
        a, b = Input((8, 8, CLASSES)), Input((8, 8, CLASSES))
        both_images = GlobalAveragePooling2D()(Conv2D(4, 3)(Add()([a, b])))
        return Model([a, b], [Dense(CLASSES)(both_images), both_images])

    def predict():
        return model().predict([BYTES, X], batch_size=10, verbose=0)

    there, (_, down) = on_strict(predict)
    assert down == 2  # outputs
    for a, b in zip(there, predict(), strict=True):
        assert a.dtype == np.float32
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_shapes_are_checked_before_anything_is_copied(strict):
    model = network()
    strict.reset()
    with pytest.raises(ValueError, match=r"got \(96, 8, 8, 1, 3\)"):
        model.predict(X[:, :, :, None], batch_size=4, verbose=0)
    with pytest.raises(ValueError, match="labels lie between 0 and 7"):
        model.fit(X, np.where(Y == 0, 7, 0), verbose=0)
    assert (strict.to_device, strict.to_host) == (0, 0)


# Where the data lie


@pytest.mark.parametrize(
    ("dtype", "on_device"),
    [("uint8", "uint8"), ("bool", "bool"), ("float16", "float16"), ("int32", "int32"),
     ("float32", "float32"), (">f4", "float32"), ("float64", "float32"), ("int64", "float32")],
)  # fmt: skip
def test_inputs_are_no_wider_there_than_the_model(strict, dtype, on_device):
    x = np.arange(12).reshape(6, 2).astype(dtype)
    y = np.arange(6, dtype="float64")
    data = kept(ArrayBatches(x, y, y, batch_size=4))
    assert [a.dtype for a in (*data.xs, data.y, data.sample_weight)] == [
        on_device, "float64", "float32",
    ]  # fmt: skip
    np.testing.assert_array_equal(data.xs[0].get(), x)
    (network_input,) = network()._prepare_inputs([kept(ArrayBatches(BYTES)).xs[0][:4]])
    assert network_input.dtype == np.float32 and isinstance(network_input, StrictArray)


def test_half_of_the_free_memory_is_for_data(strict, memory):
    x, y = np.zeros((10, 6), "float64"), np.zeros(10, "int16")
    size = 10 * 6 * 4 + 10 * 2 + 10 * 4  # inputs and weights as float32

    def data():
        return ArrayBatches(x, y, y)

    assert bytes_to_copy(data(), "float32") == size
    memory(2 * size)
    assert isinstance(kept(data()).xs[0], StrictArray)
    memory(2 * size - 1)
    there = kept(data())
    assert [type(a) for a in (*there.xs, there.y, there.sample_weight)] == [np.ndarray] * 3

    for free, expected in ((4 * size, [True, True]), (4 * size - 1, [True, False])):
        memory(free)
        pair = [data(), None, iter([]), data()]
        keep_on_device(pair, "float32")
        assert [isinstance(d.y, StrictArray) for d in (pair[0], pair[-1])] == expected

    present = ArrayBatches(backend.asarray(x), y)
    assert bytes_to_copy(present, "float32") == 20  # x is there
    memory(40)
    assert isinstance(kept(present).y, StrictArray)


def test_little_data_are_copied_without_asking(strict, monkeypatch):
    monkeypatch.setattr(backend, "device_info", lambda: pytest.fail("asked"))
    assert isinstance(kept(ArrayBatches(X, Y)).y, StrictArray)


@pytest.mark.cpu_only("about arrays that stay on the host")
def test_on_the_host_nothing_moves():
    data = kept(ArrayBatches(X, Y))
    assert data.xs[0] is X and data.y is Y


@given(n=sizes, width=st.integers(0, 5), piece=st.integers(1, 200))
def test_large_arrays_go_in_pieces(n, width, piece):
    x = np.arange(n * width, dtype="float64").reshape(width, n).T  # not contiguous

    def copy():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(device_data, "PIECE_BYTES", piece)
            return kept(ArrayBatches(x)).xs[0]._data

    copied, (up, _) = on_strict(copy)
    np.testing.assert_array_equal(copied, x)
    assert copied.dtype == np.float32
    rows = max(1, piece // max(1, 4 * width))
    assert up == -(-n // rows)


def test_data_beyond_the_last_step_stay_behind(strict):
    data = kept(ArrayBatches(X, Y, batch_size=10, steps=2))
    assert data.xs[0].shape[0] == data.y.shape[0] == 20
    assert [len(x) for (x,), _, _ in data] == [10, 10]
    shuffled = kept(ArrayBatches(X, Y, batch_size=10, steps=2, shuffle=True))
    assert shuffled.xs[0].shape[0] == len(X)


def test_data_of_the_user_on_the_device(strict):
    x, y = backend.asarray(X), backend.asarray(Y)
    model = network()
    strict.reset()
    model.fit(x, y, batch_size=20, epochs=2, verbose=0)
    assert strict.to_device == 2  # the orders
    assert strict.to_host == 2 + 2  # NaN?, labels in range?; the figures
    mixed = list(ArrayBatches(x, Y, batch_size=20, shuffle=True))
    for (a,), b, _ in mixed:
        np.testing.assert_array_equal(a.get().mean(axis=(1, 2)).argmax(1), b)


@pytest.mark.parametrize("row", [0, 7, 40])
def test_numbers_on_the_device_that_are_not_finite_are_found(strict, row):
    x = X[:41].copy()
    x[row, 2, 2, 1] = np.nan
    with pytest.raises(ValueError, match=f"image {row} of x holds NaN or infinity"):
        check_finite(backend.asarray(x))
    with pytest.raises(ValueError, match=f"entry {row} of y holds NaN or infinity"):
        check_finite(backend.asarray(x[:, 2, 2, 1]), "y")
    check_finite(backend.asarray(X[:0]))


# What comes back


@settings(max_examples=20)
@given(
    parts=st.lists(st.integers(1, 4), min_size=1, max_size=8),
    waiting=st.integers(1, 200),
)
def test_outputs_wait_for_each_other(parts, waiting):
    ends = np.cumsum([0, *parts])
    rows = [np.arange(a, b, dtype="float32") for a, b in zip(ends, ends[1:], strict=False)]

    def collect():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(device_data, "WAITING_BYTES", waiting)
            outputs = Outputs()
            for r in rows:
                r = backend.asarray(r)
                outputs.add([r, -r])
            return outputs.whole()

    (there, minus), (_, down) = on_strict(collect)
    copies, bytes_waiting = 0, 0
    for part in parts:
        bytes_waiting += 2 * 4 * part
        if bytes_waiting >= waiting:
            copies, bytes_waiting = copies + 1, 0
    assert down == 2 * (copies + (bytes_waiting > 0))
    for values in (collect(), (there, minus)):
        assert all(type(v) is np.ndarray for v in values)
        np.testing.assert_array_equal(values[0], np.arange(ends[-1]))
        np.testing.assert_array_equal(values[1], -np.arange(ends[-1]))


def test_predictions_are_no_view_of_the_images():
    x = np.ones((2, 3), "float32")
    predicted = Sequential([Input((3,)), Reshape((3, 1))]).predict(x, verbose=0)
    predicted[...] = 0
    assert x.all()


class Extremes(Metric):
    """Sums of several shapes and kinds."""

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.add("columns", y_pred.sum(axis=0))
        self.add("right", (y_pred > 0).sum())
        self.add("batches", 1)

    def result(self):
        return [self.total(k).tolist() for k in ("columns", "right", "batches", "none")]


def test_sums_are_read_together_and_afresh_after_an_update(strict):
    y = np.array([[1.0, -2.0, 3.0], [4.0, 5.0, 6.0]], "float32")
    metrics = [Extremes(), Mean()]
    for count in (1, 2):
        metrics[0].update_state(None, backend.asarray(y))
        metrics[1].update_state(backend.asarray(y))
        strict.reset()
        read_sums(metrics)
        assert strict.to_host == 1
        expected = [[5.0 * count, 3.0 * count, 9.0 * count], 5.0 * count, float(count), 0.0]
        assert metrics[0].result() == expected
        assert metrics[1].result() == pytest.approx(17 / 6)
        read_sums(metrics)
        assert strict.to_host == 1
    metrics[0].reset_state()
    assert metrics[0].result() == [0.0] * 4


def test_one_hot_targets_stay_on_the_device(strict):
    model = network(loss="categorical_crossentropy", metrics=["accuracy", "precision", "mse"])
    strict.reset()
    model.fit(BYTES, to_categorical(Y), batch_size=7, verbose=0)
    assert (strict.to_device, strict.to_host) == (3, 1)
