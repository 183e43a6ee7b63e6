"""Files of every kind that the library reads, damaged, and what it makes of them.

    python tests/campaigns/mutated_files.py --files 10000 --seed 0 --json FILE

Each file is read in a process of its own, with 10 s and 2 GB. What may happen: the exact result, a
picture, or a ValueError or OSError that names the file. In formats without a checksum, flipped bits
may also come out as other numbers ("different"). All else is a finding: it is listed with the
command that repeats it, and the exit code is 1. Linux only.
"""

import argparse
import contextlib
import json
import os
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from campaigns import container_damage as containers  # noqa: E402
from campaigns import content_damage as contents  # noqa: E402
from campaigns import damage  # noqa: E402
from campaigns.file_forms import IMAGES, Form, fingerprint, make_forms  # noqa: E402
from campaigns.reporting import finish  # noqa: E402
from campaigns.watched_children import FINDINGS, FINE, Kind, damaged, outcome_of  # noqa: E402

COMMAND = "python tests/campaigns/mutated_files.py"
COLUMNS = ("kind", "files", *FINE, "findings")

_BYTES = {
    "bits": damage.flipped, "bits of the head": damage.flipped_head, "cut off": damage.cut,
    "bytes put in or left out": damage.shifted, "numbers": damage.extreme_numbers,
}  # fmt: skip
_TEXTS = {
    "values": damage.other_values, "odd JSON": damage.odd_json, "hostile": damage.hostile_values,
}  # fmt: skip
_HDF5 = {"links": containers.hdf5_links, "arrays": containers.hdf5_arrays}
_MODELS = ("safetensors", "keras", "h5")


def all_kinds(forms: dict[str, Form]) -> list[Kind]:
    """The kinds of damage to the kinds of files `forms`."""
    kinds = [
        Kind(form.name, change, what, not form.checked, 2 if form.name in IMAGES else 4)
        for form in forms.values()
        for what, change in _BYTES.items()
    ]

    def add(form: str, what: str, change: damage.Change, free: bool, share: int = 4) -> None:
        kinds.append(Kind(form, change, what, free, share))

    for what, change in _TEXTS.items():
        for form in ("safetensors", "w.safetensors"):
            add(form, f"{what}, with checksum", containers.in_safetensors(change, True), False, 2)
            add(form, f"{what}, without", containers.in_safetensors(change), True, 8)
        inside = containers.in_text(change)
        add("keras", what, containers.in_zip(inside, "config.json", "metadata.json"), True, 8)
        add("h5", what, containers.hdf5_text(change), True, 8)
    for form in ("safetensors", "w.safetensors"):
        add(form, "list of arrays", containers.safetensors_header, False)
    add("keras", "zip", containers.zip_members, False, 8)
    for change in containers.IN_HDF5:
        inside = containers.in_zip(change, "model.weights.h5")
        add("keras", f"HDF5 inside, {change.__name__.replace('_', ' ')}", inside, True, 2)
    for what, change in _HDF5.items():
        add("keras", what, containers.in_zip(change, "model.weights.h5"), what == "arrays")
        for form in ("h5", "w.weights.h5"):
            add(form, what, change, what == "arrays")
    add("h5", "attributes", containers.hdf5_attributes, True)
    add("cifar.tar.gz", "members", containers.tar_entries, False, 6)
    for what, change in _BYTES.items():
        add("cifar.tar.gz", f"inside, {what}", containers.in_tar(change), True, 2)
    add("cifar python", "opcodes", contents.other_opcodes, True, 6)
    add("cifar python", "hostile", contents.hostile_pickle, False, 8)
    for form in (*IMAGES, "folder"):
        add(form, "of other sizes and kinds", contents.odd_images, True, 2)
    add("folder", "pipes and links", contents.odd_folders, True)
    for form in forms:
        if form != "cifar.tar.gz":  # which is only ever one that was downloaded
            add(form, "no file", damage.no_file, form == "folder", 1)
    return kinds


def cases(kinds: Sequence[Kind], files: int) -> list[tuple[Kind, int]]:
    """`files` pairs of a kind and a number, by the kinds' shares."""
    total, before, pairs = sum(kind.share for kind in kinds), 0, []
    for kind in kinds:
        first, before = before, before + kind.share
        count = files * before // total - files * first // total
        pairs += [(kind, number) for number in range(count)]
    return pairs


