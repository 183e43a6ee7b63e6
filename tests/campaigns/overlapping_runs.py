"""Fits, evaluations and predictions that overlap at random: each gives the bits it gives alone.

    python tests/campaigns/overlapping_runs.py --runs 200 --json FILE

First each run happens alone. Then they come in rounds: 2 to 16 threads start at once, each with a
run or two drawn at random; some fork a child that does the run. Afterwards the bits have to be
the same and BLAS has to have its threads back. Initial weights and dropout have seeds of their
own and nothing is shuffled, so that no run depends on the library's generator, which all threads
share. Exit status 1 for other bits, an exception, other BLAS threads or a run that does not end.
"""

import faulthandler
import hashlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from campaigns.reporting import arguments, finish
from children import blas_threads
from small_problem import CLASSES, problem

from minicnn import Input, Model, Sequential, layers, optimizers, set_num_threads
from minicnn.initializers import GlorotUniform
from minicnn.losses import Loss
from minicnn.parallel import counts

X, Y = problem(96)
MANY = np.concatenate([X] * 8)  # for predictions, which would be over before others begin
ONE_HOT = np.eye(CLASSES, dtype="float32")[Y]
ROUND_TIMEOUT = 120.0  # seconds; a round takes about one
COLUMNS = ("run", "times", "of them in a child", "other bits", "exceptions", "not ended")


class TeacherLoss(Loss):
    """The square of the distance from what another model predicts, asked within each shard."""

    def __init__(self, seed):
        super().__init__()
        self.teacher = plain(seed)

    def per_sample(self, y_true, y_pred):
        asked = self.teacher.predict(X, batch_size=48, verbose=0)[: len(y_pred)]
        distance = y_pred - asked
        return (distance**2).mean(-1), distance

    def per_sample_gradient(self, kept, scale):
        return kept * (2 / kept.shape[-1]) * scale


def _layers(seed, *between):
    """Of a network; each initializer has a seed of its own."""
    return [
        Input((8, 8, CLASSES)),
        layers.Conv2D(6, 3, activation="relu", kernel_initializer=GlorotUniform(seed)),
        *between,
        layers.GlobalAveragePooling2D(),
        layers.Dense(CLASSES, activation="softmax", kernel_initializer=GlorotUniform(seed + 1)),
    ]


def _compiled(model, optimizer, loss="categorical_crossentropy"):
    model.compile(optimizer, loss, metrics=["accuracy"])
    return model


def plain(seed):
    return _compiled(Sequential(_layers(seed)), optimizers.Adam(0.01))


def normalized(seed):
    return _compiled(
        Sequential(_layers(seed, layers.BatchNormalization())), optimizers.SGD(0.1, momentum=0.9)
    )


def dropping(seed):
    between = layers.BatchNormalization(), layers.Dropout(0.3, seed=seed)
    return _compiled(Sequential(_layers(seed, *between)), optimizers.Adam(0.01))


def with_a_shortcut(seed):
    inputs = Input((8, 8, CLASSES))
    x = layers.Conv2D(4, 3, padding="same", kernel_initializer=GlorotUniform(seed))(inputs)
    y = layers.BatchNormalization()(x)
    y = layers.Conv2D(4, 3, padding="same", kernel_initializer=GlorotUniform(seed + 2))(y)
    y = layers.GlobalAveragePooling2D()(layers.Add()([x, y]))
    outputs = layers.Dense(CLASSES, "softmax", kernel_initializer=GlorotUniform(seed + 1))(y)
    return _compiled(Model(inputs, outputs), optimizers.RMSprop(0.01))


def with_a_teacher(seed):
    return _compiled(Sequential(_layers(seed)), optimizers.Adam(0.01), TeacherLoss(seed + 7))


MODELS = {
    "plain": plain, "BatchNormalization": normalized, "BatchNormalization, Dropout": dropping,
    "shortcut": with_a_shortcut, "predict in the loss": with_a_teacher,
}  # fmt: skip


