"""The benchmarks' own arithmetic, processes and networks; nothing here depends on speed."""

import json
import os
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
sys.path[:0] = [
    str(ROOT / "examples"), str(ROOT / "benchmarks"), str(ROOT / "benchmarks" / "contenders"),
]  # fmt: skip

import measure  # noqa: E402 - found through the path above
import networks  # noqa: E402
import results  # noqa: E402
import run_all  # noqa: E402
import worker  # noqa: E402

FAKE = """
VERSIONS = {"fake": "1.0"}


def make_step(task, network, x, y, threads, works=True):
    print("libraries print on stdout")
    if not works:
        raise ValueError("no such step")
    assert x.shape == (4, 32, 32, 3) and x.dtype == "uint8" and y.shape == (4,)
    return lambda: (task, network, threads)
"""


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """A function that makes contenders of a module that is not in the benchmarks."""
    (tmp_path / "fake_steps.py").write_text(FAKE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def contender(library="Fake", mode="", module="fake_steps", **options):
        return measure.Contender(library, mode, module, options)

    return contender


def test_ratios_are_taken_round_by_round():
    ours, theirs = [10.0, 40.0, 90.0], [10.0, 20.0, 30.0]
    assert measure.pairwise_ratios(ours, theirs) == {"median": 2.0, "min": 1.0, "max": 3.0}
    with pytest.raises(ValueError):
        measure.pairwise_ratios(ours, theirs[:2])


def test_best_mode_has_the_highest_median_not_the_highest_value():
    speeds = {"a x": [1, 2, 99], "a y": [3, 3, 3], "b": [1, 1, 1]}
    libraries = {"a x": "a", "a y": "a", "b": "b"}
    assert measure.best_modes(speeds, libraries) == {"a": "a y", "b": "b"}


def test_contenders_take_turns():
    order = []
    turns = {name: lambda name=name: order.append(name) or len(order) for name in "AB"}
    assert measure.interleave(turns, 3) == {"A": [1, 3, 5], "B": [2, 4, 6]}
    assert order == ["A", "B"] * 3


def test_worker_answers_with_speeds_and_memory(fake):
    (started,) = measure.start([fake()], "train", "vgg", 4, 1)
    try:
        figures = started.run(0.01)
    finally:
        started.close()
    assert started.started["versions"] == {"fake": "1.0"}
    assert 5 < started.started["imported_mb"] <= started.started["peak_mb"]
    assert figures["images_per_second"] > 0 and figures["ms_per_step"] > 0


def test_timing_counts_the_images_of_whole_steps(monkeypatch):
    clock = iter([0.0, 0.4, 0.8, 1.2])
    monkeypatch.setattr(worker.time, "perf_counter", lambda: next(clock))
    figures = worker.timing(lambda: None, 30, 1.0)
    assert figures["images_per_second"] == pytest.approx(3 * 30 / 1.2)
    assert figures["ms_per_step"] == pytest.approx(400)


def test_timing_of_several_steps_between_looks_at_the_clock(monkeypatch):
    """A GPU is waited for only where the clock is read."""
    clock, calls = iter([0.0, 0.6, 1.2]), []
    monkeypatch.setattr(worker.time, "perf_counter", lambda: next(clock))
    figures = worker.timing(lambda: calls.append("step"), 30, 1.0, 3, lambda: calls.append("wait"))
    assert calls == ["step", "wait", *(3 * ["step"] + ["wait"]) * 2]
    assert figures["images_per_second"] == pytest.approx(6 * 30 / 1.2)
    assert figures["ms_per_step"] == pytest.approx(200)


def test_missing_libraries_and_failing_modes_are_left_out(fake, capsys):
    absent = [fake("Absent", mode, "no_such_module") for mode in ("x", "y")]
    workers = measure.start([*absent, fake("Broken", works=False), fake()], "train", "vgg", 4, 1)
    for running in workers:
        running.close()
    assert [w.label for w in workers] == ["Fake"]
    said = capsys.readouterr().err
    assert said.count("Absent") == 1 and "No module named 'no_such_module'" in said
    assert "Broken failed" in said and "ValueError: no such step" in said


def test_minicnn_itself_missing_is_an_error(tmp_path, monkeypatch):
    (tmp_path / "numpy.py").write_text("raise ImportError('broken on purpose')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(RuntimeError, match="minicnn cannot be imported: broken on purpose"):
        measure.start([measure.MINICNN], "train", "tutorial", 4, 1)


def test_only_keeps_minicnn_and_the_named():
    args = Namespace(only=["NHWC", "XLA"])
    labels = [c.label for c in measure.chosen_contenders(measure.ALL, args)]
    assert labels[0] == "minicnn" and len(labels) > 2
    assert all("NHWC" in label or "XLA" in label for label in labels[1:])
    assert len({c.label for c in measure.ALL}) == len(measure.ALL)


def test_table_is_markdown_with_aligned_columns():
    lines = results.table("T", ["name", "x"], [["a", "1"], ["long name", "1,000"]]).split("\n")
    assert lines[2:6] == [
        "| name      |     x |",
        "| --------- | ----: |",
        "| a         |     1 |",
        "| long name | 1,000 |",
    ]


def test_comparison_marks_the_best_mode_and_gives_the_ratio():
    figures = {
        "images_per_second": {"minicnn": [300.0], "P a": [100.0], "P b": [200.0]},
        "ms_per_step": {"minicnn": [1.0], "P a": [3.0], "P b": [1.5]},
        "ratio": {
            "P a": measure.pairwise_ratios([300], [100]),
            "P b": measure.pairwise_ratios([300], [200]),
        },
        "best_mode": {"P": "P b"},
    }
    text = measure.comparison("title", figures)
    (best,) = (line for line in text.split("\n") if line.startswith("| P b *"))
    assert best.endswith("1.50 (1.50, 1.50) |")
    assert "| P a  " in text


def test_results_say_machine_date_and_settings(tmp_path):
    args = Namespace(json=tmp_path / "new" / "a.json", plot=None, rounds=3)
    results.write(args, [{"network": "vgg"}])
    content = json.loads(args.json.read_text())
    assert content["machine"]["cpu"] and content["machine"]["cores"] == os.cpu_count()
    assert content["machine"]["date"][:2] == "20"
    assert content["settings"] == {"rounds": 3}
    assert content["results"] == [{"network": "vgg"}]


def test_plot_is_written_for_groups_that_lack_a_bar(tmp_path):
    bar = {"median": 2.0, "min": 1.0, "max": 3.0}
    results.bars(tmp_path / "new" / "a.png", "t", {"g": {"a": bar, "b": bar}, "h": {"b": bar}}, "y")
    assert (tmp_path / "new" / "a.png").read_bytes().startswith(b"\x89PNG")


def test_ratios_are_drawn_by_network_and_rival(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(results, "bars", lambda path, title, groups, *rest: drawn.append(groups))
    spread = {"median": 1.5, "min": 1.0, "max": 2.0}
    figures = {"network": "vgg", "batch_size": 8, "best_mode": {"P": "P b"},
               "ratio": {"P a": None, "P b": spread}}  # fmt: skip
    measure.plot_ratios(Namespace(plot=tmp_path / "a.png", threads=2), "Training", [figures])
    assert drawn == [{"vgg\nbatch 8": {"P": spread}}]


def test_folder_name_is_date_and_machine():
    assert run_all.folder_name("AMD EPYC(tm) 7003").endswith("-amd-epyc-tm-7003")


def test_run_all_collects_tables_figures_and_pictures(tmp_path, monkeypatch):
    quick = {"memory": "--network tutorial --batch-sizes 4 --only none"}
    monkeypatch.setattr(run_all, "QUICK", quick)
    folder = tmp_path / "new"
    monkeypatch.setattr(sys, "argv", ["run_all.py", "--quick", f"--output={folder}"])
    run_all.main()
    assert {path.name for path in folder.iterdir()} == {"memory.json", "memory.png", "README.md"}
    page = (folder / "README.md").read_text()
    assert "## memory" in page and "| minicnn" in page and results.cpu_model() in page
    monkeypatch.setattr(run_all, "QUICK", {"memory": "--network none"})
    with pytest.raises(SystemExit, match="memory.py failed"):
        run_all.main()


def test_single_images_are_judged_by_latency_and_batches_by_throughput(monkeypatch):
    """The rival is late once in a while: its mean is worse than its median."""

    class Recorded:
        def __init__(self, library, images_per_second, ms):
            self.label = self.library = library
            self.started = {"versions": {}}
            self.run = lambda seconds: {"images_per_second": images_per_second, "ms_per_step": ms}

        def close(self):
            pass

    workers = [Recorded("minicnn", 300.0, 4.0), Recorded("P", 100.0, 2.0)]
    monkeypatch.setattr(measure, "start", lambda *args: workers)
    args = Namespace(rounds=2, seconds=1, threads=1, torch_python=None, tensorflow_python=None)
    ratios = {
        size: measure.compare([], "predict", "vgg", size, args)["ratio"]["P"] for size in (1, 256)
    }
    assert ratios[1] == {"median": 0.5, "min": 0.5, "max": 0.5}
    assert ratios[256] == {"median": 3.0, "min": 3.0, "max": 3.0}


@pytest.mark.parametrize(
    "script, options",
    [
        ("train_step", "--network tutorial --batch-size 4 --rounds 1 --seconds 0.01 --only none"),
        ("predict", "--network tutorial --batch-sizes 4 1 --rounds 1 --seconds 0.01 --only none"),
        ("memory", "--network tutorial --batch-sizes 4 --only none"),
        ("scaling", "--network tutorial --batch-sizes 16 --rounds 1 --seconds 0.01 --threads 2"),
        ("conv", "--shapes 64->64,at,8 --batch-size 2 --rounds 1 --seconds 0.001"),
    ],
)
def test_script_writes_table_figures_and_picture(script, options, tmp_path):
    json_file, plot = tmp_path / "a.json", tmp_path / "a.png"
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / f"{script}.py", f"--json={json_file}",
         f"--plot={plot}", *(option.replace(",", " ") for option in options.split())],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "| --" in done.stdout
    content = json.loads(json_file.read_text())
    assert content["benchmark"] == f"{script}.py" and content["results"]
    if "--only" in options and script != "memory":
        assert "had no rivals" in done.stderr and not plot.exists()
    else:
        assert plot.read_bytes().startswith(b"\x89PNG")


def parameters(model):
    return sum(int(np.prod(w.shape)) for w in model.trainable_weights)


@pytest.mark.parity
@pytest.mark.parametrize("name", measure.NETWORKS)
def test_rivals_have_the_same_parameters_and_outputs(name):
    torch = pytest.importorskip("torch")
    os.environ.setdefault("KERAS_BACKEND", "torch")
    pytest.importorskip("keras")
    import keras_networks
    import torch_networks

    expected = parameters(networks.NETWORKS[name](name, (32, 32, 3), 10))
    theirs = torch_networks.NETWORKS[name]()
    assert sum(p.numel() for p in theirs.parameters()) == expected
    assert theirs(torch.zeros(2, 3, 32, 32)).shape == (2, 10)
    keras_model = keras_networks.NETWORKS[name]()
    assert parameters(keras_model) == expected
    assert keras_model.output_shape == (None, 10)


@pytest.mark.parity
@pytest.mark.parametrize("task", ["train", "predict"])
@pytest.mark.parametrize("channels_last", [False, True])
def test_torch_step_runs(task, channels_last):
    pytest.importorskip("torch")
    contender = measure.Contender("PyTorch", "", "torch_steps", {"channels_last": channels_last})
    (running,) = measure.start([contender], task, "resnet20", 4, 1)
    try:
        assert running.run(0.01)["images_per_second"] > 0
    finally:
        running.close()
