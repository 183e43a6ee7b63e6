"""fit, evaluate and predict: forms of data, what is reported, and what is said of bad input."""

import numpy as np
import pytest
from threadpoolctl import threadpool_info

import minicnn
from minicnn import Input, Model, Sequential
from minicnn.callbacks import Callback
from minicnn.layers import (
    Activation,
    BatchNormalization,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAveragePooling2D,
    Layer,
    MaxPooling2D,
    Softmax,
)
from minicnn.losses import CategoricalCrossentropy, SparseCategoricalCrossentropy
from minicnn.optimizers import SGD, Adam
from minicnn.parallel.steps import batch_gradients, shards_of
from minicnn.utils import set_random_seed, to_categorical

CLASSES = 3


def problem(n=96, seed=0):
    """Images whose class is the brightest channel: easy for any network."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, CLASSES, n)
    x = rng.random((n, 8, 8, CLASSES), "float32") * 0.6
    x[np.arange(n), :, :, y] += 0.4
    return x, y


def network(closing="softmax", extra=(), seed=0, **compiled):
    set_random_seed(seed)
    model = Sequential(
        [
            Input((8, 8, CLASSES)),
            Conv2D(6, 3, activation="relu"),
            *extra,
            GlobalAveragePooling2D(),
            Dense(CLASSES, activation=closing),
        ]
    )
    compiled.setdefault("loss", SparseCategoricalCrossentropy(from_logits=closing is None))
    model.compile(**{"optimizer": Adam(0.01), "metrics": ["accuracy"], **compiled})
    return model


def equal_weights(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a.get_weights(), b.get_weights(), strict=True))


def close_weights(a, b, tolerance=1e-5):
    for x, y in zip(a.get_weights(), b.get_weights(), strict=True):
        np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance)


X, Y = problem()


# Learning


@pytest.mark.parametrize("optimizer", ["rmsprop", "adam", "sgd", "adamw"])
def test_a_small_network_learns(optimizer):
    set_random_seed(1)
    model = Sequential(
        [
            Input((8, 8, CLASSES)),
            Conv2D(8, 3, activation="relu"),
            BatchNormalization(),
            MaxPooling2D(2),
            Flatten(),
            Dropout(0.2),
            Dense(CLASSES, activation="softmax"),
        ]
    )
    model.compile(optimizer, "sparse_categorical_crossentropy", ["accuracy"])
    model.optimizer.learning_rate = 0.1 if optimizer == "sgd" else 0.01
    x, y = problem(320, seed=1)
    history = model.fit(x, y, epochs=15, verbose=0).history
    assert history["loss"][-1] < history["loss"][0] / 2
    loss, accuracy = model.evaluate(*problem(200, seed=2), verbose=0)
    assert accuracy > 0.95 and loss < 0.5


def test_history():
    history = network().fit(X, Y, epochs=3, validation_data=(X, Y), verbose=0)
    assert list(history.history) == ["loss", "accuracy", "val_loss", "val_accuracy"]
    assert history.epoch == [0, 1, 2]
    for values in history.history.values():
        assert len(values) == 3 and all(type(v) is float for v in values)
    assert history.params == {"epochs": 3, "steps": 3, "verbose": 0}


def test_initial_epoch_and_a_second_fit():
    model = network()
    assert model.fit(X, Y, epochs=5, initial_epoch=3, verbose=0).epoch == [3, 4]
    assert model.optimizer.iterations == 6
    model.fit(X, Y, verbose=0)
    assert model.optimizer.iterations == 9


def test_the_loss_of_an_epoch_is_the_mean_over_its_samples():
    model = network(optimizer=SGD(0.0))
    loss, accuracy = model.evaluate(X[:70], Y[:70], verbose=0)
    history = model.fit(X[:70], Y[:70], batch_size=32, verbose=0).history  # 32 + 32 + 6
    np.testing.assert_allclose(history["loss"][0], loss, rtol=1e-5)
    np.testing.assert_allclose(history["accuracy"][0], accuracy, rtol=1e-6)
    predicted = model.predict(X[:70], verbose=0)
    np.testing.assert_allclose(accuracy, (predicted.argmax(1) == Y[:70]).mean(), rtol=1e-6)
    by_hand = -np.log(predicted[np.arange(70), Y[:70]]).mean()
    np.testing.assert_allclose(loss, by_hand, rtol=1e-5)


# Forms of data


def test_plain_lists_are_one_batch():
    model = Sequential([Dense(3)])
    model.compile("sgd", SparseCategoricalCrossentropy(from_logits=True))
    x, y = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], [0, 1, 2]
    model.train_on_batch(x, y)
    assert model.optimizer.iterations == 1
    assert model.test_on_batch(x, y) == model.evaluate(x, y, verbose=0)
    assert model.predict_on_batch(x).shape == (3, 3)


def test_dtypes_and_shapes_of_the_data_do_not_matter():
    reference = network()
    reference.fit(X, Y, verbose=0)
    y_forms = [Y[:, None], Y.astype("uint8"), Y.astype("float32"), Y.tolist()]
    for x, y in [(X.astype("float64"), Y), *((X, y) for y in y_forms)]:
        model = network()
        model.fit(x, y, verbose=0)
        assert equal_weights(model, reference)
        assert model.weights[0].dtype == np.float32
    one_hot = network(loss="categorical_crossentropy")
    one_hot.fit(X, to_categorical(Y, CLASSES), verbose=0)
    close_weights(one_hot, reference)


def test_bytes_are_converted_batch_by_batch():
    x = (X * 255).astype("uint8")
    model, other = network(), network()
    model.fit(x, Y, shuffle=False, verbose=0)
    other.fit(x.astype("float32"), Y, shuffle=False, verbose=0)
    assert equal_weights(model, other)
    assert model.predict(x, verbose=0).dtype == np.float32


def test_a_model_in_float64():
    set_random_seed(0)
    model = Sequential(
        [Input((8, 8, CLASSES)), Conv2D(2, 3, dtype="float64"), Flatten(),
         Dense(CLASSES, dtype="float64")], dtype="float64",
    )  # fmt: skip
    model.compile("adam", SparseCategoricalCrossentropy(from_logits=True))
    model.fit(X, Y, verbose=0)
    assert {str(w.dtype) for w in model.weights} == {"float64"}
    assert model.predict(X, verbose=0).dtype == np.float64


def batches(size=32):
    for start in range(0, len(X), size):
        yield X[start : start + size], Y[start : start + size]


class Batches:
    def __iter__(self):
        return batches()


def test_arrays_iterables_and_generators_train_alike():
    reference = network()
    reference.fit(X, Y, epochs=2, shuffle=False, verbose=0)
    iterable = network()
    iterable.fit(Batches(), epochs=2, verbose=0)
    assert equal_weights(iterable, reference)

    def endless():
        while True:
            yield from batches()

    generator = network()
    history = generator.fit(endless(), epochs=2, steps_per_epoch=3, verbose=0)
    assert equal_weights(generator, reference) and history.params["steps"] == 3
    by_hand = network()
    for _ in range(2):
        for x, y in batches():
            by_hand.train_on_batch(x, y)
    assert equal_weights(by_hand, reference)


def test_evaluate_and_predict_take_iterators():
    model = network()
    assert model.evaluate(Batches(), verbose=0) == model.evaluate(X, Y, verbose=0)
    assert model.evaluate(Batches(), steps=1, verbose=0) == model.evaluate(
        X[:32], Y[:32], verbose=0
    )
    assert model.evaluate(X, Y, steps=1, verbose=0) == model.evaluate(X[:32], Y[:32], verbose=0)
    whole = model.predict(X, verbose=0)
    np.testing.assert_array_equal(model.predict(Batches(), verbose=0), whole)
    np.testing.assert_array_equal(model.predict(X, verbose=0, steps=2), whole[:64])


def test_steps_per_epoch_of_arrays():
    model = network()
    model.fit(X, Y, batch_size=16, epochs=2, steps_per_epoch=4, verbose=0)
    assert model.optimizer.iterations == 8


def test_the_batch_size_changes_no_prediction():
    model = network(extra=[BatchNormalization()])
    whole = model.predict(X, batch_size=len(X), verbose=0)
    for size in (1, 7, 32):
        np.testing.assert_allclose(
            model.predict(X, batch_size=size, verbose=0), whole, rtol=1e-5, atol=1e-6
        )
    np.testing.assert_array_equal(model.predict_on_batch(X), whole)
    np.testing.assert_allclose(model(X), whole, rtol=1e-5, atol=1e-6)


def test_shuffle():
    shuffled, plain = network(), network()
    shuffled.fit(X, Y, verbose=0)
    plain.fit(X, Y, shuffle=False, verbose=0)
    assert not equal_weights(shuffled, plain)
    again = network()
    again.fit(X, Y, verbose=0)
    assert equal_weights(shuffled, again)


# Validation


def test_the_validation_split_is_the_end_of_the_data():
    split, given = network(), network()
    a = split.fit(X, Y, validation_split=0.25, epochs=2, shuffle=False, verbose=0).history
    b = given.fit(
        X[:72], Y[:72], validation_data=(X[72:], Y[72:]), epochs=2, shuffle=False, verbose=0
    ).history
    assert a == b and equal_weights(split, given)


def test_forms_of_validation_data():
    def val_loss(data, **arguments):
        model = network(optimizer=SGD(0.0))
        return model.fit(X, Y, validation_data=data, verbose=0, **arguments).history["val_loss"][0]

    expected = val_loss((X, Y))
    np.testing.assert_allclose(val_loss((X, Y, np.full(len(X), 2.0))), 2 * expected, rtol=1e-5)
    assert val_loss(Batches()) == val_loss((X, Y), validation_batch_size=32) == expected
    first = val_loss((X[:32], Y[:32]))
    assert val_loss(Batches(), validation_steps=1) == first
    assert val_loss((X, Y), validation_steps=1) == first
    assert val_loss([X, Y]) == expected
    with pytest.raises(ValueError, match="validation_data is.*got 1 parts"):
        val_loss((X,))


def test_validation_does_not_train():
    model, alone = network(extra=[BatchNormalization()]), network(extra=[BatchNormalization()])
    model.fit(X, Y, validation_data=(X, Y), epochs=2, shuffle=False, verbose=0)
    alone.fit(X, Y, epochs=2, shuffle=False, verbose=0)
    assert equal_weights(model, alone)


def test_validation_freq():
    history = network().fit(X, Y, epochs=4, validation_data=(X, Y), validation_freq=2, verbose=0)
    assert len(history.history["loss"]) == 4 and len(history.history["val_loss"]) == 2


# Weights of samples


def test_a_sample_of_weight_two_counts_twice():
    model = network(optimizer=SGD(0.0))
    weights = np.ones(4)
    weights[1] = 2
    base = [model.evaluate(X[i : i + 1], Y[i : i + 1], verbose=0)[0] for i in range(4)]
    loss = model.evaluate(X[:4], Y[:4], sample_weight=weights, verbose=0)[0]
    np.testing.assert_allclose(loss, (sum(base) + base[1]) / 4, rtol=1e-5)


def test_samples_of_weight_zero_teach_nothing():
    weighted, alone = network(), network()
    wrong = (Y + 1) % CLASSES
    x, y = np.concatenate([X[:32], X[:32]]), np.concatenate([Y[:32], wrong[:32]])
    weights = np.repeat([2.0, 0.0], 32)  # the sum is divided by all 64 samples
    for _ in range(5):
        weighted.train_on_batch(x, y, sample_weight=weights)
        alone.train_on_batch(X[:32], Y[:32])
    close_weights(weighted, alone, 1e-4)


def test_class_weight_is_the_sample_weight_of_the_class():
    a, b, c = network(), network(), network()
    table = {0: 1.0, 1: 3.0, 2: 0.5}
    of_class = np.array([table[label] for label in Y])
    own = np.linspace(0.5, 1.5, len(Y)).astype("float32")
    a.fit(X, Y, class_weight=table, sample_weight=own, shuffle=False, verbose=0)
    b.fit(X, Y, sample_weight=own * of_class, shuffle=False, verbose=0)
    close_weights(a, b)
    c.train_on_batch(X, Y, class_weight={1: 2})
    assert c.optimizer.iterations == 1


# What is returned and printed


def test_forms_of_results():
    model = network()
    loss, accuracy = model.evaluate(X, Y, verbose=0)
    assert type(loss) is float and 0 <= accuracy <= 1
    assert model.evaluate(X, Y, verbose=0, return_dict=True) == {"loss": loss, "accuracy": accuracy}
    assert model.test_on_batch(X[:8], Y[:8]) == model.evaluate(X[:8], Y[:8], verbose=0)
    first = model.test_on_batch(X[:8], Y[:8], return_dict=True)
    np.testing.assert_allclose(model.train_on_batch(X[:8], Y[:8]), list(first.values()), rtol=1e-5)
    assert set(model.train_on_batch(X[:8], Y[:8], return_dict=True)) == {"loss", "accuracy"}
    assert type(network(metrics=None).evaluate(X, Y, verbose=0)) is float
    assert model.metrics_names == ["loss", "accuracy"]


@pytest.mark.parametrize("fused", [True, False])
def test_metrics_see_probabilities(fused):
    metrics = ["accuracy", minicnn.losses.SparseCategoricalCrossentropy(name="ce")]
    closing = () if fused else (Activation("linear"),)
    model = network(metrics=metrics)
    for layer in closing:
        model.add(layer)
    loss, _, entropy = model.evaluate(X, Y, verbose=0)
    np.testing.assert_allclose(loss, entropy, rtol=1e-5)


@pytest.mark.parametrize("verbose, lines", [(0, 0), (1, 2), ("auto", 2), (2, 2)])
def test_verbose(capsys, verbose, lines):
    """Where the output is no terminal there is no bar, but a line an epoch."""
    network().fit(X, Y, epochs=2, verbose=verbose)
    out = capsys.readouterr().out
    assert out.count("Epoch ") == lines and "\r" not in out
    if lines:
        assert "Epoch 2/2" in out and "accuracy" in out and "images/s" in out


def test_unknown_verbose():
    with pytest.raises(ValueError, match="verbose is 0.*got 3"):
        network().fit(X, Y, verbose=3)


# The loss


def test_the_penalty_of_regularizers_is_part_of_the_loss():
    plain = network(optimizer=SGD(0.0))
    set_random_seed(0)
    model = Sequential(
        [
            Input((8, 8, CLASSES)),
            Conv2D(6, 3, activation="relu", kernel_regularizer="l2", bias_regularizer="l1"),
            GlobalAveragePooling2D(),
            Dense(CLASSES, activation="softmax"),
        ]
    )
    model.compile(SGD(0.0), "sparse_categorical_crossentropy")
    model.layers[0].set_weights([model.layers[0].get_weights()[0], np.full(6, -0.5)])
    plain.set_weights(model.get_weights())
    kernel = model.get_weights()[0]
    penalty = 0.01 * (kernel**2).sum() + 0.01 * 3.0
    expected = plain.evaluate(X, Y, verbose=0)[0] + penalty
    np.testing.assert_allclose(model.evaluate(X, Y, verbose=0), expected, rtol=1e-5)
    np.testing.assert_allclose(model.train_on_batch(X, Y), expected, rtol=1e-5)
    model.layers[0].trainable = False  # as in Keras, frozen weights are not penalised
    np.testing.assert_allclose(model.evaluate(X, Y, verbose=0), expected - penalty, rtol=1e-5)


def test_the_penalty_shrinks_weights_that_no_loss_holds():
    set_random_seed(0)
    model = Sequential([Input((3,)), Dense(4, kernel_regularizer="l2", use_bias=False)])
    model.compile(SGD(0.5), "mse")
    kernel = model.get_weights()[0]
    model.train_on_batch(np.zeros((16, 3)), np.zeros((16, 4)))
    np.testing.assert_allclose(model.get_weights()[0], kernel * (1 - 0.5 * 2 * 0.01), rtol=1e-5)


@pytest.mark.parametrize("last", ["dense", "activation", "layer", "nested", "functional"])
@pytest.mark.parametrize("loss", [SparseCategoricalCrossentropy, CategoricalCrossentropy])
def test_a_closing_softmax_is_fused_and_changes_nothing(last, loss):
    """The gradient through softmax and then through the loss on probabilities is that of the
    loss on logits; `Plain` hides the softmax from the engine."""

    class Plain(Layer):
        def forward(self, x, ctx):
            return x

        def backward(self, dy, ctx):
            return dy

    def build(hide):
        set_random_seed(0)
        body = [Input((8, 8, CLASSES)), Conv2D(4, 3, activation="relu"), GlobalAveragePooling2D()]
        if last == "dense":
            layers = [*body, Dense(CLASSES, activation="softmax")]
        elif last == "nested":
            layers = [*body, Sequential([Input((4,)), Dense(CLASSES, activation="softmax")])]
        else:
            layers = [*body, Dense(CLASSES)]
            layers.append(Softmax() if last == "layer" else Activation("softmax"))
        model = Sequential(layers + [Plain()] * hide)
        if last == "functional":
            x = Input((8, 8, CLASSES))
            model = Model(x, model(x))
        model.compile(SGD(0.5), loss(label_smoothing=0.1), ["accuracy"])
        return model

    fused, unfused = build(False), build(True)
    assert fused._takes_logits() and not unfused._takes_logits()
    y = Y if loss is SparseCategoricalCrossentropy else to_categorical(Y)
    a = fused.fit(X, y, epochs=2, shuffle=False, verbose=0).history
    b = unfused.fit(X, y, epochs=2, shuffle=False, verbose=0).history
    close_weights(fused, unfused)
    np.testing.assert_allclose(a["loss"], b["loss"], rtol=1e-5)
    np.testing.assert_allclose(a["accuracy"], b["accuracy"])
    np.testing.assert_allclose(fused.predict(X, verbose=0).sum(1), 1, rtol=1e-5)


def test_probabilities_and_logits_train_alike():
    soft, logits = network("softmax"), network(None)
    soft.fit(X, Y, shuffle=False, verbose=0)
    logits.fit(X, Y, shuffle=False, verbose=0)
    assert equal_weights(soft, logits)


def test_hopeless_predictions_have_a_finite_loss_and_a_gradient():
    model = Sequential([Input((2,)), Dense(2, activation="softmax", kernel_initializer="ones")])
    model.compile(SGD(0.1), "sparse_categorical_crossentropy")
    model.set_weights([np.array([[0.0, 1000], [0, 0]]), np.zeros(2)])
    x, y = np.array([[1.0, 0.0]]), np.array([0])
    assert model.train_on_batch(x, y) == 1000
    assert (model.get_weights()[1] != 0).all()


def test_clipnorm_bounds_the_step():
    model = network(optimizer=SGD(1.0, clipnorm=1e-3))
    before = model.get_weights()
    model.train_on_batch(X, Y)
    for a, b in zip(before, model.get_weights(), strict=True):
        assert 0 < np.linalg.norm(a - b) <= 1.001e-3


def test_a_learning_rate_set_on_the_way_is_used():
    model = network()
    before = model.get_weights()
    model.optimizer.learning_rate = 0.0
    model.train_on_batch(X, Y)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


# Determinism and shards


def varied():
    return network(extra=[BatchNormalization(), Dropout(0.3), Conv2D(4, 3, activation="relu")])


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
        model.compile("sgd", SparseCategoricalCrossentropy(from_logits=True))
        x, y, w = model._prepare((X[:50], Y[:50], np.linspace(0, 2, 50)))
        generators = [None] * shards_of(x)
        loss, y_pred, grads, updates = batch_gradients(
            model, model.loss, x, y, w, generators, wants_logits=False
        )
        return [loss, y_pred, *(grads[v] for v in model.trainable_weights), *updates.values()]

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


def test_a_batch_smaller_than_a_shard(monkeypatch):
    monkeypatch.setenv("MINICNN_NUM_THREADS", "4")
    model = network(extra=[BatchNormalization()])
    model.fit(X[:33], Y[:33], batch_size=32, verbose=0)  # 32, then 1
    assert all(np.isfinite(w).all() for w in model.get_weights())


# Errors


def blas_threads():
    return [i["num_threads"] for i in threadpool_info() if i["user_api"] == "blas"]


class Fails(Layer):
    """Raises in the backward pass of one shard."""

    def forward(self, x, ctx):
        return x

    def backward(self, dy, ctx):
        if ctx.comm.rank == ctx.comm.size - 1:
            raise ArithmeticError("on purpose")
        return dy


@pytest.mark.parametrize("threads", [1, 2])
def test_an_error_in_a_step_is_raised_and_blas_gets_its_threads_back(monkeypatch, threads):
    monkeypatch.setenv("MINICNN_NUM_THREADS", str(threads))
    before = blas_threads()
    model = network(extra=[BatchNormalization(), Fails()])
    weights = model.get_weights()
    with pytest.raises(ArithmeticError, match="on purpose"):
        model.fit(X, Y, verbose=0)
    assert blas_threads() == before
    assert all(np.array_equal(a, b) for a, b in zip(weights, model.get_weights(), strict=True))


def test_stop_training():
    class Stop(Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = epoch == 1

    model = network()
    assert model.fit(X, Y, epochs=9, callbacks=[Stop()], verbose=0).epoch == [0, 1]
    assert model.fit(X, Y, epochs=1, callbacks=Stop(), verbose=0).epoch == [0]


class Watch(Callback):
    """Writes down the hooks that are called, with what."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def __getattribute__(self, name):
        if not name.startswith("on_"):
            return super().__getattribute__(name)
        return lambda *args: self.calls.append((name.removeprefix("on_"), *args))

    def names(self):
        return [name for name, *_ in self.calls]


