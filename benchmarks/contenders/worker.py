"""One contender in a process of its own; `measure.Worker` starts it and talks to it.

    python worker.py '{"module": "torch_steps", "task": "train", "network": "vgg", ...}'

It imports its library and waits for a line on stdin; then it warms up and answers with its versions
and its memory. After that, for each line "SECONDS", it takes steps for so long and answers with
what it measured. All answers are JSON, one a line.
"""

import importlib
import json
import os
import statistics
import sys
import time
from itertools import pairwise

WARM_UP_STEPS = 5


def main():
    request = json.loads(sys.argv[1])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print goes to stderr

    def answer(figures):
        print(json.dumps(figures), file=answers, flush=True)

    use_cores(request["threads"])
    missing = None
    try:
        library = importlib.import_module(request["module"])
    except ImportError as error:
        missing = str(error)
    if not sys.stdin.readline():  # nobody waits any longer
        return
    if missing is not None:
        answer({"missing": missing})
        return
    import numpy as np

    rng = np.random.default_rng(0)
    batch_size = request["batch_size"]
    x = rng.integers(0, 256, (batch_size, 32, 32, 3), dtype=np.uint8)
    y = rng.integers(0, 10, batch_size)
    imported_mb = peak_mb()
    step = library.make_step(
        request["task"], request["network"], x, y, request["threads"], **request["options"]
    )
    for _ in range(WARM_UP_STEPS):
        step()  # compilers, threads, buffers and caches settle
    answer({"versions": library.VERSIONS, "imported_mb": imported_mb, "peak_mb": peak_mb()})
    steps = request.get("steps_between_looks", 1)
    synchronize = getattr(library, "synchronize", lambda: None)
    for line in sys.stdin:
        answer(timing(step, batch_size, float(line), steps, synchronize))


def use_cores(count):
    """Keep this process to `count` cores, whatever threads its libraries start."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])


def timing(step, batch_size, seconds, steps_between_looks=1, synchronize=lambda: None):
    """Steps for so many seconds.

    Args:
        steps_between_looks: how many are taken from one look at the clock to the next, which
            waits for a GPU to be done.
    """
    step()  # wakes the threads; another process has had the cores since
    synchronize()
    marks = [time.perf_counter()]
    while marks[-1] - marks[0] < seconds:
        for _ in range(steps_between_looks):
            step()
        synchronize()
        marks.append(time.perf_counter())
    steps = [(after - before) / steps_between_looks for before, after in pairwise(marks)]
    return {
        "images_per_second": len(steps) * batch_size / sum(steps),
        "ms_per_step": 1e3 * statistics.median(steps),
    }


def peak_mb():
    """The most memory this process has held, in MB.

    Linux's own count starts with this program; getrusage's goes on from the process before exec.
    """
    try:
        with open("/proc/self/status") as status:
            (line,) = (line for line in status if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1e3  # kB
    except OSError:
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / (1e6 if sys.platform == "darwin" else 1e3)


if __name__ == "__main__":
    main()
