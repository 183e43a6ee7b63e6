"""Runs of training that are killed at random moments, go on, and end as if nothing had happened.

    python tests/campaigns/killed_runs.py --kills 50 --json FILE

Each run is a process of its own (`interrupted.py` has the data, optimizers and callbacks). First it
happens undisturbed. Then it is started in a new folder and gets SIGKILL after a random time, from
its first import to its last write; started again, perhaps killed again, until it ends by itself.
Weights, optimizer, history, the table and the best checkpoint have to be the same to the bit. Every
other run is the example that trains on CIFAR-10 (with MINICNN_DATA_DIR, on the real one). Exit
status 1 for a run that ends otherwise, ends with an error, or does not end.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import interrupted
from campaigns.reporting import arguments, finish
from safetensors.numpy import load_file

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "cifar10.py"
TIMEOUT = 300.0  # seconds, of a run that takes ten
MOST_KILLS = 4  # of one run
COLUMNS = ("run", "runs", "kills", "starts from a backup", "other bits", "errors")


class Scenario:
    """A run as a process.

    Args:
        data, optimizer: see `interrupted.SCENARIOS`.
        save_freq: of the backups.
    """

    def __init__(self, data, optimizer, save_freq):
        self.label = f"{data}, {optimizer}, {save_freq}"
        self._arguments = [data, optimizer, str(save_freq)]

    def command(self, folder):
        return [sys.executable, __file__, "--child", *self._arguments, folder]

    def result(self, folder):
        return json.loads(Path(folder, "digest.json").read_text())


class Example(Scenario):
    """The example on a part of CIFAR-10 or, where that is not to be had, of `shapes`.

    Args:
        optimizer: by name.
    """

    def __init__(self, optimizer):
        self.label = f"examples/cifar10.py, {optimizer}"
        self._optimizer = optimizer

    def command(self, folder):
        options = "--limit 6400 --batch-size 16 --epochs 2 --augment --resume --optimizer"
        return [sys.executable, EXAMPLE, *options.split(), self._optimizer, "--output", folder]

    def result(self, folder):
        arrays = load_file(Path(folder, "model.safetensors"))
        metrics = json.loads(Path(folder, "metrics.json").read_text())
        kept = ("dataset", "test_accuracy", "test_loss", "per_class", "confusion_matrix")
        return {
            "model": {name: array.tobytes() for name, array in arrays.items()},
            "history": Path(folder, "history.csv").read_text(),
            "metrics": [metrics[name] for name in kept],
        }


def child(data, optimizer, save_freq, folder):
    """What one process does."""
    freq = save_freq if save_freq == "epoch" else int(save_freq)
    slow = interrupted.Slow(0.02)
    model, history = interrupted.train((data, optimizer), Path(folder), freq, [slow])
    Path(folder, "digest.json").write_text(
        json.dumps(interrupted.digest(model, history, Path(folder)))
    )


def run(scenario, folder, kill_after=None):
    """One process: (whether it was killed, seconds it took, the last of what it printed).

    Args:
        scenario: which run.
        folder: its own.
        kill_after: seconds; None to let it end.
    """
    started = time.monotonic()
    with open(Path(folder).with_suffix(".log"), "w+") as log:
        process = subprocess.Popen(
            scenario.command(folder), stdout=log, stderr=subprocess.STDOUT, env=_environment()
        )
        try:
            process.wait(TIMEOUT if kill_after is None else kill_after)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        log.seek(0)
        said = log.read()[-500:]
    killed = process.returncode == -9 and kill_after is not None
    if not killed and process.returncode != 0:
        raise RuntimeError(f"it ended with status {process.returncode}: {said}")
    return killed, time.monotonic() - started, said


def _environment():
    """With a number of shards that does not depend on the machine."""
    return {**os.environ, "MINICNN_SHARDS": "2", "PYTHONWARNINGS": "ignore"}


def campaign(kills, scenarios, seed=0):
    """(rows of the table, findings).

    Args:
        kills: SIGKILLs in all.
        scenarios: taken in turn.
        seed: of the moments.
    """
    rng = random.Random(seed)
    rows = {s.label: [s.label, 0, 0, 0, 0, 0] for s in scenarios}
    expected, seconds, findings = {}, {}, []
    left, turn = kills, 0
    with tempfile.TemporaryDirectory() as base:
        while left > 0:
            scenario = scenarios[turn % len(scenarios)]
            row = rows[scenario.label]
            folder = str(Path(base, f"run-{turn}"))
            turn += 1
            try:
                if scenario.label not in expected:
                    undisturbed = str(Path(base, f"undisturbed-{turn}"))
                    os.mkdir(undisturbed)
                    _, seconds[scenario.label], _ = run(scenario, undisturbed)
                    expected[scenario.label] = scenario.result(undisturbed)
                os.mkdir(folder)
                row[1] += 1
                killed_times = 0
                killed = True
                while killed:
                    last = killed_times == min(MOST_KILLS, left)
                    after = None if last else rng.uniform(0.1, seconds[scenario.label])
                    row[3] += _backups(folder) > 0
                    killed, _, _ = run(scenario, folder, after)
                    killed_times += killed
                    row[2] += killed
                left -= killed_times
                found = scenario.result(folder)
                differing = [k for k, v in expected[scenario.label].items() if found[k] != v]
                if differing:
                    row[4] += 1
                    findings.append({"run": scenario.label, "differ": differing, "turn": turn})
            except (RuntimeError, OSError, ValueError) as error:
                row[5] += 1
                left -= 1
                findings.append({"run": scenario.label, "error": str(error), "turn": turn})
    return list(rows.values()), findings


def _backups(folder):
    return len(list(Path(folder, "backup").glob("backup-*.safetensors")))


def all_scenarios():
    """Every kind of data and of optimizer, the example in between."""
    made = []
    for number, (data, optimizer) in enumerate(interrupted.SCENARIOS):
        made.append(Scenario(data, optimizer, ("epoch", 1, 3)[number % 3]))
        if number % 2:
            made.append(Example(("rmsprop", "adam", "sgd")[number // 2 % 3]))
    return made


def main():
    options = arguments(__doc__.split("\n\n")[0], kills=50, seed=0)
    rows, findings = campaign(options.kills, all_scenarios(), options.seed)
    totals = ["all", *(sum(row[column] for row in rows) for column in range(1, len(COLUMNS)))]
    return finish(COLUMNS, [*rows, totals], findings, options.json)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(*sys.argv[2:])
    else:
        sys.exit(main())
