"""Steps, and segments that run them on a chunk of a few images at a time."""

import numpy as np
import pytest
from naive_graph import NaivePass, check_model
from strategies import numbers

from minicnn import Input, Model, Sequential, backend
from minicnn.layers import (
    Activation,
    Add,
    AveragePooling2D,
    BatchNormalization,
    Concatenate,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Dropout,
    Flatten,
    GlobalAveragePooling2D,
    GlobalMaxPooling2D,
    Layer,
    LayerNormalization,
    MaxPooling2D,
    Multiply,
    RandomFlip,
    ReLU,
    SeparableConv2D,
    Softmax,
    ZeroPadding2D,
)
from minicnn.layers.context import Context
from minicnn.models import steps
from minicnn.optimizers import SGD
from minicnn.training import step as training_step
from minicnn.utils import set_random_seed

pytestmark = pytest.mark.cpu_only("chunks are for the cache of a CPU")

ONE_IMAGE, ALL_IMAGES = 1, 1 << 40  # bytes of a chunk


def test_what_a_segment_reads_makes_and_forgets():
    x = Input((6, 6, 4))
    a = Conv2D(4, 3, padding="same")(x)
    b = Conv2D(4, 1)(a)
    c = Add()([a, b])
    d = BatchNormalization()(c)
    e = Add()([d, b])
    model = Model(x, [e, a])
    (first, dying_1), (norm, dying_2), (last, dying_3) = model.graph._segments(True)
    assert (first.inputs, first.outputs) == ([x], [a, b, c])
    assert first.dying == [[x], [], []]
    assert (norm.inputs, norm.outputs, norm.dying) == ([c], [d], [[c]])
    assert (last.inputs, last.outputs, last.dying) == ([d, b], [e], [[d, b]])
    assert (dying_1, dying_2, dying_3) == ([x], [c], [d, b])  # a is an output


def test_a_step_by_itself():
    """What it reads may die with it; its gradient is added to what other readers have left."""
    x = Input((3,))
    model = Model(x, Dense(2)(x))
    (step,) = model.graph.steps
    (y,) = model.outputs
    values, ctx = {x: numbers((4, 3), dtype="float32")}, Context(training=True)
    step.forward(values, ctx, dying=[x])
    assert list(values) == [y] and values[y].shape == (4, 2)
    dy, other = numbers((4, 2), 1, "float32"), numbers((4, 3), 2, "float32")
    gradients = {y: dy, x: other}
    step.backward(gradients, ctx)
    assert list(gradients) == [x]
    kernel = model.layers[-1].kernel
    np.testing.assert_allclose(gradients[x], other + dy @ kernel.value.T, rtol=1e-5, atol=1e-6)
    assert ctx.gradients.keys() == {kernel, model.layers[-1].bias}
    gradients = {x: other}  # nobody has read y
    step.backward(gradients, ctx)
    assert list(gradients) == [x] and gradients[x] is other


def segment_of(*layers, shape=(4, 4, 2)):
    model = Sequential([Input(shape), *layers])
    ((segment, _),) = model.graph._segments(True)
    return segment


@pytest.mark.parametrize("images", [1, 2, 7, 8, 100])
@pytest.mark.parametrize("chunk_bytes", [ONE_IMAGE, 700, 2000, ALL_IMAGES])
def test_chunks_cover_the_batch_evenly(monkeypatch, images, chunk_bytes):
    monkeypatch.setattr(steps, "CHUNK_BYTES", chunk_bytes)
    chunks = segment_of(ReLU()).chunks(images, 4)  # 64 elements, 256 bytes per image
    assert [i for chunk in chunks for i in range(images)[chunk]] == list(range(images))
    lengths = [chunk.stop - chunk.start for chunk in chunks]
    assert max(lengths) - min(lengths) <= 1
    if chunk_bytes == ONE_IMAGE:
        assert len(chunks) == images
    elif chunk_bytes == ALL_IMAGES:
        assert len(chunks) == 1
    elif images == 100:  # about as large as was said
        assert np.mean(lengths) * 256 == pytest.approx(chunk_bytes, rel=0.15)


