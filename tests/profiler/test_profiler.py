"""The profile of a model: a row per layer, figures that add up, a model that stays as it was."""

import numpy as np
import pytest
from profiled import Sleeper, chain, quiet
from small_problem import X, Y, network

from minicnn import Input, Model, Sequential, backend
from minicnn.layers import (
    Add,
    BatchNormalization,
    Concatenate,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    Layer,
)
from minicnn.layers.activated import ActivatedLayer
from minicnn.layers.context import Context
from minicnn.profiler import LayerProfile, Observer, Profile
from minicnn.profiler.algorithms import multiply_adds_made
from minicnn.utils import set_random_seed

CONV = 6 * 6 * 5 * (3 * 3 * 3)  # multiply-adds per image: 6x6 places, 5 filters, 3x3x3 taps


def test_a_row_for_each_layer_in_order():
    profile = quiet(chain())
    assert [r.name for r in profile.rows] == ["conv", "pool", "second", "flat", "head"]
    assert [r.type for r in profile.rows] == "Conv2D MaxPooling2D Conv2D Flatten Dense".split()
    assert [r.output_shape for r in profile.rows][:2] == ["(n, 6, 6, 5)", "(n, 3, 3, 5)"]
    assert profile.images == 16 and profile.threads == 1


def test_multiply_adds_of_both_gradients():
    rows = {r.name: r for r in quiet(chain()).rows}
    assert rows["conv"].forward_multiply_adds == 16 * CONV
    assert rows["conv"].backward_multiply_adds == 16 * CONV  # nobody needs the images' gradient
    assert rows["head"].forward_multiply_adds == 16 * 16 * 10
    assert rows["head"].backward_multiply_adds == 2 * 16 * 16 * 10
    assert rows["pool"].multiply_adds == 0 and rows["pool"].gflops is None


def test_multiply_adds_that_the_algorithm_makes():
    """By im2col those of the definition; by Winograd those of its products and transforms."""
    layers = [
        Conv2D(6, 3, padding="same", algorithm=name, name=name, input_shape=(8, 8, 4))
        for name in ("im2col", "winograd")
    ]
    model = Sequential([layers[0], Conv2D(4, 1), layers[1], Flatten(), Dense(3)])
    rows = {r.name: r for r in quiet(model, np.ones((5, 8, 8, 4), "float32")).rows}
    assert rows["im2col"].multiply_adds_made == rows["im2col"].multiply_adds
    # 4 tiles per image: 36 C F in the products, 36 (36 C + 16 F) in the transforms; those of the
    # kernel are shared by the 128 images of a usual batch
    products = 4 * 36 * 4 * 6
    transforms = 4 * 36 * (36 * 4 + 16 * 6) + 36 * 9 * 4 * 6 / 128
    made = 5 * (3 * products + 2 * transforms)
    assert rows["winograd"].multiply_adds_made == pytest.approx(made)


def test_frozen_layers_need_one_gradient_or_none():
    model = chain(trainable=False)
    model.get_layer("head").trainable = False
    rows = {r.name: r for r in quiet(model).rows}
    assert rows["conv"].backward_multiply_adds == 0 and rows["conv"].backward_seconds == 0
    assert rows["head"].backward_multiply_adds == rows["head"].forward_multiply_adds
    assert rows["second"].backward_multiply_adds == rows["second"].forward_multiply_adds


def test_the_figures_add_up():
    profile = quiet(chain())
    layers = sum(r.forward_seconds + r.backward_seconds for r in profile.rows)
    assert profile.seconds == pytest.approx(layers + profile.seconds_between)
    assert profile.multiply_adds == sum(r.multiply_adds for r in profile.rows)
    head = profile.rows[-1]
    assert head.gflops == pytest.approx(2 * 3 * 16 * 160 / head.seconds / 1e9)
    assert profile.peak_share(head) == pytest.approx(head.gflops / profile.peak)
    assert profile.peak_share(profile.rows[1]) is None


@pytest.mark.cpu_only("sleeping takes no time on a GPU")
def test_a_slow_layer_shows():
    model = Sequential([Input((4,)), Dense(4), Sleeper(name="sleeper"), Dense(2)])
    row = quiet(model, np.ones((4, 4))).rows[1]
    assert row.forward_seconds >= 0.01 and row.backward_seconds >= 0.02


@pytest.mark.cpu_only("about threads of the CPU")
def test_a_slow_layer_in_two_threads():
    model = Sequential([Input((4,)), Dense(4), Sleeper(name="sleeper"), Dense(2)])
    profile = quiet(model, np.ones((4, 4)), threads=2)
    assert profile.rows[1].forward_seconds >= 0.01  # of one thread, not half of it
    assert profile.threads == 2 and profile.rows[0].forward_multiply_adds == 4 * 16


