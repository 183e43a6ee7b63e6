"""Which public names of Keras are here, which answer with a sentence, and which are missing.

    KERAS_BACKEND=torch python benchmarks/keras_names.py             # a table by module
    KERAS_BACKEND=torch python benchmarks/keras_names.py --sentences # and why names are not here

Needs Keras, whose modules are asked for their names.
"""

import argparse
import importlib
from types import ModuleType
from typing import NamedTuple

import minicnn


class Names(NamedTuple):
    """The public names of a module of Keras, sorted by what becomes of them here."""

    here: list[str]
    answered: dict[str, str]
    missing: list[str]

    @property
    def share(self) -> float:
        """Of the names that are not out of scope, those that are here."""
        wanted = len(self.here) + len(self.missing)
        return len(self.here) / wanted if wanted else 1.0


def survey() -> dict[str, Names]:
    """{path below keras: its names}; a module that is out of scope stands among the names of the
    one that it is in."""
    import keras

    found: dict[str, Names] = {}
    modules = [("", keras)]
    while modules:
        path, module = modules.pop(0)
        own = importlib.import_module(f"minicnn.{path}".rstrip("."))
        names = Names([], {}, [])
        for name in sorted(n for n in dir(module) if n[0] != "_" and n != "src"):
            sentence = _answer(own, name)
            if sentence is None:
                names.here.append(name)
                value = getattr(module, name)
                if isinstance(value, ModuleType):
                    modules.append((f"{path}.{name}".lstrip("."), value))
            elif sentence:
                names.answered[name] = sentence
            else:
                names.missing.append(name)
        found[path] = names
    return found


def _answer(module: ModuleType, name: str) -> str | None:
    """None for a name that is here, the sentence why it is not, or "" where there is none."""
    try:
        getattr(module, name)
    except AttributeError as error:
        return "" if str(error).startswith("module ") else str(error)
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sentences", action="store_true", help="list the names that answer")
    asked = parser.parse_args()
    found = survey()
    print("| module | here | answers why not | missing |\n|---|---|---|---|")
    for path, names in found.items():
        cells = [f"`{('keras.' + path).rstrip('.')}`", str(len(names.here))]
        cells += [str(len(names.answered)), ", ".join(names.missing) or "none"]
        print("| " + " | ".join(cells) + " |")
    here = sum(len(names.here) for names in found.values())
    wanted = here + sum(len(names.missing) for names in found.values())
    print(f"\n{here} of {wanted} names, {here / wanted:.1%}, in minicnn {minicnn.__version__}")
    if asked.sentences:
        for names in found.values():
            for sentence in names.answered.values():
                print(f"- {sentence}")


if __name__ == "__main__":
    main()
