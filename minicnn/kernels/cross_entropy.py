"""Cross-entropy of a softmax or a sigmoid, taken from the logits so that nothing rounds to 0 or 1.

Logits z and targets t are (..., C).
"""

from typing import Any

from minicnn.backend import array_module
from minicnn.dtypes import widened
from minicnn.kernels.activations import log_softmax, sigmoid
from minicnn.kernels.device import with_cuda_version
from minicnn.typing import Array


def one_hot(labels: Array, classes: int, smoothing: float, dtype: Any) -> Array:
    """Targets (N, C): smoothing / C, and 1 - smoothing more at the label.

    Args:
        labels: (N,) integers, the right classes.
        classes: C.
        smoothing: how much of a target is spread over all classes.
        dtype: of the targets.
    """
    xp = array_module(labels)
    targets = xp.full((labels.size, classes), smoothing / classes, dtype)
    targets[xp.arange(labels.size), labels] += 1.0 - smoothing
    return targets


@with_cuda_version
def of_logits(z: Array, targets: Array) -> tuple[Array, tuple[Array, Array]]:
    """(losses -sum_c t_c log p_c of shape (...), what `of_logits_gradient` needs).

    Losses and gradient are float32 if the logits are of 16 bits.

    Args:
        z: logits.
        targets: t, in the dtype of the losses.
    """
    log_p = log_softmax(widened(z))
    # a logit of -infinity rules a class out, and 0 times its log p would be NaN
    counted = array_module(z).where(targets == 0, targets, log_p)
    return -(targets * counted).sum(axis=-1), (log_p, targets)


@with_cuda_version
def of_logits_gradient(log_p: Array, targets: Array, scale: Any) -> Array:
    """d (sum of scale · losses) / dz = scale (p sum(t) - t).

    Args:
        log_p, targets: as `of_logits` kept them.
        scale: a scalar, or (..., 1).
    """
    gradient = array_module(log_p).exp(log_p)
    gradient *= targets.sum(axis=-1, keepdims=True)
    gradient -= targets
    gradient *= scale
    return gradient


def of_binary_logits(z: Array, targets: Array) -> Array:
    """-t log p - (1 - t) log(1 - p) with p = sigmoid(z), of each element.

    As (t for z < 0, else 1 - t) · |z| + log(1 + exp(-|z|)), in which nothing overflows.

    Args:
        z: logits.
        targets: t, in the same dtype.
    """
    xp = array_module(z)
    magnitude = xp.abs(z)
    tail = xp.log1p(xp.exp(-magnitude))
    wrong = xp.where(z < 0, targets, 1.0 - targets)
    magnitude = xp.where(wrong == 0, wrong, magnitude)  # 0 times infinity would be NaN
    return wrong * magnitude + tail


def of_binary_logits_gradient(z: Array, targets: Array, scale: Any) -> Array:
    """d (sum of scale · losses) / dz = scale (p - t).

    Args:
        z, targets: as for `of_binary_logits`.
        scale: a scalar, or (..., 1).
    """
    gradient = sigmoid(z)
    gradient -= targets
    gradient *= scale
    return gradient
