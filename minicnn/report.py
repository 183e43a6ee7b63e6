"""How good predictions are, class by class: from arrays to text or numbers.

    precision = TP / (TP + FP)    recall = TP / (TP + FN)    F1 = 2 P R / (P + R)

0 / 0 counts as 0. "macro avg" is the mean over the classes, "weighted avg" the mean weighted by
support, the number of images whose true class it is.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from minicnn.backend import to_numpy

_COLUMNS = ("precision", "recall", "f1-score")


def confusion_matrix(y_true: Any, y_pred: Any, num_classes: int | None = None) -> np.ndarray:
    """Counts, int64 (C, C): element [i, j] is how often class i was taken for class j.

    Args:
        y_true: labels (N,) or (N, 1), or one-hot (N, C).
        y_pred: labels, or probabilities (N, C), of which the likeliest class counts.
        num_classes: C; default: the highest label plus one.

    Raises:
        ValueError: different lengths, no labels at all, or labels outside 0 ... C - 1.
    """
    true, predicted = _label_pair(y_true, y_pred)
    highest = int(max(true.max(), predicted.max()))
    lowest = int(min(true.min(), predicted.min()))
    count = highest + 1 if num_classes is None else int(num_classes)
    if lowest < 0 or highest >= count:
        raise ValueError(
            f"labels from {lowest} to {highest} were given; {count} classes are numbered "
            f"0 to {count - 1}"
        )
    return np.bincount(true * count + predicted, minlength=count * count).reshape(count, count)


def classification_scores(
    y_true: Any,
    y_pred: Any,
    target_names: Sequence[str] | None = None,
    num_classes: int | None = None,
) -> dict[str, Any]:
    """Precision, recall, F1 and support per class, and their averages.

    Args:
        y_true: labels (N,) or (N, 1), or one-hot (N, C).
        y_pred: labels, or probabilities (N, C).
        target_names: names of classes 0, 1, ...; default: the numbers themselves.
        num_classes: number of classes; default: that of the names or, without names, the labels
            that occur are the classes.

    Raises:
        ValueError: as for `confusion_matrix`, or not one name per class.

    Returns:
        {name: {"precision", "recall", "f1-score", "support"}, ..., "accuracy": float,
        "macro avg": {...}, "weighted avg": {...}}, of Python numbers: what JSON can hold.
    """
    names, scores, accuracy = _scores(y_true, y_pred, target_names, num_classes)
    result: dict[str, Any] = {name: _row(s) for name, s in zip(names, scores, strict=True)}
    result["accuracy"] = float(accuracy)
    for name, average in _averages(scores).items():
        result[name] = _row(average)
    return result


def classification_report(
    y_true: Any, y_pred: Any, target_names: Sequence[str] | None = None, digits: int = 4
) -> str:
    """The figures of `classification_scores` as a table, laid out as scikit-learn does.

    Args:
        y_true: labels (N,) or (N, 1), or one-hot (N, C).
        y_pred: labels, or probabilities (N, C).
        target_names: names of classes 0, 1, ...; default: the labels that occur.
        digits: decimals.

    Raises:
        ValueError: as for `confusion_matrix`.
    """
    names, scores, accuracy = _scores(y_true, y_pred, target_names, None)
    width = max(len("weighted avg"), digits, *(len(name) for name in names))

    def line(name: str, figures: Iterable[float | None], support: int) -> str:
        cells = ["" if f is None else f"{f:.{digits}f}" for f in figures]
        return f"{name:>{width}} " + "".join(f" {cell:>9}" for cell in (*cells, support))

    total = int(scores[:, 3].sum())
    lines = [f"{'':>{width}} " + "".join(f" {c:>9}" for c in (*_COLUMNS, "support")), ""]
    lines += [line(n, s[:3], int(s[3])) for n, s in zip(names, scores, strict=True)]
    lines += ["", line("accuracy", (None, None, accuracy), total)]
    lines += [line(n, average[:3], total) for n, average in _averages(scores).items()]
    return "\n".join(lines) + "\n"


def _scores(
    y_true: Any, y_pred: Any, target_names: Sequence[str] | None, num_classes: int | None
) -> tuple[list[str], np.ndarray, float]:
    """Names of the classes, their (precision, recall, F1, support) as (C, 4), and accuracy."""
    if target_names is not None and num_classes is not None and len(target_names) != num_classes:
        raise ValueError(f"{len(target_names)} names were given for {num_classes} classes")
    count = num_classes if target_names is None else len(target_names)
    matrix = confusion_matrix(y_true, y_pred, count)
    hits, called, support = np.diag(matrix), matrix.sum(axis=0), matrix.sum(axis=1)
    precision = hits / np.maximum(called, 1)
    recall = hits / np.maximum(support, 1)
    f1 = 2 * hits / np.maximum(called + support, 1)  # 2 P R / (P + R) = 2 TP / (2 TP + FP + FN)
    scores = np.stack([precision, recall, f1, support], axis=1)
    names = [str(n) for n in (range(len(matrix)) if target_names is None else target_names)]
    if count is None:
        present = np.flatnonzero(called + support)
        names, scores = [names[i] for i in present], scores[present]
    return names, scores, hits.sum() / matrix.sum()


def _averages(scores: np.ndarray) -> dict[str, np.ndarray]:
    support = scores[:, 3]
    total = support.sum()
    macro, weighted = scores.mean(axis=0), support @ scores / total
    macro[3] = weighted[3] = total
    return {"macro avg": macro, "weighted avg": weighted}


def _row(scores: np.ndarray) -> dict[str, float | int]:
    row: dict[str, float | int] = dict(zip(_COLUMNS, scores[:3].tolist(), strict=True))
    row["support"] = int(scores[3])
    return row


def _label_pair(y_true: Any, y_pred: Any) -> tuple[np.ndarray, np.ndarray]:
    true, predicted = _labels(y_true, "y_true"), _labels(y_pred, "y_pred")
    if len(true) != len(predicted):
        raise ValueError(f"y_true has {len(true)} labels and y_pred {len(predicted)}; one each")
    if not len(true):
        raise ValueError("there are no labels: y_true and y_pred are empty")
    return true, predicted


def _labels(y: Any, argument: str) -> np.ndarray:
    """Labels (N,), (N, 1), or scores (N, C), as int64 (N,)."""
    y = to_numpy(y)
    if y.ndim == 2:
        y = y[:, 0] if y.shape[1] == 1 else y.argmax(axis=1)
    if y.ndim != 1:
        raise ValueError(
            f"{argument} holds labels (N,) or a row of scores per image (N, C); got shape {y.shape}"
        )
    labels = y.astype(np.int64)
    if not np.array_equal(labels, y):
        raise ValueError(f"{argument} holds whole numbers, the classes; got {y.dtype} values")
    return labels
