"""Everything that is to be run on a GPU, in one call, also where it is at hand for minutes only.

    python benchmarks/on_gpu.py --output gpu --minutes 9.5
    python benchmarks/on_gpu.py --output gpu --parts gpu_tests train profiles --networks resnet20
    python benchmarks/on_gpu.py --output gpu --parts cifar10 --data-dir cifar10 --list

The parts run one after the other, each with a time limit of its own, and what fails does not stop
what comes after it. The folder --output gets a log of each part as it runs, what the benchmarks
measured (JSON, pictures) and summary.json; the end of the output says what passed. The exit status
is 1 where anything did not.
"""

import argparse
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import measure
import results

ROOT = Path(__file__).parents[1]
BENCHMARKS = ROOT / "benchmarks"
ON_GPU = {"MINICNN_BACKEND": "cupy"}
LAST_LINE = 100  # characters of it in the summary
DEVICE_INFO = """
from minicnn import backend
for key, value in backend.device_info().items():
    print(f"{key}: {value}")
"""
SAME_FILES = """
import filecmp, sys
if not filecmp.cmp(*sys.argv[1:], shallow=False):
    sys.exit("the same seed gave other weights")
print("the same seed gave the same weights, byte for byte")
"""


@dataclass(frozen=True)
class Part:
    """A command.

    Attributes:
        group: by which `--parts` knows it.
        name: of its log.
        command: program and arguments.
        limit: seconds that it may take.
        environment: variables beside those that are set.
        makes: a file that later parts read; one of an earlier call is deleted first.
    """

    group: str
    name: str
    command: list
    limit: float
    environment: dict = field(default_factory=dict)
    makes: Path | None = None


GROUPS = {
    "device": "what CuPy finds",
    "gpu_tests": "pytest -m gpu",
    "train": "train_step.py, each network and precision",
    "profiles": "profiles.py, each network and precision",
    "cifar10": "examples/cifar10.py twice with one seed, where --data-dir is given",
    "suite": "pytest --backend cupy",
}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--output", type=Path, required=True, help="folder for logs and figures")
    add("--minutes", type=float, help="for all parts together; what is left then does not start")
    add("--parts", nargs="+", choices=GROUPS, default=list(GROUPS), metavar="PART",
        help="; ".join(f"{name}: {what}" for name, what in GROUPS.items()))  # fmt: skip
    add("--networks", nargs="+", choices=measure.NETWORKS, default=list(measure.NETWORKS))
    measure.add_precisions(parser, ["tf32", "mixed"])
    add("--batch-size", type=measure.positive, default=1024, help="of train and profiles")
    add("--rounds", type=measure.positive, default=5, help="of train: turns of each contender")
    add("--seconds", type=float, default=0.5, help="of train: length of a turn")
    add("--thorough", action="store_true", help="PyTorch's max-autotune, too: minutes to compile")
    add("--torch-python", help="an interpreter that has PyTorch; else this one")
    add("--data-dir", type=Path, help="folder with CIFAR-10, for the part cifar10")
    add("--epochs", type=measure.positive, default=10, help="of cifar10")
    add("--list", action="store_true", help="print the commands instead of running them")
    args = parser.parse_args()

    chosen = [part for part in parts(args) if part.group in args.parts]
    if "cifar10" in args.parts and args.data_dir is None:
        print("cifar10 is left out: there is no --data-dir", file=sys.stderr)
    if args.list:
        for part in chosen:
            print(f"{part.name} ({part.limit:.0f} s): {shlex.join(map(str, part.command))}")
        return
    outcomes = run_all(chosen, args.output, args.minutes)
    print(summary(outcomes))
    if any(outcome["status"] != "passed" for outcome in outcomes):
        sys.exit(1)


def parts(args):
    """All parts, in the order in which they run."""
    pytest = [sys.executable, "-m", "pytest", "-q"]
    return [
        Part("device", "device", [sys.executable, "-c", DEVICE_INFO], 60, ON_GPU),
        Part("gpu_tests", "gpu_tests", [*pytest, "-m", "gpu"], 300),
        *benchmarks(args),
        *(cifar10(args) if args.data_dir is not None else []),
        Part("suite", "suite", [*pytest, "--backend", "cupy"], 540),
    ]


