"""What is noticed of numbers that become too large, and what is looked at."""

import numpy as np
import pytest

from minicnn.kernels import overflow
from minicnn.kernels.overflow import watched
from minicnn.parallel import blas, one_blas_thread

LARGE = {"float32": 1e30, "float64": 1e300}


@pytest.fixture
def one_thread():
    with one_blas_thread():
        if not overflow._notes_are_seen(tuple(blas.libraries())):
            pytest.skip("this BLAS leaves no notes")
        yield


@pytest.mark.parametrize("dtype", LARGE)
@pytest.mark.parametrize("size", [3, 200])
def test_what_overflows_is_noticed(one_thread, dtype, size):
    large = np.full((size, size), LARGE[dtype], dtype)
    infinite = np.full((size, size), np.inf, dtype)
    for work in (
        lambda: large @ large,
        lambda: np.zeros_like(large) @ infinite,
        lambda: large * large,
        lambda: np.add(infinite, -infinite),
    ):
        with watched() as watch:
            assert not watch.suspicious
            result = work()
            assert watch.suspicious and not watch.is_finite(result)
            assert watch.is_finite(large) and watch.is_finite(large * 0 + 1)


def test_where_nothing_is_noticed_nothing_is_looked_at(one_thread):
    with watched() as watch:
        ordinary = np.ones((50, 50), "float32") @ np.ones((50, 50), "float32")
        assert not watch.suspicious
        assert watch.is_finite(ordinary * np.float32(np.nan))


@pytest.mark.parametrize("known", [True, False])
def test_where_notes_may_be_missed_everything_is_looked_at(monkeypatch, known):
    """With several BLAS threads, or a BLAS that leaves none."""
    if not known:
        monkeypatch.setattr(overflow, "_notes_are_seen", lambda libraries: False)
        monkeypatch.setattr(overflow, "has_one_thread", lambda: True)
    with watched() as watch:
        assert watch.suspicious
        assert not watch.is_finite(np.full(3, np.nan)) and watch.is_finite(np.full(3, 1e200))


def test_a_blas_is_asked_whether_it_leaves_notes(monkeypatch):
    overflow._notes_are_seen.cache_clear()
    monkeypatch.setattr(overflow.np, "matmul", lambda a, b: a)
    assert not overflow._notes_are_seen(())
    overflow._notes_are_seen.cache_clear()
