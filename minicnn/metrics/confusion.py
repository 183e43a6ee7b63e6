"""Which class is taken for which."""

from typing import Any

import numpy as np

from minicnn.backend import array_module
from minicnn.metrics.base import METRICS, Metric, class_numbers, expand_weight


@METRICS.register()
class ConfusionMatrix(Metric):
    """Counts [true class, predicted class] of the likeliest classes.

    Targets are class numbers (N,) or (N, 1), or one-hot (N, C); predictions are scores (N, C).

    Args:
        num_classes: number of classes C, at least 2.
        name: key in the logs, where the result stands as an array.
        dtype: see `Metric`.

    Raises:
        ValueError: another num_classes.
    """

    order_only = True
    in_keras = False

    def __init__(self, num_classes: int, name: str = "confusion_matrix", dtype: Any = None):
        super().__init__(name, dtype)
        if num_classes < 2:
            raise ValueError(f"num_classes must be at least 2, got {num_classes!r}")
        self.num_classes = int(num_classes)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        y_true, y_pred = self.arrays(y_true, y_pred)
        if y_pred.ndim != 2 or y_pred.shape[1] != self.num_classes:
            raise ValueError(
                f"{self.name} counts {self.num_classes} classes, so predictions have shape "
                f"(samples, {self.num_classes}); got {tuple(y_pred.shape)}"
            )
        if y_true.shape == y_pred.shape:
            y_true = y_true.argmax(axis=-1)
        labels = class_numbers(y_true, y_pred)
        in_range = (labels >= 0) & (labels < self.num_classes)
        counts = in_range.astype("float64")
        if sample_weight is not None:
            counts *= expand_weight(sample_weight, counts)
            self.add("weighted", 1)
        # neither bincount, for which a GPU has to stop and look at the values, nor a product of
        # one-hot rows, which cuBLAS refuses to make while a CUDA graph is captured
        xp = array_module(y_pred)
        matrix = xp.zeros(self.num_classes**2, "float64")
        places = (labels * self.num_classes + y_pred.argmax(axis=-1)) * in_range
        xp.add.at(matrix, places, counts)
        self.add("matrix", matrix.reshape(self.num_classes, self.num_classes))
        self.add("in_range", in_range.sum())
        self.add("seen", labels.size)

    def result(self) -> np.ndarray:
        """The matrix (C, C): int64, or float64 where samples were weighted.

        Raises:
            ValueError: targets outside 0 ... C - 1 were among those seen.
        """
        lost = int(self.total("seen") - self.total("in_range"))
        if lost:
            raise ValueError(
                f"{lost} of {int(self.total('seen'))} targets given to {self.name} are not classes "
                f"from 0 to {self.num_classes - 1}"
            )
        shape = (self.num_classes, self.num_classes)
        matrix = np.broadcast_to(self.total("matrix"), shape).copy()
        return matrix if self.total("weighted") else np.rint(matrix).astype(np.int64)
