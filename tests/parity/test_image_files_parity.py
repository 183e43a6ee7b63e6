"""Image functions, and images named by a table, against Keras's own."""

import os

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("torch")
os.environ.setdefault("KERAS_BACKEND", "torch")
keras_image = pytest.importorskip("keras").preprocessing.image

from minicnn.preprocessing import image  # noqa: E402

pytestmark = pytest.mark.parity

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("data_format", ["channels_first", "channels_last", None])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("scale", [True, False])
def test_arrays_and_images(data_format, channels, scale, tmp_path):
    shape = (channels, 5, 7) if data_format == "channels_first" else (5, 7, channels)
    x = RNG.uniform(0, 255, shape)
    found = image.array_to_img(x, data_format, scale, "float64")
    expected = keras_image.array_to_img(x, data_format, scale, "float64")
    np.testing.assert_array_equal(np.asarray(found), np.asarray(expected))
    for dtype in (None, "float64", "uint8"):
        array = image.img_to_array(found, data_format, dtype)
        of_keras = keras_image.img_to_array(expected, data_format, dtype)
        np.testing.assert_array_equal(array, of_keras)
        assert array.dtype == of_keras.dtype
    image.save_img(tmp_path / "a.png", x, data_format, "png", scale)
    keras_image.save_img(tmp_path / "b.png", x, data_format, "png", scale)
    assert Image.open(tmp_path / "a.png") == Image.open(tmp_path / "b.png")


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras's
@pytest.mark.parametrize("shape", [(20, 31, 3), (2, 20, 31, 3), (5, 9, 1), (30, 1, 3)])
@pytest.mark.parametrize("size", [(8, 8), (7, 20), (40, 30)])
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
def test_smart_resize(shape, size, interpolation):
    pytest.importorskip("minicnn.kernels.resampling")
    x = RNG.random(shape).astype("float32")
    for data_format in ("channels_last", "channels_first"):
        given = np.moveaxis(x, -1, -3) if data_format == "channels_first" else x
        found = image.smart_resize(given, size, interpolation, data_format)
        expected = keras_image.smart_resize(given, size, interpolation, data_format)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
        assert found.dtype == np.float32
    with pytest.raises(ValueError, match="has 3 axes and a batch of them 4"):
        image.smart_resize(x[..., 0, 0], size)


@pytest.mark.filterwarnings("ignore:Found 1 invalid", "ignore:1 of 5 files")
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"classes": ["c", "a"]},
        {"y_col": "many"},
        {"y_col": "many", "classes": ["b", "c"]},
        {"class_mode": "sparse"},
        {"class_mode": "binary", "classes": ["b", "a"]},
        {"class_mode": "raw", "y_col": "v", "weight_col": "v"},
        {"class_mode": "raw", "y_col": ["v", "w"]},
        {"class_mode": "multi_output", "y_col": ["v", "w"]},
        {"class_mode": "input"},
        {"class_mode": None},
        {"subset": "training"},
        {"subset": "validation", "class_mode": "sparse"},
    ],
)
def test_flow_from_dataframe(tmp_path, options):
    pandas = pytest.importorskip("pandas")
    legacy = pytest.importorskip("keras.src.legacy.preprocessing.image")
    names = [f"{i}.png" for i in range(4)]
    for i, name in enumerate(names):
        Image.new("RGB", (4, 4), (10 * i, 0, 0)).save(tmp_path / name)
    table = pandas.DataFrame(
        {
            "filename": [*names[:2], "absent.png", *names[2:]],
            "class": ["b", "a", "z", "c", "a"],
            "many": [["a", "c"], "b", "z", ("a",), ["c", "b"]],
            "v": [0.5, 1.5, 9.0, 2.5, 3.5],
            "w": [1, 2, 9, 3, 4],
        }
    )

    def batches(module):
        generator = module.ImageDataGenerator(validation_split=0.5)
        it = generator.flow_from_dataframe(
            table, str(tmp_path), target_size=(4, 4), batch_size=3, shuffle=False, **options
        )
        return it, [it[i] for i in range(len(it))]

    (it, found), (its, expected) = batches(image), batches(legacy)
    assert it.filenames == its.filenames and len(it) == len(its)
    if hasattr(its, "class_indices"):
        assert it.class_indices == its.class_indices
    for part, of_keras in zip(found, expected, strict=True):
        if options.get("class_mode", "") is None:
            part, of_keras = (part,), (of_keras,)
        assert len(part) == len(of_keras)
        for a, b in zip(part, of_keras, strict=True):
            np.testing.assert_array_equal(a, b)
