"""Checks of what a user hands to `fit`, `evaluate` and `predict`."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from minicnn import backend
from minicnn.dtypes import dtype_of, wide
from minicnn.typing import Array, Shape

if TYPE_CHECKING:
    from minicnn.training.trainer import Trainer


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


def check_finite(x: Array, name: str = "x", dtype: str | None = None) -> None:
    """Raise a ValueError if data hold NaN, infinity or numbers that are infinite in the dtype they
    will be converted to; the message says where.

    Args:
        x: (N, ...).
        name: of the argument, for the message.
        dtype: that dtype, by name; default: they are not converted.
    """
    largest = np.inf if dtype is None else largest_of(dtype)
    is_wider = largest_of(x.dtype) > largest
    if x.size == 0 or (x.dtype.kind != "f" and not is_wider):
        return
    xp = backend.array_module(x)
    # on a device all at once, since each look waits for it, and many sums, to be added in parallel
    rows, axis = (1024, None) if xp is np else (max(1, len(x)), 0)
    for start in range(0, len(x), rows):
        chunk = x[start : start + rows]
        # a sum is NaN or infinite if any element is, and so are the extremes: no array of flags
        if is_wider:
            fits = bool(chunk.min() >= -largest) and bool(chunk.max() <= largest)
        else:
            with np.errstate(over="ignore", invalid="ignore"):
                total = chunk.sum(axis=axis, dtype="float64")
            fits = bool(xp.isfinite(total).all()) or bool(xp.isfinite(chunk).all())
        if not fits:
            raise _unfit(chunk, start, name, largest, dtype)


def _unfit(chunk: Array, start: int, name: str, largest: float, dtype: str | None) -> ValueError:
    """The error for a `chunk` of the data called `name`, whose first entry is number `start`."""
    rows = backend.to_numpy(chunk).reshape(len(chunk), -1)
    flags = np.isfinite(rows) & (abs(rows) <= largest)
    first = int(flags.all(axis=1).argmin())
    wrong = rows[first][~flags[first]]
    where = f"{'image' if name == 'x' else 'entry'} {start + first} of {name}"
    if not np.isfinite(wrong).all():
        return ValueError(
            f"{where} holds NaN or infinity; clean the data first, for instance with "
            f"numpy.nan_to_num"
        )
    return ValueError(
        f"{where} holds {wrong[0]:g}, but the model takes {dtype}, which ends at "
        f"{largest:g}; scale the data first"
    )


def largest_of(dtype: Any) -> float:
    """The largest number that an array of a NumPy `dtype`, or one of that name, can hold."""
    dtype = dtype_of(dtype) if isinstance(dtype, str) else dtype
    if dtype.kind == "b":
        return 1.0
    if dtype.kind in "iu":
        return float(np.iinfo(dtype).max)
    return float(np.finfo(dtype if dtype.kind == "f" else wide(dtype)).max)  # bfloat16 as float32


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
    if isinstance(x, Mapping):
        keys = ", ".join(map(repr, x))
        raise TypeError(
            f"{name} is a dict with the keys {keys}; give an array, a list of arrays in the order "
            f"of the model's inputs, or a data set of (x, y): ds.map(lambda d: (d[...], d[...]))"
        )
    array = backend.plain(x) if backend.is_array(x) else np.asarray(x)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{name} must hold numbers; got dtype {array.dtype}")
    if array.ndim == 0:
        raise ValueError(
            f"{name} must have a batch axis; got the single value {array}; a data set of single "
            f"images goes by .batch(32) first"
        )
    return array


def check_whole(
    xs: Sequence[Array], y: Array | None, sample_weight: Array | None, dtype: str | None = None
) -> None:
    """Raise a ValueError unless whole data sets have images, are as long as each other and finite.

    Args:
        xs: one array (N, ...) per input.
        y: targets (N, ...).
        sample_weight: (N,).
        dtype: by name, in which they have to be finite, too; None for any.
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
        raise _one_weight_per_image(samples, sample_weight)
    check_all_finite(xs, y, sample_weight, dtype)


