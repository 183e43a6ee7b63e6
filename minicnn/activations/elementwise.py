"""Activation functions whose value and slope are a line each."""

from typing import Any

from minicnn.activations.base import ACTIVATIONS, Elementwise
from minicnn.kernels import activations as kernels
from minicnn.typing import Array


def _positive(owner: str, name: str, value: float) -> float:
    if value is None or not value > 0:
        raise ValueError(f"{owner} needs {name} above 0; got {value!r}")
    return float(value)


@ACTIVATIONS.register()
class CELU(Elementwise, rises=True):
    """y = z for z > 0, alpha (exp(z / alpha) - 1) elsewhere (Barron 2017, arXiv:1704.07483)."""

    def __init__(self, alpha: float = 1.0):
        self.alpha = _positive("CELU", "alpha", alpha)

    def value_and_slope(self, z: Array, xp: Any) -> tuple[Array, Array]:
        below = xp.minimum(z, 0.0) / self.alpha
        return xp.maximum(z, 0.0) + self.alpha * xp.expm1(below), xp.exp(below)


@ACTIVATIONS.register()
class Exponential(Elementwise, rises=True):
    """y = exp(z)."""

    def value_and_slope(self, z: Array, xp: Any) -> tuple[Array, Array]:
        return (y := xp.exp(z)), y


@ACTIVATIONS.register()
class HardSigmoid(Elementwise, rises=True):
    """y = z / 6 + 1/2 between 0 and 1."""

    def value_and_slope(self, z: Array, xp: Any) -> tuple[Array, Array]:
        return xp.clip(z / 6 + 0.5, 0.0, 1.0), (xp.abs(z) < 3).astype(z.dtype) / 6


@ACTIVATIONS.register("hard_swish")
class HardSiLU(HardSigmoid, keras_name="hard_silu"):
    """y = z hard_sigmoid(z) (Howard et al. 2019, arXiv:1905.02244, section 5.2)."""

    def value_and_slope(self, z: Array, xp: Any) -> tuple[Array, Array]:
        sigmoid, slope = super().value_and_slope(z, xp)
        return z * sigmoid, sigmoid + z * slope


@ACTIVATIONS.register()
class HardTanh(Elementwise, rises=True):
    """y = z between -1 and 1."""

    def value_and_slope(self, z: Array, xp: Any) -> tuple[Array, Array]:
        return xp.clip(z, -1.0, 1.0), xp.abs(z) < 1


@ACTIVATIONS.register()
class HardShrink(Elementwise, rises=True):
    """y = z for |z| > threshold, 0 elsewhere."""

    def __init__(self, threshold: float = 0.5):
        self.threshold = _positive(type(self).__name__, "threshold", threshold)

    def value_and_slope(self, z: Array, xp: Any) -> tuple[Array, Array]:
        far = xp.abs(z) > self.threshold
        return z * far, far


@ACTIVATIONS.register()
class SoftShrink(HardShrink, rises=True):
    """y = z, threshold nearer to 0, and 0 where |z| is below it."""

    def value_and_slope(self, z: Array, xp: Any) -> tuple[Array, Array]:
        return z - xp.clip(z, -self.threshold, self.threshold), xp.abs(z) > self.threshold


@ACTIVATIONS.register()
class LogSigmoid(Elementwise, rises=True):
    """y = log(1 / (1 + exp(-z)))."""

    def value_and_slope(self, z: Array, xp: Any) -> tuple[Array, Array]:
        return xp.minimum(z, 0.0) - xp.log1p(xp.exp(-xp.abs(z))), kernels.sigmoid(-z)


@ACTIVATIONS.register()
class SparseSigmoid(Elementwise, rises=True):
    """y = (z + 1) / 2 between 0 and 1."""

    def value_and_slope(self, z: Array, xp: Any) -> tuple[Array, Array]:
        return xp.clip((z + 1) / 2, 0.0, 1.0), (xp.abs(z) < 1).astype(z.dtype) / 2


@ACTIVATIONS.register()
class SparsePlus(Elementwise, rises=True):
    """y = 0 for z < -1, z for z > 1, (z + 1)² / 4 in between; its slope is sparse_sigmoid."""

    def value_and_slope(self, z: Array, xp: Any) -> tuple[Array, Array]:
        slope = xp.clip((z + 1) / 2, 0.0, 1.0)
        return slope * slope + xp.maximum(z - 1, 0.0), slope


@ACTIVATIONS.register()
class Squareplus(Elementwise, rises=True):
    """y = (z + sqrt(z² + b)) / 2 (Barron 2021, arXiv:2112.11687), as z or 0, whichever is larger,
    and b / 2 / (|z| + sqrt(z² + b)), which far out keeps its digits."""

    def __init__(self, b: float = 4):
        self.b = _positive("Squareplus", "b", b)

    def value_and_slope(self, z: Array, xp: Any) -> tuple[Array, Array]:
        root = xp.hypot(z, z.dtype.type(self.b**0.5))
        return xp.maximum(z, 0.0) + self.b / 2 / (xp.abs(z) + root), 0.5 + z / root / 2


@ACTIVATIONS.register()
class TanhShrink(Elementwise, rises=True):
    """y = z - tanh(z)."""

    def value_and_slope(self, z: Array, xp: Any) -> tuple[Array, Array]:
        tanh = xp.tanh(z)
        return z - tanh, tanh * tanh


@ACTIVATIONS.register()
class Threshold(Elementwise, keras_name=None):
    """y = z for z > threshold, default_value elsewhere. Keras has no name for it with arguments."""

    def __init__(self, threshold: float, default_value: float):
        self.threshold = float(threshold)
        self.default_value = float(default_value)

    def value_and_slope(self, z: Array, xp: Any) -> tuple[Array, Array]:
        above = z > self.threshold
        return xp.where(above, z, z.dtype.type(self.default_value)), above
