import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import minicnn.random
from minicnn.kernels import affine as kernel
from minicnn.kernels.borders import FILL_MODES
from minicnn.preprocessing import affine
from minicnn.preprocessing.image import (
    ImageDataGenerator,
    array_to_img,
    img_to_array,
    load_img,
    save_img,
)


def pictures(n=10, height=8, width=6, channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, height, width, channels), np.uint8)


# ---- files


def test_save_and_load(tmp_path):
    x = pictures(1)[0]
    save_img(tmp_path / "a.png", x, scale=False)
    image = load_img(tmp_path / "a.png")
    back = img_to_array(image)
    assert back.dtype == np.float32
    np.testing.assert_array_equal(back, x)
    assert img_to_array(image, dtype="float64").dtype == np.float64
    assert img_to_array(load_img(tmp_path / "a.png", "grayscale")).shape == (8, 6, 1)
    assert img_to_array(load_img(str(tmp_path / "a.png"), "rgba")).shape == (8, 6, 4)
    resized = load_img(tmp_path / "a.png", target_size=(5, 9), interpolation="bilinear")
    assert img_to_array(resized).shape == (5, 9, 3)
    with pytest.warns(UserWarning, match="no transparency"):
        save_img(tmp_path / "a.jpg", np.dstack([x, x[..., :1]]))
    with Image.open(tmp_path / "a.jpg") as image:
        assert image.format == "JPEG"
    buffer = io.BytesIO()
    save_img(buffer, x[..., :1], file_format="png", scale=False)
    np.testing.assert_array_equal(img_to_array(load_img(buffer, "grayscale")), x[..., :1])


