"""gradcheck passes right gradients and catches wrong ones."""

import numpy as np
import pytest

from minicnn import backend
from minicnn.backend import array_module
from minicnn.gradcheck import GradientCheckError, gradcheck
from minicnn.layers.base import Layer


class Scale(Layer):
    """y = tanh(x) * kernel + bias, by channel, with faults on request."""

    def __init__(self, fault=None, **kwargs):
        super().__init__(**kwargs)
        self.fault = fault

    def build(self, input_shape):
        self.kernel = self.add_weight("kernel", (input_shape[-1],), "ones")
        self.bias = self.add_weight("bias", (input_shape[-1],), "zeros")

    def forward(self, x, ctx):
        xp = array_module(x)
        if self.fault == "overwrites":
            x *= 2
        t = xp.tanh(x)
        ctx.save(t)
        y = t * self.kernel.value + self.bias.value
        return y.astype("float32") if self.fault == "float32" else y

    def backward(self, dy, ctx):
        (t,) = ctx.saved
        axes = tuple(range(dy.ndim - 1))
        dkernel = (dy * t).sum(axes)
        if self.fault == "kernel":
            dkernel[0] *= 1 + 1e-4
        if self.fault != "no kernel":
            ctx.add_gradient(self.kernel, dkernel)
        dbias = dy.sum(axes)
        ctx.add_gradient(self.bias, dbias[None] if self.fault == "shape" else dbias)
        dx = dy * (1 - t * t) * self.kernel.value
        if self.fault == "x":
            dx *= 1 + 1e-4
        if self.fault == "x dtype":
            dx = dx.astype("float32")
        return None if self.fault == "no dx" else dx


class ReLU(Layer):
    """With a fault: everything passes through backward."""

    def __init__(self, fault=False, **kwargs):
        super().__init__(**kwargs)
        self.fault = fault

    def forward(self, x, ctx):
        ctx.save(x > 0)
        return array_module(x).maximum(x, 0)

    def backward(self, dy, ctx):
        return dy if self.fault else dy * ctx.saved[0]


class Product(Layer):
    def forward(self, xs, ctx):
        ctx.save(*xs)
        return xs[0] * xs[1]

    def backward(self, dy, ctx):
        a, b = ctx.saved
        return [dy * b, dy * a]


class Noise(Layer):
    def forward(self, x, ctx):
        factor = ctx.rng.random(x.shape, dtype=x.dtype)
        ctx.save(factor)
        return x * factor

    def backward(self, dy, ctx):
        return dy * ctx.saved[0]


class Squares:
    def forward(self, y_true, y_pred, sample_weight=None, total=None):
        w = 1.0 if sample_weight is None else sample_weight[:, None]
        d = y_pred - y_true
        return (w * d * d).sum(), w * d

    def backward(self, state):
        return 2 * state


def test_a_right_layer_passes_in_one_line():
    result = gradcheck(Scale(), input_shape=(4, 5, 3))
    assert [a.name for a in result.arrays] == ["x", "kernel", "bias"]
    assert result.arrays[0].shape == (3, 4, 5, 3)
    assert result.arrays[0].compared == 13
    assert result.arrays[1].compared == 4  # three coordinates and the random direction
    assert result.max_error < 1e-8


def test_the_table_names_arrays_shapes_and_errors():
    text = str(gradcheck(Scale(name="scale"), input_shape=(3,)))
    assert "gradients of Scale 'scale'" in text
    assert "kernel" in text and "(3, 3)" in text and "e-" in text


@pytest.mark.parametrize("fault,array", [("kernel", "kernel"), ("x", "x")])
def test_a_gradient_off_by_one_in_ten_thousand_is_caught(fault, array):
    with pytest.raises(GradientCheckError) as caught:
        gradcheck(Scale(fault), input_shape=(3,))
    text = str(caught.value)
    assert f"wrong gradient of {array}" in text
    assert "backward says" in text and "central differences say" in text
    assert "relative error 1.0e-04" in text


def test_the_coordinate_of_an_error_is_named():
    with pytest.raises(GradientCheckError, match=r"kernel at \[0\]"):
        gradcheck(Scale("kernel"), input_shape=(3,))


