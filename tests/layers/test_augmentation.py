"""Flips, crops, brightness and contrast: as slow loops would do them, and only in training."""

import numpy as np
import pytest

from minicnn import Input, Model, Sequential, backend, layers, random
from minicnn.gradcheck import gradcheck
from minicnn.layers import BatchNormalization, Dropout
from minicnn.layers.augmentation import (
    RandomBrightness,
    RandomContrast,
    RandomCrop,
    RandomFlip,
)
from minicnn.layers.context import Context
from minicnn.layers.random_affine import RandomRotation, RandomTranslation, RandomZoom
from minicnn.utils import set_random_seed

X = np.random.default_rng(0).uniform(0, 255, (6, 7, 5, 3)).astype("float32")

LAYERS = [
    lambda **k: RandomFlip(**k),
    lambda **k: RandomFlip("horizontal", **k),
    lambda **k: RandomFlip("vertical", **k),
    lambda **k: RandomBrightness(0.3, **k),
    lambda **k: RandomContrast((0.2, 0.6), **k),
    lambda **k: RandomTranslation(0.3, (-0.1, 0.4), **k),
    lambda **k: RandomRotation(0.2, **k),
    lambda **k: RandomZoom(0.3, **k),
    lambda **k: RandomZoom((-0.5, -0.1), 0.2, fill_mode="constant", **k),
    lambda **k: RandomCrop(4, 3, **k),
    lambda **k: layers.RandomShear(0.3, (0.1, 0.2), **k),
    lambda **k: layers.RandomPerspective(scale=0.4, **k),
    lambda **k: layers.RandomColorDegeneration(0.8, **k),
    lambda **k: layers.RandomGrayscale(**k),
    lambda **k: layers.RandomHue(0.6, **k),
    lambda **k: layers.RandomSaturation((0.2, 0.8), **k),
    lambda **k: layers.RandomInvert(**k),
    lambda **k: layers.RandomPosterization(8, **k),
    lambda **k: layers.Solarization(0.4, 0.8, **k),
    lambda **k: layers.RandomSharpness(1.0, **k),
    lambda **k: layers.RandomGaussianBlur(kernel_size=5, sigma=(0.5, 1), **k),
    lambda **k: layers.RandomErasing(**k),
    lambda **k: layers.RandomErasing(fill_value=0.0, scale=(0.3, 0.6), **k),
    lambda **k: layers.RandomColorJitter((0, 255), 0.1, 0.2, 0.5, 0.1, **k),
    lambda **k: layers.RandAugment(num_ops=5, factor=0.2, **k),
    lambda **k: layers.AugMix(chain_depth=5, alpha=2.0, **k),
]
IMAGE_BY_IMAGE = [make for make in LAYERS if not make().whole_batch]
every_layer = pytest.mark.parametrize("make", LAYERS)


def call(layer, x=X, seed=1, training=True):
    ctx = Context(training, record=True, rng=backend.random_generator(seed))
    return layer.forward(backend.asarray(x), ctx), ctx


@every_layer
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dtype_and_input_are_kept(make, dtype):
    x = X.astype(dtype)
    y, ctx = call(make(), x)
    assert y.dtype == dtype
    assert make().backward(y, ctx).dtype == dtype
    np.testing.assert_array_equal(x, X)


@pytest.mark.cpu_only("looks at the images as NumPy arrays")
@every_layer
def test_only_training_changes_images_and_each_in_its_own_way(make):
    x = np.repeat(X[:1], 16, axis=0)
    y, _ = call(make(), x)
    assert len({image.tobytes() for image in y}) > 1
    calm, ctx = call(make(), x, training=False)
    if isinstance(make(), RandomCrop):
        np.testing.assert_array_equal(calm, x[:, 1:5, 1:4])
    else:
        assert calm is x
        assert make().backward(x, ctx) is x


@every_layer
def test_equal_generators_give_equal_images(make):
    first, _ = call(make())
    second, _ = call(make())
    np.testing.assert_array_equal(first, second)


