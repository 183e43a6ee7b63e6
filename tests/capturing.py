"""A network whose training steps are captured as CUDA graphs, compared with those that are not."""

from functools import partial

import numpy as np
from small_problem import CLASSES, X, Y

from minicnn import Input, Model, Sequential
from minicnn.layers import BatchNormalization, Conv2D, Dense, GlobalAveragePooling2D
from minicnn.optimizers import (
    SGD,
    Adadelta,
    Adagrad,
    Adam,
    Adamax,
    AdamW,
    Lion,
    LossScaleOptimizer,
    Nadam,
    RMSprop,
    schedules,
)
from minicnn.training.capture import CapturedStep
from minicnn.training.step import train_step
from minicnn.utils import set_random_seed

OPTIMIZERS = {
    "sgd": lambda: SGD(schedules.ExponentialDecay(0.1, 3, 0.5), momentum=0.9, nesterov=True),
    "rmsprop": lambda: RMSprop(0.01, centered=True, clipnorm=0.5),
    "adam": lambda: Adam(schedules.CosineDecay(0.01, 12), amsgrad=True, global_clipnorm=1.0),
    "scaled": lambda: LossScaleOptimizer(Adam(0.01), 1024, 3),
    "adamw": lambda: AdamW(schedules.PolynomialDecay(0.01, 10), weight_decay=0.1, clipvalue=0.1),
    "nadam": lambda: Nadam(schedules.CosineDecayRestarts(0.01, 5), use_ema=True),
    "adamax": lambda: Adamax(0.01, use_ema=True, ema_momentum=0.5, loss_scale_factor=16.0),
    "adagrad": lambda: Adagrad(0.1, weight_decay=0.1),
    "adadelta": lambda: Adadelta(1.0, clipnorm=1.0),
    "lion": lambda: Lion(schedules.ExponentialDecay(0.01, 2, 0.5), weight_decay=0.1),
}


def network(optimizer="adam", extra=(), penalty=None, **compiled):
    set_random_seed(0)
    inputs = x = Input((8, 8, CLASSES))
    x = BatchNormalization()(Conv2D(4, 3, activation="relu", kernel_regularizer=penalty)(x))
    x = Sequential([Conv2D(5, 3), BatchNormalization(momentum=0.5)])(x)
    for layer in extra:
        x = layer(x)
    x = Dense(CLASSES, activation="softmax")(GlobalAveragePooling2D()(x))
    model = Model(inputs, x)
    compiled = {"loss": "sparse_categorical_crossentropy", "metrics": ["accuracy"], **compiled}
    model.compile(OPTIMIZERS.get(optimizer, lambda: optimizer)(), **compiled)
    return model


BATCHES = [([X[i : i + 16]], Y[i : i + 16], None) for i in (0, 16, 32, 48, 64, 80, 8, 24)]


def captured(model):
    """The training step of the model, captured as soon as it can be."""
    return CapturedStep(model, partial(train_step, model))


def run(model, batches, step, between=None):
    """Training steps on batches, from the host; what the model is like after each."""
    model._generators = []
    seen = []
    for number, batch in enumerate(batches):
        if between is not None:
            between(number, model)
        step(*model._prepare(batch))
        logs = {name: np.array(value) for name, value in model._logs().items()}
        state = model.optimizer.state_arrays({w: str(i) for i, w in enumerate(model.weights)})
        seen.append({**logs, **state, **dict(enumerate(model.get_weights()))})
    return seen


def check(make, batches=BATCHES, between=None):
    """Captured steps leave the same behind as steps one kernel at a time, bit for bit; returns the
    model that made them."""
    expected = make()
    expected = run(expected, batches, partial(train_step, expected), between)
    model = make()
    found = run(model, batches, captured(model), between)
    for number, (ours, theirs) in enumerate(zip(found, expected, strict=True)):
        assert ours.keys() == theirs.keys()
        for key, value in theirs.items():
            np.testing.assert_array_equal(ours[key], value, err_msg=f"{key} after {number}")
    return model
