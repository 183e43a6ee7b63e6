"""A training step captured as a CUDA graph, on a stand-in for CuPy that captures."""

import warnings

import numpy as np
import pytest
from capturing import BATCHES, OPTIMIZERS, captured, check, network, run
from optimizer_cases import FakeWeight
from small_problem import CLASSES, X, Y

from minicnn import Input, Model, backend, layers
from minicnn.layers import Conv2D, Dense, Dropout, GlobalAveragePooling2D
from minicnn.metrics import ConfusionMatrix
from minicnn.optimizers import SGD, Adam, AdamW
from minicnn.regularizers import L2
from minicnn.training import capture
from minicnn.utils import set_random_seed, to_categorical


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_captured_steps_are_those_of_single_kernels(name, cuda):
    check(lambda: network(name))
    assert cuda.launches == len(BATCHES) - capture.EAGER_RUNS


def test_all_that_a_step_can_consist_of(cuda):
    def make():
        extra = [layers.RandomFlip(), Dropout(0.2), layers.LayerNormalization(),
                 layers.Activation("gelu"), layers.RandomRotation(0.1, seed=3)]  # fmt: skip
        return network(
            "adam", extra, "l1_l2", loss="categorical_crossentropy",
            metrics=["accuracy", "f1_score", "mse", "categorical_crossentropy",
                     ConfusionMatrix(CLASSES)],
        )  # fmt: skip

    weights = np.random.default_rng(0).random(16).astype("float32")
    batches = [(x, to_categorical(y, CLASSES), weights * i) for i, (x, y, _) in enumerate(BATCHES)]
    check(make, batches)
    assert cuda.launches == len(batches) - capture.EAGER_RUNS


def test_several_inputs(cuda):
    def make():
        set_random_seed(0)
        a, b = Input((8, 8, CLASSES)), Input((8, 8, CLASSES))
        x = GlobalAveragePooling2D()(layers.Add()([Conv2D(4, 3)(a), Conv2D(4, 3)(b)]))
        model = Model([a, b], Dense(CLASSES, activation="softmax")(x))
        model.compile("adam", "sparse_categorical_crossentropy", ["accuracy"])
        return model

    check(make, [([x, x[::-1]], y, None) for (x,), y, _ in BATCHES])
    assert cuda.launches == len(BATCHES) - capture.EAGER_RUNS


def test_a_launch_copies_nothing_between_host_and_device(cuda, strict):
    model = network()
    step = captured(model)
    batches = [model._prepare(batch) for batch in BATCHES]
    for number, batch in enumerate(batches):
        if number == capture.EAGER_RUNS:
            strict.reset()
        step(*batch)
    assert strict.to_device == strict.to_host == 0
    assert cuda.launches == len(BATCHES) - capture.EAGER_RUNS


def test_the_batch_may_change_after_the_step(cuda):
    model = network(SGD(0.0))
    step = captured(model)
    for _ in range(4):
        (x,), y, _ = model._prepare(BATCHES[0])
        step([x], y)
        first = model._logs()["loss"]
        x[...] = 0
        y[...] = 0
        model.reset_metrics()
    step(*model._prepare(BATCHES[0]))
    assert model._logs()["loss"] == first


def test_a_captured_step_reads_its_rate_and_whether_it_is_to_be_made(cuda):
    weight, gradient = (FakeWeight(backend.asarray(np.ones(3))), backend.asarray(np.ones(3)))
    optimizer, scale = SGD(0.1), backend.asarray(np.array(2.0))
    optimizer.apply({weight: gradient}, scale=scale)  # to 0.95
    stream = cuda.Stream(non_blocking=True)
    stream.begin_capture()
    optimizer.apply({weight: gradient}, scale=scale)
    graph = stream.end_capture()
    for rate, g, expected in [(0.1, 1, 0.9), (0.1, np.inf, 0.9), (0.2, 1, 0.8)]:
        optimizer.learning_rate = rate
        optimizer.set_rates()
        gradient.fill(g)
        graph.launch()
        np.testing.assert_allclose(weight.value.get(), expected)


# What happens between steps


