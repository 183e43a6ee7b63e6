"""Initial values of weights.

An initializer is called with a shape and returns a NumPy array on the host; the layer moves it to
its device. Values are drawn in float64 and then rounded, so that one seed gives the same network in
float32 and in float64.
"""

import inspect
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from minicnn import backend
from minicnn.random import checked_seed, host_generator
from minicnn.random.draws import standard_truncated_normal
from minicnn.registry import Configurable, Registry, serialize_object

INITIALIZERS = Registry("initializer")

# Standard deviation of a standard normal distribution cut off at -2 and 2.
_TRUNCATED_STDDEV = 0.87962566103423978


def compute_fans(
    shape: Sequence[int],
    input_axes: Sequence[int] | None = None,
    output_axes: Sequence[int] | None = None,
) -> tuple[int, int]:
    """How many inputs one output is summed from, and how many outputs one input goes to.

    A dense kernel (in, out) has (in, out); a convolution kernel (kh, kw, in, out) has
    (kh·kw·in, kh·kw·out).

    Args:
        shape: of the kernel.
        input_axes, output_axes: axes whose sizes are multiplied instead; given together.
    """
    shape = tuple(shape)
    if input_axes is not None and output_axes is not None:
        return math.prod(shape[a] for a in input_axes), math.prod(shape[a] for a in output_axes)
    if len(shape) < 2:
        size = math.prod(shape)
        return size, size
    field = math.prod(shape[:-2])
    return field * shape[-2], field * shape[-1]