def benchmarks(args):
    """train_step.py for each network and precision, then profiles.py alike."""
    train = [f"--rounds={args.rounds}", f"--seconds={args.seconds}"]
    if args.torch_python:
        train.append(f"--torch-python={args.torch_python}")
    if not args.thorough:
        train += ["--without", "max-autotune"]
    made = []
    for group, script, limit, more in (
        ("train", "train_step.py", 900 if args.thorough else 300, train),
        ("profiles", "profiles.py", 90, []),
    ):
        for network in args.networks:
            for precision in args.precision:
                name = f"{group}_{network}_{precision}"
                file = args.output.resolve() / name
                command = [
                    sys.executable, BENCHMARKS / script, "--backend=cupy", f"--network={network}",
                    f"--batch-size={args.batch_size}", f"--precision={precision}",
                    f"--json={file}.json", f"--plot={file}.png", *more,
                ]  # fmt: skip
                made.append(Part(group, name, command, limit))
    return made


def cifar10(args):
    """Training twice, and a look at whether the weights are the same."""
    made, weights = [], []
    for name in ("cifar10_1", "cifar10_2"):
        folder = args.output.resolve() / name
        weights.append(folder / "model.safetensors")
        command = [
            sys.executable, ROOT / "examples" / "cifar10.py", f"--output={folder}", "--seed=0",
            f"--data-dir={args.data_dir.resolve()}", f"--epochs={args.epochs}",
        ]  # fmt: skip
        made.append(Part("cifar10", name, command, 240, ON_GPU, makes=weights[-1]))
    same = [sys.executable, "-c", SAME_FILES, *weights]
    return [*made, Part("cifar10", "cifar10_same", same, 30)]


def run_all(chosen, output, minutes=None):
    """Run parts; a dictionary of what became of each.

    Args:
        minutes: for all together; None for no limit beside those of the parts.
    """
    output.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    outcomes = []
    for part in chosen:
        limit = part.limit
        if minutes is not None:
            limit = min(limit, 60 * minutes - (time.monotonic() - started))
        print(f"== {part.name}", flush=True)
        outcome = {"part": part.name} | run(part, output / f"{part.name}.log", limit)
        print(f"   {outcome['status']}, {outcome['seconds']:.0f} s", flush=True)
        outcomes.append(outcome)
        content = {"machine": results.machine(), "parts": outcomes}
        (output / "summary.json").write_text(json.dumps(content, indent=2) + "\n")
    return outcomes


def run(part, log, limit):
    """Run one part: {"status", "seconds", "last_line"}.

    Args:
        log: file for all that it prints.
        limit: seconds after which it is ended, with all processes that it has started.
    """
    if limit <= 0:
        return {"status": "not started: no time left", "seconds": 0.0, "last_line": ""}
    if part.makes is not None:
        part.makes.unlink(missing_ok=True)
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", **part.environment}
    started = time.monotonic()
    with open(log, "w") as file:
        process = subprocess.Popen(
            list(map(str, part.command)), stdin=subprocess.DEVNULL, stdout=file,
            stderr=subprocess.STDOUT, cwd=ROOT, env=environment, start_new_session=True,
        )  # fmt: skip
        try:
            code = process.wait(limit)
            status = "passed" if code == 0 else f"failed: exit status {code}"
        except subprocess.TimeoutExpired:
            status = f"ended after {limit:.0f} s"
        finally:
            if process.poll() is None:
                end(process)
    seconds = time.monotonic() - started
    return {"status": status, "seconds": seconds, "last_line": last_line(log)}


def end(process):
    """End a process that leads a group of its own, and all others of the group."""
    for how in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, how)
            process.wait(5)
        except ProcessLookupError:  # none is left
            break
        except subprocess.TimeoutExpired:
            pass
    process.wait()


def last_line(log):
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines()]
    return next((line[:LAST_LINE] for line in reversed(lines) if line), "")


def summary(outcomes):
    """A table of all parts."""
    rows = [
        [o["part"], o["status"], f"{o['seconds']:.0f}", o["last_line"].replace("|", "/")]
        for o in outcomes
    ]
    passed = sum(outcome["status"] == "passed" for outcome in outcomes)
    title = f"{passed} of {len(outcomes)} parts passed"
    return results.table(title, ["part", "status", "seconds", "last line"], rows)


if __name__ == "__main__":
    main()