def test_wider_numbers_make_smaller_chunks(monkeypatch):
    monkeypatch.setattr(steps, "CHUNK_BYTES", 1024)
    segment = segment_of(ReLU())
    assert (len(segment.chunks(16, 4)), len(segment.chunks(16, 8))) == (4, 8)


def test_a_chunk_is_no_smaller_than_the_weights(monkeypatch):
    """They are read for each chunk."""
    monkeypatch.setattr(steps, "CHUNK_BYTES", ONE_IMAGE)
    few, many = (segment_of(Conv2D(f, 3, padding="same")) for f in (1, 64))
    assert len(few.chunks(8, 4)) == 8  # 19 weights, 48 elements per image
    assert len(many.chunks(8, 4)) == 7  # 1216 weights, 1056 elements per image


# Chunks


def chain():
    return Sequential(
        [
            Input((10, 9, 2)),
            ZeroPadding2D(1),
            Conv2D(3, 3, activation="relu"),
            MaxPooling2D(2),
            BatchNormalization(),
            DepthwiseConv2D(2, activation="gelu"),
            LayerNormalization(),
            SeparableConv2D(3, 2, activation="tanh"),
            Flatten(),
            Dense(3, activation="softmax"),
        ]
    )


def residual():
    x = Input((8, 8, 3))
    h = Conv2D(3, 3, padding="same", activation="relu")(x)
    for _ in range(2):
        inner = Conv2D(3, 3, padding="same", activation="relu")(h)
        inner = BatchNormalization()(Conv2D(3, 3, padding="same", use_bias=False)(inner))
        h = ReLU()(Add()([h, inner]))
    h = Concatenate()([MaxPooling2D(2)(h), AveragePooling2D(2)(x)])
    h = Multiply()([h, Activation("sigmoid")(h)])
    return Model(x, Dense(2)(GlobalAveragePooling2D()(h)))


def nested():
    x = Input((8, 8, 2))
    block = Sequential(
        [Input((8, 8, 2)), Conv2D(2, 3, padding="same", activation="elu"), BatchNormalization()]
    )
    tail = Sequential([Input((8, 8, 2)), Conv2D(3, 2, activation="relu"), MaxPooling2D(2)])
    return Model(x, GlobalMaxPooling2D()(tail(ReLU()(block(block(x))))))


