import numpy as np
import pytest

from minicnn.datasets import shapes


def test_form():
    (x_train, y_train), (x_test, y_test) = shapes.load_data(300, 50)
    assert x_train.shape == (300, 32, 32, 3) and x_test.shape == (50, 32, 32, 3)
    assert y_train.shape == (300, 1) and y_test.shape == (50, 1)
    assert {a.dtype for a in (x_train, y_train, x_test, y_test)} == {np.dtype("uint8")}
    assert len(shapes.CLASS_NAMES) == len(set(shapes.CLASS_NAMES)) == 10
    np.testing.assert_array_equal(np.bincount(y_train[:, 0], minlength=10), np.full(10, 30))


def test_seeded():
    first, second, other = (shapes.load_data(60, 30, seed=s) for s in (1, 1, 2))
    np.testing.assert_array_equal(first[0][0], second[0][0])
    np.testing.assert_array_equal(first[1][1], second[1][1])
    assert not np.array_equal(first[0][0], other[0][0])
    _, longer_test = shapes.load_data(10, 30, seed=1)
    np.testing.assert_array_equal(longer_test[0], first[1][0])
    assert not np.array_equal(first[0][0][:30], first[1][0])


def test_none_wanted():
    (x, y), _ = shapes.load_data(0, 5)
    assert x.shape == (0, 32, 32, 3) and y.shape == (0, 1)


@pytest.mark.parametrize("arguments", [{"n_train": -1}, {"n_test": 1.5}, {"seed": -3}])
def test_bad_numbers(arguments):
    (name,) = arguments
    with pytest.raises(ValueError, match=f"{name} should be an integer"):
        shapes.load_data(**arguments)


def test_every_shape_is_drawn_and_fills_part_of_its_circle():
    grid = (np.arange(200, dtype=np.float32) + 0.5) / 100 - 1
    u, v = np.meshgrid(grid, grid)
    areas = {}
    for name, distance in shapes._SHAPES.items():
        inside = distance(u[None], v[None])[0] < 0
        assert np.hypot(u, v)[inside].max() <= 1.1, name
        areas[name] = inside.mean() * 4
    assert all(0.5 < area < 2.7 for area in areas.values()), areas
    assert areas["circle"] == pytest.approx(np.pi * 0.81, rel=0.02)
    assert areas["square"] == pytest.approx(1.48**2, rel=0.03)


def test_a_linear_model_fails():
    (x, y), (x_test, y_test) = shapes.load_data(2000, 500)

    def features(images):
        flat = images.reshape(len(images), -1) / 127.5 - 1
        return np.c_[flat, np.ones(len(flat))]

    a = features(x)
    gram = a.T @ a + 100 * np.eye(a.shape[1])  # ridge regression onto one-hot targets
    weights = np.linalg.solve(gram, a.T @ np.eye(10)[y[:, 0]])
    accuracy = ((features(x_test) @ weights).argmax(1) == y_test[:, 0]).mean()
    assert accuracy < 0.6
