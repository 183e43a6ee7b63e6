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
        if np.shape(mean) != np.shape(variance) or (mean is None) != (variance is None):
            raise ValueError(
                f"{self.described}: mean and variance go together, in one shape; got "
                f"mean={mean!r}, variance={variance!r}"
            )
        if np.ndim(mean) > len(self.axis):
            raise ValueError(
                f"{self.described}: mean has {np.ndim(mean)} axes, but axis {self.axis} names "
                f"{len(self.axis)}"
            )
        self._given = None
        if mean is not None:
            self._given = [
                np.asarray(arguments.finite_numbers(self, "mean", mean)),
                np.asarray(arguments.finite_numbers(self, "variance", variance, least=0)),
            ]
        self.invert = bool(invert)

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
        if self._given is None:
            self._mean = self.add_weight("mean", self._sizes, "zeros", trainable=False)
            self._variance = self.add_weight("variance", self._sizes, "ones", trainable=False)
            self._count = self.add_weight("count", (), "zeros", trainable=False)
        else:  # checks that they fit
            for array in self._given:
                np.broadcast_to(array, self._sizes)

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
        return self._beside(0) if self.built else None

    @property
    def variance(self) -> Array | None:
        """The variance, as `mean`."""
        return self._beside(1) if self.built else None

    def _beside(self, which: int) -> Array:
        """Mean (0) or variance (1), to be combined with inputs."""
        if self._given is None:
            values = (self._mean, self._variance)[which].value
        else:
            values = backend.asarray(np.broadcast_to(self._given[which], self._sizes), self.dtype)
        rank = len(self.input_shape)
        sizes = dict(zip(self._kept, self._sizes, strict=True))
        return values.reshape([sizes.get(axis, 1) for axis in range(rank)])

    def _deviation(self) -> Array:
        variance = self._beside(1)
        return array_module(variance).sqrt(variance).clip(_SMALLEST)

    def forward(self, x: Array, ctx: Context) -> Array:
        mean, deviation = self._beside(0), self._deviation()
        if self.invert:
            return narrowed(mean + widened(x) * deviation, x.dtype)
        return narrowed((widened(x) - mean) / deviation, x.dtype)

    def backward(self, dy: Array, ctx: Context) -> Array:
        wide, deviation = widened(dy), self._deviation()
        return narrowed(wide * deviation if self.invert else wide / deviation, dy.dtype)


def _batches(data: Any) -> Iterator[Any]:
    """The arrays of images of what `adapt` is given; of data that know their length as many batches
    as they have, since some go round for ever."""
    if hasattr(data, "shape"):
        yield data
        return
    if not isinstance(data, Iterable) and not hasattr(data, "__getitem__"):
        raise TypeError(
            f"adapt takes an array or an iterable of batches, not {type(data).__name__}"
        )
    numbered = hasattr(data, "__getitem__") and hasattr(data, "__len__")
    for batch in (data[i] for i in range(len(data))) if numbered else data:
        batch = batch[0] if isinstance(batch, tuple) else batch
        if not hasattr(batch, "shape"):
            raise TypeError(
                f"adapt takes batches that are arrays; got one of type {type(batch).__name__}"
            )
        yield batch
