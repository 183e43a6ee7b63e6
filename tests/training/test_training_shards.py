"""Training over shards: the same bits each time, the same sums for any number of threads."""

import numpy as np
import pytest
from optimizer_cases import Recorder
from small_problem import CLASSES, X, Y, close_weights, equal_weights, network
from threadpoolctl import threadpool_info, threadpool_limits

from minicnn import Input, Sequential
from minicnn.layers import (
    Activation,
    BatchNormalization,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    Layer,
    MaxPooling2D,
)
from minicnn.losses import SparseCategoricalCrossentropy
from minicnn.models import steps
from minicnn.optimizers import SGD
from minicnn.parallel import threads as parallel_threads
from minicnn.training.step import train_step
from minicnn.utils import set_random_seed

pytestmark = pytest.mark.cpu_only("about threads of the CPU")


def varied():
    return network(extra=[BatchNormalization(), Dropout(0.3), Conv2D(4, 3, activation="relu")])


@pytest.mark.parametrize("threads", [1, 2, 3, 4])
@pytest.mark.parametrize("chunk_bytes", [1, 1 << 22])
def test_three_steps_twice_give_the_same_bits(monkeypatch, threads, chunk_bytes):
    monkeypatch.setenv("MINICNN_NUM_THREADS", str(threads))
    monkeypatch.setattr(steps, "CHUNK_BYTES", chunk_bytes)
    models = []
    for _ in range(2):
        model = network(
            extra=[MaxPooling2D(2), Conv2D(8, 3, algorithm="winograd"), BatchNormalization(),
                   Dropout(0.3)]
        )  # fmt: skip
        set_random_seed(3)
        model.fit(X, Y, batch_size=40, verbose=0)  # 40, 40 and 16 images
        models.append(model)
    assert models[0].optimizer.iterations == 3 and equal_weights(*models)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_same_seed_and_threads_give_the_same_bits(monkeypatch, threads):
    monkeypatch.setenv("MINICNN_NUM_THREADS", str(threads))
    a, b = varied(), varied()
    results = []
    for model in (a, b):
        set_random_seed(5)
        results.append(model.fit(X, Y, epochs=2, validation_split=0.2, verbose=0).history)
    assert results[0] == results[1] and equal_weights(a, b)
    np.testing.assert_array_equal(a.predict(X, verbose=0), b.predict(X, verbose=0))


def test_the_number_of_threads_changes_only_the_rounding(monkeypatch):
    """BatchNormalization across shards has the statistics of the whole batch."""
    models = []
    for threads in (1, 2, 3, 4):
        monkeypatch.setenv("MINICNN_NUM_THREADS", str(threads))
        model = network(
            optimizer=SGD(0.05, momentum=0.9),
            extra=[BatchNormalization(momentum=0.8), Conv2D(4, 3), BatchNormalization()],
        )
        loss = model.fit(X, Y, batch_size=48, epochs=3, shuffle=False, verbose=0).history["loss"]
        models.append((model, loss, model.predict(X, verbose=0)))
    first, loss, predicted = models[0]
    for model, other_loss, other_predicted in models[1:]:
        close_weights(model, first, 1e-4)
        np.testing.assert_allclose(other_loss, loss, rtol=1e-5)
        np.testing.assert_allclose(other_predicted, predicted, rtol=1e-4, atol=1e-5)