@pytest.mark.cpu_only("looks at the images as NumPy arrays")
@every_layer
def test_a_seed_of_its_own_goes_on_from_call_to_call(make):
    layer = make(seed=3)
    first, second = call(layer)[0], call(layer)[0]
    assert not np.array_equal(first, second)
    again = make(seed=3)
    np.testing.assert_array_equal(call(again, seed=8)[0], first)
    np.testing.assert_array_equal(call(again, seed=9)[0], second)


@every_layer
def test_gradients(make):
    gradcheck(make(), X[:3])
    gradcheck(make(seed=2), X[:2], training=False)


@every_layer
def test_configuration_goes_round(make):
    layer = make(seed=4)
    copy = type(layer).from_config(layer.get_config())
    np.testing.assert_array_equal(call(layer)[0], call(copy)[0])


@every_layer
def test_strict_backend_gives_the_same_without_transfers(make, request):
    expected, ctx = call(make())
    expected_dx = make().backward(expected, ctx)
    transfers = request.getfixturevalue("strict")
    layer = make()
    x = backend.asarray(X)
    ctx = Context(True, rng=backend.random_generator(1))
    transfers.reset()
    y = layer.forward(x, ctx)
    dx = layer.backward(y, ctx)
    assert transfers.to_host == 0
    np.testing.assert_allclose(backend.to_numpy(y), expected, rtol=1e-6)
    np.testing.assert_allclose(backend.to_numpy(dx), expected_dx, rtol=1e-6)


@every_layer
def test_other_than_images_are_refused(make):
    with pytest.raises(ValueError, match="height, width, channels"):
        make()(np.zeros((2, 5), "float32"))


@pytest.mark.cpu_only("looks at the images as NumPy arrays")
@pytest.mark.parametrize("mode,flips", [("horizontal", (1,)), ("vertical", (0,))])
def test_flip_mirrors_about_half_of_the_images(mode, flips):
    x = np.random.default_rng(0).random((200, 4, 3, 2), dtype="float32")
    y, _ = call(RandomFlip(mode), x)
    flipped = [np.array_equal(b, np.flip(a, flips)) for a, b in zip(x, y, strict=True)]
    kept = [np.array_equal(b, a) for a, b in zip(x, y, strict=True)]
    assert sum(flipped) + sum(kept) == 200
    assert 70 < sum(flipped) < 130


@pytest.mark.cpu_only("looks at the images as NumPy arrays")
def test_flip_both_ways_draws_independently():
    x = np.random.default_rng(0).random((400, 4, 3, 2), dtype="float32")
    y, _ = call(RandomFlip(), x)
    for axes in ((), (0,), (1,), (0, 1)):
        count = sum(np.array_equal(b, np.flip(a, axes)) for a, b in zip(x, y, strict=True))
        assert 60 < count < 140


@pytest.mark.cpu_only("looks at the images as NumPy arrays")
def test_crop_cuts_every_place_and_the_middle_outside_training():
    x = np.arange(300 * 6 * 5).reshape(300, 6, 5, 1).astype("float32")
    y, _ = call(RandomCrop(4, 4), x)
    places = set()
    for a, b in zip(x, y, strict=True):
        found = [(i, j) for i in range(3) for j in range(2) if (a[i : i + 4, j : j + 4] == b).all()]
        assert len(found) == 1
        places |= set(found)
    assert len(places) == 6
    np.testing.assert_array_equal(call(RandomCrop(4, 4), x, training=False)[0], x[:, 1:5, 0:4])
    np.testing.assert_array_equal(call(RandomCrop(6, 5), x)[0], x)


def test_crop_of_more_than_the_image_is_refused():
    with pytest.raises(ValueError, match="40x40 pixels out of an image of 32x32"):
        RandomCrop(40, 40)(np.zeros((1, 32, 32, 3), "float32"))


