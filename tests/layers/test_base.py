"""What all layers inherit, shown on one written as the documentation says."""

import numpy as np
import pytest
from layer_calls import run
from strategies import numbers

from minicnn import backend
from minicnn.backend import array_module
from minicnn.gradcheck import gradcheck
from minicnn.layers import BatchNormalization, Conv2D, Dense, Dropout, Input, Layer
from minicnn.layers.context import Context


class Scale(Layer):
    """y = x w, one factor per channel; rows cut down to the first `keep`."""

    def __init__(self, keep=None, factor="ones", **kwargs):
        super().__init__(**kwargs)
        self.keep = keep
        self.factor = factor

    def build(self, input_shape):
        self.w = self.add_weight("w", (input_shape[-1],), self.factor)

    def forward(self, x, ctx):
        x = x[:, : self.keep]
        ctx.save(x)
        return x * self.w.value

    def backward(self, dy, ctx):
        (x,) = ctx.saved
        ctx.add_gradient(self.w, (dy * x).sum(axis=tuple(range(dy.ndim - 1))))
        if self.keep is None:
            return dy * self.w.value
        xp = array_module(dy)
        rest = xp.zeros((dy.shape[0], 5 - self.keep, *dy.shape[2:]), dy.dtype)
        return xp.concatenate([dy * self.w.value, rest], axis=1)


def test_a_layer_of_your_own():
    layer = Scale()
    x = numbers((2, 3), dtype="float32")
    np.testing.assert_array_equal(layer(x), x)
    layer.set_weights([[1, 2, 3]])
    np.testing.assert_array_equal(layer(x), x * np.float32([1, 2, 3]))
    assert layer(x).dtype == np.float32
    gradcheck(Scale(), input_shape=(3,))
    gradcheck(Scale(keep=2), input_shape=(5, 4, 3))


def test_its_shape_is_found_by_trying_out():
    assert Scale(keep=2)(Input((5, 4, 3))).shape == (None, 2, 4, 3)
    assert Scale()(Input((3,))).shape == (None, 3)


def test_a_call_on_arrays_runs_forward_once():
    class Counting(Scale):
        calls = 0

        def forward(self, x, ctx):
            self.calls += 1
            return super().forward(x, ctx)

    layer = Counting()
    for calls in (1, 2):
        layer(np.ones((2, 3)))
        assert layer.calls == calls


def test_its_configuration():
    layer = Scale(2, name="s", dtype="float64", trainable=False)
    config = layer.get_config()
    assert config == {
        "keep": 2, "factor": "ones", "name": "s", "dtype": "float64", "trainable": False,
    }  # fmt: skip
    assert Scale.from_config(config).get_config() == config


def test_what_is_not_defined():
    with pytest.raises(NotImplementedError, match=r"Layer does not define forward\(x, ctx\)"):
        Layer()(np.zeros((1, 2)))
    with pytest.raises(NotImplementedError, match=r"Layer does not define backward\(dy, ctx\)"):
        Layer().backward(np.zeros((1, 2)), Context())


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Conv2D(3, 3, stride=2), "Conv2D has no argument 'stride'; did you mean 'strides'"),
        (
            lambda: Dense(3, activaton="relu"),
            "Dense has no argument 'activaton'; did you mean 'act",
        ),
        (lambda: Dropout(0.5, nam="a"), "Dropout has no argument 'nam'; did you mean 'name'"),
        (lambda: Scale(kep=1), "Scale has no argument 'kep'; did you mean 'keep'"),
        (
            lambda: Scale(wings=2),
            r"no argument 'wings'; known: activity_.*, dtype, factor, .*, trainable$",
        ),
    ],
)
def test_unknown_arguments(make, text):
    with pytest.raises(TypeError, match=text):
        make()


def test_names():
    backend.clear_session()
    assert [Scale().name, Scale().name, Conv2D(1, 1).name] == ["scale", "scale_1", "conv2d"]
    backend.clear_session()
    assert Scale().name == "scale"
    assert repr(Scale(name="a")) == "<Scale 'a'>"


