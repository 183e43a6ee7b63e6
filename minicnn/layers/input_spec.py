"""What inputs of a layer have to be like."""

from collections.abc import Mapping, Sequence
from typing import Any

from minicnn.typing import Shape


class InputSpec:
    """What a layer's `input_spec` says of an input; a list of them of several inputs.

    Args:
        dtype: by name; None, as for all that follows, where it does not matter.
        shape: with the batch, and None where a size does not matter.
        ndim, max_ndim, min_ndim: number of axes, with the batch.
        axes: {axis: size along it}.
        allow_last_axis_squeeze: whether a last axis of size 1 may be there or not.
        name: of the input.
        optional: whether the input may be None.

    Raises:
        TypeError: axes that are no dict of integers.
        ValueError: an axis beyond the number of axes.
    """

    def __init__(
        self,
        dtype: Any = None,
        shape: Sequence[int | None] | None = None,
        ndim: int | None = None,
        max_ndim: int | None = None,
        min_ndim: int | None = None,
        axes: Mapping[int, int | None] | None = None,
        allow_last_axis_squeeze: bool = False,
        name: str | None = None,
        optional: bool = False,
    ):
        self.dtype = None if dtype is None else str(dtype)
        self.shape = None if shape is None else tuple(shape)
        self.ndim = ndim if shape is None else len(shape)
        self.max_ndim, self.min_ndim = max_ndim, min_ndim
        self.name, self.optional = name, optional
        self.allow_last_axis_squeeze = allow_last_axis_squeeze
        try:
            self.axes = {int(axis): size for axis, size in (axes or {}).items()}
        except (AttributeError, TypeError, ValueError):
            raise TypeError(f"axes is a dict of sizes by axis, not {axes!r}") from None
        most = self.ndim or self.max_ndim
        if self.axes and most and max(self.axes) >= most:
            raise ValueError(f"there is no axis {max(self.axes)} among {most} axes")

    def get_config(self) -> dict[str, Any]:
        """The arguments of an equal object."""
        names = ("dtype", "shape", "ndim", "max_ndim", "min_ndim", "axes", "optional")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "InputSpec":
        """An object from the `config` that `get_config` returned."""
        return cls(**config)

    def __repr__(self) -> str:
        said = {k: v for k, v in self.get_config().items() if v}
        return f"InputSpec({', '.join(f'{k}={v}' for k, v in said.items())})"

    def problem_with(self, shape: Shape, dtype: Any = None) -> str | None:
        """What is wrong with an input, for a message; None for nothing.

        Args:
            shape: of the input.
            dtype: of the input; None where it is not known.
        """
        rank, wanted = len(shape), self.shape
        if self.allow_last_axis_squeeze and wanted is not None:
            shape, wanted = (s[:-1] if s and s[-1] == 1 else s for s in (shape, wanted))
        elif self.ndim is not None and rank != self.ndim:
            return f"expected ndim={self.ndim}, found ndim={rank}"
        if self.max_ndim is not None and rank > self.max_ndim:
            return f"expected max_ndim={self.max_ndim}, found ndim={rank}"
        if self.min_ndim is not None and rank < self.min_ndim:
            return f"expected min_ndim={self.min_ndim}, found ndim={rank}"
        if self.dtype is not None and dtype is not None and str(dtype) != self.dtype:
            return f"expected dtype={self.dtype}, found dtype={dtype}"
        for axis, size in self.axes.items():
            if size is not None and shape[axis] not in (size, None):
                return f"expected axis {axis} of input shape to have value {size}"
        pairs = zip(wanted or (), shape, strict=False)
        if any(None not in pair and pair[0] != pair[1] for pair in pairs):
            return f"expected shape={self.shape}, found shape={tuple(shape)}"
        return None


def check_input(spec: Any, described: str, inputs: Sequence[Any]) -> None:
    """Raise a ValueError unless `inputs`, arrays or symbolic tensors, are as the `spec` of a layer
    says, an `InputSpec` or a list of them; the layer is `described` in the message."""
    specs = list(spec) if isinstance(spec, (list, tuple)) else [spec]
    if len(specs) != len(inputs):
        raise ValueError(f"{described} expects {len(specs)} inputs; got {len(inputs)}")
    for one, given in zip(specs, inputs, strict=True):
        problem = one and one.problem_with(tuple(given.shape), getattr(given, "dtype", None))
        if problem:
            raise ValueError(
                f"{described} does not take such inputs: {problem}. Full shape received: "
                f"{tuple(given.shape)}"
            )