@pytest.mark.cpu_only("looks at the images as NumPy arrays")
def test_brightness_adds_one_number_to_each_image():
    y, _ = call(RandomBrightness((0.1, 0.2), value_range=(-1000, 1000)))
    added = (y - X).reshape(len(X), -1)
    assert np.ptp(added, axis=1).max() < 1e-3
    assert 200 <= added.min() and added.max() <= 400
    assert np.unique(added[:, 0].round(2)).size == len(X)
    y, _ = call(RandomBrightness(1.0))
    assert y.min() >= 0 and y.max() <= 255


@pytest.mark.cpu_only("looks at the images as NumPy arrays")
def test_contrast_keeps_the_means_and_scales_the_rest():
    y, _ = call(RandomContrast(0.5, value_range=(-1000, 1000)))
    np.testing.assert_allclose(y.mean((1, 2)), X.mean((1, 2)), rtol=1e-4)
    factors = y.std((1, 2)) / X.std((1, 2))
    assert np.ptp(factors, axis=1).max() < 1e-3
    assert factors.min() >= 0.5 and factors.max() <= 1.5 and np.ptp(factors) > 0.05


@pytest.mark.parametrize(
    "make,words",
    [
        (lambda: RandomFlip("horizontl"), "did you mean 'horizontal'"),
        (lambda: RandomCrop(0, 3), "height must be an integer above 0"),
        (lambda: RandomBrightness(2), "from -1 to 1; got 2"),
        (lambda: RandomBrightness(0.1, value_range=(1, 0)), "value_range"),
        (lambda: RandomContrast(-0.1), "from 0 to 1; got -0.1"),
        (lambda: RandomFlip(data_format="channels_first"), "channels_last"),
        (lambda: layers.RandomHue(1.5), "factor is a number, .* from 0 to 1; got 1.5"),
        (lambda: layers.RandomHue("much"), "factor is a number, .* got 'much'"),
        (lambda: layers.RandomInvert((0.5, 1.2)), "from 0 to 1; got"),
        (lambda: layers.RandomGrayscale(-0.1), "factor must be at least 0 and at most 1"),
        (lambda: layers.RandomPosterization(9), "from 1 to 8; got 9"),
        (lambda: layers.RandomPosterization((1, 2.5)), "a number of bits"),
        (lambda: layers.Solarization(threshold_factor=2), "threshold_factor is"),
        (lambda: layers.RandomShear(-0.2), "x_factor is .* from 0 to 1; got -0.2"),
        (lambda: layers.RandomShear(0.1, (-0.2, 0.1)), "y_factor is"),
        (lambda: layers.RandomPerspective(scale=1.5), "scale must be at least 0 and at most 1"),
        (lambda: layers.RandomPerspective(interpolation="bicubic"), "unknown interpolation"),
        (lambda: layers.RandomGaussianBlur(kernel_size=4), "kernel_size must be odd; got 4"),
        (lambda: layers.RandomGaussianBlur(sigma=3), "sigma is .* from 0 to 1; got 3"),
        (lambda: layers.RandomErasing(scale=2), "scale is a number"),
        (lambda: layers.RandomErasing(fill_value="black"), "fill_value must be a finite number"),
        (lambda: layers.RandAugment(num_ops=0), "num_ops must be an integer above 0"),
        (lambda: layers.RandAugment(factor=1.5), "factor is a number"),
        (lambda: layers.AugMix(alpha=0), "alpha must be a finite number of at least 1e-06"),
        (lambda: layers.AutoContrast((0, 0)), "value_range is"),
        (lambda: layers.Equalization(bins=0), "bins must be an integer above 0"),
        (lambda: layers.MixUp(alpha=-1), "alpha must be a finite number"),
        (lambda: layers.CutMix(2.0), "factor is a number"),
    ],
)
def test_bad_arguments(make, words):
    with pytest.raises(ValueError, match=words):
        make()


# Called on arrays, without a word about training: as Keras 3 does