def test_dtypes():
    with pytest.raises(ValueError, match="Scale 'scale.*': there is no dtype policy 'float16'"):
        Scale(dtype="float16")
    layer = Scale(dtype="float64")
    assert layer(np.ones((1, 2), "float32")).dtype == np.float64
    assert layer.w.dtype == np.float64
    assert Scale()(np.ones((1, 2))).dtype == np.float32
    assert Scale()(np.array([[1, 2]])).dtype == np.float32
    try:
        backend.set_floatx("float64")
        assert Scale().dtype == "float64"
    finally:
        backend.set_floatx("float32")


def test_trainable_is_read_when_it_matters():
    layer = Dense(2)
    x = numbers((3, 4), dtype="float32")
    assert set(run(layer, x).gradients) == {"kernel", "bias"}
    layer.trainable = False
    assert layer.trainable_weights == [] and len(layer.non_trainable_weights) == 2
    assert not run(layer, x).gradients
    layer.trainable = True
    assert set(run(layer, x).gradients) == {"kernel", "bias"}


def test_weights_are_copied_in_and_out():
    layer = Scale()
    layer(np.ones((1, 3)))
    values = layer.get_weights()
    values[0][:] = 7
    assert (layer.w.numpy() == 1).all()
    layer.set_weights(values)
    values[0][:] = 9
    assert (layer.w.numpy() == 7).all()
    assert layer.w.dtype == np.float32
    assert layer.count_params() == 3
    assert repr(layer.w) == f"<Weight {layer.name}/w shape=(3,) dtype=float32>"


def test_set_weights_errors_leave_all_as_it_was():
    layer = Dense(2, name="d")
    layer(np.ones((1, 3)))
    before = layer.get_weights()
    with pytest.raises(ValueError, match="Dense 'd' has 2 weights; got 1 arrays"):
        layer.set_weights(before[:1])
    with pytest.raises(ValueError, match=r"d/bias has shape \(2,\); got an array of shape \(3,\)"):
        layer.set_weights([before[0] + 1, np.zeros(3)])
    with pytest.raises(ValueError, match=r"d/bias has shape \(2,\); cannot assign .* shape \(3,\)"):
        layer.bias.assign(np.zeros(3))
    for now, then in zip(layer.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_built_once():
    layer = Scale()
    layer(np.ones((1, 3)))
    w = layer.w
    layer(np.ones((4, 3)))
    assert layer.w is w and len(layer.weights) == 1


@pytest.mark.cpu_only("the layer is given NumPy arrays")
def test_a_layer_used_twice_sums_its_gradients():
    layer = Scale()
    layer(np.ones((1, 3)))
    ctx = Context(training=True)
    for i in range(2):
        inner = ctx.child(i)
        layer.forward(np.ones((2, 3), "float32"), inner)
        layer.backward(np.ones((2, 3), "float32"), inner)
    np.testing.assert_array_equal(ctx.gradients[layer.w], [4, 4, 4])


@pytest.mark.cpu_only("the layer is given NumPy arrays")
def test_nothing_is_kept_where_no_backward_follows():
    layer = Scale()
    layer(np.ones((1, 3)))
    ctx = Context(training=False)
    layer.forward(np.ones((2, 3), "float32"), ctx)
    assert ctx.saved == ()


def test_weights_are_also_called_variables():
    layer = BatchNormalization()
    layer.build((None, 3))
    assert layer.variables == layer.weights
    assert layer.trainable_variables == layer.trainable_weights
    assert layer.non_trainable_variables == [layer.moving_mean, layer.moving_variance]


@pytest.mark.parametrize("wrong", [32, "32"])
def test_an_input_shape_that_is_no_tuple(wrong):
    with pytest.raises(TypeError, match=r"Dense 'd': input_shape is a tuple.*not '?32'?$"):
        Dense(3, input_shape=wrong, name="d")
