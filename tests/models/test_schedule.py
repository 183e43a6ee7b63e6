"""In which order and pieces a graph works: the results stay those of the plain way."""

import numpy as np
import pytest
from naive_graph import NaivePass, check_model
from strategies import numbers

from minicnn import Input, Model, Sequential
from minicnn.layers import (
    Activation,
    Add,
    AveragePooling2D,
    BatchNormalization,
    Concatenate,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Flatten,
    GlobalAveragePooling2D,
    GlobalMaxPooling2D,
    LeakyReLU,
    MaxPooling2D,
    ReLU,
    SeparableConv2D,
    ZeroPadding2D,
    arguments,
)
from minicnn.layers.activated import ActivatedLayer
from minicnn.layers.context import Context
from minicnn.models import schedule, steps

pytestmark = pytest.mark.cpu_only("the passes are given NumPy arrays")


def order(model):
    """[(type of the layer, name of the method)]."""
    return [(type(step.layer), step.run.__name__) for step in model.graph.steps]


WHOLE_CALLS = [(Conv2D, "forward"), (MaxPooling2D, "forward")]
REARRANGED = [(Conv2D, "linear"), (MaxPooling2D, "forward"), (Conv2D, "finish")]

RISING = [
    None, "relu", "relu6", "leaky_relu", "elu", "selu", "sigmoid", "tanh", "softplus", "softsign"
]  # fmt: skip


def pooled(activation, shape=(6, 7, 2), pool=None, **arguments):
    layer = Conv2D(3, 2, activation=activation, **arguments)
    return Sequential([Input(shape), layer, pool or MaxPooling2D(2)])


@pytest.mark.parametrize("activation", RISING)
@pytest.mark.parametrize("pool", [{"pool_size": 2}, {"pool_size": 3, "strides": 2}])
@pytest.mark.parametrize("padding", ["valid", "same"])
def test_what_rises_waits_for_a_maximum(float64, activation, pool, padding):
    model = pooled(activation, pool=MaxPooling2D(**pool, padding=padding))
    assert order(model) == REARRANGED
    check_model(model)


@pytest.mark.parametrize("activation", ["gelu", "silu", "softmax"])
def test_what_falls_and_rises_does_not_wait(float64, activation):
    model = pooled(activation)
    assert order(model) == WHOLE_CALLS
    check_model(model)


def test_a_convolution_alone_has_nothing_to_put_off():
    assert order(pooled(None, use_bias=False)) == WHOLE_CALLS
    assert order(pooled(None)) == REARRANGED  # the bias
    assert order(pooled("relu", use_bias=False)) == REARRANGED


def test_an_average_is_no_maximum(float64):
    model = pooled("relu", pool=AveragePooling2D(2))
    assert order(model) == [(Conv2D, "forward"), (AveragePooling2D, "forward")]
    check_model(model)


def test_what_two_layers_read_stays(float64):
    x = Input((6, 6, 2))
    h = Conv2D(2, 3, activation="relu")(x)
    model = Model(x, Concatenate()([Flatten()(MaxPooling2D(2)(h)), Flatten()(h)]))
    assert {"linear", "finish"}.isdisjoint(name for _, name in order(model))
    check_model(model)


def test_what_two_maxima_read_stays(float64):
    x = Input((6, 6, 2))
    h = Conv2D(2, 3, activation="relu")(x)
    model = Model(x, Add()([MaxPooling2D(2)(h), MaxPooling2D(2)(h)]))
    assert {"linear", "finish"}.isdisjoint(name for _, name in order(model))
    check_model(model)


def test_what_is_an_output_too_stays(float64):
    x = Input((6, 6, 2))
    h = Conv2D(2, 3, activation="relu")(x)
    model = Model(x, [h, MaxPooling2D(2)(h)])
    assert order(model) == WHOLE_CALLS
    check_model(model)


