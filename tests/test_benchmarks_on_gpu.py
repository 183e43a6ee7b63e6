"""The round of benchmarks on a GPU, without one: its parts, their options, what fails."""

import importlib
import json
import os
import sys
import time
from pathlib import Path

import pytest

from minicnn import backend, mixed_precision

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "benchmarks"), str(ROOT / "benchmarks" / "contenders")]

import measure  # noqa: E402 - found through the path above
import minicnn_steps  # noqa: E402
import on_gpu  # noqa: E402


def arguments(*words, output="out"):
    """What on_gpu.py makes of its command line."""
    made = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["on_gpu.py", f"--output={output}", "--list", *words])
        patch.setattr(on_gpu, "parts", lambda args: made.append(args) or [])
        on_gpu.main()
    return made[0]


def test_the_round_on_a_gpu_has_its_parts_in_order(tmp_path):
    args = arguments("--networks", "vgg", "a94", "--precision", "mixed", f"--data-dir={tmp_path}")
    made = on_gpu.parts(args)
    assert [part.name for part in made] == [
        "device", "gpu_tests", "train_vgg_mixed", "train_a94_mixed", "profiles_vgg_mixed",
        "profiles_a94_mixed", "cifar10_1", "cifar10_2", "cifar10_same", "suite",
    ]  # fmt: skip
    assert {part.group for part in made} == set(on_gpu.GROUPS)
    assert all(part.limit <= 600 for part in made)
    assert "max-autotune" in made[2].command
    without_data = on_gpu.parts(arguments("--thorough"))
    assert not any(part.group == "cifar10" for part in without_data)
    assert not any("max-autotune" in part.command for part in without_data)


@pytest.mark.parametrize("script", ["train_step", "profiles"])
def test_the_scripts_take_the_options_of_the_round(script, monkeypatch, tmp_path):
    """All of it but the work."""
    module = importlib.import_module(script)
    (part,) = [
        p for p in on_gpu.parts(arguments("--networks", "vgg", "--precision", "mixed",
                                          "--torch-python=python3", output=tmp_path))
        if script in str(p.command[1])
    ]  # fmt: skip
    seen = []

    def stop(args):
        seen.append(args)
        return []

    monkeypatch.setattr(measure, "chosen_networks", stop)
    monkeypatch.setattr(backend, "set_backend", lambda name: None)
    monkeypatch.setattr(sys, "argv", list(map(str, part.command[1:])))
    module.main()
    (args,) = seen
    assert (args.backend, args.network, args.batch_size) == ("cupy", "vgg", 1024)
    assert args.precision == ["mixed"]


@pytest.mark.parametrize(
    "name, policy, tf32",
    [
        ("float32", "float32", False),
        ("tf32", "float32", True),
        ("float16", "mixed_float16", True),
    ],
)
def test_precisions_of_minicnn(name, policy, tf32, strict, monkeypatch):
    monkeypatch.setenv("CUPY_TF32", "as before")
    monkeypatch.setattr(backend, "_tensor_float_32", not tf32)
    try:
        minicnn_steps.use_precision(name)
        assert mixed_precision.global_policy().name == policy
        assert backend.tensor_float_32_enabled() is tf32
        assert os.environ["CUPY_TF32"] == str(int(tf32))
    finally:
        mixed_precision.set_global_policy(None)


def test_profiles_in_exact_float32_need_a_process_of_their_own(monkeypatch, capsys):
    words = ["profiles.py", "--backend=cupy", "--precision", "float32", "tf32"]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit):
        importlib.import_module("profiles").main()
    assert "float32 needs its own call" in capsys.readouterr().err


def small(name, code, limit=20.0, **more):
    return on_gpu.Part("device", name, [sys.executable, "-c", code], limit, **more)


def test_the_round_goes_on_after_failures(tmp_path, monkeypatch, capsys):
    leaves_a_child = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "print(child.pid, flush=True)\ntime.sleep(60)"
    )
    commands = [
        small("good", "import os, minicnn; print(os.environ['WORD'])", environment={"WORD": "hm"}),
        small("bad", "import sys; print('a | b'); sys.exit(3)"),
        small("slow", leaves_a_child, limit=1.0),
        small("last", "pass"),
    ]
    monkeypatch.setattr(on_gpu, "parts", lambda args: commands)
    folder = tmp_path / "new"
    monkeypatch.setattr(sys, "argv", ["on_gpu.py", f"--output={folder}", "--parts", "device"])
    with pytest.raises(SystemExit) as ended:
        on_gpu.main()
    assert ended.value.code == 1
    said = capsys.readouterr().out
    table = said[said.index("**2 of 4 parts passed**") :].split("\n")
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table[4:8]]
    assert [row[:2] for row in cells] == [
        ["good", "passed"], ["bad", "failed: exit status 3"], ["slow", "ended after 1 s"],
        ["last", "passed"],
    ]  # fmt: skip
    assert [row[3] for row in cells][:2] == ["hm", "a / b"]
    content = json.loads((folder / "summary.json").read_text())
    assert [part["part"] for part in content["parts"]] == ["good", "bad", "slow", "last"]
    child = int((folder / "slow.log").read_text())
    for _ in range(100):
        if not runs(child):
            break
        time.sleep(0.05)
    assert not runs(child)


def runs(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"  # ended, and nobody has asked for its exit status


def test_the_round_ends_in_time(tmp_path):
    slow = [small(name, "import time; time.sleep(60)") for name in "abc"]
    started = time.monotonic()
    outcomes = on_gpu.run_all(slow, tmp_path, minutes=1 / 60)
    assert time.monotonic() - started < 20
    statuses = [outcome["status"] for outcome in outcomes]
    assert statuses == ["ended after 1 s", *2 * ["not started: no time left"]]


@pytest.mark.parametrize("second, status", [("w", "passed"), ("v", "failed: exit status 1")])
def test_the_round_compares_weights_byte_for_byte(second, status, tmp_path):
    made = on_gpu.cifar10(arguments(f"--data-dir={tmp_path}", output=tmp_path))
    for part, text in zip(made, ("w", second), strict=False):
        part.makes.parent.mkdir()
        part.makes.write_text(text)
    outcome = on_gpu.run(made[-1], tmp_path / "log", 20)
    assert outcome["status"] == status
    assert ("byte for byte" in outcome["last_line"]) == (status == "passed")


def test_the_round_looks_at_no_file_of_an_earlier_one(tmp_path):
    old = tmp_path / "old"
    old.touch()
    (outcome,) = on_gpu.run_all([small("a", "pass", makes=old)], tmp_path)
    assert outcome["status"] == "passed" and not old.exists()
