"""Cross-entropy of outputs that are the probability of one of two classes each."""

from typing import Any

from minicnn import backend
from minicnn.kernels import cross_entropy
from minicnn.kernels.activations import sigmoid, sigmoid_gradient
from minicnn.losses.base import EPSILON, LOSSES
from minicnn.losses.formula import ElementLoss
from minicnn.losses.probabilities import OfProbabilities
from minicnn.typing import Array, Shape


@LOSSES.register("bce")
class BinaryCrossentropy(OfProbabilities, ElementLoss):
    """Mean over one axis of -t log p - (1 - t) log(1 - p): each output is the probability of one of
    two classes, targets t are 0 or 1, or between.

    Args:
        from_logits: predictions are logits; else probabilities, such as a sigmoid gives, which are
            clipped to [1e-7, 1 - 1e-7].
        label_smoothing: the target is (1 - label_smoothing) t + label_smoothing / 2.
        axis: over which the mean is taken; not that of the batch.
        reduction, name, dtype: see `Loss`.

    Raises:
        ValueError: label_smoothing outside 0 to 1, an axis of 0, or another reduction or dtype.
    """

    closing: str | None = "sigmoid"

    def targets(self, t: Array) -> Array:
        smoothing = self.label_smoothing
        return t * (1.0 - smoothing) + 0.5 * smoothing if smoothing else t

    def element(self, xp: Any, t: Array, p: Array) -> Array:
        if self.from_logits:
            return cross_entropy.of_binary_logits(p, t)
        p = xp.clip(p, EPSILON, 1 - EPSILON)
        return -(t * xp.log(p) + (1.0 - t) * xp.log(1.0 - p))

    def slope(self, xp: Any, t: Array, p: Array) -> Array:
        """On logits p - t; on probabilities (p - t) / (p (1 - p)), 0 where clipped."""
        if self.from_logits:
            return cross_entropy.of_binary_logits_gradient(p, t, 1.0)
        clipped = xp.clip(p, EPSILON, 1 - EPSILON)
        return (clipped - t) / (clipped * (1.0 - clipped)) * (clipped == p)

    def check_targets(self, y: Array, output_shape: Shape) -> None:
        super().check_targets(y, output_shape)
        y = backend.to_numpy(y)
        if y.size and not (y.min() >= 0 and y.max() <= 1):
            raise ValueError(
                f"{type(self).__name__} takes targets from 0 to 1; they lie between {y.min()} and "
                f"{y.max()}; class numbers belong to SparseCategoricalCrossentropy"
            )


@LOSSES.register()
class BinaryFocalCrossentropy(BinaryCrossentropy):
    """Binary cross-entropy, less of it the surer the right class is: mean over one axis of
    w m^gamma (-t log p - (1 - t) log(1 - p)) with m = 1 - t p - (1 - t)(1 - p).

    Args:
        apply_class_balancing: w is alpha for t = 1 and 1 - alpha for t = 0; else 1.
        alpha: weight of class 1.
        gamma: how fast the loss of sure predictions fades.
        from_logits: predictions are logits, of which a sigmoid makes probabilities.
        label_smoothing, axis, reduction, name, dtype: see `BinaryCrossentropy`.

    Source: Lin et al. 2017, arXiv:1708.02002, equation 5.
    """

    closing = None  # Keras clips the probabilities of logits too

    def __init__(
        self,
        apply_class_balancing: bool = False,
        alpha: float = 0.25,
        gamma: float = 2.0,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
    ):
        super().__init__(from_logits, label_smoothing, axis, reduction, name, dtype)
        self.apply_class_balancing = apply_class_balancing
        self.alpha = alpha
        self.gamma = gamma

    def element(self, xp: Any, t: Array, p: Array) -> Array:
        p = sigmoid(p) if self.from_logits else p
        return self._weight(t) * _miss(t, p) ** self.gamma * _entropy(xp, t, p)[0]

    def slope(self, xp: Any, t: Array, p: Array) -> Array:
        """w (gamma m^(gamma - 1) (1 - 2 t) e + m^gamma de/dp) with the cross-entropy e; on logits
        times p (1 - p)."""
        p = sigmoid(p) if self.from_logits else p
        m, gamma = _miss(t, p), self.gamma
        entropy, entropy_slope = _entropy(xp, t, p)
        gradient = m**gamma * entropy_slope
        if gamma:
            gradient += gamma * m ** (gamma - 1.0) * (1.0 - 2.0 * t) * entropy
        gradient *= self._weight(t)
        return sigmoid_gradient(gradient, p) if self.from_logits else gradient

    def _weight(self, t: Array) -> Any:
        return t * self.alpha + (1.0 - t) * (1.0 - self.alpha) if self.apply_class_balancing else 1


def _miss(t: Array, p: Array) -> Array:
    return 1.0 - (t * p + (1.0 - t) * (1.0 - p))


def _entropy(xp: Any, t: Array, p: Array) -> tuple[Array, Array]:
    """Binary cross-entropy of probabilities, and its derivative."""
    plain = BinaryCrossentropy()
    return plain.element(xp, t, p), plain.slope(xp, t, p)