@pytest.mark.parametrize(
    "fault,words",
    [
        ("no kernel", "no gradient of kernel.*add_gradient"),
        ("shape", r"gradient of bias has shape \(1, 3\); bias has shape \(3,\)"),
        ("no dx", "no gradient of x"),
        ("x dtype", "gradient of x is float32"),
        ("float32", "float32 out of float64"),
        ("overwrites", "overwrites its input"),
    ],
)
def test_other_faults_are_named(fault, words):
    with pytest.raises(GradientCheckError, match=words):
        gradcheck(Scale(fault), input_shape=(3,))


def test_frozen_weights_are_left_alone():
    layer = Scale("no kernel", trainable=False)
    assert [a.name for a in gradcheck(layer, input_shape=(3,)).arrays] == ["x"]


def test_kinks_are_stepped_around():
    x = np.random.default_rng(1).standard_normal((2, 200))
    x[0, :60] = 0.0  # exactly on the kink
    x[1, :60] = 3e-5  # within the step
    with pytest.raises(GradientCheckError, match="no derivative"):
        gradcheck(ReLU(), np.zeros((2, 3)))
    result = gradcheck(ReLU(), x, samples=100)
    assert result.arrays[0].kinks > 0
    assert result.arrays[0].compared >= 100
    for seed in range(5):
        gradcheck(ReLU(), input_shape=(8, 8, 3), seed=seed)


def test_a_wrong_gradient_beside_kinks_is_still_caught():
    with pytest.raises(GradientCheckError, match="wrong gradient of x"):
        gradcheck(ReLU(fault=True), input_shape=(8, 8, 3))


def test_several_inputs():
    result = gradcheck(Product(), input_shape=[(2, 3), (2, 3)])
    assert [a.name for a in result.arrays] == ["x[0]", "x[1]"]
    gradcheck(Product(), [np.ones((1, 2)), np.ones((1, 2))])


def test_random_layers_see_an_equal_generator_each_time():
    assert gradcheck(Noise(), input_shape=(5,)).max_error < 1e-8


def test_randomness_from_elsewhere_is_an_error():
    class Wild(Noise):
        def forward(self, x, ctx):
            return x * np.random.default_rng().random()

    with pytest.raises(GradientCheckError, match="another result"):
        gradcheck(Wild(), input_shape=(5,))


def test_nan_is_an_error():
    class Log(Noise):
        def forward(self, x, ctx):
            return array_module(x).sqrt(-abs(x) - 1)

    with np.errstate(invalid="ignore"), pytest.raises(GradientCheckError, match="NaN"):
        gradcheck(Log(), input_shape=(5,))


def test_losses():
    y_pred, y_true = np.ones((3, 2), "float32"), np.zeros((3, 2), "float32")
    assert [a.name for a in gradcheck(Squares(), y_pred, y_true).arrays] == ["y_pred"]
    gradcheck(Squares(), y_pred, y_true, sample_weight=[0.0, 1.0, 2.0])
    with pytest.raises(ValueError, match="targets y"):
        gradcheck(Squares(), y_pred)


def test_a_built_layer_keeps_its_weights_and_dtype():
    layer = Scale()
    layer(np.ones((1, 3), "float32"))
    before = [w.value for w in layer.weights]
    gradcheck(layer)  # knows its input shape
    assert all(w.value is b for w, b in zip(layer.weights, before, strict=True))
    assert layer.dtype == "float32"


def test_a_layer_built_for_the_check_is_usable_afterwards():
    layer = Scale()
    gradcheck(layer, input_shape=(3,))
    assert layer(np.ones((1, 3), "float32")).dtype == np.float32
    np.testing.assert_array_equal(layer.get_weights()[0], np.ones(3))


def test_the_given_input_is_left_alone():
    x = np.ones((2, 3))
    gradcheck(Scale(), x)
    np.testing.assert_array_equal(x, 1)


def test_what_cannot_be_checked_is_said():
    with pytest.raises(ValueError, match="input_shape=\\(8, 8, 3\\)"):
        gradcheck(Scale())
    with pytest.raises(TypeError, match="a layer, a model or a loss"):
        gradcheck(42)
    with pytest.raises(ValueError, match="loss"):
        gradcheck(Scale(), np.ones((1, 3)), y=np.ones(1))


def test_on_the_strict_backend(strict):
    result = gradcheck(Scale(), input_shape=(4, 3))
    assert result.max_error < 1e-8
    assert backend.is_array(Scale()(np.ones((1, 3))))
