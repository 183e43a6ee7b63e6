"""A model drawn as boxes and arrows, with matplotlib."""

import math
import os
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from minicnn.layers.base import Layer
from minicnn.models import Model
from minicnn.models.summary import shape_text
from minicnn.plots import BLUE, GREY, finished, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LINE, _CHARACTER, _GAP = 0.2, 0.085, 0.4  # inches


@dataclass(eq=False)
class _Box:
    """A call of a layer; `row` counts calls from the inputs on."""

    layer: Layer | None
    name: str
    shapes: tuple[str, str]
    before: list["_Box"] = field(default_factory=list)
    row: int = 0


def plot_model(
    model: Model,
    to_file: str | os.PathLike[str] | None = "model.png",
    show_shapes: bool = False,
    show_dtype: bool = False,
    show_layer_names: bool = False,
    rankdir: str = "TB",
    expand_nested: bool = False,
    dpi: int = 200,
    show_layer_activations: bool = False,
    show_trainable: bool = False,
    splines: str = "ortho",
) -> "Figure":
    """Draw the layers of a model and what each reads.

    Args:
        model: built.
        to_file: where to write the picture; its suffix chooses the format. None for no file.
        show_shapes: whether boxes tell the shapes of inputs and outputs.
        show_dtype: whether they tell the dtype in which a layer computes.
        show_layer_names: whether they tell names beside types.
        rankdir: "TB" from top to bottom, "BT", "LR" or "RL".
        expand_nested: whether models within the model are drawn as their layers.
        dpi: dots per inch.
        show_layer_activations: whether they tell the activation of a layer that has one.
        show_trainable: whether they tell which layers learn.
        splines: of Graphviz; lines are straight, or arcs past layers, which a warning says.

    Returns:
        The figure, which a notebook shows.

    Raises:
        ValueError: the model is not built, or another rankdir.
    """
    model.require_built()
    if rankdir not in ("TB", "BT", "LR", "RL"):
        raise ValueError(f"rankdir is 'TB', 'BT', 'LR' or 'RL', not {rankdir!r}")
    if splines != "ortho":
        warnings.warn(
            f"splines={splines!r}: minicnn draws straight lines, and arcs past layers", stacklevel=2
        )
    sources: dict[Any, _Box] = {}
    for tensor in model.inputs:
        name = tensor.source.name if tensor.source else "input"
        sources[tensor] = _Box(tensor.source, name, (shape_text(tensor.shape),) * 2)
    boxes = [*sources.values(), *_calls(model, sources, expand_nested)]

    def lines(box: _Box) -> list[str]:
        kind = type(box.layer).__name__ if box.layer is not None else "InputLayer"
        told = [f"{box.name} ({kind})" if show_layer_names else kind]
        activation = getattr(box.layer, "activation", None)
        if show_layer_activations and activation is not None:
            told.append(f"activation: {type(activation).__name__}")
        if show_dtype and box.layer is not None:
            told.append(f"dtype: {box.layer.compute_dtype}")
        if show_shapes:
            told += [f"in: {box.shapes[0]}", f"out: {box.shapes[1]}"]
        if show_trainable and box.layer is not None and box.layer.weights:
            told.append("trainable" if box.layer.trainable else "not trainable")
        return told

    texts = {box: lines(box) for box in boxes}
    return finished(_drawn(texts, rankdir, dpi), to_file)


def _calls(model: Model, sources: dict[Any, _Box], expanded: bool) -> list[_Box]:
    """Boxes of the calls in a model; `sources` knows who made its inputs, and learns the rest."""
    boxes = []
    for node in model.graph.nodes:
        before, inner = [sources[t] for t in node.inputs], node.layer
        if expanded and isinstance(inner, Model):
            inside = dict(zip(inner.inputs, before, strict=True))
            boxes += _calls(inner, inside, expanded)
            sources.update(
                (t, inside[end]) for t, end in zip(node.outputs, inner.outputs, strict=True)
            )
            continue
        read, made = (
            ", ".join(shape_text(t.shape) for t in tensors)
            for tensors in (node.inputs, node.outputs)
        )
        row = 1 + max(box.row for box in before)
        boxes.append(_Box(inner, inner.name, (read, made), before, row))
        sources.update((t, boxes[-1]) for t in node.outputs)
    return boxes


def _drawn(texts: dict[_Box, list[str]], rankdir: str, dpi: int) -> "Figure":
    from matplotlib.patches import FancyBboxPatch

    height = _LINE * (max(map(len, texts.values())) + 0.6)
    width = _CHARACTER * (max(len(line) for lines in texts.values() for line in lines) + 3)
    upright = rankdir in ("TB", "BT")
    along, across = (height, width) if upright else (width, height)  # the size of a box
    rows: dict[int, list[_Box]] = {}
    for box in texts:
        rows.setdefault(box.row, []).append(box)
    sign = -1 if rankdir in ("TB", "RL") else 1
    places: dict[_Box, tuple[float, float]] = {}  # of its middle, in inches
    for number, row in rows.items():
        for i, box in enumerate(row):
            place = sign * number * (along + _GAP), (i - (len(row) - 1) / 2) * (across + _GAP)
            places[box] = (place[1], place[0]) if upright else place
    figure = new_figure(1, 1, None)
    figure.set_layout_engine("none")
    figure.set_dpi(dpi)
    axes = figure.add_axes((0, 0, 1, 1), frame_on=False, xticks=[], yticks=[])
    deepest = 0.0  # of the arcs beside the boxes
    for box, (x, y) in places.items():
        corner = (x - width / 2, y - height / 2)
        axes.add_patch(
            FancyBboxPatch(corner, width, height, "round,pad=0,rounding_size=0.06",
                           facecolor="white", edgecolor=BLUE)
        )  # fmt: skip
        axes.text(x, y, "\n".join(texts[box]), ha="center", va="center", fontsize=9)
        for source in dict.fromkeys(box.before):
            x0, y0 = places[source]
            skipped, bend = box.row - source.row - 1, 0.0
            out, into, side = sign * along / 2, -sign * along / 2, 0.0
            if skipped:  # past the layers between, at their side
                out, into, side = 0.0, 0.0, across / 2
                depth = 0.2 + 0.12 * skipped
                deepest = max(deepest, depth)
                bend = sign * 2 * depth / math.hypot(x - x0, y - y0) * (1 if upright else -1)
            begin, end = ((side, out), (side, into)) if upright else ((out, side), (into, side))
            axes.annotate(
                "",
                (x + end[0], y + end[1]),
                (x0 + begin[0], y0 + begin[1]),
                arrowprops={
                    "arrowstyle": "-|>", "color": GREY, "shrinkA": 0, "shrinkB": 0,
                    "connectionstyle": f"arc3,rad={bend}",
                },
            )  # fmt: skip
    xs, ys = zip(*places.values(), strict=True)
    beside = (deepest, 0.0) if upright else (0.0, deepest)
    limits = [
        (min(p) - size / 2 - _GAP / 2, max(p) + size / 2 + _GAP / 2 + more)
        for p, size, more in ((xs, width, beside[0]), (ys, height, beside[1]))
    ]
    axes.set_xlim(*limits[0])
    axes.set_ylim(*limits[1])
    figure.set_size_inches(*(high - low for low, high in limits))
    return figure
