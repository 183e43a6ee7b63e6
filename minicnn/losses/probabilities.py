"""What the cross-entropies share."""

import copy
from typing import Any

from minicnn.losses.base import Loss

EPSILON = 1e-7  # probabilities are kept between EPSILON and 1 - EPSILON, as in Keras


class OfProbabilities(Loss):
    """What cross-entropies share: they take probabilities, or the logits that these are made of.

    Attributes:
        closing: the activation that makes probabilities of logits, as Keras calls it.
    """

    closing: str
    from_logits: bool
    label_smoothing: float

    @property
    def takes_over(self) -> str | None:
        return None if self.from_logits else self.closing

    def with_logits(self) -> Any:
        """This loss for a model whose closing activation was left out."""
        loss = copy.copy(self)
        loss.from_logits = True
        return loss


def check_smoothing(label_smoothing: float) -> float:
    """`label_smoothing` if it is a number from 0 to 1; else a ValueError."""
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"label_smoothing is a number from 0 to 1; got {label_smoothing!r}")
    return label_smoothing
