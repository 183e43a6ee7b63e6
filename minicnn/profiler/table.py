"""The tables of a profile: lines of at most 100 characters, whatever the names and figures."""

import textwrap
from collections.abc import Sequence
from itertools import groupby

from minicnn.models.summary import fitted, table_line

LINE_LENGTH = 100


def table(
    title: str,
    header: Sequence[tuple[str, str]],
    rows: list[list[str]],
    texts: Sequence[int],
    below: Sequence[str],
) -> str:
    """A title, a table, and what is said below it.

    Args:
        title: the text above.
        header: (upper line, lower line) of each column; neighbours with the same upper line share
            it.
        rows: their cells.
        texts: for each of the first columns, the characters to which its cells may be cut; the
            others are numbers, flush right.
        below: paragraphs.
    """
    lower = [line for _, line in header]
    groups = [(text, len(list(columns))) for text, columns in groupby(line for line, _ in header)]
    upper = [text if count == 1 else "" for text, count in groups for _ in range(count)]
    (_, lower, *rows), widths = fitted([upper, lower, *rows], LINE_LENGTH, dict(enumerate(texts)))
    upper, first = [], 0
    for text, count in groups:
        width = sum(widths[first : first + count]) + 2 * (count - 1)
        upper.append(f" {text} ".center(width, "-") if text and count > 1 else text.rjust(width))
        first += count
    numbers = range(len(texts), len(header))
    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    lines = [*textwrap.wrap(title, LINE_LENGTH), rule, "  ".join(upper)]
    lines += [table_line(lower, widths, numbers), rule]
    lines += [*(table_line(row, widths, numbers) for row in rows), rule]
    for paragraph in below:
        lines += textwrap.wrap(paragraph, LINE_LENGTH, subsequent_indent="  ")
    return "\n".join(lines)


def figures(values: Sequence[float | None], width: int, decimals: int = 3) -> list[str]:
    """The cells of a column of numbers.

    Args:
        values: numbers; None becomes an empty cell.
        width: characters of a cell at most, 5 or more.
        decimals: of all numbers alike, at most; fewer if the largest number needs the room.
    """
    largest = max((value for value in values if value is not None), default=0.0)
    while decimals and len(f"{largest:,.{decimals}f}") > width:
        decimals -= 1
    cells = ["" if value is None else f"{value:,.{decimals}f}" for value in values]
    return [
        cell if len(cell) <= width else f"{value:.0e}"
        for cell, value in zip(cells, values, strict=True)
    ]


def percent(share: float | None) -> str:
    """A share in at most 5 characters; "" for None."""
    return "" if share is None else f"{share:.0%}" if share < 9.995 else ">999%"
