"""Dropout."""

from contextlib import nullcontext

import cuda_on_cpu
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from layer_calls import run
from strategies import array_shapes, numbers

from minicnn import Input, Sequential, backend
from minicnn.gradcheck import gradcheck
from minicnn.layers import Dropout
from minicnn.layers.context import Context
from minicnn.training.numbers import TrainingNumbers

generic_and_in_cuda = pytest.mark.parametrize(
    "kernels",
    [
        nullcontext,
        pytest.param(
            cuda_on_cpu.installed,
            marks=[
                pytest.mark.cpu_only("runs kernels in CUDA C on the CPU"),
                pytest.mark.skipif(cuda_on_cpu.compiler() is None, reason="no C++ compiler"),
            ],
        ),
    ],
)


@given(array_shapes(), st.floats(0, 0.9))
def test_gradients(shape, rate):
    assert gradcheck(Dropout(rate), numbers(shape)).max_error < 1e-6


@generic_and_in_cuda
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_values(dtype, kernels):
    """Each element is gone or 1 / (1 - rate) as large; so is its gradient; the mean stays."""
    x, dy = np.ones((200, 300), dtype), np.ones((200, 300), dtype)
    with kernels():
        out = run(Dropout(0.25), x, dy)
    assert out.y.dtype == out.dx.dtype == dtype
    tolerance = 1e-3 if dtype == "float16" else 1e-6
    np.testing.assert_allclose(np.unique(out.y), [0, 4 / 3], rtol=tolerance)
    np.testing.assert_array_equal(out.y, out.dx)
    assert out.y.mean(dtype="float64") == pytest.approx(1, abs=0.01)


@generic_and_in_cuda
@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5, 0.9])
def test_rates(rate, kernels):
    x = np.ones((100, 1000), "float32")
    with kernels():
        dropped = run(Dropout(rate), x).y == 0
    deviation = np.sqrt(rate * (1 - rate) / x.size)
    assert abs(dropped.mean() - rate) < 5 * deviation
    for axis, count in enumerate(x.shape[::-1]):  # nor do rows or columns fall together
        deviations = (dropped.mean(axis) - rate) / np.sqrt(rate * (1 - rate) / x.shape[axis])
        assert 0.7 < deviations.std() < 1.3 and len(deviations) == count


@pytest.mark.cpu_only("compares with NumPy arrays")
def test_only_in_training():
    x = numbers((3, 4), dtype="float32")
    layer = Dropout(0.5)
    np.testing.assert_array_equal(layer(x), x)
    assert (layer(x, training=True) != x).any()
    out = run(layer, x, x, training=False)
    np.testing.assert_array_equal(out.dx, x)


def test_rate_zero_keeps_everything():
    x = numbers((3, 4), dtype="float32")
    np.testing.assert_array_equal(Dropout(0)(x, training=True), x)


def test_the_generator_of_the_pass_decides():
    x = np.ones((4, 50), "float32")
    layer = Dropout(0.5)
    np.testing.assert_array_equal(run(layer, x, seed=1).y, run(layer, x, seed=1).y)
    assert (run(layer, x, seed=1).y != run(layer, x, seed=2).y).any()


@pytest.mark.cpu_only("about the numbers of NumPy's generator")
def test_the_numbers_drawn():
    x = numbers((3, 4, 5), dtype="float32")
    for noise_shape, shape in ((None, x.shape), ((None, 1, None), (3, 1, 5))):
        kept = np.random.default_rng(4).random(shape, dtype="float32") >= 0.3
        mask = kept.astype("float32")
        mask *= 1 / 0.7
        np.testing.assert_array_equal(run(Dropout(0.3, noise_shape), x, seed=4).y, x * mask)


@generic_and_in_cuda
@pytest.mark.parametrize("noise_shape", [(None, 1, 1, None), [None, 1, 1, 20]])
def test_whole_channels_fall_together(noise_shape, kernels):
    x = np.ones((8, 4, 5, 20), "float32")
    with kernels():
        out = run(Dropout(0.5, noise_shape=noise_shape), x, x)
    y = out.y
    np.testing.assert_array_equal(y, out.dx)
    np.testing.assert_array_equal(y, np.broadcast_to(y[:, :1, :1], y.shape))
    assert abs((y == 0).mean() - 0.5) < 5 * 0.5 / np.sqrt(8 * 20)
    assert (y[:, 0, 0] != y[0, 0, 0]).any() and (y[:, 0, 0] != y[:, 0, 0, :1]).any()


@generic_and_in_cuda
def test_a_seed_of_its_own(kernels):
    """The same masks whatever the generator of the pass; others from call to call and from
    training step to training step."""
    x = np.ones((4, 50), "float32")
    model = Sequential([Input((50,))])

    def masks(layer, seed, places):
        drawn = []
        for _ in range(2):
            places.next_step(model, 1)
            layer.next_pass(places)
            drawn += [run(layer, x, seed=seed).y for _ in range(2)]
        return np.array(drawn)

    with kernels():
        layer, places = Dropout(0.5, seed=3), TrainingNumbers()
        first = masks(layer, 1, places)
        np.testing.assert_array_equal(masks(Dropout(0.5, seed=3), 2, TrainingNumbers()), first)
        with layer.on_the_side():
            np.testing.assert_array_equal(masks(layer, 1, TrainingNumbers()), first)
        following = masks(layer, 1, places)
        layer.reseed()
        np.testing.assert_array_equal(masks(layer, 1, TrainingNumbers()), first)
        other = masks(Dropout(0.5, seed=4), 1, TrainingNumbers())
    assert len(np.unique([*first, *following, *other], axis=0)) == 12


@generic_and_in_cuda
def test_a_forward_pass_without_a_backward_pass(kernels):
    x = np.ones((4, 50), "float32")
    with kernels():
        assert 0 < (Dropout(0.5)(x, training=True) == 0).mean() < 1


@pytest.mark.cpu_only("runs kernels in CUDA C on the CPU")
@pytest.mark.skipif(cuda_on_cpu.compiler() is None, reason="no C++ compiler")
@pytest.mark.parametrize("noise_shape", [None, (None, 1, None)])
def test_a_gpu_keeps_no_mask(noise_shape):
    x = numbers((30, 20, 10), dtype="float32")
    with cuda_on_cpu.installed():
        ctx = Context(True, rng=backend.random_generator(0))
        Dropout(0.5, noise_shape).forward(x, ctx)
    (mask,) = ctx.all_saved()
    assert sum(a.nbytes for a in mask.draw if backend.is_array(a)) == 8


@pytest.mark.parametrize("rate", [-0.1, 1, 1.5, "0.5", True])
def test_bad_rate(rate):
    with pytest.raises(ValueError, match="rate must be at least 0 and below 1, not "):
        Dropout(rate)


@pytest.mark.parametrize("noise_shape", [(None, 1), (None, 2, 1, None)])
def test_bad_noise_shape(noise_shape):
    with pytest.raises(ValueError, match="noise_shape .* does not fit inputs of shape"):
        Dropout(0.5, noise_shape)(np.ones((2, 4, 4, 3)), training=True)
