import inspect

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from minicnn import Input, Model, activations, backend

CASES = {
    "linear": activations.Linear(),
    "relu": activations.ReLU(),
    "relu_general": activations.ReLU(negative_slope=0.3, max_value=1.5, threshold=0.25),
    "relu_slope": activations.ReLU(negative_slope=1.5),
    "relu_capped": activations.ReLU(max_value=1.0),
    "relu6": activations.ReLU6(),
    "leaky_relu": activations.LeakyReLU(),
    "elu": activations.ELU(),
    "elu_alpha": activations.ELU(alpha=0.5),
    "selu": activations.SELU(),
    "gelu": activations.GELU(),
    "gelu_approximate": activations.GELU(approximate=True),
    "sigmoid": activations.Sigmoid(),
    "tanh": activations.Tanh(),
    "softmax": activations.Softmax(),
    "softmax_axis": activations.Softmax(axis=1),
    "silu": activations.SiLU(),
    "softplus": activations.Softplus(),
    "softsign": activations.Softsign(),
    "mish": activations.Mish(),
    "celu": activations.CELU(),
    "celu_alpha": activations.CELU(alpha=0.5),
    "exponential": activations.Exponential(),
    "hard_shrink": activations.HardShrink(),
    "hard_shrink_more": activations.HardShrink(threshold=1.5),
    "hard_sigmoid": activations.HardSigmoid(),
    "hard_silu": activations.HardSiLU(),
    "hard_tanh": activations.HardTanh(),
    "log_sigmoid": activations.LogSigmoid(),
    "log_softmax": activations.LogSoftmax(),
    "log_softmax_axis": activations.LogSoftmax(axis=1),
    "soft_shrink": activations.SoftShrink(),
    "soft_shrink_more": activations.SoftShrink(threshold=1.0),
    "sparse_plus": activations.SparsePlus(),
    "sparse_sigmoid": activations.SparseSigmoid(),
    "sparsemax": activations.Sparsemax(),
    "sparsemax_axis": activations.Sparsemax(axis=1),
    "squareplus": activations.Squareplus(),
    "squareplus_b": activations.Squareplus(b=0.25),
    "tanh_shrink": activations.TanhShrink(),
    "threshold": activations.Threshold(0.25, -1.0),
    "threshold_falls": activations.Threshold(-1.5, 2.0),
}
KINKS = np.array([-3.0, -1.5, -1.0, -0.5, 0.0, 0.25, 0.5, 1.0, 1.5, 3.0, 6.0])
ALONG_AN_AXIS = ("softmax", "sparsemax")


def test_each_activation_is_tried():
    assert {type(case) for case in CASES.values()} == {
        activations.ACTIVATIONS.find(name) for name in activations.ACTIVATIONS.names()
    }


def away_from_kinks(z):
    """Moves elements near a kink, where differences say nothing about the derivative."""
    for kink in KINKS:
        z = np.where(np.abs(z - kink) < 1e-3, kink + 0.01, z)
    return z


def _above_tau(activation, z):
    y = activation.forward(z)
    chosen = y > 0
    count = chosen.sum(activation.axis, keepdims=True)
    return z - ((z * chosen).sum(activation.axis, keepdims=True) - 1) / count


