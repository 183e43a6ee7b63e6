"""What the table of every layer does not say of Normalization, InputSpec, noise, encodings ..."""

import re

import numpy as np
import pytest
from layer_calls import run
from strategies import numbers

import minicnn
from minicnn import Input, InputSpec, Layer, Model, Sequential, layers
from minicnn.models import load_model

X = numbers((7, 4, 5, 3), 1, "float32")


# Normalization


@pytest.mark.parametrize("axis", [-1, (1, 3), None])
def test_adapt_to_an_array_and_to_batches(axis):
    kept = () if axis is None else np.atleast_1d(axis) % 4
    over = tuple(a for a in range(4) if a not in kept)
    mean, deviation = X.mean(over, keepdims=True), X.std(over, keepdims=True)
    batches = [X[:2], (X[2:3], "labels"), X[3:]]
    for data in (X, batches, iter(batches), (b for b in batches)):
        layer = layers.Normalization(axis)
        layer.adapt(X[:1])  # what it knew before is forgotten
        layer.adapt(data)
        np.testing.assert_allclose(layer(X), (X - mean) / deviation, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(layer.mean, mean, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(layer.variance, deviation**2, rtol=1e-4)
        back = layers.Normalization(axis, invert=True)
        back.adapt(data if isinstance(data, (list, np.ndarray)) else X)
        np.testing.assert_allclose(back(layer(X)), X, rtol=1e-4, atol=1e-5)


class Endless:
    """Knows how many batches it has, and goes round for ever, as `ImageDataGenerator.flow`."""

    def __len__(self):
        return 2

    def __getitem__(self, i):
        return X[i * 4 : i * 4 + 4]

    def __iter__(self):
        while True:
            yield X


def test_adapt_to_batches_by_number():
    layer = layers.Normalization()
    layer.adapt(Endless())
    np.testing.assert_allclose(layer.mean.ravel(), X.mean((0, 1, 2)), rtol=1e-4)


def test_constant_channels_are_not_divided_by_zero():
    layer = layers.Normalization()
    layer.adapt(np.full((3, 2, 2, 1), 5.0))
    np.testing.assert_array_equal(layer(np.full((1, 2, 2, 1), 5.0)), 0)


@pytest.mark.parametrize("suffix", [".safetensors", ".keras", ".h5"])
def test_statistics_are_saved_and_do_not_learn(suffix, tmp_path):
    if suffix != ".safetensors":
        pytest.importorskip("h5py")
    model = Sequential([Input((4, 5, 3)), layers.Normalization(), layers.Flatten()])
    model.layers[0].adapt(X)
    assert model.trainable_weights == []
    model.save(tmp_path / f"m{suffix}")
    loaded = load_model(tmp_path / f"m{suffix}")
    np.testing.assert_array_equal(loaded.predict(X, verbose=0), model.predict(X, verbose=0))


def test_errors_of_normalization():
    given = layers.Normalization(mean=[1, 2, 3], variance=[1, 1, 1])
    for action, message in [
        (lambda: layers.Normalization(mean=1), "mean and variance go together, in one shape"),
        (lambda: layers.Normalization(mean=[1, 2], variance=[1]), "mean and variance go together"),
        (lambda: layers.Normalization(None, [1], [1])(X), r"a mean of shape \(1,\) does not fit"),
        (lambda: layers.Normalization(mean=0, variance=-1), "variance must be a finite number of"),
        (lambda: given.adapt(X), "was given mean and variance: there is nothing to adapt"),
        (lambda: layers.Normalization().adapt([]), "adapt needs data; there are no images in them"),
        (lambda: layers.Normalization(0)(X), r"axis \(0,\) of inputs .* is the batch, or not th"),
        (lambda: layers.Normalization(1)(Input((None, 5, 3))), "needs inputs of fixed sizes"),
        (lambda: layers.Normalization().adapt([X, X[..., :2]]), r"was built for sizes \(3,\) al"),
        (lambda: given(X[..., :2]), r"a mean of shape \(3,\) does not fit sizes \(2,\)"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=message):
            action()
    for data in (3, ["a"]):
        with pytest.raises(TypeError, match="adapt takes"):
            layers.Normalization().adapt(data)


# InputSpec


def test_input_spec_is_asked_at_every_call():
    class Own(Layer):
        input_spec = InputSpec(ndim=4, axes={-1: 3})

        def compute_output_shape(self, input_shape):
            return input_shape

        def forward(self, x, ctx):
            return x

    assert layers.InputSpec is minicnn.InputSpec
    layer = Own()
    assert layer(X).shape == X.shape and layer(Input((4, 5, 3))).shape == (None, 4, 5, 3)
    for bad, message in ((X[0], "expected ndim=4, found ndim=3"), (X[..., :2], "expected axis -1")):
        with pytest.raises(ValueError, match=f"Own '.*' does not take such inputs: {message}"):
            layer(bad)
    with pytest.raises(ValueError, match="expected axis -1 of input shape to have value 3"):
        layer(Input((4, 5, 2)))
    layer.input_spec = [InputSpec(), InputSpec()]
    with pytest.raises(ValueError, match="expects 2 inputs; got 1"):
        layer(X)


SPECS = [
    ({"shape": (None, 4)}, (2, 4), (2, 5), "expected shape=(None, 4), found shape=(2, 5)"),
    ({"min_ndim": 3}, (1, 2, 3), (1, 2), "expected min_ndim=3, found ndim=2"),
    ({"max_ndim": 2}, (1, 2), (1, 2, 3), "expected max_ndim=2, found ndim=3"),
    ({"dtype": "float32"}, (1,), None, "expected dtype=float32, found dtype=int8"),
    ({"shape": (None, 4), "allow_last_axis_squeeze": True}, (2, 4, 1), (2, 5), "expected shape"),
]


@pytest.mark.parametrize(("arguments", "good", "bad", "message"), SPECS)
def test_what_a_spec_says(arguments, good, bad, message):
    spec = InputSpec(**arguments)
    assert spec.problem_with(good, "float32") is None
    problem = spec.problem_with(bad or good, "float32" if bad else "int8")
    assert problem is not None and problem.startswith(message)
    assert InputSpec.from_config(spec.get_config()).get_config() == spec.get_config()
    assert next(iter(arguments)) in repr(spec)


def test_errors_of_specs():
    with pytest.raises(TypeError, match="axes is a dict of sizes by axis, not {'a': 1}"):
        InputSpec(axes={"a": 1})
    with pytest.raises(ValueError, match="there is no axis 3 among 3 axes"):
        InputSpec(ndim=3, axes={3: 1})


# Random numbers


@pytest.mark.cpu_only("looks at results with NumPy")
@pytest.mark.parametrize(
    ("layer", "mean", "variance"),
    [
        (layers.GaussianNoise(0.3, seed=1), 2, 0.09),
        (layers.GaussianDropout(0.2, seed=1), 2, 4 * 0.25),
        (layers.Dropout(0.2, seed=1), 2, 4 * 0.25),
    ],
)
def test_moments_of_noise(layer, mean, variance):
    x = np.full((100, 1000), 2.0, "float32")
    y = layer(x, training=True)
    assert y.mean() == pytest.approx(mean, abs=0.02)
    assert y.var() == pytest.approx(variance, rel=0.02)
    np.testing.assert_array_equal(layer(x), x)
    assert not np.array_equal(layer(x, training=True), y)
    layer.reseed()
    np.testing.assert_array_equal(layer(x, training=True), y)


@pytest.mark.cpu_only("looks at results with NumPy")
def test_alpha_dropout_keeps_mean_and_variance():
    x = numbers((300, 1000), 1, "float32")
    y = layers.AlphaDropout(0.3, seed=2)(x, training=True)
    assert y.mean() == pytest.approx(x.mean(), abs=0.02)
    assert y.var() == pytest.approx(x.var(), rel=0.02)
    scale = (0.7 * (1 + 0.3 * 1.7580993**2)) ** -0.5
    dropped = np.isclose(y, scale * (-1.7580993 + 1.7580993 * 0.3), atol=1e-5)
    assert dropped.mean() == pytest.approx(0.3, abs=0.01)
    np.testing.assert_allclose(
        y[~dropped], scale * (x[~dropped] + 1.7580993 * 0.3), rtol=1e-4, atol=1e-4
    )


def test_spatial_dropout_drops_whole_channels():
    y = layers.SpatialDropout2D(0.4, seed=1)(np.ones((50, 3, 4, 20)), training=True)
    assert ((y == y[:, :1, :1]).all()) and 0.3 < (y[:, 0, 0] == 0).mean() < 0.5


# Encodings


@pytest.mark.parametrize("given", [np.array([[0, 2, 2], [1, 0, 3]]), np.array([0, 2, 2])])
def test_category_encoding(given):
    hot = np.eye(4)[given]
    for mode, expected in (
        ("one_hot", hot), ("multi_hot", hot.max(-2)), ("count", hot.sum(-2)),
        ("binary", hot.max(-2)),
    ):  # fmt: skip
        out = layers.CategoryEncoding(4, mode)(given)
        np.testing.assert_array_equal(out, expected)
        assert out.dtype == np.float32
    weights = np.arange(given.size).reshape(given.shape)
    np.testing.assert_array_equal(
        layers.CategoryEncoding(4, "count")(given, count_weights=weights),
        (hot * weights[..., None]).sum(-2),
    )
    big = layers.CategoryEncoding(3001, "one_hot", dtype="mixed_float16")(np.array([[2999]]))
    assert big.argmax() == 2999


# Errors

ERRORS = [
    (lambda: layers.Permute((1, 3)), "dims must be the axes 1 to 2 in some order, not (1, 3)"),
    (lambda: layers.Permute((2, 1))(X), "expects inputs of 3 axes, the batch and 2 more"),
    (lambda: layers.Cropping2D(-1), "cropping must be an integer, (rows, columns) or ((top,"),
    (lambda: layers.Cropping2D(2)(X), "nothing would be left of images of shape (4, 5, 3)"),
    (lambda: layers.RepeatVector(0), "n must be an integer above 0, not 0"),
    (lambda: layers.UpSampling2D(interpolation="area"), "'area'"),
    (lambda: layers.Resizing(0, 2), "height must be an integer above 0, not 0"),
    (lambda: layers.Resizing(2, 2, fill_mode="wrap"), "fill_mode must be one of 'constant', not"),
    (
        lambda: layers.Resizing(2, 2, crop_to_aspect_ratio=True, pad_to_aspect_ratio=True),
        "only one of crop_to_aspect_ratio and pad_to_aspect_ratio can be True",
    ),
    (lambda: layers.Conv2DTranspose(2, 3, strides=2, dilation_rate=2), "cannot both be above 1"),
    (
        lambda: layers.Conv2DTranspose(2, 3, strides=2, output_padding=2),
        "output_padding must be one or two integers, 0 or above and less than strides (2, 2)",
    ),
    (lambda: layers.PReLU(shared_axes=[4])(X), "shared_axes are counted from 1 to 3 for inputs"),
    (lambda: layers.PReLU()(Input((None, 5, 3))), "needs inputs of fixed sizes"),
    (lambda: layers.UnitNormalization(0)(X), "axis 0 of inputs of shape (None, 4, 5, 3) is the"),
    (lambda: layers.GaussianNoise(1.5), "stddev must be at least 0 and at most 1, not 1.5"),
    (lambda: layers.GaussianDropout(1.0), "rate must be at least 0 and below 1, not 1.0"),
    (lambda: layers.AlphaDropout(0.1, noise_shape=(3,))(X), "noise_shape (3,) does not fit"),
    (lambda: layers.SpatialDropout2D(0.1)(X[0]), "expects inputs of 4 axes"),
    (lambda: layers.CategoryEncoding(), "num_tokens must be an integer above 0, not None"),
    (lambda: layers.CategoryEncoding(3, sparse=True), "sparse must be one of False, not True"),
    (lambda: layers.CategoryEncoding(3)(np.array([[3]])), "categories 0 to 2; got numbers from 3"),
    (lambda: layers.CategoryEncoding(3)(X), "expects inputs (batch, categories)"),
    (lambda: layers.CategoryEncoding(3)(X, count_weights=X), "go with output_mode 'count', not"),
    (lambda: layers.Subtract()([X, X, X]), "takes exactly two inputs; got 3"),
    (lambda: layers.Maximum()([X]), "needs at least two inputs; got 1"),
    (lambda: layers.AdaptiveMaxPooling2D((0, 1)), "output_size must be an integer above 0, not 0"),
]  # fmt: skip


@pytest.mark.cpu_only("looks at results with NumPy")
@pytest.mark.parametrize(("action", "message"), ERRORS)
def test_errors(action, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        action()


def test_unit_normalization_takes_no_other_axis():
    with pytest.raises(TypeError, match="axis must be an integer or a list of them, not 'a'"):
        layers.UnitNormalization("a")


# The rest


@pytest.mark.parametrize("name", ["add", "average", "maximum", "minimum", "multiply", "subtract"])
def test_functions_for_merges(name):
    layer = getattr(layers, name.capitalize())()
    xs = [X, numbers(X.shape, 2, "float32")]
    np.testing.assert_array_equal(getattr(layers, name)(xs), layer(xs))
    a, b = Input((4, 5, 3)), Input((4, 5, 3))
    assert getattr(layers, name)([a, b], name="it").node.layer.name == "it"


def test_single_images():
    for layer in (layers.Resizing(3, 2), layers.CenterCrop(3, 2)):
        np.testing.assert_array_equal(layer(X[0]), layer(X)[0])


@pytest.mark.cpu_only("looks at results with NumPy")
def test_resizing_keeps_whole_numbers():
    x = np.random.default_rng(0).integers(0, 256, (2, 4, 5, 3)).astype("uint8")
    layer = layers.Resizing(7, 3, "bicubic")
    y, exact = layer(x), layer(x.astype("float32"))
    assert y.dtype == np.uint8 and exact.min() < 0 and exact.max() > 255
    np.testing.assert_array_equal(y, np.rint(exact).clip(0, 255))
    assert layer(Input((4, 5, 3))).shape == (None, 7, 3, 3)


def test_identity_of_lists():
    a, b = Input((3,)), Input((2,))
    model = Model([a, b], layers.Identity()([a, b]))
    out = model.predict([np.ones((2, 3)), np.zeros((2, 2))], verbose=0)
    assert [o.shape for o in out] == [(2, 3), (2, 2)]


@pytest.mark.cpu_only("looks at results with NumPy")
def test_infinite_elements_stay_where_they_are():
    x = np.zeros((1, 4, 4, 1), "float32")
    x[0, 0, 0] = np.inf
    for layer in (layers.UpSampling2D(), layers.AdaptiveAveragePooling2D(2)):
        y = layer(x)
        assert np.isinf(y[0, 0, 0]) and not np.isnan(y).any() and y[0, -1, -1] == 0


def test_of_equal_maxima_each_gets_a_half():
    x = np.ones((2, 3))
    out = run(layers.Maximum(), [x, x, 0 * x], dy=np.ones((2, 3)))
    assert [d[0, 0] for d in out.dx] == [0.5, 0.5, 0]
