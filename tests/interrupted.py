"""Runs of training that are made to be interrupted, and what they end with."""

import hashlib
import json
import time
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file
from small_problem import CLASSES, problem

from minicnn import Input, Sequential, callbacks, layers, optimizers
from minicnn.data import Dataset
from minicnn.optimizers import schedules
from minicnn.preprocessing.image import ImageDataGenerator, save_img
from minicnn.random import host_generator
from minicnn.utils import PyDataset, image_dataset_from_directory, set_random_seed

EPOCHS = 4
X, Y = problem(80)
VALIDATION = problem(32, seed=1)


class Slow(callbacks.Callback):
    """Makes a run take time between its steps.

    Args:
        seconds: after each step.
    """

    def __init__(self, seconds):
        super().__init__()
        self.seconds = seconds

    def on_train_batch_end(self, batch, logs=None):
        time.sleep(self.seconds)


class Shuffled(PyDataset):
    """Batches in an order of its own, which it can go back to."""

    def __init__(self):
        super().__init__()
        self.order = np.arange(len(X))
        self.random = np.random.default_rng(5)
        self.on_epoch_end()

    def __len__(self):
        return 5

    def __getitem__(self, index):
        chosen = self.order[index * 16 : (index + 1) * 16]
        return X[chosen], Y[chosen]

    def on_epoch_end(self):
        self.random.shuffle(self.order)

    def state(self):
        return {"order": self.order, "random": self.random.bit_generator.state}

    def restore(self, state):
        self.order = state["order"].copy()
        self.random.bit_generator.state = state["random"]


def _endless():
    random = np.random.default_rng(6)
    while True:
        chosen = random.integers(0, len(X), 16)
        yield X[chosen], Y[chosen]


def _folder(folder):
    """Images in files, in an order that the library's generator gives."""
    for name in range(CLASSES):
        (folder / "images" / str(name)).mkdir(parents=True, exist_ok=True)
    for number, (image, label) in enumerate(zip(X, Y, strict=True)):
        path = folder / "images" / str(label) / f"{number}.png"
        if not path.exists():
            save_img(path, image * 255, scale=False)
    return image_dataset_from_directory(folder / "images", batch_size=16, image_size=(8, 8))


def _noisy(image, label):
    noise = host_generator().normal(0, 0.1, image.shape)
    return image + noise.astype("float32"), label


def _arrays():
    return {"x": X, "y": Y, "batch_size": 16}


# name: what `fit` is given, the optimizer, the layers between
_DATA = {
    "arrays": lambda folder: _arrays(),
    "weights": lambda folder: {**_arrays(), "class_weight": {0: 1.0, 1: 2.0, 2: 0.5}},
    "some steps": lambda folder: {**_arrays(), "steps_per_epoch": 3},
    "in order": lambda folder: {**_arrays(), "shuffle": False},
    "flow": lambda folder: {
        "x": ImageDataGenerator(horizontal_flip=True, width_shift_range=0.2).flow(X, Y, 16)
    },
    "by number": lambda folder: {"x": Shuffled()},
    "some by number": lambda folder: {"x": Shuffled(), "steps_per_epoch": 3},
    "generator": lambda folder: {"x": _endless(), "steps_per_epoch": 5},
    "files": lambda folder: {"x": _folder(folder)},
    "chained": lambda folder: {
        "x": Dataset.from_tensor_slices((X, Y)).shuffle(20).map(_noisy, 2).batch(16).prefetch(2)
    },
    "some files": lambda folder: {"x": _folder(folder), "steps_per_epoch": 3},
}
_OPTIMIZERS = {
    "adam": lambda: optimizers.Adam(0.01),
    "amsgrad": lambda: optimizers.Adam(0.01, amsgrad=True, weight_decay=0.01),
    "sgd": lambda: optimizers.SGD(schedules.CosineDecay(0.1, 20), momentum=0.9, nesterov=True),
    "rmsprop": lambda: optimizers.RMSprop(0.01, centered=True, momentum=0.5),
    "scaled": lambda: optimizers.LossScaleOptimizer(optimizers.Adam(0.01), 2.0**10, 3),
    "lion": lambda: optimizers.Lion(0.001, gradient_accumulation_steps=2),
    "nadam": lambda: optimizers.Nadam(0.01, use_ema=True, ema_momentum=0.9),
}
SCENARIOS = [
    (data, list(_OPTIMIZERS)[number % len(_OPTIMIZERS)]) for number, data in enumerate(_DATA)
]


def _model(optimizer):
    model = Sequential(
        [
            Input((8, 8, CLASSES)),
            layers.RandomFlip(seed=4, name="flip"),
            layers.RandomTranslation(0.1, 0.1),
            layers.Conv2D(6, 3, activation="relu", name="convolution"),
            layers.BatchNormalization(name="normalization"),
            layers.GlobalAveragePooling2D(),
            layers.Dropout(0.2),
            layers.Dense(CLASSES, activation="softmax", name="head"),
        ]
    )
    loss = "sparse_categorical_crossentropy"
    model.compile(_OPTIMIZERS[optimizer](), loss, metrics=["accuracy"])
    return model


def train(scenario, folder, save_freq="epoch", extra=(), backup=True, seed=3):
    """The model, trained, and the history.

    Args:
        scenario: one of SCENARIOS.
        folder: for the backups and what callbacks write.
        save_freq: of the backups.
        extra: further callbacks.
        backup: whether there are any backups.
        seed: of all that is random.
    """
    set_random_seed(seed)
    data, optimizer = scenario
    given = _DATA[data](folder)
    model = _model(optimizer)
    watchers = [
        callbacks.EarlyStopping("loss", patience=3, restore_best_weights=True),
        callbacks.CSVLogger(folder / "log.csv"),
        callbacks.ModelCheckpoint(folder / "best.weights.safetensors", "val_loss", 0, True, True),
        *extra,
    ]
    if optimizer != "sgd":  # whose rate follows a schedule
        watchers.append(callbacks.ReduceLROnPlateau("loss", 0.5, patience=1))
    if backup:
        watchers.append(
            callbacks.BackupAndRestore(folder / "backup", save_freq, delete_checkpoint=False)
        )
    history = model.fit(
        **given, epochs=EPOCHS, verbose=0, callbacks=watchers, validation_data=VALIDATION
    )
    return model, history


def digest(model, history, folder):
    """What a run ends with, to the bit: {name: text}."""
    keys = {weight: str(number) for number, weight in enumerate(model.weights)}
    state = model.optimizer.state_arrays(keys)
    best = load_file(Path(folder, "best.weights.safetensors"))
    return {
        "weights": _bits(enumerate(model.get_weights())),
        "optimizer": _bits(state.items()),
        "history": json.dumps([history.history, history.epoch]),
        "table": Path(folder, "log.csv").read_text(),
        "best": _bits(best.items()),
    }


def _bits(named_arrays):
    arrays = [np.ascontiguousarray(array) for _, array in sorted(named_arrays)]
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()