@pytest.mark.parametrize("name", CASES)
@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(1, 6), st.floats(0.1, 6))
@settings(max_examples=20, deadline=None)
def test_gradient_by_differences(name, seed, n, c, size):
    activation = CASES[name]
    rng = np.random.default_rng(seed)
    z = away_from_kinks(rng.normal(size=(n, 2, c)) * size)
    if "sparsemax" in name:  # which elements are 0 changes where they are as large as tau
        y = activation.forward(z)
        assume(y[y > 0].min() > 1e-4 and np.abs(_above_tau(activation, z)).min() > 1e-4)
    dy, direction = rng.normal(size=(2, *z.shape))
    h = 1e-6
    y, kept = activation.record(z)
    np.testing.assert_allclose(y, activation.forward(z), rtol=1e-12, atol=1e-15)
    dz = activation.backward(dy, kept)
    difference = activation.forward(z + h * direction) - activation.forward(z - h * direction)
    slope = (dy * difference).sum() / (2 * h)
    rounding = np.finfo(float).eps * np.abs(dy * y).sum() / h  # of the difference
    assert slope == pytest.approx((dz * direction).sum(), rel=1e-6, abs=1e-7 + rounding)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dtype_kept_and_out_may_be_the_input(name, dtype):
    activation = CASES[name]
    rng = np.random.default_rng(0)
    z = rng.normal(size=(3, 4, 5)).astype(dtype) * 4
    before = z.copy()
    y = activation.forward(z)
    np.testing.assert_array_equal(z, before)
    assert y.dtype == dtype and y.shape == z.shape
    dy = rng.normal(size=z.shape).astype(dtype)
    dy_before = dy.copy()
    _, kept = activation.record(z)
    np.testing.assert_array_equal(z, before)
    kept_before = kept.copy()
    dz = activation.backward(dy, kept)
    assert dz.dtype == dtype and dz.shape == z.shape
    np.testing.assert_array_equal(dy, dy_before)
    np.testing.assert_array_equal(kept, kept_before)
    result = activation.forward(z, out=z)
    assert result is z
    np.testing.assert_array_equal(z, y)
    out = np.empty_like(before)
    assert activation.forward(before, out=out) is out
    np.testing.assert_array_equal(out, y)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_record_may_write_over_its_input(name, dtype):
    """A layer that has no more use for z allows it: the gradient is the same."""
    activation = CASES[name]
    z, dy = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(dtype) * 4
    y, kept = activation.record(z.copy())
    y_too, kept_too = activation.record(over := z.copy(), out=over)
    np.testing.assert_array_equal(y_too, y)
    np.testing.assert_array_equal(activation.backward(dy, kept_too), activation.backward(dy, kept))


@pytest.mark.parametrize("approximate", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 5e-6), ("float64", 1e-8)])
def test_gelu_keeps_its_slope(approximate, dtype, tolerance):
    gelu = activations.GELU(approximate)
    assert gelu.saves == "slope"
    z = np.linspace(-6, 6, 241)
    y, slope = gelu.record(z.astype(dtype))
    h = 1e-5
    difference = (gelu.forward(z + h) - gelu.forward(z - h)) / (2 * h)
    assert slope.dtype == dtype
    np.testing.assert_allclose(slope, difference, atol=tolerance)
    np.testing.assert_allclose(y, gelu.forward(z), atol=tolerance)
    dy = np.full_like(slope, 3)
    np.testing.assert_array_equal(gelu.backward(dy, slope), 3 * slope)


@pytest.mark.parametrize("name", CASES)
def test_what_rises_may_wait_for_a_maximum(name):
    """f(max) is the maximum of f, and not so for GELU and SiLU, which fall and rise again."""
    activation = CASES[name]
    z = np.linspace(-6, 6, 2401).reshape(1, -1, 1).repeat(2, 2)
    y = activation.forward(z)[0, :, 0]
    falls = np.diff(y).min() < -1e-12
    across = any(word in name for word in ALONG_AN_AXIS)
    assert activation.rises == (not falls) or across or name == "threshold"
    assert not (activation.rises and across)