def test_a_last_smaller_batch_runs_beside_the_graph(cuda):
    small = ([X[:5]], Y[:5], None)
    batches = [*BATCHES[:4], small, *BATCHES[4:6], small, *BATCHES[6:]]
    check(lambda: network("adam"), batches)
    assert cuda.launches == len(BATCHES) - capture.EAGER_RUNS


def test_another_size_of_batch_from_now_on_gets_a_graph_of_its_own(cuda):
    check(lambda: network("adam"), [*BATCHES[:4], *(([X[:8]], Y[:8], None),) * 5])
    assert cuda.launches == 2 + 3


def test_sample_weights_make_another_graph(cuda):
    weights = np.linspace(0, 1, 16, dtype="float32")
    batches = [(x, y, weights if i >= 4 else None) for i, (x, y, _) in enumerate(BATCHES)]
    check(lambda: network("adam"), batches)
    assert cuda.launches == 2 + 2


def nothing(model):
    pass


def set_weights(model):
    model.set_weights([np.full_like(w, 0.1) for w in model.get_weights()])


def set_rate(model):
    model.optimizer.learning_rate = 0.003


def evaluate(model):
    model.evaluate(X[:10], Y[:10], verbose=0)
    model.reset_metrics()


def freeze(model):
    model.layers[1].trainable = False


def shrink_penalty(model):
    model.layers[1].kernel_regularizer.l2 /= 2


def decay(model):
    model.optimizer.weight_decay = 0.2


def exclude(model):
    model.optimizer.exclude_from_weight_decay(var_names=["bias"])


def compile_again(model):
    model.compile(
        Adam(0.02), "sparse_categorical_crossentropy", ["acc", "sparse_categorical_crossentropy"]
    )


def load_state(model):
    keys = {w: str(i) for i, w in enumerate(model.weights)}
    state = model.optimizer.state_arrays(keys)
    model.optimizer.load_state_arrays({k: np.asarray(v / 2) for k, v in state.items()}, keys)


def new_generators(model):
    model._generators = []


def move_a_layer_to_float64(model):
    weight = model.layers[1].bias
    weight.value = weight.value.astype("float64")


# How many of eight steps are launches.
HAPPENINGS = [
    (nothing, 6), (set_weights, 6), (set_rate, 6), (evaluate, 6), (lambda m: m.reset_metrics(), 6),
    (freeze, 2 + 2), (shrink_penalty, 2 + 2), (decay, 2 + 2), (exclude, 2 + 2),
    (compile_again, 2 + 2), (load_state, 2 + 2), (new_generators, 2 + 2),
    (move_a_layer_to_float64, 2 + 2),
]  # fmt: skip


@pytest.mark.parametrize("when", [1, 2, 4])
@pytest.mark.parametrize(("happening", "launches"), HAPPENINGS, ids=lambda v: str(v)[:20])
def test_what_happens_between_steps_counts(happening, launches, when, cuda):
    """Before there is a graph, just before it would be captured, and when it is in use."""

    def make():
        return network(AdamW(0.01), [Dropout(0.2)], L2(0.01))

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check(make, between=lambda number, model: number == when and happening(model))
    assert cuda.launches == (6 if when == 1 else launches)


def test_frozen_and_free_again(cuda):
    def between(number, model):
        model.layers[1].trainable = number not in range(6, 11)

    check(lambda: network("sgd"), BATCHES * 2, between)
    assert cuda.launches == 4 + 3 + 3


def test_a_new_epoch_before_the_first_graph(cuda):
    """The sums of metrics begin anew in the very step that is captured."""
    check(lambda: network("adam"), between=lambda number, model: model.reset_metrics())
    assert cuda.launches == len(BATCHES) - capture.EAGER_RUNS


def test_moving_statistics_that_another_model_was_given_stay_its_own(cuda):
    other = network("adam")
    given = []

    def between(number, model):
        if number == capture.EAGER_RUNS:  # just before the graph
            other.layers[2].moving_mean.value = model.layers[2].moving_mean.value
            given.append(other.layers[2].moving_mean.numpy())

    model = network("adam")
    run(model, BATCHES, captured(model), between)
    np.testing.assert_array_equal(other.layers[2].moving_mean.numpy(), given[0])
    assert (model.layers[2].moving_mean.numpy() != given[0]).all()