def test_an_inner_model_of_a_larger_one_has_an_order_of_its_own(float64):
    """The larger model puts off what the smaller one gives out."""
    x = Input((6, 6, 2))
    h = Conv2D(2, 3, activation="relu")(x)
    larger, smaller = Model(x, MaxPooling2D(2)(h)), Model(x, h)
    assert order(larger) == REARRANGED and order(smaller) == [(Conv2D, "forward")]
    check_model(larger)
    check_model(smaller)


def test_two_maxima_one_after_the_other(float64):
    model = Sequential(
        [Input((9, 9, 2)), Conv2D(3, 2, activation="tanh"), MaxPooling2D(2), MaxPooling2D((1, 2))]
    )
    pool = (MaxPooling2D, "forward")
    assert order(model) == [(Conv2D, "linear"), pool, pool, (Conv2D, "finish")]
    check_model(model)


@pytest.mark.parametrize("layer", [lambda: ReLU(), lambda: Activation("elu"), LeakyReLU])
def test_an_activation_layer_waits_as_well(float64, layer):
    activation = layer()
    model = Sequential([Input((6, 6, 2)), Conv2D(3, 3), activation, MaxPooling2D(2)])
    assert order(model) == [*WHOLE_CALLS, (type(activation), "forward")]
    check_model(model)


@pytest.mark.parametrize("activation", ["gelu", "softmax"])
def test_an_activation_layer_that_does_not_rise_stays(float64, activation):
    model = Sequential([Input((6, 6, 2)), Activation(activation), MaxPooling2D(2)])
    assert order(model) == [(Activation, "forward"), (MaxPooling2D, "forward")]
    check_model(model)


def test_an_activation_between_normalization_and_maximum(float64):
    model = Sequential(
        [Input((6, 6, 2)), Conv2D(3, 3), BatchNormalization(), ReLU(), MaxPooling2D(2)]
    )
    assert [t for t, _ in order(model)] == [Conv2D, BatchNormalization, MaxPooling2D, ReLU]
    check_model(model)
    check_model(model, training=False)


@pytest.mark.parametrize("keepdims", [False, True])
def test_the_maximum_of_a_whole_channel(float64, keepdims):
    model = pooled("relu", pool=GlobalMaxPooling2D(keepdims=keepdims))
    assert order(model) == [
        (Conv2D, "linear"), (GlobalMaxPooling2D, "forward"), (Conv2D, "finish")
    ]  # fmt: skip
    check_model(model)


@pytest.mark.parametrize(
    "layer",
    [
        lambda: Dense(3, activation="relu"),
        lambda: DepthwiseConv2D(2, activation="relu"),
        lambda: SeparableConv2D(3, 2, activation="tanh"),
    ],
)
def test_other_layers_with_an_activation(float64, layer):
    model = Sequential([Input((6, 6, 2)), layer(), MaxPooling2D(2)])
    assert [name for _, name in order(model)] == ["linear", "forward", "finish"]
    check_model(model)


def test_branches(float64):
    """What is put off comes after the maximum, and before whoever reads it."""
    x = Input((8, 8, 2))
    a = MaxPooling2D(2)(Conv2D(3, 3, padding="same", activation="relu")(x))
    b = MaxPooling2D(2)(ReLU()(BatchNormalization()(Conv2D(3, 3, padding="same")(x))))
    joined = MaxPooling2D(2)(ReLU()(Add()([a, b])))
    model = Model(x, [Flatten()(joined), GlobalMaxPooling2D()(a)])
    check_model(model)


def test_one_layer_at_two_places(float64):
    """Once before a maximum, once not."""
    x = Input((6, 6, 2))
    shared = Conv2D(2, 3, padding="same", activation="tanh")
    model = Model(x, MaxPooling2D(2)(shared(shared(x))))
    assert [name for _, name in order(model)] == ["forward", "linear", "forward", "finish"]
    check_model(model)


def test_equal_numbers_under_a_maximum(float64):
    """Rectified numbers are often equal: none of the pixels gets a gradient then."""
    model = pooled("relu")
    check_model(model)
    model.layers[-2].bias.assign([-50.0, 0.0, 0.0])
    x = numbers((4, 6, 7, 2))
    ctx = Context(training=True)
    y = model.forward(x, ctx)
    model.backward(np.ones_like(y), ctx)
    assert (y[..., 0] == 0).all() and (ctx.gradients[model.layers[-2].kernel][..., 0] == 0).all()


