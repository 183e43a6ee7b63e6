"""The table that `model.summary()` prints."""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from minicnn.layers.nodes import Node
from minicnn.registry import near_matches, snake_case
from minicnn.typing import Shape

if TYPE_CHECKING:
    from minicnn.models import Model

_FROZEN = " [frozen]"
_OPEN = "-"  # in place of multiply-adds that depend on the size of images
SHORTEST_NAME = 15  # characters that are left of a name at least


def model_summary(
    model: "Model",
    line_length: int | None = None,
    expand_nested: bool = False,
    show_trainable: bool = False,
    layer_range: Sequence[str] | None = None,
) -> str:
    """Layers with output shape, parameters and multiply-adds per image, and the totals.

    Args:
        model: any.
        line_length: characters per line at most, unless the numbers alone take more; default: 80.
            Names that are too long are cut.
        expand_nested, show_trainable, layer_range: see `Model.summary`.
    """
    heading = f"Model: {model.name!r}"
    if not model.built:
        names = ", ".join(layer.described for layer in model.layers)
        return f"{heading} (not built: the input's shape is not known yet): {names}"
    branched = any(
        node.many_inputs or node.inputs != before
        for node, before in zip(
            model.graph.nodes,
            [tuple(model.inputs), *(node.outputs for node in model.graph.nodes)],
            strict=False,
        )
    )
    header = ["Layer (type)", "Output shape", "Params", "Multiply-adds"]
    header += ["Learns"] * show_trainable + ["Reads"] * branched
    shown = _between([layer.name for layer in model.graph.layers], layer_range)
    rows = [header, *_rows(model, header, expand_nested, shown)]
    narrower = [0, *(i for i, title in enumerate(header) if title == "Reads")]
    least = dict.fromkeys(narrower, SHORTEST_NAME)
    rows, widths = fitted(rows, 80 if line_length is None else line_length, least)
    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    lines = [heading, rule, table_line(rows[0], widths), rule]
    lines += [table_line(row, widths) for row in rows[1:]]
    total = model.count_params()
    depends = any(is_open(node) for node in model.graph.nodes)
    products = f"{model.multiply_adds():,} per image"
    learned = sum(int(w.value.size) for w in model.trainable_weights)
    size = sum(int(w.value.nbytes) for w in model.weights)
    lines += [
        rule,
        f"Parameters: {total:,} ({size / 1024:,.1f} KB), {learned:,} trainable, "
        f"{total - learned:,} not",
        f"Multiply-adds: {'depend on the size of images' if depends else products}",
    ]
    return "\n".join(lines)


def _rows(
    model: "Model", header: list[str], expanded: bool, shown: Collection[str], indent: str = ""
) -> list[list[str]]:
    """A row for each call of the layers of a model that are shown."""
    rows = []
    made_by = {t: t.source.name if t.source else "input" for t in model.inputs}
    for node in model.graph.nodes:
        layer = node.layer
        if layer.name in shown:
            frozen = "" if layer.trainable else _FROZEN
            row = [
                indent + name_and_type(layer.name, type(layer).__name__) + frozen,
                ", ".join(shape_text(t.shape) for t in node.outputs),
                f"{layer.count_params():,}",
                _OPEN if is_open(node) else f"{layer.multiply_adds(node.input_shape):,}",
            ]
            if "Learns" in header:
                row.append("yes" if layer.trainable else "no")
            if "Reads" in header:
                row.append(", ".join(made_by[t] for t in node.inputs))
            rows.append(row)
            graph = getattr(layer, "graph", None)
            if expanded and graph is not None:
                names = [inner.name for inner in graph.layers]
                rows += _rows(layer, header, expanded, names, indent + "  ")  # type: ignore[arg-type]
        made_by.update((t, layer.name) for t in node.outputs)
    return rows


def _between(names: list[str], layer_range: Sequence[str] | None) -> list[str]:
    """The names from the first that matches the first expression to the last that matches the
    second."""
    if layer_range is None:
        return names
    if isinstance(layer_range, str) or len(layer_range) != 2:
        raise ValueError(f"layer_range has the names of a first and a last layer: {layer_range!r}")
    found = [[i for i, n in enumerate(names) if re.fullmatch(end, n)] for end in layer_range]
    for end, places in zip(layer_range, found, strict=True):
        if not places:
            raise ValueError(f"layer_range: no layer is called {end!r}; {near_matches(end, names)}")
    low, high = sorted((found[0][0], found[1][-1]))
    return names[low : high + 1]


def fitted(
    rows: list[list[str]], line_length: int, least: Mapping[int, int]
) -> tuple[list[list[str]], list[int]]:
    """The rows of a table, with shorter cells where lines would be too long, and the widths of its
    columns.

    Args:
        rows: cells, those of the header among them.
        line_length: characters per line, with two between columns.
        least: {column that may be narrower: how narrow}; the widest first.
    """
    columns = list(zip(*rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    while sum(widths) + 2 * (len(widths) - 1) > line_length:
        wide = [column for column in least if widths[column] > least[column]]
        if not wide:
            break
        widths[max(wide, key=lambda column: widths[column])] -= 1
    short = [_shortened(column, width) for column, width in zip(columns, widths, strict=True)]
    return [list(row) for row in zip(*short, strict=True)], widths


def _shortened(cells: Sequence[str], width: int) -> list[str]:
    """The `cells` of a column, cut to `width` so that as many as possible differ."""
    if max(map(len, cells)) <= width:
        return list(cells)
    middle = (width - 3) // 2
    ends = sorted(range(3, max(4, width - 5)), key=lambda end: abs(end - middle))
    return max(([_cut(cell, width, end) for cell in cells] for end in ends), key=_different)


def _different(cells: list[str]) -> int:
    return len(set(cells))


def _cut(cell: str, width: int, end: int) -> str:
    """A `cell` in `width` characters: without the type behind the name, then also without what
    stands before the last `end` of them."""
    if len(cell) <= width:
        return cell
    mark = _FROZEN if cell.endswith(_FROZEN) else ""
    name = re.sub(r" \(\w+\)$", "", cell.removesuffix(mark))
    width -= len(mark)
    if len(name) > width:
        if mark:  # which leaves less room than the others have
            end = min(end, (width - 3) // 2)
        name = f"{name[: width - 3 - end]}...{name[-end:]}"
    return name + mark


def name_and_type(name: str, type_name: str) -> str:
    """The `name` of a layer, with its `type_name` where the name does not tell: conv2d_1 does."""
    own_name = name.split("/")[-1].startswith(snake_case(type_name))
    return name if own_name else f"{name} ({type_name})"


def shape_text(shape: Shape) -> str:
    """A shape such as (None, 32, 32, 3) as "(n, 32, 32, 3)"."""
    return (
        "(" + ", ".join("n" if s is None and not i else str(s) for i, s in enumerate(shape)) + ")"
    )


def is_open(node: Node) -> bool:
    """Whether what the layer of a `node` computes depends on a size that is open."""
    return any(None in t.shape[1:] for t in (*node.inputs, *node.outputs))


def table_line(row: list[str], widths: list[int], numbers: Collection[int] = (2, 3)) -> str:
    """The cells of a `row` side by side in `widths`; the columns `numbers` flush right."""
    cells = [
        cell.rjust(width) if i in numbers else cell.ljust(width)
        for i, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
    return "  ".join(cells).rstrip()