def run(pairs: list[tuple[Kind, int]], forms: dict[str, Form], seed: int, workers: int) -> list:
    """[(name of the kind, number, outcome, what is known)], from several processes.

    Args:
        pairs: which files.
        forms: of the kinds.
        seed: of the damage.
        workers: how many processes at once.
    """
    results = []
    with tempfile.TemporaryDirectory(prefix="mutated-") as folder:
        right = {}
        for form in forms.values():
            place = Path(folder) / "right" / form.name
            place.mkdir(parents=True)
            path = form.place(place, 0)
            path.write_bytes(form.data)
            with contextlib.redirect_stdout(None):
                right[form.name] = fingerprint(form.read(path))
        children = []
        for i in range(workers):
            child = os.fork()
            if not child:
                status = 1
                try:
                    _work(pairs[i::workers], forms, right, seed, Path(folder) / f"{i}")
                    status = 0
                finally:
                    os._exit(status)
            children.append(child)
        for i, child in enumerate(children):
            if os.waitpid(child, 0)[1]:
                raise RuntimeError(f"worker {i} died")
            results += json.loads((Path(folder) / f"{i}.json").read_text())
    return sorted(results)


def _work(
    pairs: list[tuple[Kind, int]], forms: dict[str, Form], right: dict, seed: int, place: Path
) -> None:
    place.mkdir()
    results = []
    for kind, number in pairs:
        form = forms[kind.form]
        outcome = outcome_of(kind, form, right[kind.form], number, seed, place)
        results.append([kind.name, number, *outcome])
    place.with_suffix(".json").write_text(json.dumps(results))


def rows(results: list) -> list[list]:
    """The `results` of `run`, a row of the table per kind of damage, and one for all."""
    counts: dict[str, Counter] = {}
    for name, _, outcome, _ in results:
        for line in (name, "all"):
            counts.setdefault(line, Counter())[outcome if outcome in FINE else "findings"] += 1
    counts["all"] = counts.pop("all", Counter())
    return [
        [name, sum(found.values()), *(found[c] for c in COLUMNS[2:])]
        for name, found in counts.items()
    ]


def listed(results: list, seed: int) -> list[dict]:
    """Each finding of `results` once, with what repeats it for this `seed`."""
    alike: dict[tuple[str, str, str], list] = {}
    for name, number, outcome, known in results:
        if outcome not in FINE:
            text = re.sub(r"\d+|'[^']*'", "#", known)[:80]
            alike.setdefault((name, outcome, text), []).append((number, known))
    return [
        {
            "outcome": f"{outcome} ({FINDINGS[outcome]})",
            "kind": name,
            "times": len(found),
            "known": found[0][1],
            "to repeat": f"{COMMAND} --seed {seed} --only {name!r} {found[0][0]}",
        }
        for (name, outcome, _), found in alike.items()
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the `arguments` of the command line say; 1 if there are findings."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--files", type=int, default=10_000, help="how many")
    parser.add_argument("--seed", type=int, default=0, help="of the damage")
    parser.add_argument("--json", type=Path, help="write all outcomes to this file")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes at once")
    parser.add_argument("--only", nargs=2, metavar=("KIND", "NUMBER"), help="this file alone")
    parser.add_argument("--keep", type=Path, help="with --only: leave the file in this folder")
    given = parser.parse_args(arguments)

    from PIL import Image
    from threadpoolctl import threadpool_limits

    from minicnn.parallel import set_num_threads

    set_num_threads(1)
    Image.init()
    start = time.monotonic()
    with threadpool_limits(1), tempfile.TemporaryDirectory(prefix="mutated-") as folder:
        forms = make_forms(Path(folder))
        kinds = all_kinds(forms)
        pairs = cases(kinds, given.files)
        if given.only:
            name, number = given.only
            (kind,) = (k for k in kinds if k.name == name)
            pairs = [(kind, int(number))]
            if given.keep:
                given.keep.mkdir(parents=True, exist_ok=True)
                print(damaged(kind, forms[kind.form], int(number), given.seed, given.keep))
        results = run(pairs, forms, given.seed, min(given.workers, len(pairs)))
    print(f"{len(results):,} files in {time.monotonic() - start:.0f} s")
    if given.only:
        print(*results[0], sep="\n")
    return finish(
        COLUMNS, rows(results), listed(results, given.seed), given.json,
        ("h5py", "safetensors", "pillow"), seed=given.seed, results=results,
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
