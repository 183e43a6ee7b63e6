"""EarlyStopping and ReduceLROnPlateau act in the same epochs as Keras's own."""

import os
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

os.environ.setdefault("KERAS_BACKEND", "torch")
pytest.importorskip("torch")
keras = pytest.importorskip("keras")

from minicnn import callbacks  # noqa: E402

pytestmark = pytest.mark.parity

VALUES = st.lists(st.sampled_from([0.5, 0.6, 0.7, 0.8, 0.9, 1.0]), min_size=1, max_size=15)


def run(callback, values):
    """Epochs trained, final weight, and the learning rate after each epoch."""
    model = SimpleNamespace(
        stop_training=False, weight=None, metrics=[], optimizer=SimpleNamespace(learning_rate=1.0)
    )
    model.get_weights = lambda: [model.weight]
    model.set_weights = lambda weights: setattr(model, "weight", weights[0])
    callback.set_model(model)
    callback.on_train_begin()
    rates = []
    for epoch, value in enumerate(values):
        model.weight = epoch
        callback.on_epoch_end(epoch, {"val_loss": value})
        rates.append(float(model.optimizer.learning_rate))
        if model.stop_training:
            break
    callback.on_train_end()
    return len(rates), model.weight, rates


@given(
    VALUES,
    st.fixed_dictionaries(
        {
            "patience": st.integers(0, 3),
            "min_delta": st.sampled_from([0, 0.15, -0.15]),
            "mode": st.sampled_from(["min", "max", "auto"]),
            "baseline": st.sampled_from([None, 0.65, 0.85]),
            "restore_best_weights": st.booleans(),
            "start_from_epoch": st.integers(0, 3),
        }
    ),
)
@settings(deadline=None, max_examples=60)
def test_early_stopping(values, arguments):
    ours, theirs = (module.EarlyStopping(**arguments) for module in (callbacks, keras.callbacks))
    assert run(ours, values) == run(theirs, values)
    assert (ours.best_epoch, ours.stopped_epoch) == (theirs.best_epoch, theirs.stopped_epoch)


@given(
    VALUES,
    st.fixed_dictionaries(
        {
            "patience": st.integers(0, 3),
            "factor": st.sampled_from([0.5, 0.1]),
            "mode": st.sampled_from(["min", "max", "auto"]),
            "min_delta": st.sampled_from([1e-4, 0.15]),
            "cooldown": st.integers(0, 3),
            "min_lr": st.sampled_from([0.0, 0.2]),
        }
    ),
)
@settings(deadline=None, max_examples=60)
def test_reduce_on_plateau(values, arguments):
    ours, theirs = (
        module.ReduceLROnPlateau(**arguments) for module in (callbacks, keras.callbacks)
    )
    assert run(ours, values) == run(theirs, values)