def check_batch(
    xs: Sequence[Array], y: Array | None, sample_weight: Array | None, dtype: str | None = None
) -> None:
    """The same for one batch of an iterator.

    Args:
        xs, y, dtype: as for `check_whole`.
        sample_weight: (n,) or (n, 1); where targets have more than two axes, also one weight for
            each of their positions.
    """
    if len(xs[0]) == 0:
        raise ValueError(f"a batch holds no images (shape {tuple(xs[0].shape)})")
    for name, array in (("labels", y), ("sample weights", sample_weight)):
        if array is not None and len(array) != len(xs[0]):
            raise ValueError(f"a batch has {len(xs[0])} images and {len(array)} {name}")
    if sample_weight is not None and sample_weight.shape[1:] not in ((), (1,)):
        if y is None or y.ndim <= 2:
            raise _one_weight_per_image(len(xs[0]), sample_weight)
    check_all_finite(xs, y, sample_weight, dtype)


def _one_weight_per_image(samples: int, sample_weight: Array) -> ValueError:
    return ValueError(
        f"sample_weight holds one number per image, shape ({samples},); got shape "
        f"{tuple(sample_weight.shape)}"
    )


def check_all_finite(
    xs: Iterable[Array], y: Array | None, sample_weight: Array | None, dtype: str | None = None
) -> None:
    """`check_finite` for images, targets and weights.

    Args:
        xs, y, sample_weight, dtype: as for `check_whole`.
    """
    for array in xs:
        check_finite(array, "x", dtype)
    if y is not None:  # which losses read in no less than float32
        check_finite(y, "y", dtype and wide(dtype_of(dtype)).name)
    if sample_weight is not None:
        check_finite(sample_weight, "sample_weight", dtype)


def _named(y: Array | None, sample_weight: Array | None) -> list[tuple[str, Array | None]]:
    return [("y", y), ("sample_weight", sample_weight)]


def with_last_axis(model: "Trainer", xs: Sequence[Array]) -> list[Array]:
    """Inputs with a last axis of length 1 where a model has one and they lack it, or without it
    where they have one too many, as Keras takes them: (N, 28, 28) for a shape (28, 28, 1).

    Args:
        model: built.
        xs: one array (N, ...) per input.
    """
    shapes = [t.shape for t in model.graph.inputs]
    if len(xs) != len(shapes):
        return list(xs)
    return [_with_last_axis(x, shape) for x, shape in zip(xs, shapes, strict=True)]


def _with_last_axis(x: Array, shape: Shape) -> Array:
    if x.ndim + 1 == len(shape) and shape[-1] == 1 and x.shape[-1] != 1:
        # one image (28, 28, 1) without a batch axis is not 28 of them
        return x[..., None]
    return x[..., 0] if x.ndim == len(shape) + 1 and x.shape[-1] == 1 else x


def check_input_shapes(model: "Trainer", xs: Sequence[Array]) -> None:
    """Raise a ValueError unless arrays fit the inputs of a model; the message says what would.

    Args:
        model: built.
        xs: one array (N, ...) per input.
    """
    owner, shapes = model.described, [t.shape for t in model.graph.inputs]
    if len(xs) != len(shapes):
        raise ValueError(f"{owner} has {len(shapes)} inputs; got {len(xs)}")
    for x, shape in zip(xs, shapes, strict=True):
        expected, given = shape[1:], tuple(x.shape[1:])
        wanted = (None, None, expected[2]) if len(expected) == 3 else expected
        wanted = wanted if model.any_image_size else expected
        if len(wanted) == len(given) and all(map(_fits, wanted, given)):
            continue
        hint, alone = "", tuple(x.shape)
        if len(alone) == len(wanted) and all(map(_fits, wanted, alone)):
            hint = "; a single image needs a batch axis in front: x[None]"
        elif len(alone) + 1 == len(wanted) == 3 and wanted[-1] == 1:
            hint = "; a single grey image needs two more axes: x[None, ..., None]"
        elif len(expected) == 3 and len(given) == 2:
            hint = "; grey images need a channel axis at the end: x[..., None]"
        elif len(given) == 3 and given == (expected[-1], *expected[:-1]):
            hint = "; channels come last here: x.transpose(0, 2, 3, 1)"
        raise ValueError(
            f"{owner} takes inputs of shape {_shape_text(expected)}; got {tuple(x.shape)}{hint}"
        )
    try:
        model.graph.planned_for([x.shape for x in xs])
    except ValueError as error:
        sizes = ", ".join(_shape_text(shape[1:]) for shape in shapes)
        raise ValueError(
            f"{owner} was made for inputs of shape {sizes}; got {xs[0].shape}: {error}"
        ) from None


def _fits(wanted: int | None, given: int) -> bool:
    return wanted is None or wanted == given


def _shape_text(image_shape: Shape) -> str:
    return f"({', '.join(['n', *('any' if s is None else str(s) for s in image_shape)])})"
