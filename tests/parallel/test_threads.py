"""Shards on threads: the same results in the same order, errors raised, BLAS put back."""

import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from threadpoolctl import threadpool_info

from minicnn.parallel import (
    SOLO,
    counts,
    num_threads,
    one_blas_thread,
    run_shards,
    set_num_threads,
    shard_count,
    split_work,
    threads,
)
from minicnn.parallel.slices import even_slices


def blas_threads():
    return [i["num_threads"] for i in threadpool_info() if i["user_api"] == "blas"]


@given(images=st.integers(1, 300), shards=st.integers(1, 9))
def test_slices_cover_every_image_once_and_evenly(images, shards):
    slices = even_slices(images, shards)
    covered = [i for s in slices for i in range(images)[s]]
    assert covered == list(range(images)) and len(slices) == shards
    sizes = [s.stop - s.start for s in slices]
    assert max(sizes) - min(sizes) <= 1


def test_the_number_of_threads(monkeypatch):
    monkeypatch.setenv("MINICNN_NUM_THREADS", "3")
    assert num_threads() == 3
    monkeypatch.delenv("MINICNN_NUM_THREADS")
    assert num_threads() >= 1


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5"])
def test_a_bad_number_of_threads(monkeypatch, value):
    monkeypatch.setenv("MINICNN_NUM_THREADS", value)
    with pytest.raises(ValueError, match=f"MINICNN_NUM_THREADS must be an integer.*'{value}'"):
        num_threads()


def test_small_batches_are_not_cut(monkeypatch):
    monkeypatch.setenv("MINICNN_NUM_THREADS", "4")
    much = 10 * counts.MIN_WORK_PER_SHARD
    assert [shard_count(n, much) for n in (1, 8, 15, 16, 31, 32, 1000)] == [1, 1, 1, 2, 3, 4, 4]


def test_batches_with_little_to_do_are_not_cut(monkeypatch):
    monkeypatch.setenv("MINICNN_NUM_THREADS", "4")
    monkeypatch.setattr(counts, "MIN_WORK_PER_SHARD", 1000)
    assert [shard_count(100, work) for work in (0, 1, 19, 20, 35, 1000)] == [1, 1, 1, 2, 3, 4]


def test_setting_the_number_of_threads(monkeypatch):
    monkeypatch.setenv("MINICNN_NUM_THREADS", "3")
    set_num_threads(2)
    try:
        assert num_threads() == 2
    finally:
        set_num_threads(None)
    assert num_threads() == 3


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "2"])
def test_setting_a_bad_number_of_threads(value):
    with pytest.raises(ValueError, match=f"threads must be an integer above 0.*{value!r}"):
        set_num_threads(value)


def test_a_gpu_has_one_shard(monkeypatch, strict):
    monkeypatch.setenv("MINICNN_NUM_THREADS", "4")
    assert shard_count(1000, 1 << 40) == 1


@pytest.mark.parametrize("shards", [1, 2, 3, 5])
def test_results_come_in_the_order_of_the_ranks(shards):
    def work(comm):
        time.sleep(0.002 * (comm.size - comm.rank))  # the last one is ready first
        return comm.rank, comm.size

    assert run_shards(shards, work) == [(r, shards) for r in range(shards)]


def test_one_shard_runs_alone():
    assert run_shards(1, lambda comm: comm is SOLO) == [True]
    assert SOLO.allreduce(3) == SOLO.broadcast(3) == 3 and SOLO.barrier() is None


def test_allreduce_of_a_tuple_sums_each_of_its_members():
    def work(comm):
        return comm.allreduce((np.full(3, comm.rank), 2 * comm.rank))

    for total, count in run_shards(3, work):
        assert total.tolist() == [3, 3, 3] and count == 6


@pytest.mark.parametrize("shards", [2, 3])
def test_many_exchanges_in_a_row_do_not_mix(shards):
    """Threads that run ahead must not write over what others have still to read."""

    def work(comm):
        rng = np.random.default_rng(comm.rank)
        sums = []
        for i in range(200):
            if rng.random() < 0.1:
                time.sleep(rng.random() * 1e-3)
            sums.append(comm.allreduce(i * (comm.rank + 1)))
        return sums

    expected = [i * sum(range(1, shards + 1)) for i in range(200)]
    assert run_shards(shards, work) == [expected] * shards


