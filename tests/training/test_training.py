"""fit, evaluate and predict: forms of data, and what is returned and reported."""

import numpy as np
import pytest
from small_problem import CLASSES, X, Y, close_weights, equal_weights, network, problem

import minicnn
from minicnn import Input, Model, Sequential
from minicnn.callbacks import Callback, LambdaCallback
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
from minicnn.losses import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    SparseCategoricalCrossentropy,
)
from minicnn.metrics import LossValue
from minicnn.optimizers import SGD
from minicnn.training.step import takes_logits
from minicnn.utils import set_random_seed, to_categorical

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
    model.fit(X, Y, batch_size=16, epochs=2, steps_per_epoch=3, verbose=0)
    assert model.optimizer.iterations == 6
    with pytest.warns(UserWarning, match="ran out after 2 of the 4 steps of this epoch"):
        model.fit(X, Y, batch_size=16, epochs=2, steps_per_epoch=4, verbose=0)
    assert model.optimizer.iterations == 6 + 4 + 2


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
    """Where the output is no terminal there is no bar, but a line per epoch."""
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
@pytest.mark.parametrize(
    "loss", [SparseCategoricalCrossentropy, CategoricalCrossentropy, BinaryCrossentropy]
)
def test_a_closing_softmax_or_sigmoid_is_fused_and_changes_nothing(last, loss):
    """The gradient through the activation and then through the loss on probabilities is that of the
    loss on logits; `Plain` hides the activation from the engine."""

    class Plain(Layer):
        def forward(self, x, ctx):
            return x

        def backward(self, dy, ctx):
            return dy

    closing = "sigmoid" if loss is BinaryCrossentropy else "softmax"

    def build(hide):
        set_random_seed(0)
        body = [Input((8, 8, CLASSES)), Conv2D(4, 3, activation="relu"), GlobalAveragePooling2D()]
        if last == "dense":
            layers = [*body, Dense(CLASSES, activation=closing)]
        elif last == "nested":
            layers = [*body, Sequential([Input((4,)), Dense(CLASSES, activation=closing)])]
        else:
            layers = [*body, Dense(CLASSES)]
            soft = last == "layer" and closing == "softmax"
            layers.append(Softmax() if soft else Activation(closing))
        model = Sequential(layers + [Plain()] * hide)
        if last == "functional":
            x = Input((8, 8, CLASSES))
            model = Model(x, model(x))
        metric = "binary_accuracy" if closing == "sigmoid" else "accuracy"
        model.compile(SGD(0.5), loss(label_smoothing=0.1), [metric, LossValue(loss())])
        return model

    fused, unfused = build(False), build(True)
    assert takes_logits(fused) and not takes_logits(unfused)
    y = Y if loss is SparseCategoricalCrossentropy else to_categorical(Y)
    a = fused.fit(X, y, epochs=2, shuffle=False, verbose=0).history
    b = unfused.fit(X, y, epochs=2, shuffle=False, verbose=0).history
    close_weights(fused, unfused)
    np.testing.assert_allclose(a["loss"], b["loss"], rtol=1e-5)
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_allclose(a[name], b[name], rtol=1e-5)
    p = fused.predict(X, verbose=0)
    assert p.min() >= 0 and p.max() <= 1


def test_a_sigmoid_that_rounds_to_1_still_learns():
    """Where the probability is 1 in float32 and the target 0, the gradient is 1, not 0."""
    model = Sequential([Input((1,)), Dense(1, "sigmoid", use_bias=False)])
    model.compile(SGD(1.0), "bce")
    model.set_weights([np.array([[200.0]])])
    loss = model.train_on_batch(np.ones((2, 1)), np.zeros(2))
    assert loss == pytest.approx(200)
    assert model.get_weights()[0].item() == pytest.approx(199)
    other = Sequential([Input((1,)), Dense(1, "sigmoid", use_bias=False)])
    other.compile(SGD(1.0), "sparse_categorical_crossentropy")
    assert not takes_logits(other)


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


def test_a_model_that_is_compiled_anew_on_the_way_goes_on_with_its_new_metrics():
    class Anew(Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 0:
                self.model.compile("sgd", "sparse_categorical_crossentropy", ["accuracy", top])

    top = "sparse_top_k_categorical_accuracy"
    seen = LambdaCallback(on_epoch_end=lambda epoch, logs: figures.append(sorted(logs)))
    for data in ((X, Y), (Batches(), None)):
        figures = []
        network().fit(*data, epochs=2, callbacks=[Anew(), seen], verbose=0)
        assert figures == [["accuracy", "loss"], ["accuracy", "loss", top]]