class Centred(Conv2D):
    """A convolution with a forward pass of its own, which looks at all of the image."""

    def forward(self, x, ctx):
        y = super().forward(x, ctx)
        return y - y.mean(axis=(1, 2), keepdims=True)

    def backward(self, dy, ctx):
        return super().backward(dy - dy.mean(axis=(1, 2), keepdims=True), ctx)


class HalfGradient(Conv2D):
    def backward(self, dy, ctx):
        return super().backward(dy * 0.5, ctx)


class Steep(ReLU):
    def forward(self, x, ctx):
        return super().forward(x, ctx) - x


class MaxMinusMean(MaxPooling2D):
    def forward(self, x, ctx):
        return super().forward(x, ctx) - x.mean(axis=(1, 2), keepdims=True)

    def backward(self, dy, ctx):
        dx = super().backward(dy, ctx)
        return dx - dy.sum(axis=(1, 2), keepdims=True) / (dx.shape[1] * dx.shape[2])


@pytest.mark.parametrize(
    ("layer", "pool"),
    [
        (lambda: Centred(2, 2, activation="relu"), MaxPooling2D),
        (lambda: Centred(2, 2, activation="gelu"), MaxPooling2D),
        (lambda: HalfGradient(2, 2, activation="relu"), MaxPooling2D),
        (lambda: Conv2D(2, 2, activation="relu"), MaxMinusMean),
        (lambda: Conv2D(2, 2, activation="gelu"), MaxMinusMean),
        (Steep, MaxPooling2D),
    ],
)
def test_your_own_pass_is_kept(float64, layer, pool):
    """What a subclass of a layer does is not known to commute with anything."""
    model = Sequential([Input((8, 8, 2)), layer(), pool(2)])
    assert [name for _, name in order(model)] == ["forward", "forward"]
    check_model(model)


class Doubled(ActivatedLayer):
    """Your own linear map with the bias and activation of the library."""

    def __init__(self, activation, **kwargs):
        super().__init__(activation=activation, use_bias=True, **kwargs)
        arguments.set_weight_arguments(self, bias_initializer="zeros", bias_regularizer=None)

    def build(self, input_shape):
        self.bias = self.add_bias(input_shape[-1])

    def linear(self, x, ctx):
        return 2 * x

    def linear_gradient(self, dz, ctx):
        return 2 * dz


def test_your_own_linear_map_is_rearranged(float64):
    model = Sequential([Input((6, 6, 2)), Doubled("relu"), MaxPooling2D(2)])
    assert [name for _, name in order(model)] == ["linear", "forward", "finish"]
    check_model(model)


# What a pooling does not look at


def looked_at(model):
    """Rows and columns of its input that the convolution reads."""
    (step,) = (
        s for s in model.graph.steps if isinstance(s.layer, Conv2D) and s.run != s.layer.finish
    )
    return step.rows_and_columns


@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("pooling", [MaxPooling2D, AveragePooling2D])
@pytest.mark.parametrize(
    ("conv", "pool", "read"),
    [
        ({"kernel_size": 3}, {"pool_size": 2}, (8, 10)),  # 7 x 9 outputs, 6 x 8 of them read
        ({"kernel_size": 3}, {"pool_size": 3, "strides": 2}, None),
        ({"kernel_size": 3}, {"pool_size": (4, 3)}, (6, 11)),
        ({"kernel_size": 3}, {"pool_size": 2, "padding": "same"}, None),
        ({"kernel_size": 3, "padding": "same"}, {"pool_size": 2}, None),
        ({"kernel_size": 2, "strides": 2}, {"pool_size": 3}, (6, 6)),  # 4 x 5 outputs
        ({"kernel_size": (2, 3), "dilation_rate": 2}, {"pool_size": 2}, (8, 10)),  # 7 x 7
        ({"kernel_size": 1}, {"pool_size": 5, "strides": 1}, None),
        ({"kernel_size": 2, "groups": 2}, {"pool_size": (1, 4)}, (9, 9)),  # 8 x 10
    ],
)
def test_rows_no_pooling_looks_at_are_not_computed(
    float64, monkeypatch, activation, pooling, conv, pool, read
):
    model = Sequential(
        [
            Input((9, 11, 2)),
            ZeroPadding2D(0),
            Conv2D(2, activation=activation, **conv),
            pooling(**pool),
        ]
    )
    assert looked_at(model) == read
    check_model(model)
    monkeypatch.setattr(steps, "CHUNK_BYTES", 1)  # one image at a time
    check_model(model)


