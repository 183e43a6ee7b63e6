"""Threads under forks, overlaps, nested runs and refusals: nothing hangs, nothing changes its bits,
and BLAS gets its threads back."""

import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from children import (
    TIMEOUT,
    Watch,
    blas_threads,
    in_a_child,
    look_at_blas,
    predictions,
    trained,
    two_blas_threads,
)
from small_problem import X, Y, equal_weights, network
from threadpoolctl import threadpool_limits

from minicnn import set_shards
from minicnn.layers import BatchNormalization
from minicnn.losses import Loss
from minicnn.parallel import blas, counts, one_blas_thread, run_shards, split_work
from minicnn.parallel import threads as parallel_threads

# newer versions of Python warn of every fork in a process with threads
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")


@pytest.fixture(autouse=True)
def two_threads(monkeypatch):
    monkeypatch.setenv("MINICNN_NUM_THREADS", "2")


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_a_child_trains_and_predicts_after_its_parent_has(monkeypatch, method):
    monkeypatch.setenv("MINICNN_SHARDS", "2")  # a small problem would not be cut in the child
    expected = trained().predict(X, verbose=0)  # the workers are there now
    found = in_a_child(method, predictions)
    np.testing.assert_array_equal(found, expected)


def test_a_child_of_a_thread_beside_a_fit_has_all_blas_threads():
    """The limit was that of another thread, which is not there in the child."""
    with threadpool_limits(2, "blas"):
        entered, leave = threading.Event(), threading.Event()

        def fit():
            with one_blas_thread():
                entered.set()
                leave.wait(TIMEOUT)

        thread = threading.Thread(target=fit)
        thread.start()
        entered.wait(TIMEOUT)
        try:
            assert set(blas_threads()) == {1}
            within, limited, afterwards = in_a_child("fork", look_at_blas)
        finally:
            leave.set()
            thread.join()
        assert set(within) == {2} and set(limited) == {1} and afterwards == within


def test_a_fork_within_a_run_leaves_it_as_it_was():
    with one_blas_thread():
        within, limited, afterwards = in_a_child("fork", look_at_blas)
    assert set(within) == set(limited) == set(afterwards) == {1}


def test_the_first_to_come_limits_blas_and_the_last_to_leave_lifts():
    with threadpool_limits(2, "blas"):
        turns = [threading.Event() for _ in range(4)]

        def first():
            with one_blas_thread():
                turns[0].set()
                turns[1].wait(TIMEOUT)

        def second():
            turns[0].wait(TIMEOUT)
            with one_blas_thread():
                turns[1].set()
                threads[0].join()  # the first has left
                seen.append(blas_threads())
            seen.append(blas_threads())

        seen = []
        threads = [threading.Thread(target=first), threading.Thread(target=second)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(TIMEOUT)
        assert [set(threads) for threads in seen] == [{1}, {2}]
        assert set(blas_threads()) == {2}


def test_sixteen_predictions_beside_a_fit_change_no_bit_and_no_limit():
    expected, model = trained(), trained(asked := Watch())
    alone = model.predict(X, verbose=0)
    predicted, stop = [], threading.Event()

    def predict():
        while not stop.is_set():
            predicted.append(model.predict(X, verbose=0))

    with two_blas_threads():
        threads = [threading.Thread(target=predict) for _ in range(16)]
        for thread in threads:
            thread.start()
        beside = trained(fitted := Watch())
        stop.set()
        for thread in threads:
            thread.join(TIMEOUT)
        assert not any(thread.is_alive() for thread in threads)
        assert set(fitted.seen) == set(asked.seen) == {1}
        assert set(blas_threads()) == {2}
    assert equal_weights(beside, expected)
    assert len(predicted) >= 16
    for found in predicted:
        np.testing.assert_array_equal(found, alone)


class SomeBlas:
    """Stands for a library in the process."""

    user_api, num_threads = "blas", 2

    def set_num_threads(self, number):
        self.num_threads = number


def test_a_blas_that_is_loaded_later_is_limited_too(monkeypatch):
    """As SciPy brings its own."""
    loaded, within = [SomeBlas()], []
    controller = SimpleNamespace(lib_controllers=loaded)
    monkeypatch.setattr(blas, "ThreadpoolController", lambda: controller)
    monkeypatch.setattr(blas, "_files_of_blas", lambda modules: len(loaded))
    blas._libraries_in.cache_clear()
    try:
        for _ in range(2):
            with one_blas_thread():
                within.append([library.num_threads for library in loaded])
            assert [library.num_threads for library in loaded] == [2] * len(loaded)
            controller.lib_controllers = loaded = [*loaded, SomeBlas()]
    finally:
        blas._libraries_in.cache_clear()
    assert within == [[1], [1, 1]]


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="reads Linux's /proc")
def test_modules_without_a_blas_are_no_reason_to_look_again(monkeypatch):
    """To look takes the loader's lock, for which another thread may wait with Python's."""
    before = blas.libraries()
    monkeypatch.setattr(blas, "ThreadpoolController", lambda: pytest.fail("it looks again"))
    monkeypatch.setitem(sys.modules, "module_without_blas", ModuleType("module_without_blas"))
    assert before and blas.libraries() is before


