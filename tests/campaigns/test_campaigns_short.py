"""The campaigns in a few seconds each; and that each of them finds what is wrong on purpose."""

import json
import mmap
import os
import re
import subprocess
import sys
import threading
import weakref
from pathlib import Path

import numpy as np
import pytest
from campaigns import flat_memory, killed_runs, overlapping_runs
from campaigns.reporting import finish
from small_problem import network

from minicnn import layers

# newer versions of Python warn of every fork in a process with threads
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
needs_proc = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads Linux's /proc")
needs_fork = pytest.mark.skipif(sys.platform == "win32", reason="forks")


@pytest.fixture
def against_pytorch():
    pytest.importorskip("torch")
    from campaigns import layers_against_pytorch

    return layers_against_pytorch


@pytest.mark.parity
def test_layers_against_pytorch(against_pytorch):
    rows, findings, _ = against_pytorch.campaign(56, seed=1)
    assert not findings
    assert sum(row[1] for row in rows) == 56 and len(rows) >= 14


def _wrong_value(self, x, ctx):
    return _forward(self, x, ctx) * (1 + 1e-7)


def _wrong_shape(self, x, ctx):
    return _forward(self, x, ctx)[..., None]  # as backward is given dy


def _wrong_dtype(self, x, ctx):
    return _forward(self, x, ctx).astype("float16")


def _changed_input(self, x, ctx):
    y = _forward(self, x, ctx)
    if x.flags.writeable:
        x += 1
    return y


def _exception(self, x, ctx):
    raise RuntimeError("on purpose")


_forward = layers.MaxPooling2D.forward


@pytest.mark.parity
@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (_wrong_value, "float64, .* error 1.0e-07 of y"),
        (_wrong_shape, r"y is float64 \(.*, 1\), not float64"),
        (_wrong_dtype, "y is float16"),
        (_changed_input, "the input was changed"),
        (_exception, "RuntimeError: on purpose"),
    ],
)
def test_a_wrong_layer_is_found(against_pytorch, monkeypatch, wrong, text):
    monkeypatch.setattr(layers.MaxPooling2D, "forward", wrong)
    _, findings, _ = against_pytorch.campaign(14 * 3)
    assert {finding["layer"] for finding in findings} == {"MaxPooling2D"}
    assert any(re.search(text, finding["finding"]) for finding in findings)


@pytest.mark.parity
def test_a_wrong_gradient_is_found(against_pytorch, monkeypatch):
    backward = layers.Dense.backward

    def wrong(self, dy, ctx):
        dx = backward(self, dy, ctx)
        ctx.add_gradient(self.kernel, np.full_like(self.kernel.value, 1e-2))
        return dx

    monkeypatch.setattr(layers.Dense, "backward", wrong)
    _, findings, _ = against_pytorch.campaign(14 * 2)
    assert {finding["layer"] for finding in findings} == {"Dense"}
    assert all("of kernel" in finding["finding"] for finding in findings)


@needs_fork
def test_killed_runs():
    rows, findings = killed_runs.campaign(2, [killed_runs.Scenario("arrays", "adam", 2)], seed=1)
    assert not findings
    assert rows[0][2] == 2


class Forgetful(killed_runs.Scenario):
    """Ends otherwise each time, or with an error."""

    def __init__(self, status):
        super().__init__("arrays", "adam", 2)
        self.status, self.ended = status, 0

    def command(self, folder):
        code = f"import sys, time; time.sleep(0.5); print('on purpose'); sys.exit({self.status})"
        return [sys.executable, "-c", code]

    def result(self, folder):
        self.ended += 1
        return {"weights": self.ended}


@pytest.mark.parametrize(
    ("status", "finding"), [(0, "'differ': ['weights']"), (3, "status 3: on purpose")]
)
def test_a_run_that_ends_otherwise_is_found(status, finding):
    _, findings = killed_runs.campaign(1, [Forgetful(status)])
    assert finding in str(findings)


@needs_fork
def test_overlapping_runs():
    done = overlapping_runs.campaign(30)
    assert not done.findings
    assert sum(count["times"] for count in done.counts.values()) == 30
    assert done.most > 2