@pytest.mark.cpu_only("looks at the images as NumPy arrays")
@every_layer
def test_a_call_on_arrays_augments_unless_it_is_told_not_to(make):
    x = np.repeat(X[:1], 16, axis=0)
    for called in (make(), Sequential([make()]), Sequential([Sequential([make()])])):
        assert len({image.tobytes() for image in called(x)}) > 1
        assert len({image.tobytes() for image in called(x, training=True)}) > 1
        for told in (False, 0, np.False_):
            assert len({image.tobytes() for image in called(x, training=told)}) == 1
    inputs = Input(X.shape[1:])
    model = Model(inputs, make()(inputs))
    assert len({image.tobytes() for image in model(x)}) > 1
    model.compile("sgd", "mse")
    calm = model(x, training=False)
    np.testing.assert_array_equal(model.predict(x, verbose=0), calm)
    assert model.evaluate(x, calm, verbose=0) == 0


@pytest.mark.cpu_only("looks at the images as NumPy arrays")
def test_a_place_in_a_model_that_says_training_is_asked_first():
    inputs = Input(X.shape[1:])
    never = Model(inputs, RandomFlip()(inputs, training=False))
    np.testing.assert_array_equal(never(X, training=True), X)
    np.testing.assert_array_equal(never(X), X)
    always = Model(inputs, RandomFlip()(inputs, training=True))
    assert not np.array_equal(always.predict(np.repeat(X, 9, axis=0), verbose=0)[:6], X)


@pytest.mark.cpu_only("looks at the images as NumPy arrays")
def test_what_is_no_augmentation_does_as_outside_training():
    x = np.repeat(X[:1], 16, axis=0)
    norm = BatchNormalization()
    for layer in (Dropout(0.5), norm):
        model = Sequential([RandomFlip(), layer])
        y = model(x)
        assert (y == 0).mean() < 0.1  # a dropout would zero half of them
        assert len({np.sort(image, axis=None).tobytes() for image in y}) == 1
        np.testing.assert_array_equal(layer(x), layer(x, training=False))
    assert not norm.moving_mean.numpy().any() and (norm.moving_variance.numpy() == 1).all()


def test_a_call_without_augmentation_draws_no_numbers():
    set_random_seed(3)
    Sequential([Dropout(0.5)])(X)
    drawn = random.host_generator().random()
    set_random_seed(3)
    assert random.host_generator().random() == drawn


@pytest.mark.cpu_only("looks at the images as NumPy arrays")
@every_layer
@pytest.mark.parametrize("training", [None, True, False])
def test_a_single_image_is_a_batch_of_one(make, training):
    one, batch = make(seed=5)(X[0], training=training), make(seed=5)(X[:1], training=training)
    assert one.ndim == 3
    np.testing.assert_array_equal(one, batch[0])
    np.testing.assert_array_equal(make(seed=5)(X[0].tolist(), training=training), one)


@pytest.mark.cpu_only("cuts the batch itself, as nobody does on a device")
@pytest.mark.parametrize("make", IMAGE_BY_IMAGE)
def test_results_do_not_depend_on_how_the_batch_is_cut(make):
    whole, _ = call(make())
    rng = backend.random_generator(1)
    parts = [
        make().forward(X[part], Context(True, rng=rng)) for part in (slice(0, 1), slice(1, None))
    ]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


@pytest.mark.cpu_only("looks at the images as NumPy arrays")
@pytest.mark.parametrize("name", ["RandomHue", "RandomSaturation", "RandomGrayscale"])
def test_colours_need_channels(name):
    layer = getattr(layers, name)(0.5)
    with pytest.raises(ValueError, match=r"changes images of .*3 channels; got shape"):
        layer(np.zeros((2, 4, 4, 2), "float32"))
    with pytest.raises(ValueError, match="channels; got shape"):
        Sequential([Input((4, 4, 4)), layer])
    with pytest.raises(ValueError, match="3 channels; got shape"):
        layers.RandomErasing(fill_value=(1, 2, 3))(np.zeros((2, 4, 4, 1), "float32"))


