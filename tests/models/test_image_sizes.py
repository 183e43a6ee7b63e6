"""Models whose images may be of several sizes."""

import numpy as np
import pytest
from strategies import numbers

from minicnn import Input, Layer, Model, Sequential, layers, set_shards
from minicnn.models import clone_model, load_model

SIZES = [(12, 10), (9, 13), (8, 8)]


def chain(size):
    """Pooling leaves out rows of some sizes, which the convolution before need not compute."""
    return Sequential(
        [
            Input((*size, 3)),
            layers.Conv2D(4, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.BatchNormalization(),
            layers.DepthwiseConv2D(2, padding="same"),
            layers.ZeroPadding2D(1),
            layers.GlobalAveragePooling2D(),
            layers.Dense(2, activation="softmax"),
        ]
    )


def nested(size):
    """Branches, and a model within the model."""
    inner = Sequential([layers.Conv2D(4, 3, activation="elu"), layers.MaxPooling2D(3, 1)])
    x = inputs = Input((*size, 3))
    x = layers.Conv2D(4, 3, padding="same", activation="relu")(x)
    x = layers.Add()([x, layers.AveragePooling2D()(layers.UpSampling2D()(x))])
    x = layers.AdaptiveMaxPooling2D(2)(layers.Cropping2D(1)(inner(x)))
    return Model(inputs, layers.Dense(2, activation="softmax")(layers.Flatten()(x)))


def images(size, n=6):
    return numbers((n, *size, 3), 1, "float32")


@pytest.fixture(params=[1, 3])
def shards(request):
    set_shards(request.param)
    yield
    set_shards(None)


@pytest.mark.parametrize(("make", "made_for"), [(chain, (None, None)), (chain, (20, 21)),
                                                (nested, (None, None))])  # fmt: skip
def test_any_size_gives_what_a_model_of_that_size_gives(make, made_for, shards):
    model, y = make(made_for), np.arange(6) % 2
    model.compile("sgd", "sparse_categorical_crossentropy")
    for _ in range(2):  # what was planned for a size is used again
        for size in SIZES:
            fixed, x = make(size), images(size)
            fixed.set_weights(model.get_weights())
            fixed.compile("sgd", "sparse_categorical_crossentropy")
            np.testing.assert_array_equal(model.predict(x, verbose=0), fixed.predict(x, verbose=0))
            assert model.train_on_batch(x, y) == fixed.train_on_batch(x, y)
            for ours, theirs in zip(model.get_weights(), fixed.get_weights(), strict=True):
                np.testing.assert_array_equal(ours, theirs)


def test_what_is_planned_is_remembered_for_so_many_sizes():
    model = chain((None, None))
    for size in range(6, 80):
        model.predict(images((size, 6), 1), verbose=0)
    planned = model.graph._planned
    assert len(planned) == 64 and ((79, 6, 3),) in planned and ((6, 6, 3),) not in planned
    before = dict(planned)
    model.predict(images((79, 6), 3), verbose=0)
    assert model.graph._planned == before


def test_convolutions_leave_out_what_nobody_reads_at_every_size():
    model = chain((None, None))
    for size, cropped in (((9, 9), (8, 8)), ((8, 8), None), ((9, 8), (8, 8))):
        graph = model.graph.planned_for([(None, *size, 3)])
        assert graph.steps[0].rows_and_columns == cropped


def test_data_of_several_sizes():
    model = chain((None, None))
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    counts = zip(SIZES, (4, 3, 5), strict=True)
    batches = [(images(size, n), np.arange(n) % 2) for size, n in counts]
    history = model.fit(
        iter(batches * 2),
        steps_per_epoch=3,
        epochs=2,
        verbose=0,
        validation_data=iter(batches),
        validation_freq=2,
    ).history
    assert np.isfinite(history["loss"]).all() and len(history["val_loss"]) == 1
    parts = [model.predict(x, verbose=0) for x, _ in batches]
    together = model.predict(iter([x for x, _ in batches]), verbose=0)
    np.testing.assert_array_equal(together, np.concatenate(parts))


@pytest.mark.parametrize("suffix", [".safetensors", ".keras", ".h5"])
@pytest.mark.parametrize("make", [chain, nested])
def test_files_keep_open_sizes(make, suffix, tmp_path):
    if suffix != ".safetensors":
        pytest.importorskip("h5py")
    model = make((None, None))
    model.save(tmp_path / f"model{suffix}")
    loaded = load_model(tmp_path / f"model{suffix}")
    assert loaded.input_shape == (None, None, None, 3) == clone_model(model).input_shape
    for size in SIZES:
        x = images(size)
        np.testing.assert_array_equal(model.predict(x, verbose=0), loaded.predict(x, verbose=0))


def test_summary(capsys):
    model = chain((None, None))
    model.summary()
    text = capsys.readouterr().out
    assert "(n, None, None, 4)     112              -" in text
    assert "Multiply-adds: as many as the size asks for per image" in text
    assert model.output_shape == (None, 2)


def test_profile():
    profile = chain((None, None)).profile(images((9, 9)), print_fn=str)
    fixed = chain((9, 9)).profile(images((9, 9)), print_fn=str)
    assert [r.output_shape for r in profile.rows] == [r.output_shape for r in fixed.rows]
    assert [r.multiply_adds for r in profile.rows] == [r.multiply_adds for r in fixed.rows]


def test_a_batch_size_is_said_but_not_asked_for(tmp_path):
    inputs = Input((8,), batch_size=4)
    model = Model(inputs, layers.Dense(2)(inputs))
    assert (model.input_shape, model.output_shape) == ((4, 8), (4, 2))
    assert model.predict(np.ones((6, 8)), verbose=0).shape == (6, 2)
    model.compile("sgd", "mse")
    assert len(model.fit(np.ones((6, 8)), np.ones((6, 2)), batch_size=4, verbose=0).history) == 1
    model.save(tmp_path / "model.safetensors")
    assert load_model(tmp_path / "model.safetensors").input_shape == (4, 8)
    other = Input((8,))
    assert layers.Add()([inputs, other]).shape == (4, 8)


class Halved(Layer):
    """Every other row; it says nothing of its shapes."""

    def forward(self, x, ctx):
        ctx.save(x.shape)
        return x[:, ::2]

    def backward(self, dy, ctx):
        dx = np.zeros(ctx.saved[0], dy.dtype)
        dx[:, ::2] = dy
        return dx


def test_your_own_layer_is_tried_out_at_two_sizes():
    x = Halved()(Input((None, 7, 3)))
    assert x.shape == (None, None, 7, 3)
    model = Sequential([Input((None, None, 3)), Halved(), layers.GlobalMaxPooling2D()])
    assert model.output_shape == (None, 3) and model.layers[0].output_shape == (None, None, None, 3)


def test_errors():
    inputs = Input((None, 10, 3))
    model = Model(inputs, layers.GlobalMaxPooling2D()(layers.Conv2D(2, 3)(inputs)), name="m")
    with pytest.raises(ValueError, match=r"takes inputs of shape \(n, any, 10, 3\); got \(6, 9, 9"):
        model.predict(images((9, 9)), verbose=0)
    with pytest.raises(ValueError, match=r"made for inputs .*any, 10.*: Conv2D .* below 1 pixel"):
        model.predict(images((2, 10)), verbose=0)
    with pytest.raises(ValueError, match="fixed number of features; got shape"):
        layers.Dense(2)(layers.Flatten()(inputs))
    for merge in (layers.Add(), layers.Concatenate()):
        with pytest.raises(ValueError, match="needs inputs"):
            merge([inputs, Input((None, 9, 3))])
    assert layers.Concatenate()([inputs, Input((5, 10, 2))]).shape == (None, None, 10, 5)
    assert layers.Concatenate(axis=1)([inputs, Input((5, 10, 3))]).shape == (None, None, 10, 3)
