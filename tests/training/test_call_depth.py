"""How far it is from `fit` to the matrix product: what a reader has to follow."""

import sys
from pathlib import Path

import numpy as np
import pytest

import minicnn
from minicnn import Input, Sequential
from minicnn.layers import Conv2D, Dense, Flatten, MaxPooling2D

pytestmark = pytest.mark.cpu_only("counts the calls that lead to a product of NumPy")
PACKAGE = Path(minicnn.__file__).parent


def calls_to_products(monkeypatch, conv, threads=1):
    """[[(file, function), ... from `fit` on], ...], one list for each product in a training step
    that a convolution makes in the main thread."""
    found = []
    product = np.matmul

    def watched(*args, **kwargs):
        calls, frame = [], sys._getframe(1)
        while frame is not None:
            path = Path(frame.f_code.co_filename)
            if path.is_relative_to(PACKAGE):
                calls.append((path.relative_to(PACKAGE).as_posix(), frame.f_code.co_name))
            if calls and calls[-1][1] == "fit":
                found.append(calls[::-1])
                break
            frame = frame.f_back
        return product(*args, **kwargs)

    monkeypatch.setenv("MINICNN_NUM_THREADS", str(threads))
    model = Sequential([Input((32, 32, 16)), *conv, Flatten(), Dense(3)])
    model.compile("sgd", "mse")
    x = np.random.default_rng(0).normal(size=(32, 32, 32, 16)).astype("float32")
    model.fit(x, np.zeros((32, 3)), verbose=0)  # asks once whether BLAS tells of overflow
    monkeypatch.setattr(np, "matmul", watched)
    model.fit(x, np.zeros((32, 3)), verbose=0)
    return [calls for calls in found if ("layers/conv.py", "linear") in calls]


def size(calls):
    """(how many calls, in how many files)."""
    return len(calls), len({file for file, _ in calls})


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("algorithm", ["im2col", "winograd"])
def test_at_most_ten_calls_in_seven_files(monkeypatch, algorithm, threads):
    conv = [Conv2D(8, 3, activation="relu", algorithm=algorithm), MaxPooling2D()]
    found = calls_to_products(monkeypatch, conv, threads)
    assert found
    for calls in found:
        assert size(calls) <= (10, 7) and size(calls)[1] <= 7, calls


def test_the_activation_of_a_layer_without_a_pooling_is_one_call_more(monkeypatch):
    found = calls_to_products(monkeypatch, [Conv2D(8, 3, activation="relu", algorithm="im2col")])
    assert {size(calls) for calls in found} == {(11, 8)}
