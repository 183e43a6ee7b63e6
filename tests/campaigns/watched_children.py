"""One file, read in a child process that may take only so much time and memory."""

import json
import os
import resource
import shutil
import signal
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from campaigns.damage import Case, Change
from campaigns.file_forms import Form, fingerprint

SECONDS = 10
MEMORY = 2 << 30  # bytes of address space, beyond what the child begins with
LONGEST = 3000  # characters of a message

FINE = ("exact", "refused", "different")
FINDINGS = {
    "passed": "something else came out, against the format's checksum or its rules",
    "unnamed": "a message without the file's name",
    "bare": "an error that is neither a ValueError nor an OSError",
    "long": f"a message of more than {LONGEST:,} characters",
    "memory": f"more than {MEMORY / 2**30:g} GB",
    "hang": f"not done after {SECONDS} s",
    "crash": "the process died",
    "written": "something was written elsewhere",
    "executed": "something was executed",
    "campaign": "the campaign itself failed",
}

_RUNS = {
    "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "subprocess.Popen",
    "pickle.find_class", "socket.connect", "socket.getaddrinfo", "ctypes.dlopen",
}  # fmt: skip
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


class Kind(NamedTuple):
    """One way to damage one kind of file; `free`: another result is no finding, since the format
    has no checksum of what is changed; `share`: of all files."""

    form: str
    change: Change
    what: str
    free: bool
    share: int

    @property
    def name(self) -> str:
        return f"{self.form}: {self.what}"


def outcome_of(
    kind: Kind, form: Form, right: str, number: int, seed: int, place: Path
) -> list[str]:
    """[one of FINE or FINDINGS, what is known of it].

    Args:
        kind: of damage.
        form: of the file.
        right: the `fingerprint` of the undamaged file.
        number, seed: which file it is.
        place: an empty folder, which is empty again afterwards.
    """
    folder = place / "deep" / "case"
    folder.mkdir(parents=True)
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.close(reading)
            said = _in_the_child(kind, form, right, number, seed, folder)
            os.write(writing, json.dumps(said).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        text = pipe.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        ended = signal.Signals(os.WTERMSIG(status))
        outcome = ["hang" if ended == signal.SIGALRM else "crash", ended.name]
    else:
        outcome = json.loads(text) if text else ["crash", "no answer"]
    left = sorted(
        p for p in place.rglob("*") if p != folder.parent and folder not in (p, *p.parents)
    )
    if left:
        executed = any(p.name.startswith("marker") for p in left)
        outcome = ["executed" if executed else "written", ", ".join(p.name for p in left)]
    shutil.rmtree(place / "deep")
    for path in left:
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    return outcome


def damaged(kind: Kind, form: Form, number: int, seed: int, folder: Path) -> Path:
    """Make the damaged file `number` of a `kind` in a `folder`; `form` and `seed` as above."""
    path = form.place(folder, number)
    words = [seed, number, *kind.name.encode()]
    marker = folder.parent.parent / f"marker-{number}"
    case = Case(
        path, form.data, min(form.head, len(form.data)), np.random.default_rng(words), marker
    )
    data = kind.change(case)
    if data is not None:
        path.write_bytes(data)
    return path


def _in_the_child(
    kind: Kind, form: Form, right: str, number: int, seed: int, folder: Path
) -> list[str]:
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    warnings.simplefilter("ignore")
    os.chdir(folder)
    try:
        path = damaged(kind, form, number, seed, folder)
    except Exception:
        return ["campaign", traceback.format_exc()[-1000:]]
    events = _listen(folder)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(SECONDS)
    try:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always", UserWarning)
            values = form.read(path)
        # what a warning tells of is not silent
        outcome = _compared(
            values, right, kind.free or any(t.category is UserWarning for t in told)
        )
    except BaseException as error:
        signal.alarm(0)
        outcome = _judged(error, path)
    signal.alarm(0)
    return events[0] if events else outcome


def _compared(values: list[Any], right: str, free: bool) -> list[str]:
    try:
        if fingerprint(values) == right:
            return ["exact", ""]
    except Exception as error:  # what came out is so odd that it cannot be described
        return ["different" if free else "passed", f"{error!r:.600}"]
    return ["different" if free else "passed", ""]


def _judged(error: BaseException, path: Path) -> list[str]:
    text = str(error)
    said = f"{type(error).__name__}: {text[:600]}"
    chain: BaseException | None = error
    while chain is not None:
        if isinstance(chain, MemoryError):
            return ["memory", said]
        chain = chain.__cause__ or chain.__context__
    if not isinstance(error, (ValueError, OSError)):
        where = traceback.extract_tb(error.__traceback__)[-1]
        return ["bare", f"{said} ({Path(where.filename).name}:{where.lineno})"]
    if len(text) > LONGEST:
        return ["long", f"{len(text):,} characters: {said}"]
    return ["refused" if path.name in text else "unnamed", said]


def _listen(folder: Path) -> list[list[str]]:
    """What Python says, from now on, that it executes, or writes outside a folder."""
    events: list[list[str]] = []

    def hear(event: str, given: tuple[Any, ...]) -> None:
        if event in _RUNS:
            events.append(["executed", f"{event} {given!r:.300}"])
        if event == "open" and isinstance(given[2], int) and given[2] & _WRITES:
            path = os.path.abspath(os.fsdecode(given[0])) if not isinstance(given[0], int) else ""
            if path and not path.startswith(f"{folder}{os.sep}"):
                events.append(["written", path])

    sys.addaudithook(hear)
    return events