def test_batch_statistics_and_gradients_across_shards_in_float64(monkeypatch):
    def gradients(threads):
        monkeypatch.setenv("MINICNN_NUM_THREADS", str(threads))
        set_random_seed(0)
        model = Sequential(
            [Input((8, 8, 3), dtype="float64"), Conv2D(4, 3, dtype="float64"),
             BatchNormalization(dtype="float64"), Activation("tanh", dtype="float64"),
             Flatten(), Dense(CLASSES, dtype="float64")], dtype="float64",
        )  # fmt: skip
        model.compile(Recorder(), SparseCategoricalCrossentropy(from_logits=True))
        recorded = []
        model._record = lambda loss, y, y_pred, *_: recorded.extend([loss, y_pred])
        train_step(model, *model._prepare(([X[:50]], Y[:50], np.linspace(0, 2, 50))))
        found = model.optimizer.gradients
        recorded += [found[w] for w in model.trainable_weights]
        assert len(recorded) == len(found) + 2
        return [*recorded, *(w.value for w in model.non_trainable_weights)]  # moving statistics

    whole = gradients(1)
    for threads in (2, 3, 4):
        for a, b in zip(gradients(threads), whole, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def test_dropout_differs_from_shard_to_shard_and_step_to_step(monkeypatch):
    monkeypatch.setenv("MINICNN_NUM_THREADS", "2")
    set_random_seed(0)
    seen = []

    class Look(Layer):
        def forward(self, x, ctx):
            if ctx.training:
                seen.append((ctx.comm.rank, x.copy()))
            return x

        def backward(self, dy, ctx):
            return dy

    model = Sequential([Input((50,)), Dropout(0.5), Look(), Dense(1)])
    model.compile("sgd", "mse")
    model.fit(np.ones((32, 50)), np.ones(32), batch_size=16, verbose=0)
    masks = [m for _, m in sorted(seen, key=lambda s: s[0])]
    assert len(masks) == 4
    for i in range(4):
        for j in range(i):
            assert not np.array_equal(masks[i], masks[j])


def test_a_seed_governs_the_next_fit_of_a_model_that_has_trained():
    model = Sequential([Input((5,)), Dense(5), Dropout(0.5), Dense(1)])
    model.compile("sgd", "mse")
    start, losses = model.get_weights(), []
    for _ in range(2):
        model.set_weights(start)
        set_random_seed(1)
        history = model.fit(np.ones((32, 5)), np.ones(32), epochs=2, verbose=0)
        losses.append(history.history["loss"])
    assert losses[0] == losses[1]


class TwoBiases(Layer):
    """y = x + a + b: the gradients of both are one array."""

    def build(self, input_shape):
        self.a = self.add_weight("a", (input_shape[-1],), "zeros")
        self.b = self.add_weight("b", (input_shape[-1],), "zeros")

    def forward(self, x, ctx):
        return x + self.a.value + self.b.value

    def backward(self, dy, ctx):
        total = dy.sum(0)
        ctx.add_gradient(self.a, total)
        ctx.add_gradient(self.b, total)
        return dy


def test_two_weights_may_share_one_gradient(monkeypatch):
    steps = []
    for threads in "12":
        monkeypatch.setenv("MINICNN_NUM_THREADS", threads)
        model = Sequential([Input((3,)), TwoBiases()])
        model.compile(SGD(1.0), "mse")
        model.train_on_batch(np.arange(96).reshape(32, 3) / 96, np.zeros((32, 3)))
        steps.append(model.get_weights())
    np.testing.assert_allclose(steps[0], steps[1], rtol=1e-5)


def blas_threads():
    return [i["num_threads"] for i in threadpool_info() if i["user_api"] == "blas"]


class Watch(Layer):
    """Notes down the number of BLAS threads, and may fail."""

    def __init__(self, fail_in=None, **kwargs):
        super().__init__(**kwargs)
        self.seen, self.fail_in = [], fail_in

    def compute_output_shape(self, input_shape):
        return input_shape

    def forward(self, x, ctx):
        self.seen += blas_threads()
        if self.fail_in == "forward":
            raise ArithmeticError("forward failed")
        return x

    def backward(self, dy, ctx):
        self.seen += blas_threads()
        if self.fail_in == "backward":
            raise ArithmeticError("backward failed")
        return dy


@pytest.fixture(params=[1, 2, 3, 4])
def threads_set(request, monkeypatch):
    monkeypatch.setenv("MINICNN_NUM_THREADS", str(request.param))


@pytest.fixture(params=[None, 2])
def limit(request):
    """As many BLAS threads as there are cores, or as the user said."""
    if request.param is None:
        yield blas_threads()
        return
    with threadpool_limits(request.param, user_api="blas"):
        yield blas_threads()


USES = {
    "fit": lambda model: model.fit(X, Y, validation_split=0.2, verbose=0),
    "evaluate": lambda model: model.evaluate(X, Y, verbose=0),
    "predict": lambda model: model.predict(X, verbose=0),
    "train_on_batch": lambda model: model.train_on_batch(X, Y),
    "test_on_batch": lambda model: model.test_on_batch(X, Y),
    "predict_on_batch": lambda model: model.predict_on_batch(X),
}


@pytest.mark.parametrize("use", USES)
def test_blas_has_one_thread_in_a_step_and_its_own_number_afterwards(threads_set, limit, use):
    watch = Watch()
    model = network(extra=[watch])
    USES[use](model)
    assert watch.seen and set(watch.seen) == {1}
    assert blas_threads() == limit


@pytest.mark.parametrize(("use", "fail_in"), [(u, "forward") for u in USES] + [("fit", "backward")])
def test_an_error_gives_blas_its_threads_back(threads_set, limit, use, fail_in):
    model = network(extra=[Watch(fail_in)])
    with pytest.raises(ArithmeticError, match=f"{fail_in} failed"):
        USES[use](model)
    assert blas_threads() == limit


def test_large_gradients_are_summed_on_several_threads(monkeypatch):
    """To the bits that one thread gives."""

    def gradients(numbers_per_thread):
        monkeypatch.setattr(parallel_threads, "_MIN_ELEMENTS_PER_THREAD", numbers_per_thread)
        set_random_seed(0)
        model = Sequential([Input((8, 8, 3)), Flatten(), Dense(50), Dense(CLASSES)])
        model.compile(Recorder(), SparseCategoricalCrossentropy(from_logits=True))
        train_step(model, *model._prepare(([X[:64]], Y[:64], None)))
        return [model.optimizer.gradients[w] for w in model.trainable_weights]

    monkeypatch.setenv("MINICNN_NUM_THREADS", "3")
    for one, other in zip(gradients(1 << 30), gradients(100), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_batch_smaller_than_a_shard(monkeypatch):
    monkeypatch.setenv("MINICNN_NUM_THREADS", "4")
    model = network(extra=[BatchNormalization()])
    model.fit(X[:33], Y[:33], batch_size=32, verbose=0)  # 32, then 1
    assert all(np.isfinite(w).all() for w in model.get_weights())