def test_load_img_errors(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_img(tmp_path / "absent.png")
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(ValueError, match="text.png cannot be read as an image: Pillow does"):
        load_img(tmp_path / "text.png")
    with pytest.raises(ValueError, match="unknown color_mode 'gray'; did you mean 'grayscale'"):
        load_img(tmp_path / "text.png", "gray")


def test_array_to_img():
    x = np.array([[[-1.0], [1.0]]])
    assert np.asarray(array_to_img(x)).tolist() == [[0, 255]]
    x = np.array([[[-5.0], [12.7], [300.0]]])
    assert np.asarray(array_to_img(x, scale=False)).tolist() == [[0, 12, 255]]
    assert np.asarray(array_to_img(np.full((2, 2, 3), 7))).max() == 0
    with pytest.raises(ValueError, match=r"not \(2, 2\)"):
        array_to_img(np.zeros((2, 2)))


# ---- geometry


def fold(i, size, fill_mode):
    """Index `i` of an endless row made from `size` values; None for the constant."""
    if 0 <= i < size:
        return i
    if fill_mode == "nearest":
        return 0 if i < 0 else size - 1
    if fill_mode == "wrap":
        return i % size
    if fill_mode == "reflect":
        return fold(-1 - i if i < 0 else 2 * size - 1 - i, size, fill_mode)
    return None


def slow_warp(image, matrix, fill_mode, cval):
    """The oracle: one pixel after another."""
    height, width, _ = image.shape
    cy, cx = (height - 1) / 2, (width - 1) / 2
    out = np.empty_like(image)
    for i in range(height):
        for j in range(width):
            col, row = matrix @ [j - cx, i - cy, 1] + [cx, cy]
            if fill_mode == "constant" and not (0 <= row <= height - 1 and 0 <= col <= width - 1):
                out[i, j] = cval
                continue
            value = 0
            for r in (int(np.floor(row)), int(np.floor(row)) + 1):
                for c in (int(np.floor(col)), int(np.floor(col)) + 1):
                    weight = (1 - abs(row - r)) * (1 - abs(col - c))
                    if weight > 0:
                        value += (
                            weight * image[fold(r, height, fill_mode), fold(c, width, fill_mode)]
                        )
            out[i, j] = value
    return out


@settings(max_examples=30, deadline=None)
@given(
    height=st.integers(1, 6),
    width=st.integers(1, 6),
    channels=st.integers(1, 3),
    fill_mode=st.sampled_from(FILL_MODES),
    seed=st.integers(0, 1000),
)
def test_warp_against_slow_loops(height, width, channels, fill_mode, seed):
    rng = np.random.default_rng(seed)
    images = rng.standard_normal((2, height, width, channels))
    matrices = affine.affine_matrices(
        rng.uniform(-180, 180, 2),
        *rng.uniform(-4, 4, (2, 2)),
        rng.uniform(-20, 20, 2),
        *rng.uniform(0.5, 2, (2, 2)),
    )
    found = affine.warp(images, matrices, fill_mode, 0.3)
    for k in range(2):
        expected = slow_warp(images[k], matrices[k], fill_mode, 0.3)
        np.testing.assert_allclose(found[k], expected, atol=1e-10)


def test_chunks_do_not_matter(monkeypatch):
    images = pictures(7).astype("float32")
    matrices = affine.affine_matrices(*np.random.default_rng(0).uniform(0.5, 1, (6, 7)))
    whole = affine.warp(images, matrices)
    monkeypatch.setattr(kernel, "_CHUNK_BYTES", 1)
    np.testing.assert_array_equal(affine.warp(images, matrices), whole)


def test_directions():
    x = np.arange(12.0).reshape(3, 4, 1)
    apply = ImageDataGenerator(fill_mode="constant", cval=-1).apply_transform
    np.testing.assert_array_equal(apply(x, {"tx": 1})[:, :3], x[:, 1:])  # to the left
    assert (apply(x, {"tx": 1})[:, 3] == -1).all()
    np.testing.assert_array_equal(apply(x, {"ty": 1})[:2], x[1:])  # upward
    square = x[:, :3]
    np.testing.assert_allclose(
        apply(square, {"theta": 90})[..., 0], np.rot90(square[..., 0]), atol=1e-12
    )
    np.testing.assert_array_equal(apply(x, {"flip_horizontal": True}), x[:, ::-1])
    np.testing.assert_array_equal(apply(x, {"flip_vertical": True}), x[::-1])
    roll = ImageDataGenerator(fill_mode="wrap").apply_transform(x, {"tx": 2, "ty": -1})
    np.testing.assert_array_equal(roll, np.roll(x, (1, -2), (0, 1)))
    # A half turn about the centre of an image that is not square.
    np.testing.assert_allclose(apply(x, {"theta": 180}), x[::-1, ::-1], atol=1e-12)


def test_width_shift_moves_columns_only():
    x = np.tile(np.arange(8.0)[:, None, None], (1, 8, 1))  # alike along each row
    generator = ImageDataGenerator(width_shift_range=0.4)
    np.testing.assert_allclose(generator.random_transform(x, seed=1), x)
    generator = ImageDataGenerator(height_shift_range=0.4)
    assert np.abs(generator.random_transform(x, seed=1) - x).max() > 0.01


@pytest.mark.parametrize(
    "reach, values", [(3, {-2, -1, 0, 1, 2}), ([0.25, 0.5], {-2, -4, 2, 4}), ([3], {-3, 3})]
)
def test_shift_ranges(reach, values):
    generator = ImageDataGenerator(width_shift_range=reach)
    drawn = {generator.get_random_transform((5, 8, 3), seed=s)["tx"] for s in range(80)}
    assert drawn == values


def test_float_shift_ranges():
    for reach, bound in [(0.5, 4.0), (2.0, 2.0)]:
        generator = ImageDataGenerator(width_shift_range=reach)
        drawn = [generator.get_random_transform((5, 8, 3), seed=s)["tx"] for s in range(80)]
        assert 0.7 * bound < max(drawn) <= bound and -bound <= min(drawn) < -0.7 * bound


def test_channel_shift_and_brightness():
    x = np.array([[[0.0], [100.0], [200.0]]])
    apply = ImageDataGenerator().apply_transform
    assert apply(x, {"channel_shift_intensity": 50.0}).ravel().tolist() == [50, 150, 200]
    assert apply(x, {"brightness": 2.0}).ravel().tolist() == [0, 200, 255]
    np.testing.assert_allclose(apply(x / 200, {"brightness": 1.5}).ravel(), [0, 0.75, 1])
    assert apply(x - 100, {"brightness": 0.5}).ravel().tolist() == [-100, -50, 0]


def test_apply_transform_keeps_its_input_and_type():
    x = pictures(1)[0].astype("float64")
    copy = x.copy()
    for parameters in [{"flip_horizontal": True}, {"theta": 10}, {"brightness": 0.5}, {}]:
        y = ImageDataGenerator().apply_transform(x, parameters)
        assert y.dtype == np.float64 and y.shape == x.shape
        np.testing.assert_array_equal(x, copy)
    assert ImageDataGenerator().apply_transform(pictures(1)[0], {}).dtype == np.float32
    with pytest.raises(ValueError, match="did you mean 'theta'"):
        ImageDataGenerator().apply_transform(x, {"thet": 3})
    with pytest.raises(ValueError, match="one image"):
        ImageDataGenerator().apply_transform(x[0], {})


def test_everything_at_once_stays_finite_and_float32():
    generator = ImageDataGenerator(
        rotation_range=30, width_shift_range=0.2, height_shift_range=0.2, shear_range=10,
        zoom_range=0.3, channel_shift_range=20, brightness_range=(0.5, 1.5), horizontal_flip=True,
        vertical_flip=True, rescale=1 / 255, samplewise_std_normalization=True,
        fill_mode="reflect",
    )  # fmt: skip
    x = next(generator.flow(pictures(), seed=0))
    assert x.dtype == np.float32 and np.isfinite(x).all()


# ---- normalisation


def test_featurewise():
    x = pictures(50)
    generator = ImageDataGenerator(featurewise_std_normalization=True)
    generator.fit(x)
    np.testing.assert_allclose(generator.mean, x.mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(generator.std, x.std((0, 1, 2)), rtol=1e-5)
    z = generator.standardize(x)
    assert z.dtype == np.float32
    np.testing.assert_allclose(z.mean((0, 1, 2)), 0, atol=1e-4)
    np.testing.assert_allclose(z.std((0, 1, 2)), 1, atol=1e-4)
    scaled = ImageDataGenerator(featurewise_center=True, rescale=1 / 255)
    scaled.fit(x)
    np.testing.assert_allclose(scaled.mean, x.mean((0, 1, 2)) / 255, rtol=1e-5)


def test_samplewise_is_image_by_image():
    x = pictures(5)
    generator = ImageDataGenerator(samplewise_std_normalization=True)
    whole = generator.standardize(x)
    np.testing.assert_allclose(whole.std((1, 2, 3)), 1, rtol=1e-4)
    np.testing.assert_allclose(whole[2], generator.standardize(x[2]), rtol=1e-5)


def test_standardize_in_place():
    x = pictures(3).astype("float32")
    assert ImageDataGenerator(rescale=1 / 255).standardize(x) is x
    assert x.max() <= 1


def test_zca_decorrelates():
    rng = np.random.default_rng(0)
    mix = rng.standard_normal((12, 12))
    x = (rng.standard_normal((500, 12)) @ mix).reshape(500, 2, 2, 3)
    generator = ImageDataGenerator(zca_whitening=True, dtype="float64")
    generator.fit(x)
    z = generator.standardize(x.copy()).reshape(500, -1)
    np.testing.assert_allclose(z.T @ z / 500, np.eye(12), atol=1e-3)
    few = ImageDataGenerator(zca_whitening=True)
    few.fit(x[:5])  # fewer images than values: finite, and no larger than whitened data are
    assert np.abs(few.standardize(x[:5].copy())).max() < 10


def test_fit_augmented_is_seeded():
    def mean(seed):
        generator = ImageDataGenerator(featurewise_center=True, rotation_range=90, fill_mode="wrap")
        generator.fit(pictures(), augment=True, rounds=2, seed=seed)
        return generator.mean

    np.testing.assert_array_equal(mean(1), mean(1))
    assert not np.array_equal(mean(1), mean(2))


def test_unfitted_warns_and_bad_data_raise():
    with pytest.warns(UserWarning, match="featurewise_center is left out.*call fit"):
        ImageDataGenerator(featurewise_center=True).standardize(pictures())
    for bad in (pictures()[0], pictures()[:0]):
        with pytest.raises(ValueError, match="fit takes images"):
            ImageDataGenerator().fit(bad)


def test_preprocessing_function_gets_single_images():
    def function(image):
        assert image.shape == (8, 6, 3)
        return image * 2

    x = next(ImageDataGenerator(preprocessing_function=function).flow(pictures(), shuffle=False))
    np.testing.assert_array_equal(x, pictures() * 2.0)


# ---- iterators


def test_flow_is_endless_and_sized():
    x, y = pictures(), np.arange(10)[:, None]
    flow = ImageDataGenerator().flow(x, y, batch_size=4, seed=0)
    assert len(flow) == 3 and flow.n == 10 and flow.batch_size == 4 and iter(flow) is flow
    batches = [next(flow) for _ in range(6)]
    assert [len(b[0]) for b in batches] == [4, 4, 2, 4, 4, 2]
    epochs = [np.concatenate([b[1] for b in batches[k : k + 3]])[:, 0] for k in (0, 3)]
    for epoch in epochs:
        assert sorted(epoch) == list(range(10))
    assert not np.array_equal(*epochs)
    for images, labels in batches:
        assert images.dtype == np.float32
        np.testing.assert_array_equal(images, x[labels[:, 0]])


def test_reset_and_indexing():
    flow = ImageDataGenerator().flow(pictures(), np.arange(10), 4, shuffle=False)
    next(flow)
    flow.reset()
    assert next(flow)[1].tolist() == [0, 1, 2, 3]
    assert flow[2][1].tolist() == [8, 9]
    assert flow[-1][1].tolist() == [8, 9]
    with pytest.raises(IndexError):
        flow[3]


def test_same_seed_same_batches():
    def batches(seed, x=None):
        generator = ImageDataGenerator(rotation_range=40, horizontal_flip=True)
        flow = generator.flow(pictures() if x is None else x, batch_size=4, seed=seed)
        return np.concatenate([next(flow) for _ in range(6)])

    np.testing.assert_array_equal(batches(7), batches(7))
    assert not np.array_equal(batches(7), batches(8))
    masks = batches(7, pictures()[..., :1])  # images and masks go through the same
    np.testing.assert_array_equal(batches(7)[..., :1], masks)
    minicnn.random.set_random_seed(3)
    first = batches(None)
    minicnn.random.set_random_seed(3)
    np.testing.assert_array_equal(batches(None), first)


def test_weights_subsets_and_no_targets():
    x, y, w = pictures(), np.arange(10) % 2, np.linspace(0, 1, 10)
    generator = ImageDataGenerator(validation_split=0.4)
    xs, ys, ws = next(generator.flow(x, y, shuffle=False, sample_weight=w))
    np.testing.assert_array_equal(ws, w)
    validation = generator.flow(x, y, subset="validation", shuffle=False)
    training = generator.flow(x, y, subset="training", shuffle=False)
    assert (validation.n, training.n) == (4, 6)
    np.testing.assert_array_equal(next(validation)[0], x[:4])
    np.testing.assert_array_equal(next(training)[0], x[4:])
    assert isinstance(next(generator.flow(x)), np.ndarray)
    with pytest.raises(ValueError, match="same classes"):
        generator.flow(x, np.arange(10), subset="training")
    assert generator.flow(x, np.arange(10), subset="training", ignore_class_split=True).n == 6


def test_images_are_not_copied_or_changed():
    x = pictures().astype("float32")
    copy = x.copy()
    generator = ImageDataGenerator(horizontal_flip=True, rescale=1 / 255)
    flow = generator.flow(x, batch_size=5)
    assert flow.x is x
    for _ in range(4):
        next(flow)
    np.testing.assert_array_equal(x, copy)


def test_save_to_dir(tmp_path):
    flow = ImageDataGenerator().flow(
        pictures(), batch_size=5, save_to_dir=tmp_path, save_prefix="cat", save_format="jpeg"
    )
    next(flow)
    names = [p.name for p in tmp_path.iterdir()]
    assert len(names) == 5 and all(n.startswith("cat_") and n.endswith(".jpeg") for n in names)


@pytest.mark.parametrize(
    "arguments, text",
    [
        ({"y": np.zeros(3)}, "10 images, but y has length 3"),
        ({"sample_weight": np.zeros(10)}, "without y"),
        ({"subset": "train"}, "unknown subset 'train'; did you mean 'training'"),
        ({"subset": "training"}, "give ImageDataGenerator a validation_split"),
        ({"batch_size": 0}, "batch_size should be an integer from 1 on, not 0"),
    ],
)
def test_bad_flow_arguments(arguments, text):
    with pytest.raises(ValueError, match=text):
        ImageDataGenerator().flow(pictures(), **arguments)


def test_bad_flow_data(tmp_path):
    with pytest.raises(ValueError, match=r"not \(8, 6, 3\)"):
        ImageDataGenerator().flow(pictures()[0])
    with pytest.raises(ValueError, match="no images"):
        ImageDataGenerator().flow(pictures()[:0])
    with pytest.raises(FileNotFoundError, match="save_to_dir"):
        ImageDataGenerator().flow(pictures(), save_to_dir=tmp_path / "absent")


@pytest.mark.parametrize(
    "arguments, text",
    [
        ({"fill_mode": "nearst"}, "did you mean 'nearest'"),
        ({"zoom_range": (1, 2, 3)}, r"zoom_range should be \(low, high\)"),
        ({"zoom_range": 1.5}, "zoom_range should stay above 0"),
        ({"brightness_range": 0.5}, r"brightness_range should be \(low, high\), not 0.5"),
        ({"validation_split": 2}, "between 0 and 1"),
        ({"dtype": "uint8"}, "floating-point"),
    ],
)
def test_bad_generator_arguments(arguments, text):
    with pytest.raises(ValueError, match=text):
        ImageDataGenerator(**arguments)


@pytest.fixture
def directory(tmp_path):
    for label, name in enumerate(["cat", "dog"]):
        (tmp_path / name).mkdir()
        for i in range(5):
            Image.new("RGB", (9, 7), (200 * label, i, 50)).save(tmp_path / name / f"{i}.png")
    return tmp_path


def test_flow_from_directory(directory, capsys):
    generator = ImageDataGenerator(rescale=1 / 255, validation_split=0.4)
    flow = generator.flow_from_directory(directory, target_size=(6, 5), batch_size=4, seed=0)
    assert "Found 10 images belonging to 2 classes" in capsys.readouterr().out
    assert flow.class_indices == {"cat": 0, "dog": 1}
    assert (flow.n, flow.samples, flow.num_classes, len(flow)) == (10, 10, 2, 3)
    x, y = next(flow)
    assert x.shape == (4, 6, 5, 3) and x.dtype == np.float32 and x.max() <= 1
    np.testing.assert_allclose(x[:, 0, 0, 0], y[:, 1] * 200 / 255, rtol=1e-6)
    parts = [
        generator.flow_from_directory(directory, class_mode="sparse", subset=s, shuffle=False)
        for s in ("training", "validation")
    ]
    assert [p.classes.tolist() for p in parts] == [[0] * 3 + [1] * 3, [0] * 2 + [1] * 2]
    assert not set(parts[0].filenames) & set(parts[1].filenames)


def test_flow_from_directory_class_modes(directory):
    def batch(**options):
        flow = ImageDataGenerator().flow_from_directory(
            directory, target_size=(4, 4), shuffle=False, **options
        )
        return next(flow)

    assert batch(class_mode="sparse")[1].tolist() == [0] * 5 + [1] * 5
    assert batch(class_mode="binary")[1].dtype == np.float32
    assert batch(class_mode=None).shape == (10, 4, 4, 3)
    x, y = batch(class_mode="input", color_mode="grayscale")
    assert x.shape == (10, 4, 4, 1) and y is not x
    np.testing.assert_array_equal(x, y)
    assert batch(class_mode="sparse", classes=["dog"])[1].tolist() == [0] * 5
    with pytest.raises(ValueError, match="did you mean 'categorical'"):
        batch(class_mode="categoric")
    with pytest.raises(ValueError, match="for 2 classes"):
        batch(class_mode="binary", classes=["dog"])