@pytest.mark.cpu_only("what is kept differs on a GPU")
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_bytes_kept_for_backward(threads):
    x = Input((6,))
    a = Dense(8, activation="sigmoid", name="a")(x)
    profile = quiet(Model(x, Dense(3, name="b")(a)), np.ones((12, 6)), threads=threads)
    a_row, b_row = profile.rows
    assert a_row.bytes_kept == 4 * 12 * (6 + 8)  # its input, and the output for the derivative
    assert b_row.bytes_kept == 4 * 12 * 8
    assert profile.bytes_kept == 4 * 12 * (6 + 8)  # b's input is a's output


def test_inner_records_and_reshaped_views_count_once():
    class Block(Layer):
        def forward(self, x, ctx):
            ctx.save([x, {"again": x.reshape(-1)}, None, 3])
            ctx.child("inner").save(x + 1)
            return x

        def backward(self, dy, ctx):
            return dy

    model = Sequential([Input((4,)), Dense(5, name="first"), Block(name="block")])
    row = quiet(model, np.ones((2, 4), "float32")).rows[1]
    assert row.bytes_kept == 2 * (4 * 2 * 5)


def test_branches_and_several_inputs_and_outputs():
    a, b = Input((4,)), Input((3,))
    h = Dense(3, name="h")(a)
    shared = Dense(3, name="shared")
    end = Concatenate(name="cat")([Add(name="sum")([shared(h), b]), shared(b)])
    model = Model([a, b], [Dense(2, name="left")(end), h])
    profile = quiet(model, [np.ones((8, 4)), np.ones((8, 3))])
    assert sorted(r.name for r in profile.rows) == "cat h left shared shared sum".split()
    shared_rows = [r for r in profile.rows if r.name == "shared"]
    assert sorted(r.backward_multiply_adds for r in shared_rows) == [8 * 9, 2 * 8 * 9]


def test_nested_models_give_their_layers():
    inner = Sequential([Input((4,)), Dense(4, name="one"), Dense(4, name="two")], name="inner")
    x = Input((4,))
    profile = quiet(Model(x, inner(inner(x))), np.ones((8, 4)))
    assert [r.name for r in profile.rows] == ["inner/one", "inner/two"]
    assert sum(r.forward_multiply_adds for r in profile.rows) == 2 * 8 * (16 + 16)
    one = profile.rows[0]
    assert one.backward_multiply_adds == 8 * 16 * (1 + 2)  # no dx in the first of its two calls


def test_a_softmax_that_the_loss_takes_over_is_left_out(monkeypatch):
    def finish(layer, z, ctx):
        seen.append(ctx.wants_logits)
        return original(layer, z, ctx)

    seen, original = [], ActivatedLayer.finish
    monkeypatch.setattr(ActivatedLayer, "finish", finish)
    model = Sequential([Input((4,)), Dense(3, activation="softmax")])
    quiet(model, np.ones((2, 4)), repeats=1)
    assert set(seen) == {False}
    seen.clear()
    model.compile("adam", "sparse_categorical_crossentropy")
    quiet(model, np.ones((2, 4)), repeats=1)
    assert set(seen) == {True}


