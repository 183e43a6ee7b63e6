"""BatchNormalization and LayerNormalization."""

import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from layer_calls import run, set_weights
from strategies import array_shapes, numbers

from minicnn.gradcheck import gradcheck
from minicnn.layers import BatchNormalization, GroupNormalization, LayerNormalization
from minicnn.parallel.slices import even_slices
from minicnn.parallel.threads import run_shards


@given(array_shapes(), st.booleans(), st.booleans(), st.booleans())
def test_gradients_batch(shape, center, scale, training):
    layer = BatchNormalization(center=center, scale=scale)
    assert gradcheck(layer, numbers((shape[0] + 1, *shape[1:])), training=training).max_error < 1e-6


@given(array_shapes())
def test_gradients_batch_frozen(shape):
    """Nothing learns, and the statistics do not depend on x."""
    layer = BatchNormalization(trainable=False)
    result = gradcheck(layer, numbers(shape))
    assert [a.name for a in result.arrays] == ["x"]


@given(array_shapes(min_rank=3), st.booleans(), st.booleans(), st.integers(1, 2))
def test_gradients_layer(shape, center, scale, axes):
    layer = LayerNormalization(list(range(-axes, 0)), center=center, scale=scale)
    # over a single element the output is beta whatever x is, and has no derivative to speak of
    shape = (*shape[:-1], shape[-1] + 1)
    assert gradcheck(layer, numbers(shape)).max_error < 1e-6


@given(array_shapes(), st.sampled_from([1e-3, 0.5]))
def test_values_batch(shape, epsilon):
    x = 3 + 2 * numbers(shape)
    layer = set_weights(BatchNormalization(epsilon=epsilon, momentum=0.9, dtype="float64"), shape)
    gamma, beta, moving_mean, moving_variance = layer.get_weights()
    mean, variance = reference.batch_statistics(x)
    out = run(layer, x, training=True)
    expected = reference.batch_norm(x, gamma, beta, mean, variance, epsilon)
    np.testing.assert_allclose(out.y, expected, atol=1e-11)
    np.testing.assert_allclose(out.updates["moving_mean"], 0.9 * moving_mean + 0.1 * mean)
    np.testing.assert_allclose(
        out.updates["moving_variance"], 0.9 * moving_variance + 0.1 * variance
    )
    out = run(layer, x, training=False)
    expected = reference.batch_norm(x, gamma, beta, moving_mean, moving_variance, epsilon)
    np.testing.assert_allclose(out.y, expected, atol=1e-11)
    assert not out.updates


@given(array_shapes(min_rank=3), st.integers(1, 2))
def test_values_layer(shape, axes):
    x = 3 + 2 * numbers(shape)
    layer = set_weights(LayerNormalization(list(range(-axes, 0)), dtype="float64"), shape)
    gamma, beta = layer.get_weights()
    assert gamma.shape == beta.shape == shape[-axes:]
    np.testing.assert_allclose(layer(x), reference.layer_norm(x, gamma, beta, 1e-3), atol=1e-12)


