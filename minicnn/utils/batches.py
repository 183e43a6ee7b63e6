"""The forms in which `fit` takes data, and data sets in two parts."""

from typing import Any


def pack_x_y_sample_weight(x: Any, y: Any = None, sample_weight: Any = None) -> Any:
    """What `fit` takes as a batch: x, (x, y) or (x, y, sample_weight).

    Args:
        x: inputs; several are put into a tuple, to be told from (x, y).
        y, sample_weight: None where there are none.
    """
    if y is None:
        return (x,) if isinstance(x, (list, tuple)) else x
    return (x, y) if sample_weight is None else (x, y, sample_weight)


def unpack_x_y_sample_weight(data: Any) -> tuple[Any, Any, Any]:
    """The three parts of a batch, None for those that are missing.

    Args:
        data: what `pack_x_y_sample_weight` gives.

    Raises:
        ValueError: more than three parts.
    """
    parts = tuple(data) if isinstance(data, (list, tuple)) else (data,)
    if not 1 <= len(parts) <= 3:
        raise ValueError(
            f"a batch is x, (x, y) or (x, y, sample_weight); this one has {len(parts)} parts"
        )
    x, y, sample_weight = (*parts, None, None)[:3]
    return x, y, sample_weight
