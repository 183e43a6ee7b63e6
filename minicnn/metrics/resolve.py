"""What users may write in `compile(metrics=[...])`, as metrics."""

import inspect
from typing import Any

from minicnn import registry
from minicnn.losses import LOSSES
from minicnn.metrics.accuracy import (
    BinaryAccuracy,
    CategoricalAccuracy,
    SparseCategoricalAccuracy,
)
from minicnn.metrics.base import METRICS, MeanMetricWrapper, Metric, is_sparse
from minicnn.metrics.errors import LossValue
from minicnn.typing import Shape


def get(identifier: Any) -> Any:
    """A metric.

    Args:
        identifier: its name ("f1_score", "mse", the name of a loss), class or configuration, an
            instance, a loss, or a function `f(y_true, y_pred)` that gives a value for each sample,
            to take the mean of; None stays None.

    Raises:
        ValueError: the name is unknown; the message lists near matches.
        TypeError: something else.
    """
    if identifier is None or isinstance(identifier, Metric):
        return identifier
    if isinstance(identifier, str):
        return _by_name(identifier)
    if isinstance(identifier, dict) and identifier.get("class_name") in LOSSES.names():
        if identifier["class_name"] not in METRICS.names():
            return LossValue(identifier)
    if not isinstance(identifier, type) and isinstance(identifier, _loss_classes()):
        return LossValue(identifier)
    if inspect.isfunction(identifier) and registry.is_library_code(identifier):
        return _by_name(identifier.__name__)
    if callable(identifier) and not isinstance(identifier, type):
        return MeanMetricWrapper(identifier)
    return METRICS.get(identifier)


def serialize(metric: Any) -> Any:
    """The configuration of a `metric`, as `get` takes it; of a function its name."""
    return metric.__name__ if inspect.isfunction(metric) else registry.serialize(metric)


def deserialize(config: Any, custom_objects: dict[str, type] | None = None) -> Any:
    """A metric from what `serialize` gave.

    Args:
        config: the configuration, or a name.
        custom_objects: your own classes by name, which come first.
    """
    if isinstance(config, dict) and config["class_name"] == "function":  # as Keras writes them
        return get(config["config"])
    if isinstance(config, dict) and custom_objects:
        cls: Any = METRICS.find(config["class_name"], custom_objects)
        return cls.from_config(config["config"])
    return get(config)


def resolve(
    identifier: Any,
    y_true_shape: Shape | None,
    y_pred_shape: Shape,
    loss: Any = None,
) -> Metric:
    """`get`, and what depends on the targets: "accuracy" (or "acc") is binary for one output,
    sparse for class numbers and categorical for one-hot targets. A name stays as it was written.

    Args:
        identifier: what `get` takes, or "accuracy".
        y_true_shape: shape of the targets; None if it is not known yet: `loss` decides.
        y_pred_shape: shape of the model's output, (None, classes).
        loss: the loss the model was compiled with.
    """
    if not isinstance(identifier, str):
        return get(identifier)
    if identifier.lower() not in ("accuracy", "acc"):
        metric = _by_name(identifier)
        metric.name = identifier
        return metric
    if y_pred_shape[-1] == 1:
        return BinaryAccuracy(name=identifier)
    if y_true_shape is not None:
        sparse = is_sparse(y_true_shape, y_pred_shape)
    else:
        sparse = "sparse" in type(loss).__name__.lower() or "sparse" in str(loss).lower()
    return (SparseCategoricalAccuracy if sparse else CategoricalAccuracy)(name=identifier)


def _by_name(name: str) -> Metric:
    # "acc" outside a model cannot be told from the targets: equal labels are all it can count
    for known in (METRICS, LOSSES):
        try:
            found = known.find("accuracy" if name == "acc" else name)
        except ValueError:
            if known.why_left_out(name):
                raise
            continue
        return found() if known is METRICS else LossValue(found(), name)
    names = sorted({*METRICS.names(), *LOSSES.names()})
    raise ValueError(
        f"unknown metric {name!r}; {registry.near_matches(name, names, any_case=True)}"
    )


def _loss_classes() -> tuple[type, ...]:
    return tuple({LOSSES.find(name) for name in LOSSES.names()})
