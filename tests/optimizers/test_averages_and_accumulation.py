"""Averages of weights, and gradients added up over several batches."""

import numpy as np
import pytest
from optimizer_cases import FakeWeight
from small_problem import X, Y, network

from minicnn import backend
from minicnn.optimizers import SGD, Adagrad, Adam, LossScaleOptimizer
from minicnn.optimizers.schedules import PiecewiseConstantDecay


def trained(optimizer, gradients, weight=None):
    weight = weight or FakeWeight(np.zeros(2))
    seen = []
    for g in gradients:
        optimizer.apply({weight: np.asarray(g, weight.value.dtype)})
        seen.append(weight.value.copy())
    return weight, np.array(seen)


def test_the_first_average_is_the_weight_itself():
    optimizer = SGD(1.0, use_ema=True, ema_momentum=0.5)
    weight, seen = trained(optimizer, [[-1, -2], [-1, -2], [-4, 0]])
    np.testing.assert_array_equal(seen, [[1, 2], [2, 4], [6, 4]])  # as without averages
    expected = (seen[0] + seen[1]) / 2 / 2 + seen[2] / 2
    np.testing.assert_array_equal(optimizer.average_of(weight), expected)
    optimizer.finalize_variable_values([weight])
    np.testing.assert_array_equal(weight.value, expected)


def test_averages_take_the_place_of_weights_now_and_then():
    optimizer = SGD(1.0, use_ema=True, ema_momentum=0.5, ema_overwrite_frequency=2)
    _, seen = trained(optimizer, [[-1, -2]] * 4)
    np.testing.assert_array_equal(seen[:, 0], [1, 1.5, 2.5, 2.75])


def test_a_weight_that_begins_to_learn_late_has_an_average_of_its_own():
    """Not one that begins at 0."""
    optimizer = SGD(1.0, use_ema=True, ema_momentum=0.75)
    trained(optimizer, [[0, 0]] * 3)
    late, _ = trained(optimizer, [[-4, 0]], FakeWeight(np.full(2, 8.0)))
    np.testing.assert_array_equal(optimizer.average_of(late), [9, 8])
    never = FakeWeight(np.ones(2))
    optimizer.finalize_variable_values([never])
    np.testing.assert_array_equal(never.value, 1)
    assert optimizer.average_of(never) is None is SGD(1.0).average_of(never)


def test_weights_move_once_for_several_batches():
    """Along the mean of the gradients; schedules follow the batches, as in Keras."""
    rates = PiecewiseConstantDecay([1, 3], [1.0, 2.0, 3.0])  # of batches 0 and 1, 2 and 3, the rest
    optimizer = SGD(rates, gradient_accumulation_steps=2)
    weight, seen = trained(optimizer, [[1, 0], [3, 8], [2, 2], [4, 4]])
    np.testing.assert_array_equal(seen, [[0, 0], [-2, -4], [-2, -4], [-8, -10]])
    assert (optimizer.batches, optimizer.iterations) == (4, 2)
    assert float(optimizer.learning_rate) == 3.0
    np.testing.assert_array_equal(optimizer._slots[weight]["gradient_accumulator"], 0)


def test_the_bias_of_averages_follows_the_steps():
    rng = np.random.default_rng(0)
    gradients = rng.normal(size=(6, 2))
    _, whole = trained(Adam(0.1), gradients[::2])
    _, parts = trained(Adam(0.1, gradient_accumulation_steps=2), gradients[::2].repeat(2, 0))
    np.testing.assert_allclose(parts[1::2], whole, rtol=1e-12)
    np.testing.assert_array_equal(parts[2::2], parts[1:-1:2])


def test_clipping_and_decay_come_after_the_mean():
    optimizer = SGD(1.0, gradient_accumulation_steps=2, clipvalue=1.0, weight_decay=0.5)
    weight, _ = trained(optimizer, [[8, 0], [-8, 4]], FakeWeight(np.full(2, 4.0)))
    np.testing.assert_array_equal(weight.value, [2, 1])