def test_what_another_layer_looks_at_is_computed(float64):
    x = Input((6, 6, 2))
    h = Conv2D(2, 2, activation="relu")(x)
    model = Model(x, [MaxPooling2D(2)(h), GlobalAveragePooling2D()(h)])
    assert looked_at(model) is None
    check_model(model)


@pytest.mark.parametrize("size", [(6, 6), (7, 7), (12, 9)])
def test_images_of_another_size_than_the_model_was_made_for(float64, size):
    """A larger model may read more than the one inside was made for, or just what that reads."""
    x = Input((8, 8, 2))
    inner = Model(x, MaxPooling2D(2)(Conv2D(3, 2, activation="relu")(x)))
    assert looked_at(inner) == (7, 7)
    images = numbers((4, *size, 2))
    plain = NaivePass(inner, [images], [numbers((4, (size[0] - 1) // 2, (size[1] - 1) // 2, 3))])
    np.testing.assert_allclose(inner(images), plain.outputs[0], atol=1e-12)
    outer = Input((*size, 2))
    check_model(Model(outer, inner(Conv2D(2, 1)(outer))))


# Segments


def segments(model, training):
    """[[types of the layers of a segment]], and which take the whole batch."""
    found = [s for s, _ in model.graph._segments(training)]
    return [[type(s.layer) for s in f.steps] for f in found], [f.whole for f in found]


def normalized():
    return Sequential(
        [
            Input((6, 6, 4)),
            Conv2D(4, 3, padding="same"),
            BatchNormalization(),
            ReLU(),
            Conv2D(4, 3, padding="same"),
            Flatten(),
            Dense(3),
        ]
    )


def test_layers_that_look_across_images_stand_alone_in_training():
    groups, whole = segments(normalized(), training=True)
    assert groups == [[Conv2D], [BatchNormalization], [ReLU, Conv2D, Flatten], [Dense]]
    assert whole == [False, True, False, True]


def test_outside_training_they_go_with_the_others():
    groups, whole = segments(normalized(), training=False)
    assert groups == [[Conv2D, BatchNormalization, ReLU, Conv2D, Flatten], [Dense]]
    assert whole == [False, True]


@pytest.mark.parametrize("called_with", [True, False])
def test_a_call_may_say_that_it_is_not_training(float64, monkeypatch, called_with):
    x = Input((6, 6, 2))
    h = BatchNormalization()(Conv2D(2, 3)(x), training=called_with)
    model = Model(x, ReLU()(h))
    for training in (True, False):
        groups, _ = segments(model, training)
        assert ([BatchNormalization] in groups) == called_with
    monkeypatch.setattr(steps, "CHUNK_BYTES", 1)
    check_model(model)
    check_model(model, training=False)


def test_a_segment_ends_where_little_is_handed_on(monkeypatch):
    model = Sequential(
        [Input((8, 8, 4)), Conv2D(4, 3, padding="same"), MaxPooling2D(2), Conv2D(4, 1), ReLU()]
    )
    monkeypatch.setattr(schedule, "LITTLE", 0.3)
    assert segments(model, True)[0] == [[Conv2D, MaxPooling2D], [Conv2D, Conv2D, ReLU]]
    monkeypatch.setattr(schedule, "LITTLE", 0.0)
    model._set_graph(model.inputs[0], model.outputs[0])
    assert len(segments(model, True)[0]) == 1
