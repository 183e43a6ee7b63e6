"""What the tests of training share beside `small_problem` and `capturing`."""

import numpy as np
import pytest
import strict_backend
import strict_cuda

from minicnn import backend
from minicnn.kernels.cuda.random import CounterGenerator
from minicnn.training import capture, trainer


class StrictCounter(CounterGenerator):
    """A generator whose numbers follow from their place, also where a launch reads the place."""

    __module__ = CounterGenerator.__module__  # code from elsewhere is never captured

    def random(self, size=None, dtype="float64"):
        *key, passes, draw = self.next_draw()

        def numbers():
            place = [*np.array(key, np.int32).view(np.uint32), passes._data[0], draw]
            return np.random.default_rng(place).random(size, dtype)

        return strict_backend.StrictArray(strict_backend.done(numbers))


@pytest.fixture
def cuda(strict, monkeypatch):
    """The stand-in for `cupy.cuda`, which counts launches."""
    cuda = strict_cuda.StrictCuda()
    cuda.launches = 0
    launch = strict_cuda.StrictGraph.launch

    def counting(graph, stream=None):
        cuda.launches += 1
        launch(graph, stream)

    monkeypatch.setattr(strict_cuda.StrictGraph, "launch", counting)
    monkeypatch.setattr(strict_backend.module, "cuda", cuda, raising=False)
    monkeypatch.setattr(backend, "_cuda_generator", StrictCounter)
    monkeypatch.setattr(backend, "draws_by_counter", lambda: True)
    for module in (capture, trainer):
        monkeypatch.setattr(module, "graphs_are_possible", lambda: True)
    return cuda
