"""What a long-lived process does again and again leaves no memory, open files or threads behind.

    python tests/campaigns/flat_memory.py --steps 10000 --json FILE

Each kind of work is repeated: training steps, fits, predictions, models made and dropped, saves
and loads of every format, and callbacks that end in errors. The resident memory, the open
descriptors and the threads of the process are read after each tenth of it, and may not grow after
the first one: memory by a few MB at most, the others not at all. No model that was dropped may be
alive. Exit status 1 where something grows. Needs Linux's /proc.
"""

import gc
import os
import sys
import tempfile
import time
import weakref
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from campaigns.reporting import arguments, finish
from small_problem import X, Y, network

from minicnn import set_num_threads
from minicnn.callbacks import Callback
from minicnn.layers import BatchNormalization, Dropout
from minicnn.models import load_model
from minicnn.parallel import counts

FEW_MB = 6.0
TENTHS = 10
COLUMNS = (
    "work", "times", "seconds", "MB after the first tenth", "MB at the end", "most MB added",
    "descriptors", "threads",
)  # fmt: skip


def resident_mb():
    """Memory of this process that is in RAM."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def open_descriptors():
    return len(os.listdir("/proc/self/fd"))


def running_threads():
    return len(os.listdir("/proc/self/task"))


def made():
    return network(extra=[BatchNormalization(), Dropout(0.2)])


class Ending(Callback):
    """Ends a fit by an error."""

    def on_train_batch_end(self, batch, logs=None):
        raise InterruptedError("on purpose")


def training_steps():
    model = made()
    return lambda i: model.train_on_batch(X[:32], Y[:32])


def fits():
    model = made()
    return lambda i: model.fit(X, Y, batch_size=32, validation_data=(X, Y), verbose=0)


def predictions():
    model = made()
    return lambda i: model.predict(X, batch_size=1 + i % 48, verbose=0)


def steps_of_other_sizes():
    """Batches of 1 to 48 images: what is kept per size is bounded."""
    model = made()
    return lambda i: model.train_on_batch(X[: 1 + 7 * i % 48], Y[: 1 + 7 * i % 48])


def models_made_and_dropped():
    def work(i):
        model = made()
        model.train_on_batch(X[:32], Y[:32])
        work.dropped.append(weakref.ref(model))

    work.dropped = []
    return work


def saves_and_loads(ending):
    def begin():
        model = made()
        model.train_on_batch(X[:32], Y[:32])
        folder = tempfile.TemporaryDirectory()
        path = Path(folder.name) / f"model{ending}"

        def work(i):
            if ending.startswith(".weights"):
                model.save_weights(path)
                model.load_weights(path)
            else:
                model.save(path)
                load_model(path)

        work.folder = folder
        return work

    return begin


def fits_that_end_in_errors():
    model = made()

    def work(i):
        with suppress(InterruptedError):
            model.fit(X, Y, batch_size=32, callbacks=[Ending()], verbose=0)

    return work


# {name: (makes the work, steps of `--steps` for which it is done once)}
WORK = {
    "training steps": (training_steps, 1),
    "fits": (fits, 20),
    "predictions": (predictions, 5),
    "training steps of other sizes": (steps_of_other_sizes, 5),
    "models made and dropped": (models_made_and_dropped, 20),
    "save and load .safetensors": (saves_and_loads(".safetensors"), 25),
    "save and load .keras": (saves_and_loads(".keras"), 25),
    "save and load .h5": (saves_and_loads(".h5"), 25),
    "save and load .weights.h5": (saves_and_loads(".weights.h5"), 25),
    "save and load .weights.safetensors": (saves_and_loads(".weights.safetensors"), 25),
    "fits that end in errors": (fits_that_end_in_errors, 20),
}


def measured(name, begin, times, few_mb=FEW_MB):
    """(row of the table, findings) of a kind of work.

    Args:
        name: of the work.
        begin: makes a function of the number of the repetition.
        times: how often it is called.
        few_mb: how much memory may be added.
    """
    work = begin()
    start, readings = time.perf_counter(), []
    for tenth in range(TENTHS):
        for i in range(tenth * times // TENTHS, (tenth + 1) * times // TENTHS):
            work(i)
        gc.collect()
        readings.append((resident_mb(), open_descriptors(), running_threads()))
    seconds = time.perf_counter() - start
    memory, descriptors, threads = zip(*readings, strict=True)
    added = max(memory) - memory[0]
    row = [
        name, times, f"{seconds:.0f}", f"{memory[0]:.1f}", f"{memory[-1]:.1f}", f"{added:+.1f}",
        f"{descriptors[0]} to {max(descriptors)}", f"{threads[0]} to {max(threads)}",
    ]  # fmt: skip
    grown = []
    if added > few_mb:
        told = ", ".join(f"{mb:.1f}" for mb in memory)
        grown.append(f"memory grew by {added:.1f} MB, more than {few_mb} (by tenths: {told})")
    if max(descriptors) > descriptors[0]:
        grown.append(f"open descriptors grew: {descriptors}")
    if max(threads) > threads[0]:
        grown.append(f"threads grew: {threads}")
    alive = sum(model() is not None for model in getattr(work, "dropped", []))
    if alive:
        grown.append(f"{alive} models that were dropped are alive")
    return row, [{"work": name, "finding": text} for text in grown]


def campaign(steps, work=WORK):
    """(rows of the table, findings) of all kinds of work.

    Args:
        steps: training steps; the other kinds are done less often.
        work: as `WORK`.
    """
    least, counts.MIN_WORK_PER_SHARD = counts.MIN_WORK_PER_SHARD, 1  # small models are cut, too
    set_num_threads(2)
    try:
        rows, findings = [], []
        for name, (begin, per_time) in work.items():
            row, found = measured(name, begin, max(2 * TENTHS, steps // per_time))
            rows.append(row)
            findings += found
        return rows, findings
    finally:
        set_num_threads(None)
        counts.MIN_WORK_PER_SHARD = least


def main():
    options = arguments(__doc__, steps=10000)
    rows, findings = campaign(options.steps)
    return finish(COLUMNS, rows, findings, options.json, ["h5py", "safetensors"])


if __name__ == "__main__":
    sys.exit(main())