@pytest.mark.parametrize("shards", [2, 3, 4])
def test_allreduce_adds_in_the_order_of_the_ranks(shards):
    """Floating-point sums depend on the order; here it is always that of the ranks."""
    parts = np.random.default_rng(0).standard_normal((shards, 50, 7)).astype("float32")
    parts *= np.float32(10) ** np.arange(shards)[:, None, None].astype("float32")

    def work(comm):
        sums = []
        for round_ in range(50):
            time.sleep(0.0001 * ((comm.rank * 7 + round_) % 3))  # arrive in changing orders
            sums.append(comm.allreduce(parts[comm.rank, round_]))
        return sums

    for sums in run_shards(shards, work):
        for round_, total in enumerate(sums):
            expected = parts[0, round_]
            for rank in range(1, shards):
                expected = expected + parts[rank, round_]
            np.testing.assert_array_equal(total, expected)


def test_broadcast_hands_out_what_rank_0_has():
    def work(comm):
        return [comm.broadcast(10 * i + comm.rank) for i in range(20)]

    assert run_shards(3, work) == [[10 * i for i in range(20)]] * 3


def test_a_barrier_waits_for_all():
    arrived = []

    def work(comm):
        time.sleep(0.01 * comm.rank)
        arrived.append(comm.rank)
        comm.barrier()
        return len(arrived)

    assert run_shards(3, work) == [3, 3, 3]


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_an_error_in_one_shard_is_raised_and_stops_the_others(failing):
    def work(comm):
        if comm.rank == failing:
            raise KeyError(f"shard {failing}")
        comm.allreduce(1)  # would wait for ever
        return comm.rank

    started = time.monotonic()
    with pytest.raises(KeyError, match=f"shard {failing}"):
        run_shards(3, work)
    assert time.monotonic() - started < 5
    assert run_shards(3, lambda comm: comm.allreduce(1)) == [3, 3, 3]  # and work goes on


def test_the_first_of_several_errors():
    def work(comm):
        raise ValueError(f"shard {comm.rank}")

    with pytest.raises(ValueError, match="shard 0"):
        run_shards(3, work)


def test_an_interrupt_reaches_the_caller():
    def work(comm):
        if comm.rank == 0:
            raise KeyboardInterrupt
        comm.barrier()

    with pytest.raises(KeyboardInterrupt):
        run_shards(2, work)


def test_shards_run_at_the_same_time(monkeypatch):
    monkeypatch.setenv("MINICNN_NUM_THREADS", "3")
    meeting = threading.Barrier(3, timeout=5)
    assert sorted(run_shards(3, lambda comm: meeting.wait())) == [0, 1, 2]


@pytest.mark.parametrize("length", [0, 1, 99, 100, 250, 1001])
@pytest.mark.parametrize("number", ["1", "2", "3"])
def test_long_work_is_split(monkeypatch, length, number):
    monkeypatch.setattr(threads, "_MIN_ELEMENTS_PER_THREAD", 100)
    monkeypatch.setenv("MINICNN_NUM_THREADS", number)
    numbers, seen = np.zeros(length), []

    def work(part):
        numbers[part] += 1
        seen.append(part.stop - part.start)

    split_work(length, work)
    assert (numbers == 1).all() and len(seen) == max(1, min(int(number), length // 100))
    assert max(seen) - min(seen) <= 1


def test_work_on_a_gpu_is_not_split(monkeypatch, strict):
    monkeypatch.setattr(threads, "_MIN_ELEMENTS_PER_THREAD", 1)
    monkeypatch.setenv("MINICNN_NUM_THREADS", "4")
    parts = []
    split_work(1000, parts.append)
    assert parts == [slice(0, 1000)]


def test_blas_has_one_thread_within_and_as_many_as_before_afterwards(monkeypatch):
    monkeypatch.setenv("MINICNN_NUM_THREADS", "2")
    before = blas_threads()
    with one_blas_thread():
        assert set(blas_threads()) <= {1}
        with one_blas_thread():
            pass
        assert set(blas_threads()) <= {1}
    assert blas_threads() == before
    with pytest.raises(KeyError), one_blas_thread():
        raise KeyError
    assert blas_threads() == before


def test_steps_from_two_threads_at_once_do_not_block_each_other():
    """Each needs two workers of the same pool at its barrier."""

    def steps():
        for _ in range(50):
            run_shards(3, lambda comm: comm.allreduce(1))

    threads = [threading.Thread(target=steps, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert not any(thread.is_alive() for thread in threads)