@pytest.mark.parametrize("library", ["numpy", "strict"])
def test_a_batch_whose_gradient_is_not_finite_is_left_out_of_the_sum(library):
    backend.set_backend(library)
    optimizer = LossScaleOptimizer(SGD(1.0, gradient_accumulation_steps=2), 4.0)
    weight = FakeWeight(backend.asarray(np.zeros(2, "float32")))
    for g in ([8, 16], [np.inf, 0]):
        optimizer.apply({weight: backend.asarray(np.array(g, "float32"))})
    np.testing.assert_array_equal(backend.to_numpy(weight.value), [-1, -2])
    assert float(optimizer.loss_scale) == 2.0


def test_a_fixed_loss_scale_is_divided_out():
    optimizer = SGD(1.0, loss_scale_factor=4.0)
    assert optimizer.loss_scale == 4.0 and optimizer.scale_loss(2.0) == 8.0
    weight, _ = trained(optimizer, [[8, 4]])
    np.testing.assert_array_equal(weight.value, [-2, -1])
    assert LossScaleOptimizer(optimizer).inner_optimizer.loss_scale_factor is None


@pytest.mark.parametrize("library", ["numpy", "strict"])
def test_fit_ends_with_the_averages(library):
    backend.set_backend(library)
    model = network(optimizer=Adam(0.01, use_ema=True, ema_momentum=0.8))
    model.fit(X, Y, epochs=2, verbose=0)
    for weight in model.trainable_weights:
        average = model.optimizer.average_of(weight)
        np.testing.assert_array_equal(weight.numpy(), backend.to_numpy(average))


@pytest.mark.parametrize("library", ["numpy", "strict"])
def test_a_scaled_loss_and_accumulated_gradients_train_alike(library):
    backend.set_backend(library)
    weights = []
    for arguments in ({}, {"loss_scale_factor": 256.0}):
        model = network(optimizer=SGD(0.1, gradient_accumulation_steps=3, **arguments))
        model.fit(X, Y, epochs=2, shuffle=False, verbose=0)
        weights.append(model.get_weights())
    for one, other in zip(*weights, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_an_interrupted_run_goes_on_in_the_middle_of_an_accumulation():
    rng = np.random.default_rng(0)
    gradients = rng.normal(size=(7, 2))
    make = lambda: Adagrad(  # noqa: E731
        0.1, use_ema=True, gradient_accumulation_steps=3, ema_overwrite_frequency=2
    )
    whole, _ = trained(make(), gradients)
    first, second = make(), make()
    weight, _ = trained(first, gradients[:4])
    state = first.state_arrays({weight: "w"})
    assert {*state} == {"iterations", "average/w", "gradient_accumulator/w", "accumulator/w"}
    resumed = FakeWeight(weight.value.copy())
    second.load_state_arrays(state, {resumed: "w"})
    trained(second, gradients[4:], resumed)
    np.testing.assert_array_equal(resumed.value, whole.value)


def test_steps_that_differ_are_not_captured():
    assert SGD(0.1, use_ema=True).is_settled()
    assert not SGD(0.1, gradient_accumulation_steps=2).is_settled()
    assert not SGD(0.1, use_ema=True, ema_overwrite_frequency=2).is_settled()


def test_errors():
    for wrong in (1, -2, 2.5, True, "2"):
        with pytest.raises(ValueError, match="gradient_accumulation_steps must be an integer of 2"):
            SGD(0.1, gradient_accumulation_steps=wrong)
    for wrong in (-0.1, 1.5, None):
        with pytest.raises(ValueError, match="use_ema needs a ema_momentum from 0 to 1"):
            SGD(0.1, use_ema=True, ema_momentum=wrong)
    for wrong in (0, -1, 1.5):
        with pytest.raises(ValueError, match="ema_overwrite_frequency must be an integer of 1"):
            SGD(0.1, use_ema=True, ema_overwrite_frequency=wrong)
    for wrong in (0, -1, np.inf):
        with pytest.raises(ValueError, match="loss_scale_factor must be a finite number above 0"):
            SGD(0.1, loss_scale_factor=wrong)
    with pytest.raises(ValueError, match="initial_accumulator_value of 0 or above; got -1"):
        Adagrad(initial_accumulator_value=-1)
