"""What the campaigns share: their command line, tables, and what is written at the end."""

import argparse
import datetime
import json
import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version


def arguments(description, **options):
    """The parsed command line.

    Args:
        description: first lines of the help.
        options: {name: default} of whole numbers, beside --json.
    """
    parser = argparse.ArgumentParser(description=description)
    for name, default in options.items():
        parser.add_argument(f"--{name}", type=int, default=default, help=f"default: {default}")
    parser.add_argument("--json", metavar="FILE", help="write figures and findings there")
    return parser.parse_args()


def table(columns, rows):
    """Rows under their columns, in Markdown that is aligned in a terminal, too."""
    cells = [[str(cell) for cell in row] for row in [columns, *rows]]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    cells.insert(1, ["-" * width for width in widths])
    lines = [
        " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in cells
    ]
    return "\n".join(f"| {line} |" for line in lines)


def small(number):
    """ "1.3e-10", and "0" for none at all."""
    return "0" if number == 0 else f"{number:.1e}"


def versions(*packages):
    """{name: version} of Python, the system and packages, and the date."""
    found = {
        "date": datetime.date.today().isoformat(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
    }
    for package in ("minicnn", "numpy", *packages):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def finish(columns, rows, findings, file=None, packages=(), **more):
    """Print the table and the findings, write the JSON file; the status to exit with.

    Args:
        columns, rows: of the table.
        findings: dictionaries, one per finding.
        file: path of the JSON file; default: none is written.
        packages: whose versions are told.
        more: further figures for the JSON file.
    """
    told = versions(*packages)
    print(", ".join(f"{name} {value}" for name, value in told.items()))
    print("command: python", " ".join(sys.argv), end="\n\n")
    print(table(columns, rows), end="\n\n")
    print(f"findings: {len(findings)}")
    for finding in findings:
        print("  " + ", ".join(f"{key}: {value}" for key, value in finding.items()))
    if file:
        with open(file, "w", encoding="utf-8") as stream:
            figures = [dict(zip(columns, row, strict=True)) for row in rows]
            json.dump(
                {"versions": told, "rows": figures, "findings": findings, **more},
                stream, indent=1, default=str,
            )  # fmt: skip
    sys.stdout.flush()
    return 1 if findings else 0
