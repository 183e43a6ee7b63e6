"""The metrics of a compiled model: those that see the weights of samples, and those that do not."""

from collections.abc import Sequence
from typing import Any

from minicnn.metrics.base import Metric
from minicnn.metrics.resolve import get, resolve
from minicnn.typing import Array, Shape


def identifiers_of(given: Any) -> list[Any]:
    """What `compile` was given as metrics, one or several, also in a list or dictionary for each
    output, as a list; an unknown name is an error now, not at the first batch."""
    if isinstance(given, dict) and "class_name" not in given:
        given = list(given.values())
    if isinstance(given, (list, tuple)):
        return [identifier for part in given for identifier in identifiers_of(part)]
    identifiers = [given] if given else []
    for identifier in identifiers:
        if identifier not in ("accuracy", "acc"):
            get(identifier)
    return identifiers


def make_metrics(
    unweighted: Sequence[Any],
    weighted: Sequence[Any],
    y_true_shape: Shape | None,
    y_pred_shape: Shape,
    loss: Any,
) -> list[Metric]:
    """Metrics, each with a name of its own.

    Args:
        unweighted, weighted: what `identifiers_of` gave for `metrics` and for `weighted_metrics`.
        y_true_shape, y_pred_shape, loss: see `resolve`.
    """
    metrics: list[Metric] = []
    for identifier, by_weight in [(i, False) for i in unweighted] + [(i, True) for i in weighted]:
        metric = resolve(identifier, y_true_shape, y_pred_shape, loss)
        metric.weighted = by_weight
        taken = {m.name for m in metrics}
        if by_weight and metric.name in taken:
            metric.name = f"weighted_{metric.name}"
        base, count = metric.name, 0
        while metric.name in taken:
            count += 1
            metric.name = f"{base}_{count}"
        metrics.append(metric)
    return metrics


def update_metrics(
    metrics: Sequence[Metric], y_true: Array, y_pred: Array, sample_weight: Array | None
) -> None:
    """Take a batch into the metrics, with its weights where they are asked for.

    Args:
        metrics: of `make_metrics`.
        y_true, y_pred, sample_weight: of the batch.
    """
    for metric in metrics:
        if metric.weighted:
            metric.update_state(y_true, y_pred, sample_weight)
        else:
            metric.update_state(y_true, y_pred)
