"""Checks of what a user hands to `fit`, `evaluate` and `predict`."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from minicnn import backend
from minicnn.typing import Array, Shape


def check_integer(argument: str, value: Any, allow_zero: bool = False) -> int:
    """`value` as an int.

    Args:
        argument: its name, for the message.
        value: what was given.
        allow_zero: whether 0 will do.

    Raises:
        ValueError: it is no integer, or too small.
    """
    if isinstance(value, bool) or not hasattr(value, "__index__") or value < (not allow_zero):
        bound = "of at least 0" if allow_zero else "above 0"
        raise ValueError(f"{argument} must be an integer {bound}, not {value!r}")
    return int(value)


def check_finite(x: Array, name: str = "x") -> None:
    """Raise a ValueError if floating-point data hold NaN or infinity; the message says where.

    Args:
        x: (N, ...).
        name: of the argument, for the message.
    """
    if x.dtype.kind != "f":
        return
    xp = backend.array_module(x)
    # on a device all at once, since each look waits for it, and many sums, to be added in parallel
    rows, axis = (1024, None) if xp is np else (max(1, len(x)), 0)
    for start in range(0, len(x), rows):
        chunk = x[start : start + rows]
        # a sum is NaN or infinite if any element is: one pass, no array of flags
        with np.errstate(over="ignore", invalid="ignore"):
            total = chunk.sum(axis=axis, dtype="float64")
        if not bool(xp.isfinite(total).all()) and not bool(xp.isfinite(chunk).all()):
            flags = backend.to_numpy(xp.isfinite(chunk).reshape(len(chunk), -1).all(axis=1))
            what = "image" if name == "x" else "entry"
            raise ValueError(
                f"{what} {start + int(flags.argmin())} of {name} holds NaN or infinity; clean the "
                f"data first, for instance with numpy.nan_to_num"
            )


def is_array_like(x: Any) -> bool:
    """Whether x is an array, or something that NumPy takes for one, such as a tensor."""
    return backend.is_array(x) or (hasattr(x, "__array__") and hasattr(x, "shape"))


def is_list_of_arrays(x: Any) -> bool:
    """Whether x stands for several inputs."""
    return isinstance(x, (list, tuple)) and len(x) > 0 and is_array_like(x[0])


def as_array(x: Any, name: str) -> Array:
    """x as an array of numbers with a batch axis.

    Args:
        x: an array or nested lists.
        name: of the argument, for the message.

    Raises:
        ValueError: it holds something else, or a single number.
    """
    array = x if backend.is_array(x) else np.asarray(x)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{name} must hold numbers; got dtype {array.dtype}")
    if array.ndim == 0:
        raise ValueError(f"{name} must have a batch axis; got the single value {array}")
    return array


def check_whole(xs: Sequence[Array], y: Array | None, sample_weight: Array | None) -> None:
    """Raise a ValueError unless whole data sets have images, are as long as each other and finite.

    Args:
        xs: one array (N, ...) per input.
        y: targets (N, ...).
        sample_weight: (N,).
    """
    samples = len(xs[0])
    if samples == 0:
        raise ValueError(f"x holds no images (shape {tuple(xs[0].shape)})")
    others = [*((f"x[{i}]", a) for i, a in enumerate(xs[1:], 1))]
    others += [(name, a) for name, a in _named(y, sample_weight) if a is not None]
    for name, array in others:
        if len(array) != samples:
            raise ValueError(
                f"x has {samples} images and {name} has {len(array)} entries; they must be as many"
            )
    if sample_weight is not None and sample_weight.ndim != 1:
        raise ValueError(
            f"sample_weight holds one number per image, shape ({samples},); got shape "
            f"{sample_weight.shape}"
        )
    check_all_finite(xs, y, sample_weight)


def check_batch(xs: Sequence[Array], y: Array | None, sample_weight: Array | None) -> None:
    """The same for one batch of an iterator.

    Args:
        xs, y, sample_weight: as for `check_whole`.
    """
    if len(xs[0]) == 0:
        raise ValueError(f"a batch holds no images (shape {tuple(xs[0].shape)})")
    for name, array in (("labels", y), ("sample weights", sample_weight)):
        if array is not None and len(array) != len(xs[0]):
            raise ValueError(f"a batch has {len(xs[0])} images and {len(array)} {name}")
    check_all_finite(xs, y, sample_weight)


def check_all_finite(xs: Iterable[Array], y: Array | None, sample_weight: Array | None) -> None:
    """`check_finite` for images, targets and weights.

    Args:
        xs, y, sample_weight: as for `check_whole`.
    """
    for array in xs:
        check_finite(array)
    for name, array in _named(y, sample_weight):
        if array is not None:
            check_finite(array, name)


def _named(y: Array | None, sample_weight: Array | None) -> list[tuple[str, Array | None]]:
    return [("y", y), ("sample_weight", sample_weight)]


def check_input_shapes(owner: str, xs: Sequence[Array], shapes: Sequence[Shape]) -> None:
    """Raise a ValueError unless arrays fit the inputs of a model; the message says what would.

    Args:
        owner: how the message calls the model.
        xs: one array (N, ...) per input.
        shapes: of the inputs, None for the batch.
    """
    if len(xs) != len(shapes):
        raise ValueError(f"{owner} has {len(shapes)} inputs; got {len(xs)}")
    for x, shape in zip(xs, shapes, strict=True):
        expected, given = shape[1:], tuple(x.shape[1:])
        if expected == given:
            continue
        hint = ""
        if tuple(x.shape) == expected:
            hint = "; a single image needs a batch axis in front: x[None]"
        elif len(expected) == 3 and len(given) == 2:
            hint = "; grey images need a channel axis at the end: x[..., None]"
        elif len(given) == 3 and given == (expected[-1], *expected[:-1]):
            hint = "; channels come last here: x.transpose(0, 2, 3, 1)"
        wanted = ", ".join(["n", *map(str, expected)])
        raise ValueError(f"{owner} takes inputs of shape ({wanted}); got {tuple(x.shape)}{hint}")
