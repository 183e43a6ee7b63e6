"""How a length is cut into slices."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minicnn.parallel.slices import chunks, even_chunks, even_slices

sizes = st.integers(0, 10**6)


def lengths(slices):
    return [s.stop - s.start for s in slices]


def assert_neighbours(slices, length):
    bounds = [0, *(s.stop for s in slices)]
    assert [s.start for s in slices] == bounds[:-1] and bounds[-1] == length


@given(st.integers(0, 300), st.integers(1, 40))
def test_even_slices(length, parts):
    slices = even_slices(length, parts)
    assert_neighbours(slices, length)
    assert len(slices) == parts and max(lengths(slices)) - min(lengths(slices)) <= 1


@given(st.integers(0, 300), sizes, sizes)
def test_chunks_are_as_large_as_fits(length, bytes_each, most_bytes):
    cut = chunks(length, bytes_each, most_bytes)
    assert_neighbours(cut, length)
    assert all(n * bytes_each <= most_bytes or n == 1 for n in lengths(cut))
    assert all((n + 1) * max(1, bytes_each) > most_bytes for n in lengths(cut)[:-1])
    assert len(set(lengths(cut)[:-1])) <= 1


@given(st.integers(0, 300), sizes, sizes, st.sampled_from([round, math.floor]))
def test_even_chunks(length, bytes_each, chunk_bytes, rounding):
    cut = even_chunks(length, bytes_each, chunk_bytes, rounding)
    assert_neighbours(cut, length)
    assert max(lengths(cut)) - min(lengths(cut)) <= 1 and (min(lengths(cut)) > 0 or length == 0)


@pytest.mark.parametrize(("rounding", "count"), [(round, 4), (math.floor, 3)])
def test_even_chunks_by_hand(rounding, count):
    """Seven images of 100 bytes, about 200 per chunk: 3.5 chunks."""
    assert len(even_chunks(7, 100, 200, rounding)) == count
