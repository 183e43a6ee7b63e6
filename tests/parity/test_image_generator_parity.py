"""The geometry of `ImageDataGenerator` against Keras's own, which warps with SciPy."""

import os

import numpy as np
import pytest

pytest.importorskip("scipy")
pytest.importorskip("torch")
os.environ.setdefault("KERAS_BACKEND", "torch")
pytest.importorskip("keras")
legacy = pytest.importorskip("keras.src.legacy.preprocessing.image")

from minicnn.preprocessing.image import (  # noqa: E402
    ImageDataGenerator,
    array_to_img,
    img_to_array,
    load_img,
    save_img,
)

pytestmark = [
    pytest.mark.parity,
    # Keras 3.15 calls SciPy by a deprecated name.
    pytest.mark.filterwarnings("ignore:Please import:DeprecationWarning"),
]

TRANSFORMATIONS = [
    {"theta": 25.0},
    {"tx": 2.3, "ty": -1.4},
    {"shear": 15.0},
    {"zx": 0.8, "zy": 1.3},
    {"theta": -35.0, "tx": 3.2, "ty": 1.1, "shear": 10.0, "zx": 1.2, "zy": 0.7},
    {"theta": 10.0, "flip_horizontal": True, "channel_shift_intensity": 20.0},
    {"flip_vertical": True},
]


def image(height=16, width=16, dtype="float64"):
    return (np.random.default_rng(0).random((height, width, 3)) * 255).astype(dtype)


@pytest.mark.parametrize("fill_mode", ["nearest", "constant", "reflect"])
@pytest.mark.parametrize("parameters", TRANSFORMATIONS)
def test_apply_transform(fill_mode, parameters):
    x = image()
    expected = legacy.ImageDataGenerator(fill_mode=fill_mode, cval=7.0).apply_transform(
        x, parameters
    )
    found = ImageDataGenerator(fill_mode=fill_mode, cval=7.0).apply_transform(x, parameters)
    np.testing.assert_allclose(found, expected, atol=1e-10)


def test_brightness_up_to_the_rounding_that_keras_does():
    x = image(dtype="float32")
    expected = legacy.ImageDataGenerator().apply_transform(x, {"brightness": 1.3})
    found = ImageDataGenerator().apply_transform(x, {"brightness": 1.3})
    np.testing.assert_allclose(found, expected, atol=2.5)


@pytest.mark.parametrize(
    "options",
    [
        {"rescale": 1 / 255},
        {"samplewise_std_normalization": True, "samplewise_center": True},
        {"featurewise_center": True, "featurewise_std_normalization": True},
        {"featurewise_center": True, "zca_whitening": True, "zca_epsilon": 1e-3},
    ],
)
def test_normalisation(options):
    x = np.random.default_rng(1).random((40, 2, 3, 3)) * 255
    generators = [
        kind(**options, dtype="float64") for kind in (legacy.ImageDataGenerator, ImageDataGenerator)
    ]
    for generator in generators:
        generator.fit(x)
    expected, found = (np.stack([g.standardize(i.copy()) for i in x]) for g in generators)
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-7)


def test_reading_and_writing(tmp_path):
    from keras import utils

    x = image(7, 9, "float32")
    np.testing.assert_array_equal(np.asarray(array_to_img(x)), np.asarray(utils.array_to_img(x)))
    save_img(tmp_path / "a.png", x)
    for options in [
        {},
        {"color_mode": "grayscale"},
        {"target_size": (5, 6), "interpolation": "bilinear"},
        {"target_size": (4, 4), "keep_aspect_ratio": True},
    ]:
        expected = utils.img_to_array(utils.load_img(tmp_path / "a.png", **options))
        np.testing.assert_array_equal(
            img_to_array(load_img(tmp_path / "a.png", **options)), expected
        )
