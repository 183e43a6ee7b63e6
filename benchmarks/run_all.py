"""Every benchmark, one after the other, into a folder of results/ with the date and the machine.

    python benchmarks/run_all.py --tensorflow-python ~/tf/bin/python    an hour or two
    python benchmarks/run_all.py --quick                                some minutes, no figures

The folder gets a JSON file and a picture of each, and README.md with the tables.
"""

import argparse
import datetime
import re
import subprocess
import sys
from pathlib import Path

import results

HERE = Path(__file__).parent
QUICK = {
    "train_step": "--network tutorial --rounds 1 --seconds 0.3",
    "predict": "--network tutorial --rounds 1 --seconds 0.3",
    "conv": "--rounds 1 --seconds 0.02 --batch-size 16",
    "profiles": "--repeats 1",
    "memory": "--network tutorial --batch-sizes 32",
    "scaling": "--network tutorial --rounds 1 --seconds 0.3 --batch-sizes 32 128",
}
WITH_RIVALS = ("train_step", "predict", "memory")
WITH_ROUNDS = ("train_step", "predict", "conv", "scaling")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="a trial, too short for figures")
    parser.add_argument("--output", type=Path, help="the folder; else one with date and machine")
    parser.add_argument("--torch-python", help="an interpreter that has PyTorch; else this one")
    parser.add_argument("--tensorflow-python", help="an interpreter that has Keras and TensorFlow")
    parser.add_argument("--rounds", help="turns of each, for all scripts that take turns")
    parser.add_argument("--seconds", help="length of a turn")
    parser.add_argument("--only", nargs="+", default=[], help="contenders, as for train_step.py")
    args = parser.parse_args()

    machine = results.machine()
    folder = args.output or HERE / "results" / folder_name(machine["cpu"])
    folder.mkdir(parents=True, exist_ok=True)
    rivals = [
        f"--{name}={value}"
        for name, value in (
            ("torch-python", args.torch_python),
            ("tensorflow-python", args.tensorflow_python),
        )
        if value
    ]
    page = ["# Results", "", *(f"- {key}: {value}" for key, value in machine.items())]
    for script in QUICK:
        command = [sys.executable, HERE / f"{script}.py"]
        command += [f"--json={folder / script}.json", f"--plot={folder / script}.png"]
        command += rivals if script in WITH_RIVALS else []
        if script in WITH_ROUNDS:
            command += [f"--{n}={v}" for n in ("rounds", "seconds") if (v := getattr(args, n))]
        if args.only and script in WITH_RIVALS:
            command += ["--only", *args.only]
        command += QUICK[script].split() if args.quick else []
        print(f"== {script}", file=sys.stderr, flush=True)
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        print(done.stdout)
        if done.returncode:
            sys.exit(f"{script}.py failed; what was measured before is in {folder}")
        pictures = [f"![{p.stem}]({p.name})" for p in sorted(folder.glob(f"{script}*.png"))]
        page += ["", f"## {script}", "", *pictures, "", done.stdout.rstrip()]
        (folder / "README.md").write_text("\n".join(page) + "\n")


def folder_name(cpu):
    """ "2026-11-21-amd-epyc"."""
    return f"{datetime.date.today()}-{re.sub('[^a-z0-9]+', '-', cpu.lower()).strip('-')}"


if __name__ == "__main__":
    main()
