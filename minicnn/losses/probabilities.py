"""What the cross-entropies share."""

import copy
from typing import Any

from minicnn.losses.formula import RowLoss


class OfProbabilities(RowLoss):
    """What cross-entropies share: they take probabilities, or the logits that these are made of.

    Args:
        from_logits: predictions are logits; else probabilities.
        label_smoothing: how much of a target is spread over all classes.
        axis: along which the loss goes; not that of the batch.
        reduction, name, dtype: see `Loss`.

    Attributes:
        closing: the activation that makes probabilities of logits, as Keras calls it; None if
            nothing is gained by starting from logits.

    Raises:
        ValueError: label_smoothing outside 0 to 1, an axis of 0, or another reduction or dtype.
    """

    closing: str | None = None

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
    ):
        super().__init__(reduction, name, dtype)
        if not 0 <= label_smoothing <= 1:
            raise ValueError(f"label_smoothing is a number from 0 to 1; got {label_smoothing!r}")
        self.from_logits = from_logits
        self.label_smoothing = label_smoothing
        self.axis = self.checked_axis(axis)

    @property
    def takes_over(self) -> str | None:
        along_last = self.axis == -1 or self.closing == "sigmoid"
        return self.closing if along_last and not self.from_logits else None

    def with_logits(self) -> Any:
        """This loss for a model whose closing activation was left out."""
        loss = copy.copy(self)
        loss.from_logits = True
        return loss
