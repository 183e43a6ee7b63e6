"""Normalization by statistics of the data set, taken once."""

from collections.abc import Iterable, Iterator, Sequence
from math import prod
from typing import Any

import numpy as np

from minicnn import backend
from minicnn.backend import array_module
from minicnn.dtypes import narrowed, widened
from minicnn.layers import arguments
from minicnn.layers.base import LAYERS, Layer
from minicnn.layers.context import Context
from minicnn.typing import Array, Shape

_SMALLEST = 1e-7  # standard deviation that is divided by


@LAYERS.register()
class Normalization(Layer):
    """y = (x - mean) / max(sqrt(variance), 1e-7), with statistics from `adapt`, or given.

    Args:
        axis: along which each place has statistics of its own, an integer or several: -1 for
            channels; None for one mean and one variance.
        mean, variance: numbers, or one per place along the axes; default: from `adapt`, before
            which they are 0 and 1.
        invert: compute x from y instead: mean + y max(sqrt(variance), 1e-7).
        kwargs: see `Layer`.

    Shape:
        any, kept. Without mean and variance given, weights "mean" and "variance" of the sizes along
        the axes, and "count", which Keras keeps beside them: ().

    Raises:
        ValueError: a mean without a variance, or of another shape; an axis that inputs do not have,
            or along which they have no fixed size.
    """

    def __init__(
        self,
        axis: int | Sequence[int] | None = -1,
        mean: Any = None,
        variance: Any = None,
        invert: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.axis = (axis,) if isinstance(axis, int) else tuple(axis or ())
        self.invert = bool(invert)
        self._given = None if mean is None else (np.asarray(mean), np.asarray(variance))
        if (mean is None) != (variance is None) or np.shape(mean) != np.shape(variance):
            raise ValueError(
                f"{self.described}: mean and variance go together, in one shape; got "
                f"mean={mean!r}, variance={variance!r}"
            )
        if self._given is not None:
            arguments.finite_numbers(self, "mean", mean)
            arguments.finite_numbers(self, "variance", variance, least=0)

    def get_config(self) -> dict[str, Any]:
        mean, variance = (None, None) if self._given is None else (a.tolist() for a in self._given)
        given = {"mean": mean, "variance": variance}
        return {**super().get_config(), "axis": list(self.axis), **given}

    def build(self, input_shape: Shape) -> None:
        rank = len(input_shape)
        if any(not -rank <= axis < rank or axis % rank == 0 for axis in self.axis):
            raise ValueError(
                f"{self.described}: axis {self.axis} of inputs of shape {tuple(input_shape)} is "
                f"the batch, or not there"
            )
        self._kept = sorted(axis % rank for axis in self.axis)
        self._sizes = arguments.fixed_sizes(self, tuple(input_shape[axis] for axis in self._kept))
        self._on_device: dict[str, list[Array]] = {}
        # of the statistics beside inputs
        self._shape = [s if axis in self._kept else 1 for axis, s in enumerate(input_shape)]
        if self._given is None:
            self._mean = self.add_weight("mean", self._sizes, "zeros", trainable=False)
            self._variance = self.add_weight("variance", self._sizes, "ones", trainable=False)
            self._count = self.add_weight("count", (), "zeros", trainable=False)
        elif self._given[0].ndim and self._given[0].shape != self._sizes:
            raise ValueError(
                f"{self.described}: a mean of shape {self._given[0].shape} does not fit sizes "
                f"{self._sizes} along axis {self.axis}"
            )

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        sizes = tuple(input_shape[axis] for axis in self._kept if axis < len(input_shape))
        if sizes != self._sizes:
            raise ValueError(
                f"{self.described} was built for sizes {self._sizes} along the axes {self._kept}; "
                f"got inputs of shape {tuple(input_shape)}"
            )
        return tuple(input_shape)

    def adapt(self, data: Any) -> None:
        """Take the statistics of data, in place of those from before.

        Args:
            data: an array (N, ...), or an iterable of batches: arrays, or tuples that begin with
                one.

        Raises:
            ValueError: mean and variance were given; there are no batches; a batch does not fit.
        """
        if self._given is not None:
            raise ValueError(
                f"{self.described} was given mean and variance: there is nothing to adapt"
            )
        count, mean, variance = 0, 0.0, 0.0
        for batch in _batches(data):
            x = backend.to_numpy(batch) if backend.is_array(batch) else np.asarray(batch)
            self.build_for((None, *x.shape[1:]))
            self.compute_output_shape((None, *x.shape[1:]))
            axes = tuple(axis for axis in range(x.ndim) if axis not in self._kept)
            n = prod(x.shape[axis] for axis in axes)
            if not n:
                continue
            # Chan, Golub, LeVeque (1979): two sets' moments to those of both
            count += n
            part, m = n / count, x.mean(axis=axes, dtype="float64")
            v = x.var(axis=axes, dtype="float64")
            variance = variance * (1 - part) + v * part + (m - mean) ** 2 * part * (1 - part)
            mean = mean + (m - mean) * part
        if not count:
            raise ValueError(f"{self.described}: adapt needs data; there are no images in them")
        self._mean.assign(mean)
        self._variance.assign(variance)

    @property
    def mean(self) -> Array | None:
        """The mean, with 1 for the axes over which it was taken; None before the layer is built."""
        return self._statistics()[0] if self.built else None

    @property
    def variance(self) -> Array | None:
        """The variance, as `mean`."""
        return self._statistics()[1] if self.built else None

    def _statistics(self) -> list[Array]:
        """[mean, variance], to be combined with inputs."""
        if self._given is None:
            return [w.value.reshape(self._shape) for w in (self._mean, self._variance)]
        name = backend.get_backend()
        if name not in self._on_device:  # copied there once
            wide = [np.broadcast_to(a, self._sizes).reshape(self._shape) for a in self._given]
            self._on_device[name] = [backend.asarray(a, self.dtype) for a in wide]
        return self._on_device[name]

    def _mean_and_deviation(self) -> tuple[Array, Array]:
        mean, variance = self._statistics()
        return mean, array_module(variance).sqrt(variance).clip(_SMALLEST)

    def forward(self, x: Array, ctx: Context) -> Array:
        mean, deviation = self._mean_and_deviation()
        wide = widened(x)
        return narrowed(
            mean + wide * deviation if self.invert else (wide - mean) / deviation, x.dtype
        )

    def backward(self, dy: Array, ctx: Context) -> Array:
        _, deviation = self._mean_and_deviation()
        wide = widened(dy)
        return narrowed(wide * deviation if self.invert else wide / deviation, dy.dtype)


def _batches(data: Any) -> Iterator[Any]:
    """The arrays of images of what `adapt` is given; of data that know their length as many batches
    as they have, since some go round for ever."""
    if hasattr(data, "shape"):
        yield data
        return
    numbered = hasattr(data, "__getitem__") and hasattr(data, "__len__")
    if not (numbered or isinstance(data, Iterable)):
        raise TypeError(f"adapt takes an array or batches, not {type(data).__name__}")
    for batch in (data[i] for i in range(len(data))) if numbered else data:
        batch = batch[0] if isinstance(batch, tuple) else batch
        if not hasattr(batch, "shape"):
            raise TypeError(f"adapt takes batches that are arrays, not {type(batch).__name__}")
        yield batch
