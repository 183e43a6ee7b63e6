"""Training steps that cannot be captured as a CUDA graph, and the memory of those that can."""

import warnings

import numpy as np
import pytest
import strict_cuda
from capturing import BATCHES, OPTIMIZERS, check, network, run
from small_problem import CLASSES, X, Y

from minicnn import Input, Model, backend, layers, optimizers
from minicnn.layers import BatchNormalization, Conv2D, Dense, Dropout, GlobalAveragePooling2D
from minicnn.losses import Loss
from minicnn.metrics.base import MeanMetric, MeanMetricWrapper
from minicnn.optimizers import SGD, schedules
from minicnn.regularizers import L2
from minicnn.training import capture, trainer
from minicnn.training.capture import CapturedStep
from minicnn.training.step import train_step
from minicnn.utils import set_random_seed

# What cannot be captured


class Waiting(Conv2D):
    """Your own layer."""


class OwnLoss(Loss):
    def per_sample(self, y_true, y_pred):
        return (y_pred**2).sum(-1), y_pred

    def per_sample_gradient(self, kept, scale):
        return 2 * kept * scale


class OwnMetric(MeanMetric):
    def values(self, y_true, y_pred):
        return y_pred.max(-1)


class OwnOptimizer(SGD):
    pass


class OwnPenalty(L2):
    pass


@pytest.mark.parametrize(
    "make",
    [
        lambda: network("adam", [Waiting(3, 1)]),
        lambda: network("adam", loss=OwnLoss()),
        lambda: network("adam", metrics=[OwnMetric()]),
        lambda: network("adam", metrics=[lambda y, p: p.max(-1)]),
        lambda: network("adam", metrics=[MeanMetricWrapper(lambda y, p: p.max(-1), "m")]),
        lambda: network(OwnOptimizer(0.1)),
        lambda: network("adam", penalty=OwnPenalty()),
    ],
)
def test_what_comes_from_elsewhere_is_never_captured(make, cuda):
    check(make)
    assert cuda.launches == 0


def test_your_own_schedule_runs_on_the_host(cuda):
    class Sawtooth(schedules.LearningRateSchedule):
        def __call__(self, step):
            return 0.01 * (1 + step % 3)

    check(lambda: network(SGD(Sawtooth())))
    assert cuda.launches == len(BATCHES) - capture.EAGER_RUNS


def waits(patch):
    patch.setattr(layers.Add, "forward", lambda self, xs, ctx: xs[0] * float(xs[1].max() > -9))
    return "RuntimeError: the current stream is capturing, so synchronous API calls are disallowed"


def uploads(patch):
    def forward(self, xs, ctx):
        return xs[0] * backend.asarray(np.ones(3, "float32"))

    patch.setattr(layers.Add, "forward", forward)
    return "RuntimeError: the current stream is capturing, so H2D transfers are disallowed"


def refuses(patch):
    def forward(self, xs, ctx):
        if strict_cuda.StrictStream.capturing is not None:
            raise NotImplementedError("calling cuBLAS API during stream capture is unsupported")
        return xs[0] * 1

    patch.setattr(layers.Add, "forward", forward)
    return "NotImplementedError: calling cuBLAS API"


def counts(patch):
    def forward(self, xs, ctx):
        self.calls = getattr(self, "calls", 0) + 1
        return xs[0] * (1 / self.calls)

    patch.setattr(layers.Add, "forward", forward)
    return "RuntimeError: each step changes calls of Add on the host"


def leaves_more(patch):
    update_state = MeanMetric.update_state

    def with_another_sum(self, *args, **kwargs):
        update_state(self, *args, **kwargs)
        if self._sums["weight"] >= 48:
            self.add("late", args[1].sum())

    patch.setattr(MeanMetric, "update_state", with_another_sum)
    return "RuntimeError: the metric 'accuracy' has a new sum, 'late'"


def takes_memory(patch):
    patch.setattr(strict_cuda.StrictPool, "taken", 900)
    patch.setattr(strict_cuda.StrictCuda, "free_bytes", 800)
    return "RuntimeError: the graph holds 900 bytes of memory and leaves 800 for all else"


