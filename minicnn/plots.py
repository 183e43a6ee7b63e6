"""Pictures of data, training and mistakes, drawn with matplotlib.

Every function returns the `matplotlib.figure.Figure`, and writes it to `path` if one is given; the
suffix chooses the format (.png, .pdf, .svg). No window is opened and pyplot's state is not touched;
a notebook shows a figure that is the last value of a cell.
Images are (N, height, width, channels), uint8 or floats; with 1 channel they are grey.
"""

import io
import math
import os
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from minicnn.backend import to_numpy
from minicnn.files import atomic_write
from minicnn.typing import Array

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Two colours of the palette of Okabe and Ito, told apart with any kind of colour vision
BLUE, VERMILION = "#0072B2", "#D55E00"
GREY = "#555555"
_DPI = 144
_AROUND: dict[str, Any] = {"bbox_inches": "tight", "pad_inches": 0.12}

Path = str | os.PathLike[str]


def plot_samples(
    images: Array,
    labels: Array,
    class_names: Sequence[str],
    path: Path | None = None,
    title: str | None = None,
    columns: int = 8,
    rows: int = 4,
) -> "Figure":
    """A grid of the first rows x columns images with their classes.

    Args:
        images: (N, height, width, channels).
        labels: class numbers (N,) or (N, 1).
        class_names: name of each class.
        path: where to write the picture.
        title: the text above, such as the name of the data set.
        columns, rows: size of the grid; it shrinks to the number of images.
    """
    images = to_numpy(images)[: rows * columns]
    names = [class_names[i] for i in to_numpy(labels).reshape(-1)[: rows * columns].tolist()]
    figure = _image_grid(images, names, columns, title)
    return finished(figure, path)


def plot_curves(history: Any, path: Path | None = None, title: str | None = None) -> "Figure":
    """Loss, and accuracy if there is one, per epoch, for training and validation.

    Args:
        history: what `fit` returned, or its `.history`, a dictionary of lists.
        path: where to write the picture.
        title: the text above.

    Raises:
        ValueError: there is no "loss" in the history.
    """
    curves: Mapping[str, Any] = getattr(history, "history", history)
    if "loss" not in curves:
        raise ValueError(f"history has no 'loss'; it has {', '.join(curves) or 'nothing at all'}")
    accuracy = next((k for k in curves if not k.startswith("val_") and "acc" in k), None)
    shown = ["loss"] if accuracy is None else ["loss", accuracy]
    figure = new_figure(5.2 * len(shown), 3.9, title)
    epochs = np.arange(1, len(curves["loss"]) + 1)
    markers: dict[str, Any] = {"marker": "o", "markersize": 3.5} if len(epochs) <= 30 else {}
    for place, key in enumerate(shown, start=1):
        axes = figure.add_subplot(1, len(shown), place)
        axes.plot(epochs, curves[key], color=BLUE, label="training", **markers)
        if f"val_{key}" in curves:
            axes.plot(
                epochs, curves[f"val_{key}"], color=VERMILION, linestyle="--", label="validation",
                **markers,
            )  # fmt: skip
        axes.set_title(key.replace("_", " ").capitalize(), fontsize=11)
        axes.set_xlabel("Epoch")
        axes.locator_params(axis="x", integer=True, min_n_ticks=1)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    return finished(figure, path)


