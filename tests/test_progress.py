"""What is shown during training, on a terminal and elsewhere."""

import io
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from minicnn import progress
from minicnn.progress import ProgressBar, format_value


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Clock:
    now = 100.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


@pytest.fixture
def terminal(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(progress, "sys", SimpleNamespace(stdout=terminal))
    monkeypatch.setenv("COLUMNS", "80")
    return terminal


def run(bar, clock, steps=10, seconds_per_step=0.0625, logs=None):
    """One epoch of batches of 32; returns how often the logs were read."""
    reads = []

    def read():
        reads.append(1)
        return {"loss": 2.5, "accuracy": 0.25}

    bar.begin_epoch(0)
    for _ in range(steps):
        clock.now += seconds_per_step
        bar.update(32, read)
    clock.now += 1.0  # validation
    bar.end_epoch({"loss": 1.5, "accuracy": 0.25, "matrix": np.eye(2)} if logs is None else logs)
    return len(reads)


def test_silent(clock, capsys):
    assert run(ProgressBar(0, 3, 10), clock) == 0
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


@pytest.mark.parametrize("verbose", [1, 2, "auto"])
def test_one_line_per_epoch_without_a_terminal(verbose, clock, capsys):
    assert run(ProgressBar(verbose, 3, 10), clock) == 0
    captured = capsys.readouterr()
    # 320 images in 0.625 s; the second of validation belongs to the epoch but not to the speed
    expected = "Epoch 1/3 - 1.6 s - 512 images/s - loss 1.5000 - accuracy 0.2500\n"
    assert captured.out == expected
    assert captured.err == ""


def test_one_line_on_a_terminal_too_if_asked_for(clock, terminal):
    run(ProgressBar(2, 1, 10, title="Evaluate"), clock)
    assert terminal.getvalue().startswith("Evaluate - 1.6 s - 512 images/s")
    assert "\r" not in terminal.getvalue()


@pytest.mark.cpu_only("a GPU is looked at less often")
@pytest.mark.parametrize("verbose", [1, "auto"])
def test_bar_on_a_terminal(verbose, clock, terminal, capsys):
    reads = run(ProgressBar(verbose, 3, 10), clock)
    shown = terminal.getvalue()
    assert reads == 2  # every 0.2 s of the 0.6 s, not every step
    assert "Epoch 1/3:  40%" in shown
    assert "left, 512 images/s, loss 2.5000, accuracy 0.2500" in shown
    last = shown.split("\r")[-1]  # the bar has made way for the line, whole at any width
    assert last == "Epoch 1/3 - 1.6 s - 512 images/s - loss 1.5000 - accuracy 0.2500\n"
    assert max(len(line) for line in shown.split("\r")[:-1]) <= 80
    assert capsys.readouterr().err == ""


def test_bar_without_a_known_number_of_batches(clock, terminal):
    run(ProgressBar(1, 1, None), clock)
    assert "Epoch 1/1: 8 batches" in terminal.getvalue()
    assert "512 images/s, loss 2.5000" in terminal.getvalue()


def test_every_epoch_has_its_own_bar(clock, terminal):
    bar = ProgressBar(1, 2, 1)
    for epoch in range(2):
        bar.begin_epoch(epoch)
        clock.now += 1
        bar.update(1, dict)
        bar.end_epoch({})
    lines = terminal.getvalue().strip().split("\n")
    assert ["Epoch 1/2" in lines[0], "Epoch 2/2" in lines[1]] == [True, True]
    bar.close()


def test_on_a_device_the_logs_are_read_less_often(clock, terminal, strict):
    bar = ProgressBar(1, 1, 64)
    assert run(bar, clock, steps=64) == 8  # of 4 s, every half a second
    assert "loss 2.5000" in terminal.getvalue()


def test_the_speed_counts_until_the_steps_are_computed(clock, capsys):
    bar = ProgressBar(2, 1, 1)
    bar.begin_epoch()
    clock.now += 0.25
    bar.update(100)
    clock.now += 0.25  # the device catches up
    bar.end_steps()
    clock.now += 1.5
    bar.end_epoch()
    assert capsys.readouterr().out == "Epoch 1/1 - 2.0 s - 200 images/s\n"


def test_update_without_logs_and_no_batches_at_all(clock, terminal, capsys):
    bar = ProgressBar(1, 1, 5, "Predict")
    bar.begin_epoch()
    clock.now += 1
    bar.update(8)
    bar.close()
    assert "Predict" in terminal.getvalue()
    empty = ProgressBar(2)
    empty.begin_epoch()
    empty.end_epoch()
    assert terminal.getvalue().endswith("Epoch 1/1 - 0.0 s\n")


def test_verbose_of_another_value():
    with pytest.raises(ValueError, match=r"0 \(silent\), 1 \(bar\), 2 .* or 'auto', got 3"):
        ProgressBar(3)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0.0000"), (0.12345, "0.1235"), (1e-5, "1.000e-05"), (123456.7, "1.235e+05"),
     (float("nan"), "nan"), (np.float32(2), "2.0000")],
)  # fmt: skip
def test_format_value(value, text):
    assert format_value(value) == text


def test_a_notebook_gets_a_bar_of_text(monkeypatch):
    class OutStream(io.StringIO):
        """As a notebook's kernel puts in place of standard output: no terminal."""

    monkeypatch.setitem(sys.modules, "ipykernel.iostream", SimpleNamespace(OutStream=OutStream))
    monkeypatch.setattr(sys, "stdout", OutStream())
    bar = ProgressBar("auto", 1, 4)
    bar.begin_epoch()
    bar.interval = 0
    bar.update(8, lambda: {"loss": 0.5})
    bar.close()
    assert "Epoch 1/1:  25%" in sys.stdout.getvalue() and "loss 0.5000" in sys.stdout.getvalue()
    monkeypatch.setattr(sys, "stdout", io.StringIO())  # elsewhere
    assert ProgressBar("auto").style == "line"
