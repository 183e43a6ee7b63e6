"""Layers that look across images get the whole batch, on however many threads a model runs."""

import across_images
import numpy as np
import pytest
from naive_graph import NaivePass
from strategies import numbers

from minicnn import Input, Model, Sequential
from minicnn.layers import (
    Add,
    BatchNormalization,
    Conv2D,
    Dense,
    Flatten,
    GlobalAveragePooling2D,
    Layer,
    MaxPooling2D,
    ReLU,
)
from minicnn.layers.activated import ActivatedLayer
from minicnn.layers.arguments import set_weight_arguments
from minicnn.layers.context import Context
from minicnn.losses import SparseCategoricalCrossentropy
from minicnn.models import steps
from minicnn.optimizers import SGD
from minicnn.parallel import run_shards
from minicnn.parallel.slices import even_slices
from minicnn.utils import set_random_seed

pytestmark = pytest.mark.cpu_only("a batch is split over threads on a CPU alone")

IMAGES = 11


class OfTheBatch(Layer):
    whole_batch = True

    def compute_output_shape(self, input_shape):
        return input_shape


class Centre(across_images.Centre, OfTheBatch):
    pass


class Scaled(OfTheBatch):
    """y = s x / sum(x x) over the images, with a weight s; and the last sum is kept."""

    def build(self, input_shape):
        self.s = self.add_weight("s", (input_shape[-1],), "ones")
        self.sum = self.add_weight("sum", (), "zeros", trainable=False)

    def forward(self, x, ctx):
        total = (x * x).sum()
        ctx.save(x, total)
        ctx.update(self.sum, total)
        return self.s.value * x / total

    def backward(self, dy, ctx):
        x, total = ctx.saved
        ctx.add_gradient(self.s, (dy * x / total).sum((0, 1, 2)))
        dz = dy * self.s.value
        return dz / total - 2 * x * (dz * x).sum() / total**2


class Neighbours(OfTheBatch):
    """Two inputs and two outputs: a + the b of the image before, and a alone."""

    def forward(self, xs, ctx):
        a, b = xs
        return [a + np.roll(b, 1, axis=0), a]

    def backward(self, dys, ctx):
        first, second = dys
        return [first if second is None else first + second, np.roll(first, -1, axis=0)]


class CentredMap(ActivatedLayer):
    """The end of its work, bias and ReLU, is put off until after a max-pooling."""

    whole_batch = True

    def __init__(self, activation="relu", **kwargs):
        super().__init__(activation=activation, use_bias=True, **kwargs)
        set_weight_arguments(self, bias_initializer="zeros", bias_regularizer=None)

    def build(self, input_shape):
        self.bias = self.add_bias(input_shape[-1])

    def compute_output_shape(self, input_shape):
        return tuple(input_shape)

    def linear(self, x, ctx):
        return x - x.mean(0)

    def linear_gradient(self, dz, ctx):
        return dz - dz.mean(0)


def chain():
    return Sequential(
        [
            Input((6, 6, 2)), Conv2D(3, 3, activation="tanh"), Centre(), ReLU(), Conv2D(2, 2),
            Scaled(), BatchNormalization(), Centre(), GlobalAveragePooling2D(), Dense(3),
        ]
    )  # fmt: skip


def branches():
    x = Input((6, 6, 2))
    a, b = Conv2D(2, 3)(x), Conv2D(2, 3)(x)
    a, b = Neighbours()([a, b])
    unread, _ = Neighbours()([Centre()(a), b])
    inner = Sequential([Input((4, 4, 2)), Conv2D(2, 1), Scaled(), ReLU()])
    return Model(x, [Flatten()(Add()([inner(unread), inner(b)])), Centre()(b)])


def put_off():
    return Sequential([Input((6, 6, 2)), Conv2D(2, 1), CentredMap(), MaxPooling2D(2), Centre()])


MODELS = [chain, branches, put_off]


def on_shards(model, xs, dys, shards, training):
    """A pass of `model`, in the shape of a `NaivePass`."""
    slices = even_slices(len(xs[0]), shards)

    def work(comm):
        mine = slices[comm.rank]
        ctx = Context(training, record=True, comm=comm)
        ys = model.graph.forward([x[mine] for x in xs], ctx)
        return ys, model.graph.backward([dy[mine] for dy in dys], ctx), ctx

    parts = run_shards(shards, work)
    outputs = [np.concatenate(ys) for ys in zip(*(ys for ys, _, _ in parts), strict=True)]
    dxs = [np.concatenate(ds) for ds in zip(*(dxs for _, dxs, _ in parts), strict=True)]
    gradients = {}
    for _, _, ctx in parts:
        for weight, gradient in ctx.gradients.items():
            gradients[weight] = gradients.get(weight, 0) + gradient
    assert all(not ctx._children for _, _, ctx in parts)  # nothing is kept after backward
    return outputs, dxs, gradients, parts[0][2].updates