def bits(arrays):
    """A digest of every bit of `arrays`."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


class Run:
    """One thing to do, alone or beside others; calling it gives a digest of what came out.

    Args:
        name: of its model, one of `MODELS`.
        what: "fit" (a new model, evaluated and asked afterwards) or "predict" (by one model that
            all threads share).
        seed: of the model.
        batch_size: of each pass.
    """

    def __init__(self, name, what, seed, batch_size):
        self.label = f"{what}, {name}"
        self.name, self.what, self.seed, self.batch_size = name, what, seed, batch_size
        self.shared = None if what == "fit" else MODELS[name](seed)

    def __call__(self):
        size = self.batch_size
        if self.shared is not None:
            return bits([self.shared.predict(MANY, batch_size=size, verbose=0)])
        model = MODELS[self.name](self.seed)
        model.fit(X, ONE_HOT, batch_size=size, epochs=2, shuffle=False, verbose=0)
        evaluated = model.evaluate(X, ONE_HOT, batch_size=size, verbose=0)
        return bits([*model.get_weights(), evaluated, model.predict(X, verbose=0)])


def all_runs():
    """Every model, fitted and asked, with two seeds and batch sizes."""
    return [
        Run(name, what, seed, batch_size)
        for name in MODELS
        for what in ("fit", "predict")
        for seed, batch_size in ((1, 32), (5, 96))
    ]


def in_a_fork(run, timeout):
    """What `run` gives in a forked child; TimeoutError where it gives nothing in time.

    Not by `multiprocessing.Process`: one that starts looks after all others of the process, also
    after those for which another thread is just waiting, who then misses the end of its own.
    """
    ours, theirs = multiprocessing.Pipe(duplex=False)
    child = os.fork()
    if child == 0:
        try:
            theirs.send(run())
        except BaseException as error:
            theirs.send(f"{type(error).__name__}: {error}")
        finally:
            os._exit(0)
    theirs.close()
    try:
        if not ours.poll(timeout):
            raise TimeoutError(f"a forked child did not end within {timeout:.0f} s")
        return ours.recv()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        ours.close()


class Campaign:
    """Rounds of overlapping runs, and what was found.

    Args:
        seed: of what is drawn.
        runs: to draw from; default: `all_runs`.
        timeout: seconds for all of them, one after the other.
    """

    def __init__(self, seed=0, runs=None, timeout=ROUND_TIMEOUT):
        self.rng = np.random.default_rng(seed)
        self.runs = all_runs() if runs is None else runs
        self.counts = {run.label: Counter() for run in self.runs}
        self.findings = []
        self.hung = False
        self.rounds = self.most = 0  # how many, and the threads in the largest
        self.threads = []  # of the latest one
        self._lock = threading.Lock()
        self.alone = []
        self._run_alone(timeout)

    def _run_alone(self, timeout):
        """What each run gives beside no other."""
        alone = threading.Thread(
            target=lambda: self.alone.extend(run() for run in self.runs), daemon=True
        )
        alone.start()
        alone.join(timeout)
        if len(self.alone) < len(self.runs):
            self.hung = True
            self.find(self.runs[len(self.alone)], "not ended", "did not end alone, or failed")

    def find(self, run, column, text):
        with self._lock:
            self.counts[run.label][column] += 1
            self.findings.append({
                "run": run.label, "seed": run.seed, "batch size": run.batch_size, "finding": text,
            })  # fmt: skip

    def work(self, chosen, timeout, start):
        """In a thread: (number of a run, in a child) one after the other."""
        start.wait(timeout)
        for number, child in chosen:
            run = self.runs[number]
            try:
                found = in_a_fork(run, timeout) if child else run()
            except TimeoutError as error:
                self.find(run, "not ended", str(error))
            except Exception as error:
                self.find(run, "exceptions", f"{type(error).__name__}: {error}")
            else:
                if found != self.alone[number]:
                    where = "in a forked child" if child else "in a thread"
                    self.find(run, "other bits", f"other bits {where}: {found}")
            with self._lock:
                self.counts[run.label]["times"] += 1
                self.counts[run.label]["of them in a child"] += child

    def round(self, most_runs, timeout=ROUND_TIMEOUT):
        """One round; how many runs it had. Every third has predictions only: they take a short
        time, so that the last to leave is often one that came while others were there."""
        numbers = [
            i
            for i, run in enumerate(self.runs)
            if self.rounds % 3 or run.label.startswith("predict") or len(self.runs) == 1
        ]
        self.rounds += 1
        left, work = most_runs, []
        for _ in range(self.rng.integers(2, 17)):
            chosen = [
                (int(self.rng.choice(numbers)), bool(self.rng.random() < 0.15))
                for _ in range(min(left, self.rng.integers(1, 3)))
            ]
            left -= len(chosen)
            work += [chosen] if chosen else []
        start = threading.Barrier(len(work))
        threads = [
            threading.Thread(target=self.work, args=(chosen, timeout / 2, start), daemon=True)
            for chosen in work
        ]
        self.threads = threads
        self.most = max(self.most, len(threads))
        before = blas_threads()
        for thread in threads:
            thread.start()
        end = time.monotonic() + timeout
        for thread in threads:
            thread.join(max(0.0, end - time.monotonic()))
        self.hung = any(thread.is_alive() for thread in threads)
        if self.hung:
            faulthandler.dump_traceback(all_threads=True)
            still = sum(thread.is_alive() for thread in threads)
            self.findings.append({"finding": f"{still} threads did not end in {timeout:.0f} s"})
        elif blas_threads() != before:
            self.findings.append(
                {"finding": f"BLAS has {blas_threads()} threads after a round, before {before}"}
            )
        return most_runs - left

    def rows(self):
        return [[label, *(count[c] for c in COLUMNS[1:])] for label, count in self.counts.items()]


def campaign(runs, seed=0, drawn_from=None, timeout=ROUND_TIMEOUT):
    """A `Campaign` after so many runs, or after the first round that hung.

    Args:
        runs: how many.
        seed: of what is drawn.
        drawn_from: the runs; default: `all_runs`.
        timeout: seconds for a round.
    """
    work, counts.MIN_WORK_PER_SHARD = counts.MIN_WORK_PER_SHARD, 1  # small models are cut, too
    set_num_threads(2)
    try:
        done = Campaign(seed, drawn_from, timeout)
        left = runs
        while left > 0 and not done.hung:
            left -= done.round(left, timeout)
        return done
    finally:
        set_num_threads(None)
        counts.MIN_WORK_PER_SHARD = work


def main():
    options = arguments(__doc__, runs=200, seed=0)
    done = campaign(options.runs, options.seed)
    status = finish(
        COLUMNS, done.rows(), done.findings, options.json, ["threadpoolctl"],
        most_threads=done.most,
    )  # fmt: skip
    print(f"threads in a round: up to {done.most}", flush=True)
    if done.hung:
        os._exit(status)  # what hangs would keep the interpreter from ending
    return status


if __name__ == "__main__":
    sys.exit(main())
