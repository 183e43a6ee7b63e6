"""Arguments and data for every registered loss: a new one takes a line here if it has arguments."""

import numpy as np

from minicnn.losses import LOSSES

PROBABILISTIC = [
    {},
    {"from_logits": True},
    {"label_smoothing": 0.1},
    {"from_logits": True, "label_smoothing": 0.2},
]
ARGUMENTS = {
    "BinaryCrossentropy": PROBABILISTIC,
    "BinaryFocalCrossentropy": [
        *PROBABILISTIC,
        {"apply_class_balancing": True},
        {"alpha": 0.7, "gamma": 1.5, "apply_class_balancing": True, "from_logits": True},
        {"gamma": 0.0},
    ],
    "CategoricalCrossentropy": PROBABILISTIC,
    "CategoricalFocalCrossentropy": [*PROBABILISTIC, {"alpha": 0.7, "gamma": 1.5}, {"gamma": 0.0}],
    "CategoricalGeneralizedCrossEntropy": [{}, {"q": 0.9}],
    "SparseCategoricalCrossentropy": [
        {},
        {"from_logits": True},
        {"ignore_class": 1},
        {"ignore_class": -1, "from_logits": True},
    ],
    "Huber": [{}, {"delta": 0.3}],
}
ALONG_AN_AXIS = {
    "BinaryCrossentropy", "BinaryFocalCrossentropy", "CategoricalCrossentropy",
    "CategoricalFocalCrossentropy", "CosineSimilarity", "SparseCategoricalCrossentropy",
}  # fmt: skip
OF_LABELS = {"SparseCategoricalCrossentropy", "CategoricalGeneralizedCrossEntropy"}
OF_CLASSES = {*OF_LABELS, "CategoricalCrossentropy", "CategoricalFocalCrossentropy"}
CLASSES = {LOSSES.find(name).__name__: LOSSES.find(name) for name in LOSSES.names()}
CASES = [(name, arguments) for name in CLASSES for arguments in ARGUMENTS.get(name, [{}])]


def data(name, arguments, rng, shape, dtype="float64"):
    """Targets and predictions (N, ..., C) that suit the loss called `name`."""
    p = rng.normal(size=shape) * 2
    if "Crossentropy" in name and not arguments.get("from_logits"):
        p = rng.uniform(0.05, 0.95, size=shape)
    elif name in ("CategoricalGeneralizedCrossEntropy", "KLDivergence", "Poisson"):
        p = rng.uniform(0.05, 0.95, size=shape)
    axis = arguments.get("axis", -1)
    if name in OF_LABELS:
        positions = list(shape)
        labels = rng.integers(0, positions.pop(axis), size=positions)
        ignored = arguments.get("ignore_class")
        if ignored is not None:
            labels[rng.random(positions) < 0.4] = ignored
        return labels, p.astype(dtype)
    if name in ("Hinge", "SquaredHinge"):
        return rng.choice([-1, 1], size=shape).astype(dtype), p.astype(dtype)
    if name == "CategoricalHinge":
        return np.eye(shape[-1])[rng.integers(0, shape[-1], shape[:-1])], p.astype(dtype)
    return rng.uniform(size=shape).astype(dtype), p.astype(dtype)