def test_nothing_that_training_sees_is_changed():
    def trained(profiled):
        set_random_seed(3)
        model = network(extra=[BatchNormalization(), Dropout(0.3, seed=5), Dropout(0.3)])
        model.fit(X, Y, epochs=1, verbose=0)
        before = model.get_weights()
        if profiled:
            quiet(model, repeats=1)
            for old, new in zip(before, model.get_weights(), strict=True):
                np.testing.assert_array_equal(old, new)
        model.fit(X, Y, epochs=1, verbose=0)
        return model.get_weights()

    for a, b in zip(trained(False), trained(True), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_table():
    shapes = "(n, 8, 8, 4)", "(n, 256)"
    rows = [
        LayerProfile(
            "conv2d_1",
            "Conv2D",
            shapes[0],
            "im2col",
            0.002,
            0.004,
            10**6,
            10**6,
            5 * 10**6,
            multiply_adds_made=1.5e6,
        ),
        LayerProfile("last", "Flatten", shapes[1], "", 0.001, 0.001, 0, 0, 0, 0),
    ]
    profile = Profile("net", "float32", rows, 100, 2, 10.0, 4_000_000, seconds_between=0.002)
    lines = str(profile).splitlines()
    assert lines[0] == "Profile of 'net': forward and backward of 100 images, 2 threads"
    headers = "Layer (type) Output shape Algorithm Multiply-adds Forward ms GFLOP/s Backward ms "
    assert " ".join(lines[2].split()) == headers + "GFLOP/s Of time Of peak Kept MB"
    conv = "conv2d_1 (n, 8, 8, 4) im2col 10,000 2.00 1.0 4.00 0.5 60% 7% 5.00"
    assert lines[4].split() == conv.split()
    assert lines[5].split() == "last (Flatten) (n, 256) 1.00 1.00 20% 0.00".split()
    assert lines[7] == (
        "Time: forward 3.00 ms + backward 5.00 ms + between layers 2.00 ms = 10.00 ms, "
        "10,000 images/s"
    )
    assert lines[8] == (
        "Rate: 0.4 GFLOP/s; peak of a float32 matrix product on 2 threads: 10.0 GFLOP/s"
    )
    assert lines[9] == "Products of the algorithms at that peak, and nothing else: 0.30 ms"
    assert lines[10] == "Kept for backward: 4.00 MB"
    assert len(lines[1]) == len(lines[2]) == len(lines[4]) == len(lines[5])


def test_profile_prints_and_returns(capsys):
    profile = chain().profile(X, batch_size=4, repeats=1)
    assert isinstance(profile, Profile)
    assert capsys.readouterr().out == str(profile) + "\n"


def test_the_algorithm_is_what_the_convolution_says():
    class Named(Conv2D):
        def algorithm_for(self, input_shape):
            asked.append(input_shape)
            return "im2col"

    asked = []
    rows = quiet(Sequential([Input((8, 8, 3)), Named(3, 2), Flatten(), Dense(2)])).rows
    assert [r.algorithm for r in rows] == ["im2col", "", ""]
    assert (None, 8, 8, 3) in asked


def test_what_is_not_computed_takes_no_multiply_adds():
    conv = Conv2D(6, 3, padding="same", algorithm="winograd", input_shape=(8, 8, 4))
    model = Sequential([conv, Flatten(), Dense(3)])
    assert multiply_adds_made(conv, (None, 8, 8, 4), 0) == 0
    dense = model.layers[-1]
    assert [multiply_adds_made(dense, (None, 384), n) for n in (0, 1, 2)] == [0, 1152, 2304]


def test_batches_are_the_first_images():
    assert quiet(chain(), X[:7]).images == 7
    assert quiet(chain(), X, batch_size=9).images == 9


def test_float64():
    model = Sequential([Input((4,)), Dense(3, dtype="float64")], dtype="float64")
    profile = quiet(model, np.ones((2, 4)))
    assert profile.dtype == "float64" and " float64 " in str(profile)


@pytest.mark.parametrize(
    "arguments, text",
    [
        ({"repeats": 0}, "repeats must be an integer above 0, not 0"),
        ({"batch_size": 0}, "batch_size must be an integer above 0"),
        ({"threads": 1.5}, "threads must be an integer above 0, not 1.5"),
        (
            {"threads": 9, "batch_size": 8},
            "threads=9, but there are 8 images; each thread needs one",
        ),
        ({"x": X[:, :5]}, r"Sequential 'small' was made for inputs of shape \(n, 8, 8, 3\); got"),
        ({"x": X[:0]}, "x holds no images"),
    ],
)
def test_arguments_that_do_not_fit(arguments, text):
    with pytest.raises(ValueError, match=text):
        quiet(chain(), **arguments)


def test_models_that_cannot_be_timed():
    with pytest.raises(ValueError, match="Sequential 's' is not built: the input's shape"):
        quiet(Sequential([Dense(3)], name="s"))
    x = Input((3,))
    with pytest.raises(ValueError, match="Model 'm' has no layers to time"):
        quiet(Model(x, x, name="m"), np.ones((2, 3)))


def test_an_error_in_a_layer_comes_out_and_leaves_seeds_alone():
    class Fails(Layer):
        def compute_output_shape(self, input_shape):
            return input_shape

        def forward(self, x, ctx):
            raise RuntimeError("from the layer")

        def backward(self, dy, ctx):
            return dy

    dropout = Dropout(0.5, seed=1)
    dropout.draw(Context(True), 3)
    model = Sequential([Input((4,)), Dense(4), dropout, Fails()])
    with pytest.raises(RuntimeError, match="from the layer"):
        quiet(model, np.ones((2, 4)))
    generator = backend.random_generator([1, 0])
    generator.random(3, dtype="float32")
    expected = generator.random(3, dtype="float32")
    np.testing.assert_array_equal(dropout.draw(Context(True), 3), expected)


@pytest.mark.cpu_only("the passes are given NumPy arrays")
def test_an_observer_changes_no_results():
    model = network(extra=[BatchNormalization()])
    observer = Observer()
    plain, seen = Context(training=True), Context(training=True, observer=observer)
    y, y_seen = model.forward(X, plain), model.forward(X, seen)
    np.testing.assert_array_equal(y, y_seen)
    np.testing.assert_array_equal(model.backward(y, plain), model.backward(y, seen))
    phases = [call.phase for call in observer.calls]
    assert phases == ["forward"] * 4 + ["backward"] * 4
    assert [c.node for c in observer.calls[:4]] == [c.node for c in observer.calls[:3:-1]]
