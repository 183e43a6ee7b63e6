"""Weights from a file into a model: all of them, or those of the layers that fit."""

from collections.abc import Callable, Collection, Iterable, Sequence

import numpy as np

from minicnn.layers.weight import Weight
from minicnn.models import Model
from minicnn.saving.reading import warn


def take_over(
    places: Iterable[tuple[str, Sequence[Weight], Callable[[], list[np.ndarray]]]],
    surplus: Collection[str],
    skip_mismatch: bool | None,
) -> None:
    """Assign weights; all of them or, after an error, none.

    Args:
        places: for each layer what messages call it, its weights, and what reads their arrays, or
            raises a ValueError where the file has none or others.
        surplus: what the file has and the model does not.
        skip_mismatch: leave layers as they are that do not fit, with a warning that names them;
            None where the caller has no such choice.

    Raises:
        ValueError: something does not fit.
    """
    read: list[tuple[Sequence[Weight], list[np.ndarray]]] = []
    skipped: list[str] = []
    for layer, weights, arrays in places:
        try:
            read.append((weights, arrays()))
        except ValueError as error:
            if skip_mismatch is None:
                raise
            if not skip_mismatch:
                raise ValueError(
                    f"{error}. To take over the layers that fit: "
                    f"load_weights(path, skip_mismatch=True)"
                ) from error
            skipped.append(f"{layer} ({error})")
    if surplus and not skip_mismatch:
        raise ValueError(
            f"it has weights that the model does not have, such as {min(surplus)!r}: it belongs to "
            f"another model"
        )
    if skipped or surplus:
        what = [f"left as they are: {', '.join(skipped)}"] if skipped else []
        what += [f"not in the model: {', '.join(sorted(surplus))}"] if surplus else []
        warn(f"weights are taken over in part; {'; '.join(what)}")
    for weights, values in read:
        for weight, value in zip(weights, values, strict=True):
            weight.assign(value)


def undecayed(model: Model) -> list[Weight]:
    """The weights that `exclude_from_weight_decay` leaves out.

    Args:
        model: compiled.
    """
    optimizer = model.optimizer
    return [w for w in model.weights if not optimizer._decays(w)] if optimizer.weight_decay else []
