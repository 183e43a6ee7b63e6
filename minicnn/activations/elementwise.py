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
class CELU(Elementwise):
    """y = z for z > 0, alpha (exp(z / alpha) - 1) elsewhere (Barron 2017, arXiv:1704.07483)."""

    rises = True
    keras_name = "celu"

    def __init__(self, alpha: float = 1.0):
        self.alpha = _positive("CELU", "alpha", alpha)

    def value(self, z: Array, xp: Any) -> Array:
        return xp.maximum(z, 0.0) + self.alpha * xp.expm1(xp.minimum(z, 0.0) / self.alpha)

    def slope(self, z: Array, xp: Any) -> Array:
        return xp.exp(xp.minimum(z, 0.0) / self.alpha)


@ACTIVATIONS.register()
class Exponential(Elementwise):
    """y = exp(z)."""

    rises = True
    keras_name = "exponential"

    def value(self, z: Array, xp: Any) -> Array:
        return xp.exp(z)

    def slope(self, z: Array, xp: Any) -> Array:
        return xp.exp(z)


@ACTIVATIONS.register()
class HardSigmoid(Elementwise):
    """y = z / 6 + 1/2 between 0 and 1."""

    rises = True
    keras_name = "hard_sigmoid"

    def value(self, z: Array, xp: Any) -> Array:
        return xp.clip(z / 6 + 0.5, 0.0, 1.0)

    def slope(self, z: Array, xp: Any) -> Array:
        return (xp.abs(z) < 3).astype(z.dtype) / 6


@ACTIVATIONS.register("hard_swish")
class HardSiLU(HardSigmoid):
    """y = z hard_sigmoid(z) (Howard et al. 2019, arXiv:1905.02244, section 5.2)."""

    rises = False
    keras_name = "hard_silu"

    def value(self, z: Array, xp: Any) -> Array:
        return z * super().value(z, xp)

    def slope(self, z: Array, xp: Any) -> Array:
        return super().value(z, xp) + z * super().slope(z, xp)


@ACTIVATIONS.register()
class HardTanh(Elementwise):
    """y = z between -1 and 1."""

    rises = True
    keras_name = "hard_tanh"

    def value(self, z: Array, xp: Any) -> Array:
        return xp.clip(z, -1.0, 1.0)

    def slope(self, z: Array, xp: Any) -> Array:
        return xp.abs(z) < 1


@ACTIVATIONS.register()
class HardShrink(Elementwise):
    """y = z for |z| > threshold, 0 elsewhere."""

    rises = True
    keras_name = "hard_shrink"

    def __init__(self, threshold: float = 0.5):
        self.threshold = _positive(type(self).__name__, "threshold", threshold)

    def value(self, z: Array, xp: Any) -> Array:
        return z * (xp.abs(z) > self.threshold)

    def slope(self, z: Array, xp: Any) -> Array:
        return xp.abs(z) > self.threshold


@ACTIVATIONS.register()
class SoftShrink(HardShrink):
    """y = z, threshold nearer to 0, and 0 where |z| is below it."""

    keras_name = "soft_shrink"

    def value(self, z: Array, xp: Any) -> Array:
        return z - xp.clip(z, -self.threshold, self.threshold)


@ACTIVATIONS.register()
class LogSigmoid(Elementwise):
    """y = log(1 / (1 + exp(-z)))."""

    rises = True
    keras_name = "log_sigmoid"

    def value(self, z: Array, xp: Any) -> Array:
        return xp.minimum(z, 0.0) - xp.log1p(xp.exp(-xp.abs(z)))

    def slope(self, z: Array, xp: Any) -> Array:
        return kernels.sigmoid(-z)


@ACTIVATIONS.register()
class SparseSigmoid(Elementwise):
    """y = (z + 1) / 2 between 0 and 1."""

    rises = True
    keras_name = "sparse_sigmoid"

    def value(self, z: Array, xp: Any) -> Array:
        return xp.clip((z + 1) / 2, 0.0, 1.0)

    def slope(self, z: Array, xp: Any) -> Array:
        return (xp.abs(z) < 1).astype(z.dtype) / 2


@ACTIVATIONS.register()
class SparsePlus(SparseSigmoid):
    """y = 0 for z < -1, z for z > 1, (z + 1)² / 4 in between; its slope is sparse_sigmoid."""

    keras_name = "sparse_plus"

    def value(self, z: Array, xp: Any) -> Array:
        return super().value(z, xp) ** 2 + xp.maximum(z - 1, 0.0)

    def slope(self, z: Array, xp: Any) -> Array:
        return super().value(z, xp)


@ACTIVATIONS.register()
class Squareplus(Elementwise):
    """y = (z + sqrt(z² + b)) / 2 (Barron 2021, arXiv:2112.11687), as z or 0, whichever is larger,
    and b / 2 / (|z| + sqrt(z² + b)), which far out keeps its digits."""

    rises = True
    keras_name = "squareplus"

    def __init__(self, b: float = 4):
        self.b = _positive("Squareplus", "b", b)

    def value(self, z: Array, xp: Any) -> Array:
        root = xp.hypot(z, z.dtype.type(self.b**0.5))
        return xp.maximum(z, 0.0) + self.b / 2 / (xp.abs(z) + root)

    def slope(self, z: Array, xp: Any) -> Array:
        return 0.5 + z / xp.hypot(z, z.dtype.type(self.b**0.5)) / 2


@ACTIVATIONS.register()
class TanhShrink(Elementwise):
    """y = z - tanh(z)."""

    rises = True
    keras_name = "tanh_shrink"

    def value(self, z: Array, xp: Any) -> Array:
        return z - xp.tanh(z)

    def slope(self, z: Array, xp: Any) -> Array:
        return xp.tanh(z) ** 2


@ACTIVATIONS.register()
class Threshold(Elementwise):
    """y = z for z > threshold, default_value elsewhere. Keras has no name for it with arguments."""

    def __init__(self, threshold: float, default_value: float):
        self.threshold = float(threshold)
        self.default_value = float(default_value)

    @property
    def rises(self) -> bool:  # type: ignore[override]
        """Unless it falls at the threshold."""
        return self.default_value <= self.threshold

    def value(self, z: Array, xp: Any) -> Array:
        return xp.where(z > self.threshold, z, z.dtype.type(self.default_value))

    def slope(self, z: Array, xp: Any) -> Array:
        return z > self.threshold
