"""What a training step needs in memory, and that later steps need no more."""

import tracemalloc

import numpy as np

from minicnn import Sequential
from minicnn.layers import BatchNormalization, Conv2D, Dense, Dropout, Flatten, Input, MaxPooling2D

rng = np.random.default_rng(0)
X = rng.integers(0, 256, (32, 16, 16, 3), dtype=np.uint8)
Y = rng.integers(0, 10, 32)


def step_peaks(model, steps):
    """Bytes allocated at most in each of several steps, and what is left after each."""
    peaks, left = [], []
    tracemalloc.start()
    try:
        for _ in range(steps):
            tracemalloc.reset_peak()
            model.train_on_batch(X, Y)
            now, peak = tracemalloc.get_traced_memory()
            peaks.append(peak)
            left.append(now)
    finally:
        tracemalloc.stop()
    return peaks, left


def test_memory_is_flat_over_steps(monkeypatch):
    monkeypatch.setenv("MINICNN_NUM_THREADS", "1")  # threads may come at their peaks apart
    model = Sequential(
        [Input((16, 16, 3)), Conv2D(8, 3, activation="relu"), MaxPooling2D(), Conv2D(16, 3),
         BatchNormalization(), Dropout(0.5), Flatten(), Dense(10, activation="softmax")]
    )  # fmt: skip
    model.compile("adam", "sparse_categorical_crossentropy")
    model.train_on_batch(X, Y)  # the optimizer makes its averages, caches fill
    model.train_on_batch(X, Y)
    peaks, left = step_peaks(model, 6)
    page = 4096  # Python's own small objects come and go
    assert max(peaks) < min(peaks) + 8 * page
    assert max(left) < left[0] + 8 * page
