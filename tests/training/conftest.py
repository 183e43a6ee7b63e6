"""What the tests of training share beside `small_problem` and `capturing`."""

import pytest
import strict_backend
import strict_cuda

from minicnn.training import capture, trainer


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
    for module in (capture, trainer):
        monkeypatch.setattr(module, "graphs_are_possible", lambda: True)
    return cuda
