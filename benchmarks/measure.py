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
# In which numbers is stored and multiplied: for the tables, and for `--precision`.
PRECISIONS = {
    "float32": "float32",
    "tf32": "float32, products in TF32",
    "mixed": "16 bits and float32",
}
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
        precision: which of `PRECISIONS`; minicnn is held against rivals in the same.
        checkout: where its version of this project lies.
    """

    library: str
    mode: str = ""
    module: str = "minicnn_steps"
    options: dict = field(default_factory=dict)
    environment: dict = field(default_factory=dict)
    precision: str = "float32"
    checkout: Path = HERE.parent

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


def _on_gpu(precision, halves=("",)):
    """Contenders on a GPU, in one of `PRECISIONS`.

    Args:
        halves: for "mixed", the numbers of 16 bits.
    """
    contenders = []
    for half in halves:
        name = half or ("TF32" if precision == "tf32" else "float32")
        options = {"precision": half or precision}
        contenders.append(
            Contender(
                "minicnn", name, options=options, environment={"MINICNN_BACKEND": "cupy"},
                precision=precision,
            )
        )  # fmt: skip
        for mode, more in _TORCH_MODES_ON_GPU.items():
            more = {"device": "cuda"} | options | more
            contenders.append(
                Contender("PyTorch", f"{name} {mode}", "torch_steps", more, precision=precision)
            )
    return contenders


_NHWC = {"channels_last": True}
_TORCH_MODES_ON_GPU = {
    "NCHW": {},
    "NHWC": _NHWC,
    "CUDA graph, NHWC": _NHWC | {"graph": True},
    "compile, NHWC": _NHWC | {"compiled": True},
    "reduce-overhead, NHWC": _NHWC | {"compiled": "reduce-overhead"},
    "max-autotune, NHWC": _NHWC | {"compiled": "max-autotune"},
}
# What MINICNN_BACKEND=cupy is up against, on the same GPU.
ON_GPU = [
    *_on_gpu("float32"),
    *_on_gpu("tf32"),
    *_on_gpu("mixed", ("float16", "bfloat16")),
]


class Worker:
    """A contender's process, warm and waiting.

    Attributes:
        label: its name in the tables.
        started: what `warm_up` was answered: versions and memory, or why its library is missing.
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
        self.precision = contender.precision
        self._log = tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen(
            [python, contender.checkout / "benchmarks/contenders/worker.py", json.dumps(request)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True,
            env={**os.environ, **environment, **contender.environment},
        )  # fmt: skip

    def warm_up(self):
        """Have the process make the step and take some.

        Raises:
            RuntimeError: the process ended without an answer; the message has the end of what it
                wrote.
        """
        self.started = self._asked("warm up")

    def run(self, seconds):
        """Steps for so long: {"images_per_second", "ms_per_step"}."""
        return self._asked(seconds)

    def _asked(self, request):
        try:
            print(request, file=self._process.stdin, flush=True)
            line = self._process.stdout.readline()
        except BrokenPipeError:  # it has ended
            line = ""
        if not line:
            self._process.wait()
            self._log.seek(0)
            raise RuntimeError(f"{self.label} failed:\n{self._log.read()[-2000:]}")
        return json.loads(line)

    def close(self):
        try:
            self._process.stdin.close()
        except BrokenPipeError:
            pass
        self._process.stdout.close()
        self._process.wait()
        self._log.close()


def start(contenders, task, network, batch_size, threads, pythons=None):
    """The workers of all contenders, warm; those that cannot run are named on stderr.

    They import their libraries at the same time. Then each is warmed up while the others wait: on a
    GPU libraries choose their algorithms by trying them.

    Args:
        pythons: {library: its Python interpreter}, where it is not this one.
    """
    started = []
    try:
        for c in contenders:
            python = (pythons or {}).get(c.library) or sys.executable
            started.append(Worker(c, task, network, batch_size, threads, python))
        return _warm(started)
    except BaseException:
        for worker in started:
            worker.close()
        raise


def _warm(started):
    """Those of the workers that can be warmed up, one after the other; the others are closed.

    Raises:
        RuntimeError: minicnn cannot be, in none of its modes.
    """
    workers, missing = [], set()
    own = [w for w in started if w.library == "minicnn"]
    for worker in started:
        if worker.library in missing:
            worker.close()
            continue
        try:
            worker.warm_up()
        except RuntimeError as error:
            if worker in own:
                own.remove(worker)
                if not own:
                    raise
            print(f"without {error}", file=sys.stderr)
            worker.close()
            continue
        if "missing" not in worker.started:
            workers.append(worker)
            continue
        if worker in own:
            raise RuntimeError(f"minicnn cannot be imported: {worker.started['missing']}")
        print(f"without {worker.library}: {worker.started['missing']}", file=sys.stderr)
        missing.add(worker.library)
        worker.close()
    return workers


def interleave(turns, rounds):
    """{label: [what its turn gave, round by round]}; in each round everyone has one turn. Every
    other round goes backwards: whoever always came first was 2 % slower than a copy of itself.

    Args:
        turns: {label: function without arguments}.
    """
    taken = {label: [] for label in turns}
    for number in range(rounds):
        for label in list(turns)[:: -1 if number % 2 else 1]:
            taken[label].append(turns[label]())
    return taken


def take_turns(workers, args):
    """`interleave` for {label: worker}; half of the rounds of a comparison with another version,
    which begins twice."""

    def turn(worker):
        time.sleep(PAUSE)
        return worker.run(args.seconds)

    rounds = -(-args.rounds // 2) if getattr(args, "before", None) else args.rounds
    return interleave({label: partial(turn, w) for label, w in workers.items()}, rounds)


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
    """minicnn against its rivals on one network: for each precision, one after the other in
    `PRECISIONS`, a dictionary of figures, for `comparison`. All take turns with each other."""
    taken = {}
    # of two copies of one version the one that is started first is 1 to 2 % slower: each has to be
    # it half of the time where so little matters
    for first in (1, -1) if getattr(args, "before", None) else (1,):
        workers = start(contenders[::first], task, network, batch_size, args.threads, pythons(args))
        try:
            for label, turns in take_turns({w.label: w for w in workers}, args).items():
                taken.setdefault(label, []).extend(turns)
        finally:
            for worker in workers:
                worker.close()
    groups = {name: [w for w in workers if w.precision == name] for name in PRECISIONS}
    return [
        {"network": network, "batch_size": batch_size, "precision": name}
        | figures_of(group, taken, latency_counts=batch_size == 1)
        for name, group in groups.items()
        if any(w.library == "minicnn" for w in group)
    ]


def figures_of(workers, taken, latency_counts):
    """Speeds, ratios and best modes of workers that are to be compared.

    Args:
        taken: {label: [what each turn gave]}, of these workers and others.
        latency_counts: whether they are judged by the time of a median step. A single image is a
            matter of latency: a rare late step does not count.
    """
    turns = {w.label: taken[w.label] for w in workers}
    speeds = {label: [t["images_per_second"] for t in turn] for label, turn in turns.items()}
    times = {label: [t["ms_per_step"] for t in turn] for label, turn in turns.items()}
    latency = {label: [1 / ms for ms in taken] for label, taken in times.items()}
    judged = latency if latency_counts else speeds
    best = best_modes(judged, {w.label: w.library for w in workers})
    ours = best.pop("minicnn")
    own = [w.label for w in workers if w.library == "minicnn"]
    return {
        "minicnn": ours,
        "images_per_second": speeds,
        "ms_per_step": times,
        "ratio": {
            label: pairwise_ratios(judged[ours], theirs)
            for label, theirs in judged.items()
            if label not in own
        },
        "best_mode": best,
        "versions": {k: v for w in workers for k, v in w.started["versions"].items()},
    }


def comparison(title, figures, aims=None):
    """The table of one of the figures of `compare`.

    Args:
        aims: {network: the ratio to PyTorch's best mode that is aimed at}; shown beside it.
    """
    rows, best = [], figures["best_mode"].values()
    ours, judge = figures["minicnn"], figures["best_mode"].get("PyTorch")
    for label, values in figures["images_per_second"].items():
        speed, ms = spread(values), statistics.median(figures["ms_per_step"][label])
        ratio = figures["ratio"].get(label)
        marked = label in best or (label == ours and label != "minicnn")
        rows.append([
            label + " *" * marked,
            *(f"{speed[k]:,.0f}" for k in ("median", "min", "max")),
            f"{ms:.3g}",
            results.spread_text(ratio) if ratio else "",
        ])  # fmt: skip
        if aims:
            rows[-1].append(f"{aims[figures['network']]:.1f}" if label == judge else "")
    columns = ["contender (* best mode)", "images/s", "min", "max", "ms a step", "minicnn / it"]
    return results.table(title, columns + ["aim"] * bool(aims), rows)


def plot_ratios(args, title, compared, where=None):
    """Bars of the ratios to the best mode of each rival; `where` is what they ran on."""
    groups = {}
    for figures in compared:
        details = f"batch {figures['batch_size']}"
        if len({f["precision"] for f in compared}) > 1:
            details += f"\n{figures['precision']}"
        group = groups.setdefault(f"{figures['network']}\n{details}", {})
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
    made.add_argument(
        "--without", nargs="+", metavar="TEXT", default=[], help="contenders to be left out, alike"
    )
    made.add_argument(
        "--before", type=Path, metavar="CHECKOUT", help="another version of minicnn as only rival"
    )
    made.add_argument("--torch-python", help="an interpreter that has PyTorch; else this one")
    made.add_argument("--tensorflow-python", help="an interpreter that has Keras and TensorFlow")


def add_backend(made):
    made.add_argument("--backend", choices=["numpy", "cupy"], default="numpy", help="cupy: a GPU")


def add_precisions(made, default):
    made.add_argument(
        "--precision", nargs="+", choices=PRECISIONS, default=default,
        help="on a GPU: " + "; ".join(f"{name}: {what}" for name, what in PRECISIONS.items()),
    )  # fmt: skip


def chosen_networks(args):
    return NETWORKS if args.network == "all" else (args.network,)


def chosen_contenders(contenders, args):
    """minicnn, and those that `--only` and `--without` leave, or that of `--before` alone."""
    if args.before:
        return [MINICNN, Contender("before", checkout=args.before.resolve())]

    def named(contender, texts):
        return any(text in contender.label for text in texts)

    return [
        c for c in contenders
        if c.library == "minicnn"
        or ((not args.only or named(c, args.only)) and not named(c, args.without))
    ]  # fmt: skip