def test_hooks_come_in_order_with_their_logs():
    watch, model = Watch(), network()
    history = model.fit(X[:32], Y[:32], batch_size=16, callbacks=[watch], validation_split=0.5,
                        verbose=0).history  # fmt: skip
    batch = ["batch_begin", "batch_end"]
    assert watch.names() == [
        "train_begin",
        "epoch_begin",
        *(f"train_{b}" for b in batch),
        "test_begin",
        *(f"test_{b}" for b in batch),
        "test_end",
        "epoch_end",
        "train_end",
    ]
    calls = {name: args for name, *args in watch.calls}
    assert calls["train_begin"] == [{}] and calls["epoch_begin"] == [0, {}]
    last = {name: values[-1] for name, values in history.items()}
    assert calls["epoch_end"] == [0, last] and calls["train_end"] == [last]
    assert set(calls["train_batch_end"][1]) == {"loss", "accuracy"}

    watch.calls.clear()
    model.evaluate(X[:32], Y[:32], callbacks=[watch], verbose=0)
    assert watch.names() == ["test_begin", *(f"test_{b}" for b in batch), "test_end"]
    watch.calls.clear()
    model.predict(X[:64], callbacks=watch, verbose=0)
    assert watch.names() == ["predict_begin", *(f"predict_{b}" for b in batch * 2), "predict_end"]


