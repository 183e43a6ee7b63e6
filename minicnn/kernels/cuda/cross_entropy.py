"""Cross-entropy and its gradient in one kernel."""

from typing import Any

from minicnn.backend import array_module
from minicnn.dtypes import wide
from minicnn.kernels.cuda.launch import launch
from minicnn.typing import Array


def of_logits(z: Array, targets: Array) -> tuple[Array, tuple[Array, Array]]:
    """As the generic one (z, targets); what is kept is the gradient before scaling."""
    xp = array_module(z)
    real = wide(z.dtype)
    z, targets = xp.ascontiguousarray(z), xp.ascontiguousarray(targets, dtype=real)
    losses, gradient = xp.empty(z.shape[:-1], real), xp.empty(z.shape, real)
    launch(
        "cross_entropy", "of_logits", z.dtype, losses.size,
        z, targets, losses, gradient, losses.size, z.shape[-1],
    )  # fmt: skip
    return losses, (gradient, None)


def of_logits_gradient(gradient: Array, targets: None, scale: Any) -> Array:
    """As the generic one (scale), from the gradient that `of_logits` kept; targets are not
    needed."""
    return gradient * scale