def test_a_call_in_training_moves_the_averages():
    layer = BatchNormalization(momentum=0.5)
    x = 4 + numbers((100, 3), dtype="float32")
    layer(x, training=True)
    np.testing.assert_allclose(layer.moving_mean.numpy(), x.mean(0) / 2, rtol=1e-5)
    before = layer.get_weights()
    layer(x)
    for now, then in zip(layer.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_frozen_it_uses_and_keeps_its_moving_statistics():
    x = 5 + numbers((8, 2, 2, 3), dtype="float32")
    layer = set_weights(BatchNormalization(), x.shape)
    calm = run(layer, x, training=False)
    layer.trainable = False
    out = run(layer, x, training=True)
    np.testing.assert_array_equal(out.y, calm.y)
    np.testing.assert_array_equal(out.dx, calm.dx)
    assert not out.updates and not out.gradients
    layer.trainable = True  # read at every training step
    out = run(layer, x, training=True)
    assert set(out.updates) == {"moving_mean", "moving_variance"}
    assert set(out.gradients) == {"gamma", "beta"}


@given(array_shapes(), st.integers(2, 3))
def test_shards_of_a_batch_share_their_statistics(shape, shards):
    """Cut into uneven shards, one per thread, a batch gives what it gives in one piece."""
    x = numbers((shape[0] + shards, *shape[1:]))
    dy = numbers(x.shape, 1)
    layer = set_weights(BatchNormalization(dtype="float64"), x.shape)
    whole = run(layer, x, dy)
    cuts = even_slices(len(x), shards)
    parts = run_shards(
        shards, lambda comm: run(layer, x[cuts[comm.rank]], dy[cuts[comm.rank]], comm=comm)
    )
    np.testing.assert_allclose(whole.y, np.concatenate([p.y for p in parts]), atol=1e-12)
    np.testing.assert_allclose(whole.dx, np.concatenate([p.dx for p in parts]), atol=1e-12)
    for name, gradient in whole.gradients.items():
        np.testing.assert_allclose(gradient, sum(p.gradients[name] for p in parts), atol=1e-12)
    for part in parts:
        for name, value in whole.updates.items():
            np.testing.assert_allclose(value, part.updates[name], atol=1e-12)


def test_float32_statistics_of_many_pixels_far_from_zero():
    """Mean 100, variance 1, over 262,144 pixels."""
    x = (100 + numbers((64, 64, 64, 2))).astype("float32")
    y = run(BatchNormalization(), x).y
    assert y.dtype == np.float32
    exact = x.astype("float64")
    exact = (exact - exact.mean((0, 1, 2))) / np.sqrt(exact.var((0, 1, 2)) + 1e-3)
    np.testing.assert_allclose(y, exact, atol=1e-4)


def test_order_of_the_weights_is_keras():
    layer = BatchNormalization()
    layer.build_for((None, 4, 4, 3))
    names = [w.name for w in layer.weights]
    assert names == ["gamma", "beta", "moving_mean", "moving_variance"]
    assert [w.name for w in layer.trainable_weights] == ["gamma", "beta"]
    assert BatchNormalization.whole_batch and not LayerNormalization.whole_batch


def test_errors_batch():
    assert BatchNormalization(axis=3)(np.zeros((1, 2, 2, 3))).shape == (1, 2, 2, 3)
    with pytest.raises(ValueError, match=r"axis must be -1, not 1, for inputs of shape"):
        BatchNormalization(axis=1)(np.zeros((1, 2, 2, 3)))
    layer = BatchNormalization()
    layer(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="was built for 3 channels; got inputs of 4"):
        layer(np.zeros((2, 4)))


@pytest.mark.parametrize("axis", [1, 0, 7, [-1, -3], -9, [0, 1, 2, 3], []])
def test_errors_layer(axis):
    with pytest.raises(ValueError, match="normalizes trailing axes"):
        LayerNormalization(axis)(np.zeros((2, 4, 4, 3)))


def test_layer_normalization_of_another_size():
    layer = LayerNormalization()
    layer(np.zeros((2, 1)))
    with pytest.raises(ValueError, match=r"was built for inputs that end in \(1,\); got shape"):
        layer(np.zeros((2, 5)))


@pytest.mark.parametrize("layer", [BatchNormalization, LayerNormalization, GroupNormalization])
@pytest.mark.parametrize("epsilon", [-1, -1e-9, np.nan, np.inf, None, "small"])
def test_an_epsilon_that_is_refused(layer, epsilon):
    message = "'n': epsilon must be a finite number of at least 0, not "
    with pytest.raises(ValueError, match=message):
        layer(epsilon=epsilon, name="n")


@pytest.mark.parametrize("momentum", [-0.1, 5, np.nan, np.inf, None, "0.9", True])
def test_a_momentum_that_is_refused(momentum):
    message = "BatchNormalization 'n': momentum must be at least 0 and at most 1, not "
    with pytest.raises(ValueError, match=message):
        BatchNormalization(momentum=momentum, name="n")
    for fine in (0, 1, np.float32(0.5)):
        assert BatchNormalization(momentum=fine).momentum == fine