@pytest.mark.parametrize("obstacle", [waits, uploads, refuses, counts, leaves_more, takes_memory])
def test_what_cannot_be_captured_runs_as_before_with_one_warning(obstacle, cuda, monkeypatch):
    def make():
        set_random_seed(0)
        x = inputs = Input((8, 8, CLASSES))
        x = BatchNormalization()(Conv2D(3, 3)(x))
        x = GlobalAveragePooling2D()(layers.Add()([x, x]))
        model = Model(inputs, Dense(CLASSES, activation="softmax")(x), name="net")
        model.compile("adam", "sparse_categorical_crossentropy", ["accuracy"])
        return model

    monkeypatch.setattr(layers.Add, "backward", lambda self, dy, ctx: [dy, dy * 0])
    message = obstacle(monkeypatch)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check(make)
    (warning,) = caught
    assert str(warning.message).startswith(
        f"a training step of {make().described} runs kernel by kernel, since it cannot be captured "
        f"as a CUDA graph: {message}"
    )
    assert cuda.launches == 0 and not cuda.allocators
    assert strict_cuda.StrictStream.capturing is None
    backend.asarray(np.ones(3))  # may be copied again


def test_memory_comes_from_a_pool_of_the_graph_that_goes_with_it(cuda, monkeypatch):
    pools, used, freed = [], [], []

    class Pool(strict_cuda.StrictPool):
        def __init__(self):
            pools.append(self)

        def used_bytes(self):
            return 1 if self in used else 0

        def free_all_blocks(self):
            freed.append(self)

    monkeypatch.setattr(cuda, "MemoryPool", Pool)
    model = network()

    def asking(*batch):
        if strict_cuda.StrictStream.capturing is not None:
            assert cuda.allocators[-1] == pools[-1].malloc
        train_step(model, *batch)

    step = CapturedStep(model, asking)
    run(model, BATCHES, step)
    assert len(pools) == 1 and not cuda.allocators
    used[:] = pools
    step.close()
    assert capture._pools_in_use == pools  # as long as there are arrays in it
    del used[:], freed[:]
    with step as entered:
        assert entered is step
        run(model, BATCHES, step)
        assert not freed
    assert len(pools) == 2 and capture._pools_in_use == []
    assert set(freed) == set(pools)


@pytest.mark.parametrize("variable", ["MINICNN_CUDA_GRAPHS", "MINICNN_CUDA_KERNELS"])
def test_graphs_can_be_turned_off(variable, strict, monkeypatch):
    class Cupy:
        __name__ = "cupy"

        class cuda:
            class runtime:
                is_hip = False

    monkeypatch.setattr(backend, "_active", backend.Backend("cupy", Cupy(), np.ndarray, np.asarray))
    assert capture.graphs_are_possible()
    monkeypatch.setenv(variable, "0")
    assert not capture.graphs_are_possible()
    monkeypatch.delenv(variable)
    Cupy.cuda.runtime.is_hip = True  # an AMD GPU
    assert not capture.graphs_are_possible()


@pytest.mark.cpu_only("about a step that is not on a GPU")
def test_without_a_gpu_fit_meets_no_captured_step(monkeypatch):
    monkeypatch.setattr(trainer, "CapturedStep", lambda *args: pytest.fail("it is there"))
    network().fit(X, Y, batch_size=20, verbose=0)


@pytest.mark.cpu_only("about a step that is not on a GPU")
def test_without_a_gpu_a_step_is_a_step():
    model = network()
    calls = []
    step = CapturedStep(model, lambda *batch: calls.append(batch))
    for batch in BATCHES:
        step(*batch)
    step.close()
    assert len(calls) == len(BATCHES)


def test_optimizers_are_all_tried():
    tried = {type(make()).__name__ for make in OPTIMIZERS.values()}
    assert tried == {
        optimizers.OPTIMIZERS.find(name).__name__ for name in optimizers.OPTIMIZERS.names()
    }


def test_fit_captures_its_steps_and_lets_go_of_them(cuda, monkeypatch):
    def fitted():
        model = network("adam", [Dropout(0.2)])
        history = model.fit(X, Y, batch_size=20, epochs=3, validation_split=0.25, verbose=0)
        return [*history.history.values(), *model.get_weights()]

    ours = fitted()
    assert cuda.launches == 1 + 3 + 3  # 20 + 20 + 20 + 12 images per epoch
    monkeypatch.setattr(trainer, "graphs_are_possible", lambda: False)
    for a, b in zip(ours, fitted(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert cuda.launches == 7 and capture._pools_in_use == []
