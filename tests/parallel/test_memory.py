"""Freed memory is kept for the next step, where the C library is glibc."""

import platform
import subprocess
import sys

import pytest

FAULTS_A_STEP = """
import resource
import numpy as np
from minicnn.parallel.memory import keep_freed_memory

kept = keep_freed_memory()

def step():
    arrays = [np.ones(1 << 20, "float32") for _ in range(8)]  # 32 MB

for _ in range(3):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    step()
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def run(monkeypatch, setting):
    monkeypatch.setenv("MINICNN_KEEP_MEMORY", setting)
    done = subprocess.run(
        [sys.executable, "-c", FAULTS_A_STEP], capture_output=True, text=True, check=True
    )
    kept, faults = done.stdout.split()
    return kept == "True", int(faults)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's malloc alone")
def test_a_step_finds_the_pages_of_the_last_one(monkeypatch):
    kept, faults = run(monkeypatch, "1")
    assert kept and faults < 100  # 32 MB are 8,192 pages


def test_malloc_is_left_alone_on_request(monkeypatch):
    kept, _ = run(monkeypatch, "0")
    assert not kept
