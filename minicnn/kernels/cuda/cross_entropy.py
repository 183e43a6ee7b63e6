"""Cross-entropy and its gradient in one kernel."""

from typing import Any

from minicnn.backend import array_module
from minicnn.dtypes import wide
from minicnn.kernels.cuda.launch import launch


def of_logits(z: Any, targets: Any) -> tuple[Any, tuple[Any, Any]]:
    """As the generic one; what is kept is the gradient before scaling."""
    xp = array_module(z)
    real = wide(z.dtype)
    z, targets = xp.ascontiguousarray(z), xp.ascontiguousarray(targets, dtype=real)
    losses, gradient = xp.empty(z.shape[:-1], real), xp.empty(z.shape, real)
    launch(
        "cross_entropy", "of_logits", z.dtype, losses.size,
        z, targets, losses, gradient, losses.size, z.shape[-1],
    )  # fmt: skip
    return losses, (gradient, None)


def of_logits_gradient(gradient: Any, targets: None, scale: Any) -> Any:
    """As the generic one, from what `of_logits` kept."""
    return gradient * scale