@pytest.mark.parametrize("name", [name for name in CASES if name != "exponential"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_extreme_inputs_stay_finite(name, dtype):
    z = np.array([[-1e4, -200, -90, -20, 0, 20, 90, 200, 1e4]], dtype)[..., None].repeat(2, 2)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        y, kept = CASES[name].record(z)
        dz = CASES[name].backward(np.ones_like(z), kept)
    assert np.isfinite(y).all() and np.isfinite(dz).all()


def test_known_values():
    z = np.array([-2.0, -0.5, 0.0, 0.5, 2.0])
    np.testing.assert_array_equal(activations.relu(z), [0, 0, 0, 0.5, 2])
    np.testing.assert_allclose(activations.leaky_relu(z), [-0.4, -0.1, 0, 0.5, 2])
    np.testing.assert_allclose(activations.elu(z)[:2], np.expm1(z[:2]))
    np.testing.assert_allclose(activations.softmax(np.zeros((1, 4))), 0.25)
    np.testing.assert_allclose(activations.relu6(z * 10)[-1], 6)
    # Keras's own examples
    x = np.array([-10, -5, 0.0, 5, 10])
    np.testing.assert_allclose(activations.relu(x, negative_slope=0.5), [-5, -2.5, 0, 5, 10])
    np.testing.assert_allclose(activations.relu(x, max_value=5.0), [0, 0, 0, 5, 5])
    np.testing.assert_allclose(activations.relu(x, threshold=5.0), [0, 0, 0, 0, 10])


def test_elu_keeps_its_digits_near_zero():
    z = -np.geomspace(1e-12, 30, 200)
    np.testing.assert_allclose(activations.elu(z), np.expm1(z), rtol=2e-15)


def test_functions_take_lists_and_integers():
    y = activations.relu([-1, 2])
    assert y.dtype == np.float32
    np.testing.assert_array_equal(y, [0, 2])


def test_get():
    assert isinstance(activations.get(None), activations.Linear)
    assert isinstance(activations.get("swish"), activations.SiLU)
    assert isinstance(activations.get(activations.leaky_relu), activations.LeakyReLU)
    for case in CASES.values():
        described = activations.serialize(case)
        assert activations.get(described).get_config() == case.get_config()
        config = {"class_name": type(case).__name__, "config": case.get_config()}
        assert activations.get(config).get_config() == case.get_config()
    assert activations.get("softmax").closing == "softmax"
    assert activations.get("sigmoid").closing == "sigmoid"
    assert activations.Softmax(axis=1).closing is activations.get("relu").closing is None


@pytest.mark.parametrize("name", [n for n in activations.ACTIVATIONS.names() if n != "Threshold"])
def test_the_name_in_keras_is_that_of_a_function_which_stands_for_the_class(name):
    cls = activations.ACTIVATIONS.find(name)
    function = getattr(activations, cls.keras_name)
    for identifier in (cls.keras_name, function, function.__name__, cls):
        found = activations.get(identifier)
        assert type(found) is cls and found.get_config() == cls().get_config()
    z = np.linspace(-2, 2, 6, dtype="float32").reshape(2, 3)
    np.testing.assert_array_equal(function(z), cls()(z))


# What each is, and its slope, far to the left and to the right; z stands for z itself.
FAR = {
    "ReLU": ((0, 0), ("z", 1)), "ReLU6": ((0, 0), (6, 0)), "ELU": ((-1, 0), ("z", 1)),
    "GELU": ((0, 0), ("z", 1)), "Sigmoid": ((0, 0), (1, 0)), "Tanh": ((-1, 0), (1, 0)),
    "SiLU": ((0, 0), ("z", 1)), "Mish": ((0, 0), ("z", 1)), "Softplus": ((0, 0), ("z", 1)),
    "Softsign": ((-1, 0), (1, 0)), "Softmax": ((0, 0), (1, 0)), "Linear": (("z", 1), ("z", 1)),
    "SELU": ((-1.7580993408473766, 0), None), "CELU": ((-1, 0), ("z", 1)),
    "HardSigmoid": ((0, 0), (1, 0)), "HardSiLU": ((0, 0), ("z", 1)), "HardTanh": ((-1, 0), (1, 0)),
    "HardShrink": (("z", 1), ("z", 1)), "SoftShrink": (("z", 1), ("z", 1)),
    "LogSigmoid": (("z", 1), (0, 0)), "SparsePlus": ((0, 0), ("z", 1)),
    "SparseSigmoid": ((0, 0), (1, 0)), "Squareplus": ((0, 0), ("z", 1)),
    "TanhShrink": (("z", 1), ("z", 1)), "Exponential": ((0, 0), None),
    "Sparsemax": ((0, 0), (1, 0)), "LogSoftmax": (("z", 1), (0, 0)),
}  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", [*FAR, "GELU(tanh)"])
def test_values_and_slopes_at_the_far_end(name, dtype):
    """The limits, without a warning."""
    activation = activations.ACTIVATIONS.find(name.partition("(")[0])()
    if name == "GELU(tanh)":
        activation = activations.GELU(approximate=True)
    largest = float(np.finfo(dtype).max)
    for size in (1e4, 1e7, 1e20, 1e37, largest):
        for sign, limits in zip((-1, 1), FAR[name.partition("(")[0]], strict=True):
            if limits is None:
                continue
            z = np.array([[sign * size, 0.0]], dtype)
            value, slope = (z[0, 0] if limit == "z" else limit for limit in limits)
            y, kept = activation.record(z.copy())
            dz = activation.backward(np.array([[1, 0]], dtype), kept)
            tolerance = {"rtol": 0, "atol": 1e-15}
            if name in ("Softsign", "SoftShrink", "TanhShrink", "Squareplus"):
                tolerance = {"rtol": 2e-4, "atol": 2e-4}
            if name == "SELU":
                tolerance = {"rtol": 1e-7}
            np.testing.assert_allclose(y[0, 0], value, **tolerance)
            np.testing.assert_allclose(activation.forward(z.copy())[0, 0], value, **tolerance)
            np.testing.assert_allclose(dz[0, 0], slope, atol=2e-8)


def test_errors():
    with pytest.raises(ValueError, match="unknown activation 'rleu'; did you mean 'relu'"):
        activations.get("rleu")
    with pytest.raises(TypeError, match="not as 3"):
        activations.get(3)
    with pytest.raises(ValueError, match="threshold has no arguments by default"):
        activations.get("threshold")
    with pytest.raises(ValueError, match="CELU needs alpha above 0; got 0"):
        activations.CELU(0)
    with pytest.raises(TypeError, match="the function <lambda> has no gradient that"):
        activations.get(lambda z: z)
    with pytest.raises(ValueError, match="negative_slope of 0 or above; got -0.1"):
        activations.LeakyReLU(-0.1)
    with pytest.raises(ValueError, match="positive max_value, or None; got 0"):
        activations.ReLU(max_value=0)
    with pytest.raises(ValueError, match="alpha of 0 or above; got -1"):
        activations.ELU(alpha=-1)


@pytest.mark.parametrize("name", CASES)
def test_runs_on_a_device(name, strict):
    z = backend.asarray(np.random.default_rng(0).normal(size=(3, 4)).astype("float32"))
    strict.reset()
    y, kept = CASES[name].record(z)
    dz = CASES[name].backward(y, kept)
    assert strict.to_host == strict.to_device == 0
    expected = CASES[name].forward(backend.to_numpy(z))
    np.testing.assert_array_equal(backend.to_numpy(y), expected)
    assert dz.dtype == np.float32


def test_selu_is_flat_far_below_zero():
    """Exactly: what is left of a rounded constant may even have the wrong sign."""
    for dtype in ("float16", "float32", "float64"):
        z = np.array([-300.0, -45.0, 2.0], dtype)
        y, kept = activations.SELU().record(z.copy())
        slope = activations.SELU().backward(np.ones_like(z), kept)
        assert slope[:2].tolist() == [0, 0] and slope[2] == np.asarray(1.0507009873554805, dtype)
    z = np.linspace(-30, 0, 301)
    for function in (activations.SELU(), activations.ELU(0.7)):
        kept = function.record(z.astype("float32"))[1]
        assert (function.backward(np.ones_like(kept), kept) >= 0).all()


def test_sparsemax():
    np.testing.assert_allclose(
        activations.sparsemax([[1.0, 1.2, -3.0]]), [[0.4, 0.6, 0]], rtol=1e-6
    )
    np.testing.assert_allclose(activations.sparsemax([2.0, 0.5]), [1, 0])
    np.testing.assert_allclose(activations.sparsemax(np.zeros((2, 4)), axis=0), 0.5)


@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.floats(0.01, 100))
def test_sparsemax_is_the_nearest_distribution(seed, classes, size):
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(3, classes)) * size
    y = activations.sparsemax(z)
    np.testing.assert_allclose(y.sum(-1), 1)
    others = rng.dirichlet(np.ones(classes), 3)
    assert (((y - z) ** 2).sum(-1) <= ((others - z) ** 2).sum(-1) + 1e-9).all()