@pytest.mark.parametrize("build", MODELS)
@pytest.mark.parametrize("shards", [1, 2, 3, 4])
@pytest.mark.parametrize("chunk_bytes", [1, 1 << 40])
@pytest.mark.parametrize("training", [True, False])
def test_the_pass_is_that_of_the_whole_batch(
    float64, monkeypatch, build, shards, chunk_bytes, training
):
    monkeypatch.setattr(steps, "CHUNK_BYTES", chunk_bytes)
    set_random_seed(0)
    model = build()
    xs = [numbers((IMAGES, 6, 6, 2))]
    dys = [numbers((IMAGES, *t.shape[1:]), 1 + i) for i, t in enumerate(model.outputs)]
    plain = NaivePass(model, xs, dys, training)
    outputs, dxs, gradients, updates = on_shards(model, xs, dys, shards, training)

    def close(actual, expected):
        largest = max(1, np.abs(expected).max())
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-12 * largest)

    for actual, expected in zip([*outputs, *dxs], [*plain.outputs, *plain.dxs], strict=True):
        close(actual, expected)
    assert gradients.keys() == plain.gradients.keys() == set(model.trainable_weights)
    for weight, expected in plain.gradients.items():
        close(gradients[weight], expected)
    assert updates.keys() == plain.updates.keys()
    for weight, expected in plain.updates.items():
        close(updates[weight], expected)


@pytest.mark.parametrize("softmax", [False, True])
def test_a_network_learns_the_same_on_any_number_of_threads(float64, monkeypatch, softmax):
    """Also where the loss takes over the softmax of such a layer."""
    x, y = numbers((40, 6, 6, 2)), np.arange(40) % 3
    results = []
    for threads in ("1", "2", "3", "4"):
        monkeypatch.setenv("MINICNN_NUM_THREADS", threads)
        set_random_seed(0)
        model = chain()
        if softmax:
            model.add(CentredMap("softmax"))
        model.compile(SGD(0.05), SparseCategoricalCrossentropy(from_logits=not softmax))
        assert model.graph.closing_activation == ("softmax" if softmax else None)
        model.fit(x, y, batch_size=40, epochs=3, verbose=0)
        results.append([*model.get_weights(), model.predict(x, batch_size=40, verbose=0)])
    for other in results[1:]:
        for one, first in zip(other, results[0], strict=True):
            np.testing.assert_allclose(one, first, rtol=1e-9, atol=1e-11)


class Mixed(across_images.Mixed, OfTheBatch):
    pass


def test_random_numbers_are_those_of_the_first_shard(float64):
    model = Sequential([Input((3,)), Mixed()])
    x, slices = numbers((9, 3)), even_slices(9, 3)
    alone = Context(True, rng=np.random.default_rng(0))
    (expected,) = model.graph.forward([x], alone)
    (expected_dx,) = model.graph.backward([x], alone)

    def work(comm):
        ctx = Context(True, rng=np.random.default_rng(comm.rank), comm=comm)
        (y,) = model.graph.forward([x[slices[comm.rank]]], ctx)
        return y, model.graph.backward([x[slices[comm.rank]]], ctx)[0]

    ys, dxs = zip(*run_shards(3, work), strict=True)
    np.testing.assert_array_equal(np.concatenate(ys), expected)
    np.testing.assert_array_equal(np.concatenate(dxs), expected_dx)


def test_layers_are_told_apart_by_what_they_say():
    """BatchNormalization goes on reducing by itself; a model with such layers goes through them."""
    inner = Sequential([Input((4, 4, 2)), Centre()])
    centre, norm, _, inner = Sequential(
        [Input((4, 4, 2)), Centre(), BatchNormalization(), ReLU(), inner]
    ).graph.steps
    assert centre.gathers and not norm.gathers and not inner.gathers
    assert [step.takes_whole_batch(training=False) for step in (centre, norm, inner)] == [
        True, False, True
    ]  # fmt: skip


def test_an_error_in_such_a_layer_reaches_the_caller():
    class Fails(Centre):
        def forward(self, x, ctx):
            raise ArithmeticError("in the first shard alone")

    model = Sequential([Input((3,)), Fails()], name="m")
    with pytest.raises(ArithmeticError, match="first shard"):
        run_shards(3, lambda comm: model.graph.forward([np.ones((2, 3))], Context(comm=comm)))


def test_what_all_shards_have_is_gathered_in_their_order():
    assert run_shards(3, lambda comm: list(comm.allgather(comm.rank))) == [[0, 1, 2]] * 3
    assert run_shards(1, lambda comm: comm.allgather("x")) == [["x"]]