class Halves(Layer):
    """Two outputs: the first and the other channels."""

    def compute_output_shape(self, input_shape):
        *place, channels = input_shape
        return [(*place, channels // 2), (*place, channels - channels // 2)]

    def forward(self, x, ctx):
        ctx.save(x.shape)
        half = x.shape[-1] // 2
        return [x[..., :half], x[..., half:]]

    def backward(self, dy, ctx):
        (shape,) = ctx.saved
        dx = np.zeros(shape)
        half = shape[-1] // 2
        for place, part in zip((slice(None, half), slice(half, None)), dy, strict=True):
            if part is not None:
                dx[..., place] = part
        return dx


def several():
    """Inputs of two shapes, one of which is an output too, and outputs of three."""
    a, b = Input((8, 8, 2)), Input((8, 8, 1))
    h = Conv2D(4, 3, padding="same", activation="tanh")(Concatenate()([a, b]))
    left, right = Halves()(h)
    unread, _ = Halves()(left)
    joined = Add()([Conv2D(2, 1)(left), right])
    return Model([a, b], [joined, b, GlobalMaxPooling2D()(right), Flatten()(unread)])


def unread_output_of_a_nested_model():
    x = Input((6, 6, 2))
    inner = Model(x, [GlobalMaxPooling2D()(x), Conv2D(2, 3, activation="relu")(x)])
    outer = Input((6, 6, 2))
    _, second = inner(Conv2D(2, 3, padding="same")(outer))
    return Model(outer, Flatten()(second))


MODELS = [chain, residual, nested, several, unread_output_of_a_nested_model]


def number_of_chunks(model, images, training):
    """The most that any segment has, those of nested models included."""
    counts = [len(s.chunks(images, 8)) for s, _ in model.graph._segments(training)]
    inner = [number_of_chunks(m, images, training) for m in model.layers if isinstance(m, Model)]
    return max(counts + inner)


@pytest.mark.parametrize("build", MODELS)
@pytest.mark.parametrize("chunk_bytes", [ONE_IMAGE, 3000, ALL_IMAGES])
@pytest.mark.parametrize("training", [True, False])
def test_chunks_change_no_result(float64, monkeypatch, build, chunk_bytes, training):
    monkeypatch.setattr(steps, "CHUNK_BYTES", chunk_bytes)
    model = build()
    expected = {ONE_IMAGE: [7], 3000: [2, 3, 4, 5, 6, 7], ALL_IMAGES: [1]}[chunk_bytes]
    assert number_of_chunks(model, 7, training) in expected
    check_model(model, 7, training)


@pytest.mark.parametrize("build", MODELS)
@pytest.mark.parametrize("images", [1, 2, 3])
def test_batches_smaller_than_a_chunk_or_of_one_image(float64, monkeypatch, build, images):
    for chunk_bytes in (ONE_IMAGE, 20_000):
        monkeypatch.setattr(steps, "CHUNK_BYTES", chunk_bytes)
        check_model(build(), images)


@pytest.mark.parametrize("threads", ["1", "2", "3"])
def test_losses_and_steps_are_those_of_one_chunk(float64, monkeypatch, threads):
    monkeypatch.setenv("MINICNN_NUM_THREADS", threads)
    x, y = numbers((37, 10, 9, 2)), np.arange(37) % 3
    results = []
    for chunk_bytes in (ALL_IMAGES, ONE_IMAGE, 10_000):
        monkeypatch.setattr(steps, "CHUNK_BYTES", chunk_bytes)
        set_random_seed(0)
        model = chain()
        model.compile(SGD(0.05), "sparse_categorical_crossentropy", ["accuracy"])
        history = model.fit(x, y, batch_size=16, epochs=2, validation_data=(x, y), verbose=0)
        results.append((model.get_weights(), history.history))
    for weights, history in results[1:]:
        for one, other in zip(weights, results[0][0], strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-11)
        for name, values in history.items():
            np.testing.assert_allclose(values, results[0][1][name], rtol=1e-10)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float64", 1e-12)])
@pytest.mark.parametrize("batch_size", [1, 5, 16, 40])
def test_predictions_are_those_of_one_chunk(monkeypatch, dtype, tolerance, batch_size):
    backend.set_floatx(dtype)
    try:
        model = chain()
    finally:
        backend.set_floatx("float32")
    x = numbers((37, 10, 9, 2), dtype=dtype)
    whole = model.predict(x, batch_size=64, verbose=0)
    for chunk_bytes in (ONE_IMAGE, 10_000):
        monkeypatch.setattr(steps, "CHUNK_BYTES", chunk_bytes)
        y = model.predict(x, batch_size=batch_size, verbose=0)
        assert y.dtype == dtype
        np.testing.assert_allclose(y, whole, atol=tolerance)


@pytest.mark.parametrize("chunk_bytes", [ONE_IMAGE, 10_000])
@pytest.mark.parametrize("threads", ["1", "2"])
def test_random_layers_with_equal_seeds(monkeypatch, chunk_bytes, threads):
    """Each chunk draws its own numbers, in the same order each time."""
    monkeypatch.setattr(steps, "CHUNK_BYTES", chunk_bytes)
    monkeypatch.setenv("MINICNN_NUM_THREADS", threads)
    x, y = numbers((33, 8, 8, 2), dtype="float32"), np.arange(33) % 3
    weights = []
    for _ in range(2):
        set_random_seed(4)
        model = Sequential(
            [Input((8, 8, 2)), RandomFlip(), Conv2D(3, 3, activation="relu"), Dropout(0.5),
             MaxPooling2D(2), Dropout(0.2), Flatten(), Dense(3)]
        )  # fmt: skip
        model.compile("sgd", "mse")
        model.fit(x, np.eye(3)[y], batch_size=16, epochs=2, verbose=0)
        weights.append(model.get_weights())
    for one, other in zip(*weights, strict=True):
        assert np.isfinite(one).all()
        np.testing.assert_array_equal(one, other)


def test_chunks_drop_different_numbers(monkeypatch):
    monkeypatch.setattr(steps, "CHUNK_BYTES", ONE_IMAGE)
    model = Sequential([Input((20, 20)), Dropout(0.5), ReLU()])
    y = model.forward(np.ones((3, 20, 20), "float32"),
                      Context(training=True, rng=np.random.default_rng(0)))  # fmt: skip
    masks = {mask.tobytes() for mask in y > 0}
    assert len(masks) == 3


def test_numbers_that_become_wider_on_the_way(monkeypatch):
    """Backward cuts the batch where forward did, though its numbers take twice the bytes."""
    monkeypatch.setattr(steps, "CHUNK_BYTES", 4000)
    model = Sequential(
        [Input((8, 8, 2)), Conv2D(2, 3, activation="relu"), Flatten(), Dense(3, dtype="float64")]
    )
    (segment, _), *_ = model.graph._segments(True)
    assert len(segment.chunks(16, 4)) != len(segment.chunks(16, 8))
    x, ctx = numbers((16, 8, 8, 2), dtype="float32"), Context(training=True)
    y = model.forward(x, ctx)
    assert y.dtype == np.float64
    dx = model.backward(np.ones_like(y), ctx)
    plain = NaivePass(model, [x], [np.ones_like(y)])
    np.testing.assert_allclose(dx, plain.dxs[0], rtol=1e-5, atol=1e-5)


def test_nothing_of_the_callers_is_written_over(float64, monkeypatch):
    for chunk_bytes in (ONE_IMAGE, ALL_IMAGES):
        monkeypatch.setattr(steps, "CHUNK_BYTES", chunk_bytes)
        for model in (chain(), residual(), nested()):
            x = numbers((5, *model.input_shape[1:]))
            before, ctx = x.copy(), Context(training=True)
            y = model.forward(x, ctx)
            dy = numbers(y.shape, 1)
            dy_before = dy.copy()
            model.backward(dy, ctx)
            np.testing.assert_array_equal(x, before)
            np.testing.assert_array_equal(dy, dy_before)


@pytest.mark.parametrize("build", [chain, residual, nested])
def test_on_the_device(strict, monkeypatch, build):
    monkeypatch.setattr(steps, "CHUNK_BYTES", ONE_IMAGE)
    model = build()
    model.compile("sgd", "mse")
    x = numbers((4, *model.input_shape[1:]), dtype="float32")
    y = numbers((4, model.output_shape[-1]), 1, "float32")
    model.train_on_batch(x, y)
    prepared = model._prepare(([x], y, None))
    strict.reset()
    training_step.train_step(model, *prepared)
    training_step.test_step(model, *prepared)
    assert (strict.to_device, strict.to_host) == (0, 0)


def test_a_softmax_left_to_the_loss(float64, monkeypatch):
    """Also with chunks, and behind a rearranged maximum."""
    x = Input((6, 6, 2))
    h = MaxPooling2D(2)(Conv2D(3, 3, activation="relu")(x))
    model = Model(x, Softmax()(GlobalAveragePooling2D()(h)))
    data = numbers((5, 6, 6, 2))
    for chunk_bytes in (ONE_IMAGE, ALL_IMAGES):
        monkeypatch.setattr(steps, "CHUNK_BYTES", chunk_bytes)
        logits = model.forward(data, Context(wants_logits=True))
        probabilities = model.forward(data, Context())
        e = np.exp(logits)
        np.testing.assert_allclose(probabilities, e / e.sum(-1, keepdims=True), atol=1e-12)
        assert np.abs(logits.sum(-1) - 1).min() > 1e-6