def test_glu():
    x = np.arange(6.0).reshape(1, 6)
    np.testing.assert_allclose(activations.glu(x), x[:, :3] / (1 + np.exp(-x[:, 3:])))
    with pytest.raises(ValueError, match=r"glu halves its input; axis 0 of shape \(1, 6\) is odd"):
        activations.glu(x, axis=0)


def test_a_function_between_layers_is_a_layer():
    x = Input((4, 4, 2))
    model = Model(x, activations.relu(activations.hard_shrink(x, threshold=1.0), max_value=2.0))
    images = np.linspace(-3, 3, 32, dtype="float32").reshape(1, 4, 4, 2)
    expected = np.where(images > 1, np.minimum(images, 2), 0)
    np.testing.assert_allclose(model.predict(images, verbose=0), expected)


def test_functions_say_what_they_take():
    names = list(inspect.signature(activations.relu).parameters)
    assert names == ["x", "negative_slope", "max_value", "threshold"]
    assert activations.relu.__name__ == "relu" and "threshold" in activations.relu.__doc__


@pytest.mark.parametrize(
    "name", [n for n in CASES if not any(word in n for word in ALONG_AN_AXIS)]
)  # these need an axis
def test_single_numbers(name):
    activation = CASES[name]
    expected = activation(np.full((1, 1), 0.5, "float32"))[0, 0]
    y = activation(np.float32(0.5))
    assert y.shape == () and y.dtype == np.float32 and y == pytest.approx(expected)
