"""The table that `model.summary()` prints."""

import re
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from minicnn.layers.nodes import Node
from minicnn.registry import near_matches, snake_case
from minicnn.typing import Shape

if TYPE_CHECKING:
    from minicnn.models import Model

_FROZEN = " [frozen]"
_OPEN = "-"  # in place of multiply-adds that depend on the size of images
_SHORTEST_NAME = 15  # characters that are left of a name at least


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
    widths = _fitting_widths(rows, 80 if line_length is None else line_length)
    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    lines = [heading, rule, table_line(rows[0], widths), rule]
    lines += [table_line(row, widths) for row in rows[1:]]
    total = model.count_params()
    depends = any(is_open(node) for node in model.graph.nodes)
    products = "as many as the size asks for" if depends else f"{model.multiply_adds():,}"
    learned = sum(int(w.value.size) for w in model.trainable_weights)
    size = sum(int(w.value.nbytes) for w in model.weights)
    lines += [
        rule,
        f"Parameters: {total:,} ({size / 1024:,.1f} KB), {learned:,} trainable, "
        f"{total - learned:,} not",
        f"Multiply-adds: {products} per image",
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


def _fitting_widths(rows: list[list[str]], line_length: int) -> list[int]:
    """Widths of the columns: as wide as needed, but for names that would make lines too long."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    names = [0, *(i for i, title in enumerate(rows[0]) if title == "Reads")]
    while sum(widths) + 2 * (len(widths) - 1) > line_length:
        widest = max(names, key=lambda column: widths[column])
        if widths[widest] <= _SHORTEST_NAME:
            break
        widths[widest] -= 1
    return widths


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
    """The cells of a `row` side by side, cut where they are wider than `widths` say; the columns
    `numbers` flush right."""
    cells = []
    for i, (cell, width) in enumerate(zip(row, widths, strict=True)):
        if len(cell) > width:  # in the middle: the end tells batch_normalization_1 from _2
            end = 4 + len(_FROZEN) * cell.endswith(_FROZEN)
            cell = f"{cell[: width - 3 - end]}...{cell[-end:]}"
        cells.append(cell.rjust(width) if i in numbers else cell.ljust(width))
    return "  ".join(cells).rstrip()
