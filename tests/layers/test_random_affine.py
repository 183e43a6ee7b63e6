"""Translation, rotation and zoom against loops over pixels."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minicnn import backend
from minicnn.kernels.affine import affine, affine_gradient
from minicnn.kernels.borders import FILL_MODES, INTERPOLATIONS, image_chunks
from minicnn.kernels.shift import translate, translate_gradient
from minicnn.layers.context import Context
from minicnn.layers.random_affine import RandomRotation, RandomTranslation, RandomZoom

modes = st.sampled_from(FILL_MODES)
interpolations = st.sampled_from(INTERPOLATIONS)


def pixel(image, i, j, fill_mode, fill_value):
    """The value that is seen at whole coordinates, inside or outside the image."""
    h, w, c = image.shape
    inside = 0 <= i < h and 0 <= j < w
    if fill_mode == "constant" and not inside:
        return np.full(c, fill_value)
    row, column = (
        {
            "constant": k,
            "nearest": min(max(k, 0), size - 1),
            "wrap": k % size,
            "reflect": [*range(size), *reversed(range(size))][k % (2 * size)],
        }[fill_mode]
        for k, size in ((i, h), (j, w))
    )
    return image[row, column]


def sample(image, y, x, fill_mode, fill_value, interpolation):
    """The value at real coordinates."""
    if interpolation == "nearest":
        return pixel(image, math.floor(y + 0.5), math.floor(x + 0.5), fill_mode, fill_value)
    i, j = math.floor(y), math.floor(x)
    return sum(
        (1 - abs(y - k)) * (1 - abs(x - m)) * pixel(image, k, m, fill_mode, fill_value)
        for k in (i, i + 1)
        for m in (j, j + 1)
    )


def reference(x, matrix, offset, fill_mode, fill_value, interpolation):
    y = np.empty_like(x)
    for n, i, j in np.ndindex(*x.shape[:3]):
        point = matrix[n] @ [i, j] + offset[n]
        y[n, i, j] = sample(x[n], *point, fill_mode, fill_value, interpolation)
    return y


@given(modes, interpolations, st.integers(1, 5), st.integers(1, 5), st.integers(0, 9999))
def test_affine_is_the_loop(fill_mode, interpolation, h, w, seed):
    rng = np.random.default_rng(seed)
    x = rng.random((2, h, w, 2))
    matrix = np.eye(2) + rng.normal(0, 0.7, (2, 2, 2))
    offset = rng.normal(0, 3, (2, 2))
    expected = reference(x, matrix, offset, fill_mode, 0.7, interpolation)
    ours = affine(x, matrix, offset, fill_mode, 0.7, interpolation)
    np.testing.assert_allclose(ours, expected, atol=1e-12)


@given(modes, interpolations, st.integers(1, 5), st.integers(1, 5), st.integers(0, 9999))
def test_translate_is_the_loop(fill_mode, interpolation, h, w, seed):
    rng = np.random.default_rng(seed)
    x = rng.random((2, h, w, 2))
    bounds = tuple(tuple(sorted(rng.uniform(-1, 1, 2) * size)) for size in (h, w))
    shift = np.stack([rng.uniform(*b, 2) for b in bounds], axis=1)
    if seed % 3 == 0:
        shift[:] = [b[seed % 2] for b in bounds]  # the very ends of the range
    expected = reference(x, np.stack([np.eye(2)] * 2), -shift, fill_mode, 0.7, interpolation)
    ours = translate(x, shift, bounds, fill_mode, 0.7, interpolation)
    np.testing.assert_allclose(ours, expected, atol=1e-12)


@given(modes, interpolations, st.integers(1, 5), st.integers(1, 5), st.integers(0, 9999))
def test_gradients_are_adjoint(fill_mode, interpolation, h, w, seed):
    # <dy, A x> = <A' dy, x> for the linear maps (fill_value 0)
    rng = np.random.default_rng(seed)
    x, dy = rng.random((2, 2, h, w, 2))
    matrix = np.eye(2) + rng.normal(0, 0.7, (2, 2, 2))
    offset = rng.normal(0, 3, (2, 2))
    for sharp_border in (False, True):
        y = affine(x, matrix, offset, fill_mode, 0.0, interpolation, sharp_border)
        dx = affine_gradient(dy, matrix, offset, fill_mode, interpolation, sharp_border)
        assert (dx * x).sum() == pytest.approx((dy * y).sum(), abs=1e-10)
    bounds = ((-h, h), (-w, w))
    shift = rng.uniform(-1, 1, (2, 2)) * [h, w]
    y = translate(x, shift, bounds, fill_mode, 0.0, interpolation)
    dx = translate_gradient(dy, shift, bounds, fill_mode, interpolation)
    assert (dx * x).sum() == pytest.approx((dy * y).sum(), abs=1e-10)


@pytest.mark.parametrize("fill_mode", FILL_MODES)
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_a_batch_of_several_chunks_is_its_images_one_by_one(fill_mode, interpolation):
    rng = np.random.default_rng(0)
    x = rng.random((67, 32, 32, 3), dtype="float32")  # 12 KB per image
    assert [len(x[chunk]) for chunk in image_chunks(x, 256 * 1024)] == [21, 21, 21, 4]
    shift = rng.uniform(-4, 4, (67, 2)).astype("float32")
    matrix = (np.eye(2) + rng.normal(0, 0.2, (67, 2, 2))).astype("float32")
    options = (fill_mode, 0.5, interpolation)
    bounds = ((-4, 4), (-4, 4))
    moved = translate(x, shift, bounds, *options)
    mapped = affine(x, matrix, shift, *options)
    for i in range(67):
        one = slice(i, i + 1)
        np.testing.assert_array_equal(moved[one], translate(x[one], shift[one], bounds, *options))
        np.testing.assert_array_equal(
            mapped[one], affine(x[one], matrix[one], shift[one], *options)
        )


def call(layer, x, seed=1):
    return layer.forward(x, Context(True, rng=backend.random_generator(seed)))


def spot(h, w, i, j):
    x = np.zeros((1, h, w, 1), "float32")
    x[0, i, j] = 1
    return x


@pytest.mark.cpu_only("what is drawn are NumPy arrays")
def test_a_quarter_turn_is_counter_clockwise():
    x = np.random.default_rng(0).random((2, 6, 6, 3), dtype="float32")
    y = call(RandomRotation((0.25, 0.25)), x)
    np.testing.assert_allclose(y, np.rot90(x, axes=(1, 2)), atol=1e-5)


@pytest.mark.cpu_only("what is drawn are NumPy arrays")
def test_a_full_turn_changes_nothing():
    x = np.random.default_rng(0).random((2, 5, 8, 3), dtype="float32")
    np.testing.assert_allclose(call(RandomRotation((1, 1)), x), x, atol=1e-4)


@pytest.mark.cpu_only("what is drawn are NumPy arrays")
def test_positive_shifts_are_down_and_to_the_right():
    x = spot(8, 10, 2, 3)
    y = call(RandomTranslation((0.25, 0.25), (0.3, 0.3), fill_mode="constant"), x)
    np.testing.assert_allclose(y, spot(8, 10, 4, 6), atol=1e-6)
    y = call(RandomTranslation((-0.25, -0.25), 0.0, fill_mode="constant"), x)
    np.testing.assert_allclose(y, spot(8, 10, 0, 3), atol=1e-6)


@pytest.mark.cpu_only("what is drawn are NumPy arrays")
def test_half_a_pixel_is_half_of_each():
    y = call(RandomTranslation((0.125, 0.125), 0.0, fill_mode="constant"), spot(4, 4, 1, 2))
    np.testing.assert_allclose(y[0, :, 2, 0], [0, 0.5, 0.5, 0])


@pytest.mark.cpu_only("what is drawn are NumPy arrays")
def test_a_negative_zoom_enlarges():
    x = np.zeros((1, 9, 9, 1), "float32")
    x[0, 3:6, 3:6] = 1
    larger = call(RandomZoom((-0.5, -0.5)), x)
    smaller = call(RandomZoom((0.5, 0.5), fill_mode="constant"), x)
    assert larger.sum() == pytest.approx(4 * 9, rel=0.15)
    assert smaller.sum() == pytest.approx(9 / 2.25, rel=0.15)
    wider = call(RandomZoom(0.0, (-0.5, -0.5)), x)
    assert (wider[0, :, 4] == x[0, :, 4]).all() and wider.sum() > 1.5 * x.sum()


@pytest.mark.cpu_only("what is drawn are NumPy arrays")
def test_without_a_width_factor_the_proportions_stay():
    x = np.random.default_rng(0).random((4, 7, 7, 1), dtype="float32")
    y = call(RandomZoom(0.4), x)
    turned = call(RandomZoom(0.4), x.swapaxes(1, 2).copy())
    np.testing.assert_allclose(turned, y.swapaxes(1, 2), atol=1e-5)


@pytest.mark.cpu_only("what is drawn are NumPy arrays")
def test_fill_value_is_seen_outside():
    y = call(RandomTranslation((1, 1), 0.0, "constant", fill_value=7), spot(4, 4, 1, 1))
    np.testing.assert_allclose(y, 7)


@pytest.mark.cpu_only("what is drawn are NumPy arrays")
def test_shifts_stay_within_the_factor():
    x = np.tile(spot(40, 40, 20, 20), (300, 1, 1, 1))
    y = call(RandomTranslation(0.1, (0.0, 0.2), fill_mode="constant"), x)
    rows, columns = np.meshgrid(np.arange(40), np.arange(40), indexing="ij")
    down = (y[..., 0] * rows).sum((1, 2)) - 20
    right = (y[..., 0] * columns).sum((1, 2)) - 20
    assert -4.001 <= down.min() < -3.5 and 3.5 < down.max() <= 4.001
    assert -0.001 <= right.min() < 0.5 and 7.5 < right.max() <= 8.001


@pytest.mark.parametrize(
    "make,words",
    [
        (lambda: RandomTranslation(0.1, 1.5), "width_factor .* from -1 to 1; got 1.5"),
        (lambda: RandomTranslation(0.1, (0, 0, 1)), "width_factor"),
        (lambda: RandomRotation(0.1, fill_mode="reflct"), "fill_mode 'reflct'; did you mean"),
        (lambda: RandomZoom(0.1, interpolation="cubic"), "interpolation 'cubic'"),
        (lambda: RandomZoom(0.1, data_format="channels_first"), "channels_last"),
    ],
)
def test_bad_arguments(make, words):
    with pytest.raises(ValueError, match=words):
        make()
