"""The engine: order of the nodes, sums of gradients, and what backward leaves out."""

import numpy as np
import pytest

from minicnn import Input, Model, Sequential, backend, gradcheck
from minicnn.backend import array_module
from minicnn.layers import (
    Activation,
    Add,
    BatchNormalization,
    Concatenate,
    Conv2D,
    Dense,
    Flatten,
    GlobalAveragePooling2D,
    Layer,
    MaxPooling2D,
    Multiply,
)
from minicnn.layers.context import Context
from minicnn.models.graph import Graph
from minicnn.utils import set_random_seed


class Scale(Layer):
    """y = factor x, and a count of the calls."""

    def __init__(self, factor, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor
        self.calls = [0, 0]

    def forward(self, x, ctx):
        self.calls[0] += 1
        return x * self.factor

    def backward(self, dy, ctx):
        self.calls[1] += 1
        return dy * self.factor


class Halves(Layer):
    """Two outputs: the left and the right half of the features."""

    def compute_output_shape(self, input_shape):
        half = (input_shape[0], input_shape[1] // 2)
        return [half, half]

    def forward(self, x, ctx):
        half = x.shape[1] // 2
        return [x[:, :half], x[:, half:]]

    def backward(self, dy, ctx):
        left, right = dy
        other = left if left is not None else right
        xp = array_module(other)
        return xp.concatenate(
            [xp.zeros_like(other) if d is None else d for d in (left, right)], axis=1
        )


def through(model, x, training=True, needs_dx=True):
    ctx = Context(training=training, needs_dx=needs_dx)
    y = model.forward(x, ctx)
    return y, ctx


def test_nodes_come_after_what_they_read():
    a = Input((4,))
    b = Dense(4)(a)
    c = Add()([a, b])
    d = Add()([c, b])
    graph = Graph([a], [d])
    assert [n.outputs[0] for n in graph.nodes] == [b, c, d]
    assert len(graph.layers) == 3


def test_a_tensor_read_three_times_sums_three_gradients():
    x = Input((3,))
    model = Model(x, Add()([Scale(2.0)(x), Scale(3.0)(x), x]))
    data = np.ones((2, 3), "float32")
    y, ctx = through(model, data)
    np.testing.assert_array_equal(y, 6 * data)
    np.testing.assert_array_equal(model.backward(np.ones_like(y), ctx), 6 * data)


def test_a_tensor_handed_twice_to_one_layer():
    x = Input((3,))
    h = Dense(3, activation="tanh")(x)
    gradcheck(Model(x, Multiply()([h, h])))


def test_a_layer_called_twice_sums_the_gradients_of_its_weights():
    x = Input((3,))
    shared = Dense(3, activation="tanh")
    gradcheck(Model(x, shared(shared(x))))
    assert Model(x, shared(shared(x))).count_params() == 12


def test_branches_that_join_and_part_again():
    x = Input((6, 6, 2))
    a = Conv2D(3, 3, padding="same", activation="relu")(x)
    b = BatchNormalization()(Conv2D(3, 1)(x))
    joined = Activation("tanh")(Add()([a, b]))
    wide = Concatenate()([MaxPooling2D(2)(joined), MaxPooling2D(2)(a)])
    end = Add()([Dense(2)(Flatten()(wide)), Dense(2)(GlobalAveragePooling2D()(joined))])
    gradcheck(Model(x, end))


def test_activations_on_one_tensor_do_not_write_over_it():
    x = Input((5,))
    h = Dense(5)(x)
    names = ["relu", "sigmoid", "tanh", "softmax", "elu", "gelu", "softplus", "silu"]
    gradcheck(Model(x, Add()([h, *(Activation(n)(h) for n in names)])))


def test_several_inputs_and_outputs():
    a, b = Input((4,)), Input((3,))
    h = Dense(3, activation="sigmoid")(a)
    model = Model([a, b], [Multiply()([h, b]), Dense(2)(b), h])
    gradcheck(model)
    assert model.input_shape == [(None, 4), (None, 3)]
    assert model.output_shape == [(None, 3), (None, 2), (None, 3)]


def test_a_layer_with_two_outputs():
    x = Input((4,))
    left, right = Halves()(x)
    gradcheck(Model(x, Multiply()([left, Dense(2)(right)])))
    left, right = Halves()(x)
    model = Model(x, Dense(2)(right))  # nobody reads the left half
    data = backend.asarray(np.ones((2, 4), "float32"))
    _, ctx = through(model, data)
    dx = model.backward(data[:, :2], ctx)
    assert (dx[:, :2] == 0).all() and (dx[:, 2:] != 0).any()


def test_models_within_models():
    x = Input((4,))
    inner = Model(x, Add()([Dense(4, activation="tanh")(x), x]))
    outer_x = Input((4,))
    middle = Model(outer_x, inner(Dense(4)(inner(outer_x))))  # the inner one twice
    gradcheck(middle)
    assert len(middle.weights) == 4


def test_deep_chains_do_not_exhaust_the_stack():
    x = tensor = Input((2,))
    for _ in range(1500):
        tensor = Scale(1.0)(tensor)
    model = Model(x, tensor)
    data = np.ones((1, 2), "float32")
    y, ctx = through(model, data)
    np.testing.assert_array_equal(model.backward(y, ctx), data)


def test_backward_stops_where_nothing_below_learns():
    x = Input((3,))
    lowest, above = Scale(2.0), Scale(3.0)
    model = Model(x, above(Dense(3)(lowest(x))))
    y, ctx = through(model, backend.asarray(np.ones((2, 3), "float32")), needs_dx=False)
    assert model.backward(y, ctx) is None
    assert (lowest.calls[1], above.calls[1]) == (0, 1)


def test_forward_outside_training_keeps_no_records():
    x = Input((3,))
    model = Model(x, Dense(3)(Dense(3)(x)))
    ctx = Context(record=False)
    model.forward(backend.asarray(np.ones((1, 3), "float32")), ctx)
    assert not ctx._children and not ctx.saved


def test_an_output_of_inputs_that_were_not_given():
    a, b = Input((3,)), Input((5,))
    with pytest.raises(
        ValueError, match=r"depends on an input of shape \(None, 5\).*Model\(inputs"
    ):
        Model(a, Concatenate()([a, b]))


def test_closing_layer():
    x = Input((3,))
    soft = Activation("softmax")
    y = soft(Dense(3)(x))
    assert Graph([x], [y]).closing_layer() is soft
    assert Graph([x], [y, Scale(1.0)(y)]).closing_layer() is None
    assert Model(x, y).graph.closing_activation
    assert not Model(x, Scale(1.0)(y)).graph.closing_activation


class OwnPass(Activation):
    """A softmax whose forward pass knows nothing of logits."""

    def forward(self, x, ctx):
        y, kept = self.activation.record(x)
        ctx.save(kept)
        return y


def test_a_softmax_with_its_own_pass_is_not_left_to_the_loss():
    models = []
    for closing in (OwnPass, Activation):
        set_random_seed(0)
        model = Sequential([Input((3,)), Dense(4), closing("softmax")])
        model.compile("sgd", "sparse_categorical_crossentropy")
        model.fit(np.ones((8, 3)), np.arange(8) % 4, verbose=0)
        models.append(model)
    own, known = models
    for a, b in zip(own.get_weights(), known.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


class OwnDense(Dense):
    """Its forward pass ends in that of the library, which knows of logits."""

    def forward(self, x, ctx):
        return super().forward(x, ctx)


def test_a_pass_that_ends_in_the_librarys_leaves_its_softmax_to_the_loss():
    """Exactly: a probability of e^-120 would be cut off at 1e-7."""
    model = Sequential([Input((2,)), OwnDense(2, "softmax", kernel_initializer="identity")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    assert model.train_on_batch(np.array([[60.0, -60.0]]), np.array([1])) == 120


def test_operators_on_tensors():
    x = Input((3,))
    model = Model(x, (x + Scale(2.0)(x)) * x)
    np.testing.assert_array_equal(model(np.full((1, 3), 2.0)), np.full((1, 3), 12.0))
    assert repr(x) == "<SymbolicTensor shape=(None, 3)>" and x.ndim == 2
