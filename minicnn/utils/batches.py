"""The forms in which `fit` takes data, and data sets in two parts."""

from typing import Any

from minicnn.data import Dataset
from minicnn.training.data_checks import check_integer


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


def split_dataset(
    dataset: Any,
    left_size: float | None = None,
    right_size: float | None = None,
    shuffle: bool = False,
    seed: int | None = None,
    preferred_backend: str | None = None,
) -> tuple[Dataset, Dataset]:
    """Two data sets, such as for training and validation, of one.

    Args:
        dataset: an array, a list, tuple or dictionary of arrays of one length, or a data set whose
            length is known. Of one of batches, sizes count batches: split before `batch`.
        left_size, right_size: how many of the elements, or which fraction of them, are in the first
            and second; one may be left out for the rest.
        shuffle: whether to draw the parts at random, else the first elements are in the first.
        seed: of the order.
        preferred_backend: of Keras; None.

    Raises:
        ValueError: sizes that leave a part empty or take more than there is; an unknown length.
    """
    if preferred_backend is not None:
        raise ValueError(
            f"preferred_backend={preferred_backend!r}: minicnn's data sets are NumPy's"
        )
    if isinstance(dataset, list):
        dataset = tuple(dataset)
    whole = dataset if isinstance(dataset, Dataset) else Dataset.from_tensor_slices(dataset)
    length = len(whole)
    left, right = (_elements(size, length) for size in (left_size, right_size))
    if left is None and right is None:
        raise ValueError("split_dataset needs left_size, right_size or both")
    first = length - (right or 0) if left is None else left
    second = length - first if right is None else right
    if first < 1 or second < 1 or first + second > length:
        raise ValueError(
            f"left_size={left_size!r} and right_size={right_size!r} make parts of {first} and "
            f"{second} of {length} elements; each needs one at least"
        )
    if shuffle:
        whole = whole.shuffle(length, seed=seed, reshuffle_each_iteration=False)
    return whole.take(first), whole.skip(first).take(second)


def _elements(size: float | None, length: int) -> int | None:
    if isinstance(size, float):
        if not 0 < size < 1:
            raise ValueError(f"a fraction of a data set lies between 0 and 1, unlike {size!r}")
        return round(size * length)
    return None if size is None else check_integer("size", size)