class Wrong:
    """A run whose first call, alone, is as it has to be; afterwards it does as it is told."""

    label, seed, batch_size = "wrong", 0, 1

    def __init__(self, then):
        self.then, self.calls = then, 0

    def __call__(self):
        self.calls += 1
        return "alone" if self.calls == 1 else self.then()


def _raise():
    raise RuntimeError("on purpose")


@needs_fork
@pytest.mark.parametrize(
    ("then", "text"),
    [
        (lambda: "beside others", "other bits"),
        (_raise, "RuntimeError: on purpose"),
    ],
)
def test_a_run_that_changes_beside_others_is_found(then, text):
    done = overlapping_runs.campaign(4, drawn_from=[Wrong(then)])
    assert len(done.findings) == 4
    assert all(text in finding["finding"] for finding in done.findings)


@needs_fork
def test_a_run_that_does_not_end_is_found(capfd):
    ended = threading.Event()
    waiting = Wrong(lambda: str(ended.wait()))
    done = overlapping_runs.campaign(4, drawn_from=[waiting], timeout=1.0)
    hung = done.hung
    ended.set()
    for thread in done.threads:
        thread.join()
    assert hung
    assert any("did not end" in finding["finding"] for finding in done.findings)
    assert "in __call__" in capfd.readouterr().err  # where it waits


def test_a_run_that_does_not_end_alone_is_found():
    ended = threading.Event()
    waiting = Wrong(lambda: str(ended.wait()))
    waiting.calls = 1  # so that already its first waits
    done = overlapping_runs.campaign(4, drawn_from=[waiting], timeout=0.5)
    ended.set()
    assert done.hung
    assert [finding["finding"] for finding in done.findings] == ["did not end alone, or failed"]


@needs_proc
def test_memory_is_flat():
    """In a process of its own, in which nothing else has been."""
    ended = subprocess.run(
        [sys.executable, flat_memory.__file__, "--steps", "400"],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "findings: 0" in ended.stdout


def _keeping(make):
    """Work that keeps what `make` makes."""

    def begin():
        def work(i):
            work.kept.append(make())

        work.kept, work.dropped = [], []
        return work

    return begin


def _a_mebibyte():
    memory = mmap.mmap(-1, 2**20)  # not from what other tests have freed
    memory.write(bytes([1]) * 2**20)
    return memory


def _started_thread(ended):
    thread = threading.Thread(target=ended.wait, daemon=True)
    thread.start()
    return thread


@needs_proc
def test_what_grows_is_found(tmp_path):
    ended, descriptors = threading.Event(), []

    def kept_models():
        models = []

        def work(i):
            models.append(network())
            work.dropped.append(weakref.ref(models[-1]))

        work.dropped = []
        return work

    try:
        _, findings = flat_memory.campaign(20, {
            "memory": (_keeping(_a_mebibyte), 1),
            "descriptors": (lambda: lambda i: descriptors.append(os.open(tmp_path, 0)), 1),
            "threads": (_keeping(lambda: _started_thread(ended)), 1),
            "models": (kept_models, 1),
        })  # fmt: skip
    finally:
        ended.set()
        for descriptor in descriptors:
            os.close(descriptor)
    told = {finding["work"]: finding["finding"] for finding in findings}
    assert "memory grew by" in told["memory"]
    assert "open descriptors grew" in told["descriptors"]
    assert "threads grew" in told["threads"]
    assert told["models"] == "20 models that were dropped are alive"


def test_findings_give_a_status_and_a_file(tmp_path, capsys):
    path = tmp_path / "figures.json"
    assert finish(("layer", "error"), [("Dense", 0.5)], [], path) == 0
    finding = {"layer": "Dense", "finding": "wrong"}
    assert finish(("layer", "error"), [("Dense", 0.5)], [finding], path, seed=3) == 1
    written = json.loads(path.read_text())
    assert written["rows"] == [{"layer": "Dense", "error": 0.5}]
    assert (written["findings"], written["seed"]) == ([finding], 3)
    assert "| Dense | 0.5   |" in capsys.readouterr().out