def test_not_compiled():
    model = Sequential([Input((3,)), Dense(2)])
    for what in ("fit", "evaluate", "train_on_batch", "test_on_batch"):
        with pytest.raises(RuntimeError, match=f"must be compiled before {what}: model.compile"):
            getattr(model, what)(np.ones((2, 3)), np.ones((2, 2)))


@pytest.mark.parametrize(
    "arguments, text",
    [
        ({"optimizer": "adm"}, "unknown optimizer 'adm'; did you mean '[Aa]dam'"),
        ({"loss": "sparse_categorical_crossentropi"}, "unknown loss.*did you mean"),
        ({"metrics": ["acuracy"]}, "unknown metric 'acuracy'; did you mean '[Aa]ccuracy'"),
        ({"loss": None}, "compile needs a loss, such as"),
    ],
)
def test_unknown_names(arguments, text):
    model = Sequential([Input((3,)), Dense(2)])
    with pytest.raises(ValueError, match=text):
        model.compile(**{"optimizer": "adam", "loss": "mse", **arguments})


@pytest.mark.parametrize(
    "layer, text",
    [
        (
            lambda: Dense(2, activation="rellu"),
            "unknown activation 'rellu'; did you mean '(relu|ReLU)'",
        ),
        (lambda: Dense(2, kernel_initializer="he_norml"), "did you mean '(he_normal|HeNormal)'"),
        (lambda: Dense(2, kernel_regularizer="l3"), "unknown regularizer 'l3'.*L2"),
        (lambda: Conv2D(2, 3, padding="sme"), "'?same"),
    ],
)
def test_unknown_names_in_layers(layer, text):
    with pytest.raises(ValueError, match=text):
        layer()


