"""How contenders are measured: own processes, interleaved rounds, ratios within a round.

Each contender (a library in one of its modes) is a process of its own, so that none gains or loses
by another's memory allocator or threads. All are started and warmed up first; then they take turns,
A B C A B C ..., one at a time, so that a machine whose speed drifts drifts for all of them.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import results

HERE = Path(__file__).parent
NETWORKS = ("tutorial", "vgg", "resnet20", "a94")
PAUSE = 0.1  # seconds from one turn to the next, in which threads that still spin go to sleep


@dataclass(frozen=True)
class Contender:
    """A library in one of its modes.

    Attributes:
        library: its name in the tables.
        mode: which of its settings, "" for the only one.
        module: the file in `contenders/` that makes its steps.
        options: arguments for `make_step` there.
        environment: variables of its process.
    """

    library: str
    mode: str = ""
    module: str = "minicnn_steps"
    options: dict = field(default_factory=dict)
    environment: dict = field(default_factory=dict)

    @property
    def label(self):
        return f"{self.library} {self.mode}".strip()


MINICNN = Contender("minicnn")
# What minicnn/parallel/memory.py sets for its own process, as glibc's malloc reads it.
MALLOC_KEPT = {
    "MALLOC_MMAP_THRESHOLD_": str(256 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1),
    "MALLOC_TOP_PAD_": str(64 << 20),
}


def _torch(mode, channels_last=False, compiled=False, environment=None):
    environment = dict(environment or {})
    if compiled:  # no helper processes; for predict, weights are constants of the compiled graph
        environment |= {"TORCHINDUCTOR_COMPILE_THREADS": "1", "TORCHINDUCTOR_FREEZING": "1"}
    options = {"channels_last": channels_last, "compiled": compiled}
    return Contender("PyTorch", mode, "torch_steps", options, environment)


def _keras(mode, jit_compile):
    environment = {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
    return Contender("Keras/TF", mode, "keras_steps", {"jit_compile": jit_compile}, environment)


EAGER = [
    MINICNN,
    _torch("NCHW"),
    _torch("NHWC", channels_last=True),
    _torch("NHWC, malloc kept", channels_last=True, environment=MALLOC_KEPT),
    _keras("graph", jit_compile=False),
]
ALL = [
    *EAGER[:4],
    _torch("compile, NCHW", compiled=True),
    _torch("compile, NHWC", channels_last=True, compiled=True),
    _torch("compile, NHWC, malloc kept", True, True, MALLOC_KEPT),
    *EAGER[4:],
    _keras("XLA", jit_compile=True),
]


def _torch_on_gpu(mode, **options):
    return Contender("PyTorch", mode, "torch_steps", {"device": "cuda"} | options)


_GRAPHS = {"channels_last": True, "compiled": "reduce-overhead"}
# What MINICNN_BACKEND=cupy is up against, on the same GPU; float32 with TF32 products.
ON_GPU = [
    Contender("minicnn", environment={"MINICNN_BACKEND": "cupy", "CUPY_TF32": "1"}),
    _torch_on_gpu("NCHW"),
    _torch_on_gpu("NHWC", channels_last=True),
    _torch_on_gpu("compile, NHWC", channels_last=True, compiled=True),
    _torch_on_gpu("CUDA graphs, NHWC", **_GRAPHS),
    _torch_on_gpu("float16, NHWC", channels_last=True, half=True),
    _torch_on_gpu("float16, CUDA graphs, NHWC", half=True, **_GRAPHS),
]


class Worker:
    """A contender's process, warm and waiting.

    Attributes:
        label: its name in the tables.
        started: its first answer: versions and memory, or why its library is missing.

    Raises:
        RuntimeError: the process ended without an answer; the message has the end of what it wrote.
    """

    def __init__(self, contender, task, network, batch_size, threads, python=sys.executable):
        self.label, self.library = contender.label, contender.library
        request = {
            "module": contender.module, "options": contender.options, "task": task,
            "network": network, "batch_size": batch_size, "threads": threads,
            "steps_between_looks": 1,
        }  # fmt: skip
        environment = {"MINICNN_NUM_THREADS": str(threads)}
        if contender in ON_GPU:
            request["steps_between_looks"] = 20
        else:
            environment["CUDA_VISIBLE_DEVICES"] = "-1"
        self._log = tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen(
            [python, HERE / "contenders" / "worker.py", json.dumps(request)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True,
            env={**os.environ, **environment, **contender.environment},
        )  # fmt: skip
        try:
            self.started = self._answer()
        except BaseException:
            self.close()
            raise

    def run(self, seconds):
        """Steps for so long: {"images_per_second", "ms_per_step"}."""
        print(seconds, file=self._process.stdin, flush=True)
        return self._answer()

    def _answer(self):
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            self._log.seek(0)
            raise RuntimeError(f"{self.label} failed:\n{self._log.read()[-2000:]}")
        return json.loads(line)

    def close(self):
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()
        self._log.close()


def start(contenders, task, network, batch_size, threads, pythons=None):
    """The workers of all contenders, warm; those that cannot run are named on stderr.

    Args:
        pythons: {library: its Python interpreter}, where it is not this one.
    """
    workers, missing = [], set()
    for contender in contenders:
        library = contender.library
        if library in missing:
            continue
        python = (pythons or {}).get(library) or sys.executable
        try:
            worker = Worker(contender, task, network, batch_size, threads, python)
        except RuntimeError as error:
            if library == "minicnn":
                raise
            print(f"without {error}", file=sys.stderr)
            continue
        if "missing" not in worker.started:
            workers.append(worker)
            continue
        worker.close()
        if library == "minicnn":
            raise RuntimeError(f"minicnn cannot be imported: {worker.started['missing']}")
        print(f"without {library}: {worker.started['missing']}", file=sys.stderr)
        missing.add(library)
    return workers


def interleave(turns, rounds):
    """{label: [what its turn gave, round by round]}; in each round everyone has one turn.

    Args:
        turns: {label: function without arguments}.
    """
    taken = {label: [] for label in turns}
    for _ in range(rounds):
        for label, turn in turns.items():
            taken[label].append(turn())
    return taken


def take_turns(workers, args):
    """`interleave` for {label: worker}."""

    def turn(worker):
        time.sleep(PAUSE)
        return worker.run(args.seconds)

    return interleave({label: partial(turn, w) for label, w in workers.items()}, args.rounds)


def spread(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def pairwise_ratios(ours, theirs):
    """Median, minimum and maximum of ours / theirs, round by round."""
    return spread([a / b for a, b in zip(ours, theirs, strict=True)])


def best_modes(speeds, libraries):
    """{library: the label of its mode with the highest median speed}.

    Args:
        speeds: {label: [speed in each round]}.
        libraries: {label: library}.
    """
    best = {}
    for label in sorted(speeds, key=lambda label: statistics.median(speeds[label])):
        best[libraries[label]] = label  # in rising order: the last one stays
    return best


def compare(contenders, task, network, batch_size, args):
    """minicnn against its rivals on one network: a dictionary of figures, for `comparison`."""
    workers = start(contenders, task, network, batch_size, args.threads, pythons(args))
    try:
        taken = take_turns({w.label: w for w in workers}, args)
    finally:
        for worker in workers:
            worker.close()
    speeds = {label: [t["images_per_second"] for t in turns] for label, turns in taken.items()}
    times = {label: [t["ms_per_step"] for t in turns] for label, turns in taken.items()}
    # A single image is a matter of latency: the median step counts, not a rare late one.
    latency = {label: [1 / ms for ms in taken] for label, taken in times.items()}
    judged = latency if batch_size == 1 else speeds
    best = best_modes(judged, {w.label: w.library for w in workers})
    return {
        "network": network,
        "batch_size": batch_size,
        "images_per_second": speeds,
        "ms_per_step": times,
        "ratio": {
            label: pairwise_ratios(judged["minicnn"], theirs)
            for label, theirs in judged.items()
            if label != "minicnn"
        },
        "best_mode": {library: label for library, label in best.items() if library != "minicnn"},
        "versions": {k: v for w in workers for k, v in w.started["versions"].items()},
    }


def comparison(title, figures):
    """The table of one `compare`."""
    rows = []
    for label, values in figures["images_per_second"].items():
        speed, ms = spread(values), statistics.median(figures["ms_per_step"][label])
        ratio = figures["ratio"].get(label)
        rows.append([
            label + " *" * (label in figures["best_mode"].values()),
            *(f"{speed[k]:,.0f}" for k in ("median", "min", "max")),
            f"{ms:.3g}",
            results.spread_text(ratio) if ratio else "",
        ])  # fmt: skip
    columns = ["contender (* best mode)", "images/s", "min", "max", "ms a step", "minicnn / it"]
    return results.table(title, columns, rows)


def plot_ratios(args, title, compared, where=None):
    """Bars of the ratios to the best mode of each rival; `where` is what they ran on."""
    groups = {}
    for figures in compared:
        group = groups.setdefault(f"{figures['network']}\nbatch {figures['batch_size']}", {})
        for library, label in sorted(figures["best_mode"].items()):  # the same colours each time
            group[library] = figures["ratio"][label]
    results.bars(
        args.plot,
        f"{title}: minicnn against the best mode of each, {where or f'{args.threads} cores'}",
        groups, "times as fast", (1, "as fast"),
    )  # fmt: skip


def pythons(args):
    return {"PyTorch": args.torch_python, "Keras/TF": args.tensorflow_python}


def cores():
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def positive(text):
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, not {text}")
    return value


def parser(docstring, rounds=7, seconds=2.0, timed=True):
    """The options that all scripts share."""
    made = argparse.ArgumentParser(
        description=docstring.split("\n\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    if timed:
        made.add_argument("--rounds", type=positive, default=rounds, help="turns of each")
        made.add_argument("--seconds", type=float, default=seconds, help="length of a turn")
    made.add_argument("--json", type=Path, help="file for all figures")
    made.add_argument("--plot", type=Path, help="file for the picture")
    return made


def add_networks(made):
    made.add_argument("--network", choices=[*NETWORKS, "all"], default="all")


def add_rivals(made):
    made.add_argument("--threads", type=positive, default=cores(), help="cores of each contender")
    made.add_argument(
        "--only", nargs="+", metavar="TEXT", help="contenders whose name has one of these in it"
    )
    made.add_argument("--torch-python", help="an interpreter that has PyTorch; else this one")
    made.add_argument("--tensorflow-python", help="an interpreter that has Keras and TensorFlow")


def add_backend(made):
    made.add_argument("--backend", choices=["numpy", "cupy"], default="numpy", help="cupy: a GPU")


def chosen_networks(args):
    return NETWORKS if args.network == "all" else (args.network,)


def chosen_contenders(contenders, args):
    """minicnn, and those that `--only` leaves."""
    return [
        c for c in contenders
        if c.library == "minicnn" or not args.only or any(text in c.label for text in args.only)
    ]  # fmt: skip