def plot_confusion_matrix(
    matrix: Array, class_names: Sequence[str], path: Path | None = None, title: str | None = None
) -> "Figure":
    """Counts of true against predicted classes; the shade is the share of the true class.

    Args:
        matrix: counts (C, C), [true, predicted].
        class_names: C names.
        path: where to write the picture.
        title: the text above.

    Raises:
        ValueError: the matrix is not C x C.
    """
    matrix = to_numpy(matrix)
    count = len(class_names)
    if matrix.shape != (count, count):
        raise ValueError(
            f"a confusion matrix of {count} classes has shape ({count}, {count}), "
            f"got {matrix.shape}"
        )
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    size = max(4.2, 0.62 * count + 1.8)
    figure = new_figure(size + 1.1, size, title)
    axes = figure.add_subplot()
    picture = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    ticks = range(count)
    axes.set_xticks(ticks, class_names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(ticks, class_names)
    axes.set_xlabel("Predicted class")
    axes.set_ylabel("True class")
    axes.set_xticks(np.arange(count - 1) + 0.5, minor=True)
    axes.set_yticks(np.arange(count - 1) + 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    if count <= 30:  # with more classes the counts would be too small to read
        for i, j in np.ndindex(count, count):
            colour = "white" if shares[i, j] > 0.5 else "#222222" if matrix[i, j] else "#AAAAAA"
            number = f"{matrix[i, j]:.4g}" if matrix.dtype.kind == "f" else str(matrix[i, j])
            axes.text(j, i, number, ha="center", va="center", color=colour, fontsize=9)
    bar = figure.colorbar(picture, ax=axes, fraction=0.046, pad=0.03, aspect=24)
    bar.ax.yaxis.set_major_formatter(lambda share, _: f"{100 * share:.0f} %")
    bar.set_label("Share of the true class")
    bar.outline.set_visible(False)
    return finished(figure, path)


def plot_mistakes(
    images: Array,
    y_true: Array,
    probabilities: Array,
    class_names: Sequence[str],
    path: Path | None = None,
    title: str | None = None,
    columns: int = 6,
    rows: int = 4,
) -> "Figure":
    """The images that got a wrong class with the highest probability, worst first.

    Args:
        images: (N, height, width, channels).
        y_true: class numbers (N,) or (N, 1).
        probabilities: what the model predicts, (N, C).
        class_names: C names.
        path: where to write the picture.
        title: the text above.
        columns, rows: size of the grid; it shrinks to the number of mistakes.

    Raises:
        ValueError: images, classes and probabilities are not equally many.
    """
    probabilities = to_numpy(probabilities)
    y_true = to_numpy(y_true).reshape(-1)
    if len(y_true) != len(probabilities) or len(images) != len(y_true):
        raise ValueError(
            f"{len(images)} images, {len(y_true)} classes and {len(probabilities)} predictions "
            "were given; there should be equally many"
        )
    predicted = probabilities.argmax(axis=1)
    certainty = probabilities.max(axis=1)
    wrong = np.flatnonzero(predicted != y_true)
    worst = wrong[np.argsort(-certainty[wrong], kind="stable")][: rows * columns]
    captions = [
        f"{class_names[y_true[i]]}\nas {class_names[predicted[i]]} {100 * certainty[i]:.0f} %"
        for i in worst.tolist()
    ]
    heading = [title] if title else []
    heading.append(
        f"{len(wrong):,} mistake{'' if len(wrong) == 1 else 's'} in {len(y_true):,} images, "
        "the most confident first:\ntrue class, as predicted class with its probability"
    )
    chosen = to_numpy(images)[worst] if len(worst) else np.zeros((0, 1, 1, 3))
    figure = _image_grid(chosen, captions, columns, "\n".join(heading))
    return finished(figure, path)


def __getattr__(name: str) -> Any:
    # PEP 562: `plot_profile` has moved to `minicnn.profiler`, which stands above this module.
    if name == "plot_profile":
        from minicnn.profiler import plot_profile

        return plot_profile
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def new_figure(width: float, height: float, title: str | None) -> "Figure":
    """An empty figure.

    Args:
        width, height: in inches.
        title: the text above; None for none.

    Raises:
        ImportError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("plots need matplotlib: pip install matplotlib") from error
    figure = Figure(figsize=(width, height), dpi=_DPI, layout="constrained")
    if title:
        figure.suptitle(title, fontsize=12)
    # IPython shows figures of pyplot only, and others by this method
    figure._repr_png_ = partial(_as_png, figure)  # type: ignore[attr-defined]
    return figure


def _as_png(figure: "Figure") -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png", **_AROUND)
    return file.getvalue()


def _image_grid(
    images: np.ndarray, captions: Sequence[str], columns: int, title: str | None
) -> "Figure":
    columns = max(1, min(columns, len(images)))
    rows = max(1, math.ceil(len(images) / columns))
    lines = max((caption.count("\n") + 1 for caption in captions), default=1)
    title_lines = 0 if not title else title.count("\n") + 1
    width, height = max(1.4 * columns, 4.0), (1.15 + 0.2 * lines) * rows + 0.26 * title_lines
    figure = new_figure(width, height, title)
    grid = np.atleast_1d(figure.subplots(rows, columns, squeeze=False)).reshape(-1)
    for axes in grid:
        axes.axis("off")
    for axes, image, caption in zip(grid, images, captions, strict=False):
        axes.imshow(_displayable(image), cmap="gray", interpolation="nearest")
        axes.set_title(caption, fontsize=8.5, color="#222222", pad=3)
    return figure


def _displayable(image: np.ndarray) -> np.ndarray:
    """(h, w, c) of any range as imshow takes it: uint8, or floats from 0 to 1."""
    if image.shape[-1] == 1:
        image = image[..., 0]
    if image.dtype == np.uint8:
        return image
    image = image.astype(np.float64)
    low, high = image.min(), image.max()
    if low < 0:  # standardised: stretch what is there
        return (image - low) / max(high - low, 1e-12)
    return image / 255 if high > 1 else image


def finished(figure: "Figure", path: Path | None) -> "Figure":
    """The figure, written to a file if there is a path.

    Args:
        figure: what to write.
        path: the file; its suffix chooses the format.

    Raises:
        ValueError: matplotlib does not know the suffix.
    """
    if path is not None:
        suffix = os.path.splitext(path)[1].lower().lstrip(".") or "png"
        known = figure.canvas.get_supported_filetypes()
        if suffix not in known:
            raise ValueError(
                f"cannot write a picture as {os.fspath(path)!r}; "
                f"known suffixes: {', '.join(sorted(known))}"
            )
        with atomic_write(path) as temporary:
            figure.savefig(temporary, format=suffix, **_AROUND)
    return figure
