"""Profiles of tests are quick: no peak is measured, and copies are small."""

import pytest

from minicnn.profiler import clocks, measure


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """10 GFLOP/s is the peak; `clocks.product_peak` itself is left alone."""
    monkeypatch.setattr(measure, "product_peak", lambda dtype, threads=1: 10.0)
    monkeypatch.setattr(clocks, "COPY_BYTES", 1 << 12)
