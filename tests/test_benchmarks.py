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
import train_step  # noqa: E402
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
    assert measure.interleave(turns, 3) == {"A": [1, 4, 5], "B": [2, 3, 6]}
    assert order == ["A", "B", "B", "A", "A", "B"]


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
    args = Namespace(only=["NHWC", "XLA"], without=["malloc"], before=None)
    labels = [c.label for c in measure.chosen_contenders(measure.ALL, args)]
    assert labels[0] == "minicnn" and len(labels) > 2
    assert all("NHWC" in label or "XLA" in label for label in labels[1:])
    assert not any("malloc" in label for label in labels)
    assert len({c.label for c in measure.ALL}) == len(measure.ALL)
    without = Namespace(only=None, without=["minicnn", "PyTorch"], before=None)
    labels = [c.label for c in measure.chosen_contenders(measure.ALL, without)]
    assert labels == ["minicnn", "Keras/TF graph", "Keras/TF XLA"]


def test_another_version_is_the_only_rival(tmp_path):
    args = Namespace(only=None, without=[], before=tmp_path)
    ours, before = measure.chosen_contenders(measure.ALL, args)
    assert ours == measure.MINICNN and ours.checkout != before.checkout == tmp_path
    assert before.library == "before" and before.module == ours.module


def test_each_precision_has_minicnn_and_the_same_modes_of_pytorch():
    assert len({c.label for c in measure.ON_GPU}) == len(measure.ON_GPU)
    modes = {}
    for c in measure.ON_GPU:
        numbers, _, mode = c.mode.partition(" ")
        modes.setdefault((c.precision, numbers), []).append((c.library, mode))
        assert c.options["precision"] == (numbers.lower())
    assert list(modes) == [
        ("float32", "float32"), ("tf32", "TF32"), ("mixed", "float16"), ("mixed", "bfloat16"),
    ]  # fmt: skip
    first, *others = modes.values()
    assert first[0] == ("minicnn", "") and len(first) > 5
    assert all(other == first for other in others)


def test_minicnn_in_one_of_its_modes_may_be_missing(fake, capsys):
    broken = fake("minicnn", "bad", works=False)
    started = measure.start([broken, fake("minicnn", "good"), fake()], "train", "vgg", 4, 1)
    for running in started:
        running.close()
    assert [w.label for w in started] == ["minicnn good", "Fake"]
    assert "without minicnn bad failed" in capsys.readouterr().err
    with pytest.raises(RuntimeError, match="minicnn bad failed"):
        measure.start([fake(), broken], "train", "vgg", 4, 1)


def test_a_worker_that_ends_at_once_is_told_of(fake, tmp_path):
    (tmp_path / "numpy.py").write_text("raise SystemExit('ended on purpose')")
    with pytest.raises(RuntimeError, match="minicnn failed:(.|\n)*ended on purpose"):
        measure.start([fake("minicnn", module="minicnn_steps")], "train", "vgg", 4, 1)


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
        "network": "vgg",
        "minicnn": "minicnn",
        "images_per_second": {"minicnn": [300.0], "P a": [100.0], "P b": [200.0]},
        "ms_per_step": {"minicnn": [1.0], "P a": [3.0], "P b": [1.5]},
        "ratio": {
            "P a": measure.pairwise_ratios([300], [100]),
            "P b": measure.pairwise_ratios([300], [200]),
        },
        "best_mode": {"PyTorch": "P b"},
    }
    text = measure.comparison("title", figures)
    (best,) = (line for line in text.split("\n") if line.startswith("| P b *"))
    assert best.endswith("1.50 (1.50, 1.50) |")
    assert "| P a  " in text and "aim" not in text
    with_aim = measure.comparison("title", figures, {"vgg": 2.0})
    assert [line.split("|")[-2].strip() for line in with_aim.split("\n")[2:7]] == [
        "aim", "--:", "", "", "2.0"
    ]  # fmt: skip


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
               "precision": "tf32", "ratio": {"P a": None, "P b": spread}}  # fmt: skip
    args = Namespace(plot=tmp_path / "a.png", threads=2)
    measure.plot_ratios(args, "Training", [figures])
    assert drawn.pop() == {"vgg\nbatch 8": {"P": spread}}
    measure.plot_ratios(args, "Training", [figures, figures | {"precision": "mixed"}])
    assert list(drawn.pop()) == ["vgg\nbatch 8\ntf32", "vgg\nbatch 8\nmixed"]


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