class Initializer(Configurable):
    """Base class. Your own defines `__call__`."""

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> np.ndarray:
        """The values of a weight.

        Args:
            shape: of the weight.
            dtype: of the weight; default: `floatx()`.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define __call__(shape, dtype)")

    def clone(self) -> "Initializer":
        """Another one with the same arguments."""
        return type(self).from_config(self.get_config())


class Given(Initializer):
    """Values from an array, or from a function of shape and dtype. It cannot be made again from its
    configuration; `Constant` can.

    Args:
        source: the array or function.

    Raises:
        ValueError: when it is called, if the values have another shape than the weight.
    """

    def __init__(self, source: Any):
        self.source = source

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> np.ndarray:
        dtype, source = dtype or backend.floatx(), self.source
        values = backend.to_numpy(source(tuple(shape), dtype=dtype) if callable(source) else source)
        if np.shape(values) != tuple(shape):
            raise ValueError(
                f"an initial value of shape {np.shape(values)} was given for a weight of shape "
                f"{tuple(shape)}"
            )
        return np.array(values, dtype)

    def get_config(self) -> dict[str, Any]:
        raise ValueError(
            f"{self.source!r:.80} was given as initializer and cannot be written to a file; use "
            f"initializers.Constant for an array, or a class of your own for a function"
        )


def _finished(values: np.ndarray, dtype: Any) -> np.ndarray:
    return values.astype(dtype or backend.floatx(), copy=False)


@INITIALIZERS.register("zero")
class Zeros(Initializer):
    """All zero."""

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> np.ndarray:
        return np.zeros(tuple(shape), dtype or backend.floatx())


@INITIALIZERS.register("one")
class Ones(Initializer):
    """All one."""

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> np.ndarray:
        return np.ones(tuple(shape), dtype or backend.floatx())


@INITIALIZERS.register()
class Constant(Initializer):
    """The same value everywhere.

    Args:
        value: a number, or an array that broadcasts to the weight's shape.
    """

    def __init__(self, value: Any = 0.0):
        self.value = value

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> np.ndarray:
        return np.full(tuple(shape), self.value, dtype or backend.floatx())


@INITIALIZERS.register("IdentityInitializer")
class Identity(Initializer):
    """A matrix that is zero outside its diagonal.

    Args:
        gain: each element of the diagonal.

    Raises:
        ValueError: the shape is not that of a matrix.
    """

    def __init__(self, gain: float = 1.0):
        self.gain = gain

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> np.ndarray:
        if len(shape) != 2:
            raise ValueError(f"Identity makes matrices, shape (rows, columns); got {tuple(shape)}")
        return _finished(self.gain * np.eye(shape[0], shape[1]), dtype)


@INITIALIZERS.register("normal")
class RandomNormal(Initializer):
    """Normally distributed.

    Args:
        mean: of the distribution.
        stddev: its standard deviation.
        seed: gives the same values at every call; None draws from the library's generator.
    """

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: int | None = None):
        self.mean = mean
        self.stddev = stddev
        self.seed = checked_seed(self, seed)

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> np.ndarray:
        values = host_generator(self.seed).normal(self.mean, self.stddev, tuple(shape))
        return _finished(values, dtype)


@INITIALIZERS.register()
class TruncatedNormal(Initializer):
    """Like RandomNormal, but what lies more than two `stddev` from `mean` is drawn again.

    The result has the standard deviation 0.88 `stddev`.

    Args:
        mean: of the distribution.
        stddev: its standard deviation before it is cut off.
        seed: gives the same values at every call; None draws from the library's generator.
    """

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: int | None = None):
        self.mean = mean
        self.stddev = stddev
        self.seed = checked_seed(self, seed)

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> np.ndarray:
        values = standard_truncated_normal(host_generator(self.seed), tuple(shape))
        return _finished(self.mean + self.stddev * values, dtype)


@INITIALIZERS.register("uniform")
class RandomUniform(Initializer):
    """Evenly distributed over [minval, maxval).

    Args:
        minval: the lowest value.
        maxval: what all values lie below.
        seed: gives the same values at every call; None draws from the library's generator.
    """

    def __init__(self, minval: float = -0.05, maxval: float = 0.05, seed: int | None = None):
        self.minval = minval
        self.maxval = maxval
        self.seed = checked_seed(self, seed)

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> np.ndarray:
        values = host_generator(self.seed).uniform(self.minval, self.maxval, tuple(shape))
        return _finished(values, dtype)


@INITIALIZERS.register("OrthogonalInitializer")
class Orthogonal(Initializer):
    """A matrix with orthonormal rows or columns, whichever are fewer, times `gain`.

    More than two axes are taken as (all but the last, last): a convolution kernel
    (kh, kw, in, out) is a matrix (kh·kw·in, out).

    Args:
        gain: factor.
        seed: gives the same values at every call; None draws from the library's generator.

    Raises:
        ValueError: fewer than two axes.

    Source: Saxe, McClelland, Ganguli 2013, arXiv:1312.6120.
    """

    def __init__(self, gain: float = 1.0, seed: int | None = None):
        self.gain = gain
        self.seed = checked_seed(self, seed)

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> np.ndarray:
        shape = tuple(shape)
        if len(shape) < 2:
            raise ValueError(f"Orthogonal needs a shape of at least two axes; got {shape}")
        rows, columns = math.prod(shape[:-1]), shape[-1]
        tall = (max(rows, columns), min(rows, columns))
        q, r = np.linalg.qr(host_generator(self.seed).standard_normal(tall))
        q *= np.sign(np.diag(r))  # makes the distribution uniform over all such matrices
        if rows < columns:
            q = q.T
        return _finished(self.gain * q.reshape(shape), dtype)


class _ScaledByFans(Initializer):
    """Variance `scale` / n, n being the fan that `mode` names: keeps the size of activations
    (fan_in) or of gradients (fan_out) from layer to layer.

    Draws from [-limit, limit) with limit = sqrt(3 scale / n), or from a normal distribution with
    standard deviation sqrt(scale / n), also after truncation.
    """

    scale = 1.0
    mode = "fan_in"
    distribution = "truncated_normal"

    def __init__(
        self,
        seed: int | None = None,
        input_axes: Sequence[int] | None = None,
        output_axes: Sequence[int] | None = None,
    ):
        self.seed = checked_seed(self, seed)
        self.input_axes = input_axes
        self.output_axes = output_axes

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> np.ndarray:
        shape = tuple(shape)
        fan_in, fan_out = compute_fans(shape, self.input_axes, self.output_axes)
        n = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[self.mode]
        variance = self.scale / max(1.0, n)
        rng = host_generator(self.seed)
        if self.distribution == "uniform":
            limit = math.sqrt(3 * variance)
            return _finished(rng.uniform(-limit, limit, shape), dtype)
        stddev = math.sqrt(variance)
        if self.distribution == "untruncated_normal":
            return _finished(rng.normal(0.0, stddev, shape), dtype)
        return _finished(stddev / _TRUNCATED_STDDEV * standard_truncated_normal(rng, shape), dtype)


@INITIALIZERS.register()
class VarianceScaling(_ScaledByFans):
    """Variance `scale` / n, where you choose scale, n and the distribution.

    Args:
        scale: positive factor.
        mode: n is "fan_in", "fan_out" or "fan_avg", their mean (see `compute_fans`).
        distribution: "truncated_normal" (also "normal"), "untruncated_normal" or "uniform".
        seed: gives the same values at every call; None draws from the library's generator.
        input_axes, output_axes: see `compute_fans`.

    Raises:
        ValueError: another mode or distribution, or a scale that is not positive.
    """

    def __init__(
        self,
        scale: float = 1.0,
        mode: str = "fan_in",
        distribution: str = "truncated_normal",
        seed: int | None = None,
        input_axes: Sequence[int] | None = None,
        output_axes: Sequence[int] | None = None,
    ):
        super().__init__(seed, input_axes, output_axes)
        if scale <= 0:
            raise ValueError(f"VarianceScaling needs a positive scale; got {scale!r}")
        if mode not in ("fan_in", "fan_out", "fan_avg"):
            raise ValueError(f"mode must be 'fan_in', 'fan_out' or 'fan_avg', not {mode!r}")
        distribution = distribution.lower()
        if distribution == "normal":
            distribution = "truncated_normal"
        if distribution not in ("truncated_normal", "untruncated_normal", "uniform"):
            raise ValueError(
                "distribution must be 'truncated_normal', 'untruncated_normal' or 'uniform', "
                f"not {distribution!r}"
            )
        self.scale = scale
        self.mode = mode
        self.distribution = distribution


@INITIALIZERS.register()
class GlorotUniform(_ScaledByFans):
    """Uniform over ±sqrt(6 / (fan_in + fan_out)).

    Args:
        seed: gives the same values at every call; None draws from the library's generator.
        input_axes, output_axes: see `compute_fans`.

    Source: Glorot, Bengio 2010, "Understanding the difficulty of training deep feedforward neural
    networks", equation 16.
    """

    mode = "fan_avg"
    distribution = "uniform"


@INITIALIZERS.register()
class GlorotNormal(_ScaledByFans):
    """Truncated normal with variance 2 / (fan_in + fan_out) (Glorot, Bengio 2010).

    Args:
        seed: gives the same values at every call; None draws from the library's generator.
        input_axes, output_axes: see `compute_fans`.
    """

    mode = "fan_avg"


@INITIALIZERS.register()
class HeUniform(_ScaledByFans):
    """Uniform over ±sqrt(6 / fan_in), for ReLU.

    Args:
        seed: gives the same values at every call; None draws from the library's generator.
        input_axes, output_axes: see `compute_fans`.

    Source: He et al. 2015, "Delving deep into rectifiers", arXiv:1502.01852, equation 10.
    """

    scale = 2.0
    distribution = "uniform"


@INITIALIZERS.register()
class HeNormal(_ScaledByFans):
    """Truncated normal with variance 2 / fan_in, for ReLU (He et al. 2015, arXiv:1502.01852).

    Args:
        seed: gives the same values at every call; None draws from the library's generator.
        input_axes, output_axes: see `compute_fans`.
    """

    scale = 2.0


@INITIALIZERS.register()
class LecunUniform(_ScaledByFans):
    """Uniform over ±sqrt(3 / fan_in) (LeCun et al. 1998, "Efficient BackProp", equation 16).

    Args:
        seed: gives the same values at every call; None draws from the library's generator.
        input_axes, output_axes: see `compute_fans`.
    """

    distribution = "uniform"


@INITIALIZERS.register()
class LecunNormal(_ScaledByFans):
    """Truncated normal with variance 1 / fan_in (LeCun et al. 1998, "Efficient BackProp").

    Args:
        seed: gives the same values at every call; None draws from the library's generator.
        input_axes, output_axes: see `compute_fans`.
    """


# Keras has each class under its lower-case name too: initializers.he_normal(seed=1).
zeros = Zeros
ones = Ones
constant = Constant
identity = IdentityInitializer = Identity
random_normal = RandomNormal
random_uniform = RandomUniform
truncated_normal = TruncatedNormal
orthogonal = OrthogonalInitializer = Orthogonal
variance_scaling = VarianceScaling
glorot_uniform = GlorotUniform
glorot_normal = GlorotNormal
he_uniform = HeUniform
he_normal = HeNormal
lecun_uniform = LecunUniform
lecun_normal = LecunNormal


def get(identifier: Any) -> Initializer | None:
    """An initializer.

    Args:
        identifier: its name, configuration or class, or an instance; an array of the weight's shape
            or a function of shape and dtype; None stays None.

    Raises:
        ValueError: an unknown name; the message lists the near matches.
        TypeError: something else.
    """
    return deserialize(identifier)


def deserialize(config: Any, custom_objects: dict[str, type] | None = None) -> Initializer | None:
    """An initializer from what `serialize` returned.

    Args:
        config: that, or what else `get` takes.
        custom_objects: your own classes by name.
    """
    if backend.is_array(config) or inspect.isfunction(config) or inspect.ismethod(config):
        return Given(config)
    return INITIALIZERS.deserialize(config, custom_objects)


def serialize(initializer: Initializer) -> dict[str, Any]:
    """An `initializer` as a configuration, for `deserialize`."""
    return serialize_object(initializer, "keras.initializers")
