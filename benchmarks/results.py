"""What comes out of a benchmark: tables in Markdown, a JSON file, a picture."""

import datetime
import json
import os
import platform
import sys

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")  # Okabe and Ito


def spread_text(values, digits=2):
    """ "1.52 (1.41, 1.60)": median, minimum and maximum."""
    return "{median:.{d}f} ({min:.{d}f}, {max:.{d}f})".format(**values, d=digits)


def table(title, columns, rows):
    """Rows of strings under a title, as Markdown that is aligned in a terminal too."""
    by_column = list(zip(columns, *rows, strict=True))
    widths = [max(map(len, cells)) for cells in by_column]
    is_number = [all(cell[:1].isdigit() for cell in cells[1:] if cell) for cells in by_column]
    is_number[0] = False  # what the row is about

    def line(row):
        cells = [
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(row, widths, is_number, strict=True)
        ]
        return "| " + " | ".join(cells) + " |"

    marks = [
        "-" * (width - number) + ":" * number
        for width, number in zip(widths, is_number, strict=True)
    ]
    return "\n".join([f"**{title}**", "", *map(line, [columns, marks, *rows]), ""])


def cpu_model():
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(": ")[1].strip() for line in file if line.startswith("model na"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def machine():
    return {
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "load_now": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "system": platform.platform(),
        "python": platform.python_version(),
        "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
    }


def write(args, results):
    """The figures to `--json`, with the machine and the settings; nothing without it.

    Args:
        args: the script's arguments.
        results: a list of dictionaries, one a table.
    """
    if args.json is None:
        return
    # where files and interpreters lie on this machine is nobody's business
    settings = {k: v for k, v in vars(args).items() if not k.endswith(("json", "plot", "python"))}
    content = {
        "benchmark": os.path.basename(sys.argv[0]),
        "machine": machine(),
        "settings": settings,
        "results": results,
    }
    args.json.parent.mkdir(parents=True, exist_ok=True)
    args.json.write_text(json.dumps(content, indent=2) + "\n")


def bars(path, title, groups, label, line=None):
    """Groups of bars with their spread, as a picture.

    Args:
        path: where to; nothing is drawn for None.
        groups: {group: {bar: {"median", "min", "max"}}}.
        label: what the height is.
        line: (height, name) of a line across, such as (1, "as fast").
    """
    if path is None:
        return
    names = list(dict.fromkeys(name for bars in groups.values() for name in bars))
    if not names:
        print(f"{path} is not drawn: minicnn had no rivals", file=sys.stderr)
        return
    from matplotlib.figure import Figure

    width = 0.8 / len(names)
    figure = Figure(figsize=(max(7.0, 3 + 0.28 * len(names) * len(groups)), 4.2), dpi=144)
    figure.set_layout_engine("constrained")
    axes = figure.add_subplot(title=title, ylabel=label)
    for i, name in enumerate(names):
        shown = [(g, bars[name]) for g, bars in enumerate(groups.values()) if name in bars]
        places = [g + (i - (len(names) - 1) / 2) * width for g, _ in shown]
        heights = [bar["median"] for _, bar in shown]
        below = [bar["median"] - bar["min"] for _, bar in shown]
        above = [bar["max"] - bar["median"] for _, bar in shown]
        axes.bar(
            places, heights, width, yerr=[below, above], label=name,
            color=COLOURS[i % len(COLOURS)], hatch="//" if i >= len(COLOURS) else None,
            edgecolor="white", ecolor="#555555", error_kw={"linewidth": 0.8},
        )  # fmt: skip
    if line is not None:
        axes.axhline(line[0], color="#555555", linestyle="--", linewidth=1, label=line[1])
    long = max(len(line) for group in groups for line in group.split("\n")) > 14
    axes.set_xticks(range(len(groups)), groups, rotation=60 if long else 0,
                    ha="right" if long else "center")  # fmt: skip
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(frameon=False, fontsize=8, loc="outside right upper")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