class Recorded:
    """A worker with one answer."""

    def __init__(self, library, images_per_second, ms=1.0, mode="", precision="float32"):
        self.label, self.library = f"{library} {mode}".strip(), library
        self.precision = precision
        self.started = {"versions": {}}
        self.run = lambda seconds: {"images_per_second": images_per_second, "ms_per_step": ms}

    def close(self):
        pass


def compared(monkeypatch, workers, batch_size):
    monkeypatch.setattr(measure, "start", lambda *args: workers)
    args = Namespace(rounds=2, seconds=1, threads=1, torch_python=None, tensorflow_python=None)
    return measure.compare([], "train", "vgg", batch_size, args)


def test_single_images_are_judged_by_latency_and_batches_by_throughput(monkeypatch):
    """The rival is late once in a while: its mean is worse than its median."""
    workers = [Recorded("minicnn", 300.0, 4.0), Recorded("P", 100.0, 2.0)]
    ratios = {}
    for size in (1, 256):
        (figures,) = compared(monkeypatch, workers, size)
        ratios[size] = figures["ratio"]["P"]
    assert ratios[1] == {"median": 0.5, "min": 0.5, "max": 0.5}
    assert ratios[256] == {"median": 3.0, "min": 3.0, "max": 3.0}


def test_ratios_stay_within_a_precision(monkeypatch):
    workers = [
        Recorded("P", 100.0, mode="TF32", precision="tf32"),
        Recorded("minicnn", 300.0, mode="TF32", precision="tf32"),
        Recorded("minicnn", 400.0, mode="float16", precision="mixed"),
        Recorded("minicnn", 500.0, mode="bfloat16", precision="mixed"),
        Recorded("P", 250.0, mode="float16", precision="mixed"),
        Recorded("P", 200.0, mode="bfloat16", precision="mixed"),
        Recorded("P", 50.0, mode="float32"),
    ]
    tf32, mixed = compared(monkeypatch, workers, 4)  # minicnn has no part in the third
    assert (tf32["precision"], mixed["precision"]) == ("tf32", "mixed")
    assert {label: r["median"] for label, r in tf32["ratio"].items()} == {"P TF32": 3.0}
    assert mixed["minicnn"] == "minicnn bfloat16" and mixed["best_mode"] == {"P": "P float16"}
    ratios = {label: r["median"] for label, r in mixed["ratio"].items()}
    assert ratios == {"P float16": 2.0, "P bfloat16": 2.5}
    lines = measure.comparison("t", mixed, train_step.AIMS_ON_GPU).split("\n")
    marked = [line.split("|")[1].strip() for line in lines[4:] if "*" in line]
    assert marked == ["minicnn bfloat16 *", "P float16 *"]


@pytest.mark.parametrize(
    "script, options",
    [
        ("train_step", "--network tutorial --batch-size 4 --rounds 1 --seconds 0.01 --only none"),
        ("predict", "--network tutorial --batch-sizes 4 1 --rounds 1 --seconds 0.01 --only none"),
        ("memory", "--network tutorial --batch-sizes 4 --only none"),
        ("scaling", "--network tutorial --batch-sizes 16 --rounds 1 --seconds 0.01 --threads 2"),
        ("conv", "--shapes 64->64,at,8 --batch-size 2 --rounds 1 --seconds 0.001"),
        ("profiles", "--network tutorial --batch-size 2 --repeats 1"),
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
    assert ("Profile of" if script == "profiles" else "| --") in done.stdout
    plot = tmp_path / "a_tutorial.png" if script == "profiles" else plot
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
@pytest.mark.parametrize(
    "task, network, channels_last, precision",
    [
        ("train", "resnet20", False, "float32"),
        ("train", "resnet20", True, "float32"),
        ("train", "tutorial", True, "float16"),
        ("predict", "resnet20", True, "float32"),
        ("predict", "tutorial", False, "bfloat16"),
    ],
)
def test_torch_step_runs(task, network, channels_last, precision):
    pytest.importorskip("torch")
    options = {"channels_last": channels_last, "precision": precision}
    contender = measure.Contender("PyTorch", "", "torch_steps", options)
    (running,) = measure.start([contender], task, network, 4, 1)
    try:
        assert running.run(0.01)["images_per_second"] > 0
    finally:
        running.close()
