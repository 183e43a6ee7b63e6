"""The campaign of damaged files: few of them here, and what it would say of faults."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("h5py")
if not sys.platform.startswith("linux"):
    pytest.skip("children with a limit to their memory are for Linux", allow_module_level=True)

from campaigns import damage, mutated_files, watched_children  # noqa: E402
from campaigns.file_forms import Form, fingerprint  # noqa: E402
from campaigns.watched_children import Kind, outcome_of  # noqa: E402

SCRIPT = Path(mutated_files.__file__)


def test_three_hundred_damaged_files_give_no_findings():
    done = subprocess.run(
        [sys.executable, SCRIPT, "--files", "300"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert re.search(r"^\| all +\| 300 ", done.stdout, re.MULTILINE)


def same(path):
    return [np.frombuffer(b"abc", np.uint8)]


def other(path):
    return [np.zeros(3)]


def cannot_be_described(path):
    return [{1: object()}]


def named(path):
    raise ValueError(f"{path} is damaged")


def unnamed(path):
    raise ValueError("damaged")


def bare(path):
    raise KeyError(path.name)


def long(path):
    raise ValueError(path.name * 2000)


def large(path):
    bytearray(3 << 30)


def hidden_large(path):
    try:
        bytearray(3 << 30)
    except MemoryError as error:
        raise ValueError(path.name) from error


def hangs(path):
    time.sleep(60)


def crashes(path):
    os.kill(os.getpid(), signal.SIGKILL)


def runs(path):
    os.system("true")


def writes(path):
    (path.parent.parent / "elsewhere").write_bytes(b"x")


def writes_unheard(path):
    os.mkdir(path.parent.parent.parent / "elsewhere")


def marks(path):
    os.mkdir(path.parent.parent.parent / "marker-0")


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
@pytest.mark.parametrize(
    "read, free, expected",
    [
        (same, False, "exact"),
        (other, True, "different"),
        (other, False, "passed"),
        (cannot_be_described, True, "different"),
        (named, False, "refused"),
        (unnamed, False, "unnamed"),
        (bare, False, "bare"),
        (long, False, "long"),
        (large, False, "memory"),
        (hidden_large, False, "memory"),
        (hangs, False, "hang"),
        (crashes, False, "crash"),
        (runs, False, "executed"),
        (writes, False, "written"),
        (writes_unheard, False, "written"),
        (marks, False, "executed"),
    ],
)
def test_what_is_a_finding(read, free, expected, tmp_path, monkeypatch):
    monkeypatch.setattr(watched_children, "SECONDS", 1)
    kind = Kind("form", damage.flipped, "bits", free, 1)
    form = Form("form", "x{}", b"abc", read)
    assert outcome_of(kind, form, fingerprint(same(None)), 0, 0, tmp_path)[0] == expected
    assert not list(tmp_path.iterdir())
    assert expected in (watched_children.FINDINGS if expected not in watched_children.FINE
                        else watched_children.FINE)  # fmt: skip


def test_findings_are_listed_once_with_what_repeats_them():
    results = [
        ["keras: bits", 3, "bare", "KeyError: 'a' (x.py:12)"],
        ["keras: bits", 7, "bare", "KeyError: 'b' (x.py:12)"],
        ["keras: bits", 8, "exact", ""],
        ["png: bits", 8, "hang", "SIGALRM"],
    ]
    first, second = mutated_files.listed(results, 5)
    assert first["times"] == 2 and first["kind"] == "keras: bits" and "'a'" in first["known"]
    assert first["to repeat"].endswith("mutated_files.py --seed 5 --only 'keras: bits' 3")
    assert second["outcome"].startswith("hang (not done after")
    assert mutated_files.rows(results) == [
        ["keras: bits", 3, 1, 0, 0, 2],
        ["png: bits", 1, 0, 0, 0, 1],
        ["all", 4, 1, 0, 0, 3],
    ]


def test_a_seed_and_a_number_are_one_file(tmp_path):
    form = Form("form", "x{}", bytes(1000), same)
    kind = Kind("form", damage.flipped, "bits", True, 1)

    def made(number, seed):
        return watched_children.damaged(kind, form, number, seed, tmp_path).read_bytes()

    assert made(3, 0) == made(3, 0)
    assert made(3, 0) != made(4, 0) and made(3, 0) != made(3, 1)


def test_all_kinds_take_part_and_the_number_is_kept():
    kinds = [Kind("form", damage.cut, str(i), True, 1 + i % 4) for i in range(50)]
    pairs = mutated_files.cases(kinds, 300)
    assert len(pairs) == 300 and {kind.what for kind, _ in pairs} == {k.what for k in kinds}
    assert len({(kind.what, number) for kind, number in pairs}) == 300