class Asking(Loss):
    """Asks another model, in the midst of a shard."""

    def __init__(self, ask):
        super().__init__()
        self.ask = ask

    def per_sample(self, y_true, y_pred):
        self.ask()
        return ((y_pred - 0.1) ** 2).mean(-1), y_pred - 0.1

    def per_sample_gradient(self, kept, scale):
        return kept * (2 / kept.shape[-1]) * scale


@pytest.mark.parametrize("what", ["predict", "fit", "train_on_batch"])
def test_a_run_within_a_shard_does_not_wait_for_it(what):
    asked = []

    def ask():
        model = network(extra=[BatchNormalization()])
        if what == "predict":
            asked.append(model.predict(X, batch_size=256, verbose=0))
        elif what == "fit":
            asked.append(model.fit(X, Y, batch_size=64, verbose=0))
        else:
            asked.append(model.train_on_batch(X, Y))

    model = network(loss=Asking(ask))
    thread = threading.Thread(
        target=lambda: model.fit(X[:64], Y[:64], batch_size=64, verbose=0), daemon=True
    )
    thread.start()
    thread.join(TIMEOUT)
    assert not thread.is_alive() and len(asked) == 2


def refuse(self):
    raise RuntimeError("can't start new thread")


def test_a_refused_thread_is_said_and_forgotten(monkeypatch):
    expected = trained()
    monkeypatch.setattr(parallel_threads._pool, "_idle", [])
    with monkeypatch.context() as refusing:
        refusing.setattr(parallel_threads._Worker, "start", refuse)
        with pytest.raises(RuntimeError, match="2 shards, which need 1 threads beside this one; 0"):
            trained()
    assert equal_weights(trained(), expected)


def test_without_threads_shards_that_do_not_talk_run_one_after_the_other(monkeypatch):
    model = network()
    expected = model.predict(X, verbose=0)
    monkeypatch.setattr(parallel_threads, "_MIN_ELEMENTS_PER_THREAD", 1)
    monkeypatch.setattr(parallel_threads._pool, "_idle", [])
    monkeypatch.setattr(parallel_threads._Worker, "start", refuse)
    np.testing.assert_array_equal(model.predict(X, verbose=0), expected)
    done = np.zeros(9)

    def work(span):
        done[span] += 1

    split_work(9, work)
    assert (done == 1).all()


def test_a_prediction_as_the_interpreter_ends():
    script = """
        import atexit
        import numpy as np
        from minicnn import Sequential, layers, parallel

        parallel.counts.MIN_WORK_PER_SHARD = 1
        x = np.ones((64, 8, 8, 3), "float32")
        model = Sequential([layers.Input((8, 8, 3)), layers.Conv2D(4, 3), layers.Flatten()])
        atexit.register(lambda: print(model.predict(x, batch_size=64, verbose=0).shape))
    """
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True, text=True, timeout=TIMEOUT,
    )  # fmt: skip
    assert (ended.stdout, ended.stderr) == ("(64, 144)\n", "")


@pytest.fixture
def four_shards():
    set_shards(4)
    yield
    set_shards(None)


def test_with_fixed_shards_the_number_of_threads_changes_no_bit(monkeypatch, four_shards):
    models = []
    for threads in ("1", "2", "3", "4", "7"):
        monkeypatch.setenv("MINICNN_NUM_THREADS", threads)
        models.append(trained())
    for model in models[1:]:
        assert equal_weights(model, models[0])


def test_no_more_shards_work_at_once_than_there_are_threads(four_shards):
    at_work, most, lock = [], [], threading.Lock()

    def work(comm):
        for _ in range(20):
            with lock:
                at_work.append(comm.rank)
                most.append(len(at_work))
            comm.rank * 2
            with lock:
                at_work.remove(comm.rank)
            comm.barrier()
        return comm.rank

    assert run_shards(4, work) == [0, 1, 2, 3]
    assert max(most) <= 2


def test_shards_by_the_environment(monkeypatch):
    monkeypatch.setenv("MINICNN_SHARDS", "3")
    assert [counts.shard_count(n, 0) for n in (1, 2, 3, 300)] == [1, 2, 3, 3]
    monkeypatch.setenv("MINICNN_SHARDS", "no")
    with pytest.raises(ValueError, match="MINICNN_SHARDS must be an integer above 0, not 'no'"):
        counts.shard_count(300, 0)
    with pytest.raises(ValueError, match="shards must be an integer above 0, or None, not 0"):
        set_shards(0)