@pytest.mark.cpu_only("looks at the images as NumPy arrays")
@every_layer
def test_a_dict_keeps_its_labels(make):
    labels = np.arange(6)
    data = {"images": X, "labels": labels}
    out = make(seed=2)(data)
    assert out["labels"] is labels and out is not data and data["images"] is X
    np.testing.assert_array_equal(out["images"], make(seed=2)(X))
    one = make(seed=2)({"images": X[0]}, training=False)
    assert list(one) == ["images"] and one["images"].ndim == 3
    with pytest.raises(ValueError, match="boxes and masks are not supported"):
        make()({"images": X, "segmentation_masks": X})
    with pytest.raises(ValueError, match='a dict of "images"'):
        make()({"image": X})


@pytest.mark.cpu_only("looks at the images as NumPy arrays")
def test_bytes_come_back_as_floats():
    x = X.astype("uint8")
    for make in LAYERS:
        assert make()(x).dtype == "float32"
        np.testing.assert_array_equal(make(seed=1)(x), make(seed=1)(x.astype("float32")))
    one = layers.RandomInvert((1, 1))(x)
    np.testing.assert_array_equal(one, 255 - x)


@pytest.mark.cpu_only("looks at the images as NumPy arrays")
def test_auto_contrast_and_equalization():
    x = np.stack([X[0] / 3 + 20, np.full_like(X[0], 9.0)])
    for training in (None, True, False):
        y = layers.AutoContrast()(x, training=training)
        np.testing.assert_allclose(y[0].min((0, 1)), 0, atol=1e-4)
        np.testing.assert_allclose(y[0].max((0, 1)), 255, rtol=1e-5)
        np.testing.assert_array_equal(y[1], x[1])
    for training in (None, True):
        y = layers.Equalization()(x[:1], training=training)[0]
        assert y.min() == 0 and y.max() == 255
        assert (np.argsort(y[..., 0], axis=None) >= 0).all() and abs(y.mean() - 127) < 8
    np.testing.assert_array_equal(layers.Equalization()(x[1:]), x[1:])
    np.testing.assert_array_equal(layers.Equalization()(x, training=False), x)


@pytest.mark.cpu_only("looks at the images as NumPy arrays")
def test_erasing_covers_what_it_says():
    x = np.full((500, 20, 30, 1), -1.0, "float32")
    y = layers.RandomErasing((1, 1), (0.25, 0.25), fill_value=7)(x)
    assert set(np.unique(y)) == {-1, 7}
    rows, columns = (y == 7).any(2)[..., 0], (y == 7).any(1)[..., 0]
    assert set(rows.sum(1)) <= {10, 11} and set(columns.sum(1)) <= {15, 16}
    assert rows.any(0)[1:].all() and columns.any(0)[1:].all()
    noise = layers.RandomErasing((1, 1), (1, 1), value_range=(0, 2))(x)
    assert 0.48 < (noise == 0).mean() < 0.52 and 0.14 < (noise == 2).mean() < 0.18  # N(0, 4)
    half = layers.RandomErasing((0.5, 0.5), fill_value=7)(x)
    assert 200 < (half == 7).any((1, 2, 3)).sum() < 300


@pytest.mark.cpu_only("trains on the host")
@pytest.mark.parametrize("name", ["RandAugment", "AugMix", "RandomGaussianBlur", "RandomErasing"])
def test_training_with_shards_gives_the_same_each_time(name):
    x = np.random.default_rng(0).uniform(0, 1, (24, 6, 6, 3)).astype("float32")
    weights = []
    for _ in range(2):
        set_random_seed(4)
        model = Sequential(
            [
                Input((6, 6, 3)),
                getattr(layers, name)(value_range=(0, 1)),
                layers.Conv2D(2, 3),
                layers.Flatten(),
                layers.Dense(2),
            ]
        )
        model.compile("sgd", "mse")
        model.fit(x, np.zeros((24, 2)), batch_size=12, epochs=2, verbose=0)
        weights.append(model.get_weights())
    for a, b in zip(*weights, strict=True):
        np.testing.assert_array_equal(a, b)
