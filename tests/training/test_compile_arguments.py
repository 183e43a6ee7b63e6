"""Arguments of `compile`: each works, or says what does not hold here."""

import numpy as np
import pytest

from minicnn.layers import Dense, Input
from minicnn.models import Model, Sequential, load_model
from minicnn.training import trainer

X, Y = np.ones((4, 3), "float32"), np.ones((4, 2), "float32")


def model():
    return Sequential([Input((3,)), Dense(2)])


def test_without_a_loss_a_model_predicts():
    made = model()
    made.compile("adam", metrics=["mae"])
    assert made.predict(X, verbose=0).shape == (4, 2)
    for what in ("fit", "evaluate", "train_on_batch", "test_on_batch"):
        with pytest.raises(RuntimeError, match=f"compiled with a loss before {what}: model.comp"):
            getattr(made, what)(X, Y)
    assert made.metrics == []
    made.compile("adam", "mse")
    made.fit(X, Y, verbose=0)


def test_models_of_several_outputs_can_be_compiled_without_a_loss():
    inputs = Input((3,))
    two = Model(inputs, [Dense(2)(inputs), Dense(1)(inputs)])
    two.compile()
    assert [y.shape for y in two.predict(X, verbose=0)] == [(4, 2), (4, 1)]
    with pytest.raises(ValueError, match="has 2 outputs; a loss takes one"):
        two.compile(loss="mse")


@pytest.mark.parametrize("suffix", [".safetensors", ".keras", ".h5"])
def test_files_of_models_without_a_loss(suffix, tmp_path):
    pytest.importorskip("h5py")
    made = model()
    made.compile("adam")
    made.save(tmp_path / f"m{suffix}")
    again = load_model(tmp_path / f"m{suffix}")
    np.testing.assert_array_equal(again.predict(X, verbose=0), made.predict(X, verbose=0))


@pytest.mark.parametrize("weights", [None, 1, 1.0, [1.0], {"dense": 1}])
def test_one_loss_has_the_weight_1(weights):
    model().compile("sgd", "mse", loss_weights=weights, steps_per_execution=1, jit_compile=False)


@pytest.mark.parametrize("weights", [0.5, [0.5], [1, 1], ["accuracy"], {"a": 1, "b": 2}])
def test_other_weights_of_losses(weights):
    with pytest.raises(ValueError, match="a model here has one loss, of weight 1; weigh classes"):
        model().compile("sgd", "mse", loss_weights=weights)


def test_what_is_asked_for_in_vain():
    with pytest.warns(UserWarning, match="steps_per_execution=8: steps are made one by one"):
        model().compile("sgd", "mse", steps_per_execution=8)
    with pytest.warns(UserWarning, match="jit_compile=True: there is no compiler in minicnn"):
        model().compile("sgd", "mse", jit_compile=True)


@pytest.mark.parametrize("run_eagerly", [True, False])
def test_run_eagerly_captures_nothing(run_eagerly, monkeypatch):
    captured = []

    class Capture:
        def __init__(self, model, step):
            captured.append(model)
            self.step = step

        def __enter__(self):
            return self.step

        def __exit__(self, *error):
            pass

    monkeypatch.setattr(trainer, "CapturedStep", Capture)
    monkeypatch.setattr(trainer, "graphs_are_possible", lambda: True)
    made = model()
    made.compile("sgd", "mse", run_eagerly=run_eagerly)
    made.fit(X, Y, verbose=0)
    assert bool(captured) is not run_eagerly