def nan_images():
    x = X.copy()
    x[41, 2, 3, 1] = np.nan
    return x


@pytest.mark.parametrize(
    "x, y, arguments, text",
    [
        (X, Y + 1, {}, "labels lie between 1 and 3, but a model with 3 outputs.*from 0 to 2"),
        (X, Y - 1, {}, "labels lie between -1 and 1"),
        (X, Y[:90], {}, "x has 96 images and y has 90 entries"),
        (X, Y + 0.5, {}, "labels are whole numbers"),
        (X, to_categorical(Y), {}, "one-hot targets belong to CategoricalCrossentropy"),
        (X, None, {}, "there are no targets: pass y beside x"),
        (nan_images(), Y, {}, "image 41 of x holds NaN or infinity"),
        (X, np.where(Y == 1, np.nan, Y), {}, "entry .* of y holds NaN or infinity"),
        (X[:0], Y[:0], {}, "x holds no images"),
        (X, Y, {"batch_size": 0}, "batch_size must be an integer above 0, not 0"),
        (X, Y, {"batch_size": -4}, "not -4"),
        (X, Y, {"epochs": 0}, "epochs must be an integer above 0, not 0"),
        (X, Y, {"epochs": 2.0}, "epochs must be an integer above 0, not 2.0"),
        (X, Y, {"validation_freq": 0}, "validation_freq must be an integer above 0, not 0"),
        (X, Y, {"validation_freq": [1, 2]}, r"validation_freq must be .*, not \[1, 2\]"),
        (X, Y, {"steps_per_epoch": 0}, "number of steps must be above 0, or None for all; got 0"),
        (X, Y, {"initial_epoch": -1}, "initial_epoch must be an integer of at least 0, not -1"),
        (X, Y, {"initial_epoch": "3"}, "initial_epoch must be .*, not '3'"),
        (X, Y, {"validation_split": 1.5}, "validation_split must be above 0 and below 1, not 1.5"),
        (X, Y, {"validation_data": (X, Y + 1)}, "labels lie between 1 and 3"),
        (X, Y, {"validation_data": (X[:, :7], Y)}, r"takes inputs of shape \(n, 8, 8, 3\)"),
        (X, Y, {"sample_weight": np.ones(3)}, "sample_weight has 3 entries"),
        (iter([]), None, {}, "the iterator of batches gave none"),
        (iter([(X, Y + 1)]), None, {}, "labels lie between 1 and 3"),
        (iter([(X[..., :2], Y)]), None, {}, r"takes inputs of shape \(n, 8, 8, 3\)"),
        (iter([(nan_images(), Y)]), None, {}, "image 41 of x holds NaN"),
        (iter([X]), None, {}, "there are no targets"),
    ],
)
def test_bad_data(x, y, arguments, text):
    model = network()
    weights = model.get_weights()
    with pytest.raises(ValueError, match=text):
        model.fit(x, y, **{"verbose": 0, **arguments})
    assert all(np.array_equal(a, b) for a, b in zip(weights, model.get_weights(), strict=True))


def test_class_numbers_for_categorical_crossentropy():
    model = network(loss="categorical_crossentropy")
    with pytest.raises(ValueError, match="SparseCategoricalCrossentropy.*to_categorical"):
        model.fit(X, Y, verbose=0)


def test_empty_batches():
    model = network()
    for what in ("train_on_batch", "test_on_batch", "evaluate"):
        with pytest.raises(ValueError, match="x holds no images"):
            getattr(model, what)(X[:0], Y[:0])
    with pytest.raises(ValueError, match="x holds no images"):
        model.predict(X[:0])
