"""Evaluating with averages of the weights."""

from typing import Any

from minicnn.callbacks.base import Callback, Logs


class SwapEMAWeights(Callback):
    """Put the averages that an optimizer with `use_ema=True` keeps in the place of the weights
    while the model is evaluated or predicts, and the weights back afterwards.

    Args:
        swap_on_epoch: also from the end of an epoch to the begin of the next, so that callbacks
            behind this one, such as `ModelCheckpoint`, find the averages. One that may end training
            stands before it.

    Raises:
        ValueError: in use, if the optimizer has no averages.
    """

    def __init__(self, swap_on_epoch: bool = False):
        super().__init__()
        self.swap_on_epoch = swap_on_epoch
        self._swapped = self._swapped_before = False

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        if self.swap_on_epoch and self._swapped:
            self._swap()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if not self.swap_on_epoch or self._swapped:
            return
        self._swap()
        if epoch == self.params["epochs"] - 1 or self.model.stop_training:
            for weight, average in self._pairs():  # the averages are the weights from now on
                average[...] = weight.value
            self._swapped = False

    def on_test_begin(self, logs: Logs | None = None) -> None:
        self._swapped_before = self._swapped
        if not self._swapped:
            self._swap()

    def on_test_end(self, logs: Logs | None = None) -> None:
        if not self._swapped_before:
            self._swap()

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        self.on_test_begin()

    def on_predict_end(self, logs: Logs | None = None) -> None:
        self.on_test_end()

    def _swap(self) -> None:
        for weight, average in self._pairs():
            kept = weight.value.copy()
            weight.value[...] = average
            average[...] = kept
        self._swapped = not self._swapped

    def _pairs(self) -> list[tuple[Any, Any]]:
        """The weights that learn, each with its average."""
        optimizer = self.model.optimizer
        optimizer = getattr(optimizer, "inner_optimizer", optimizer)
        if not getattr(optimizer, "use_ema", False):
            raise ValueError(
                f"SwapEMAWeights needs averages of the weights: compile with "
                f"{type(optimizer).__name__}(use_ema=True)"
            )
        pairs = [(weight, optimizer.average_of(weight)) for weight in self.model.trainable_weights]
        return [(weight, average) for weight, average in pairs if average is not None]
