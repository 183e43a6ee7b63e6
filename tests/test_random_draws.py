"""`minicnn.random`: what is drawn has the distribution it says, and seeds mean what Keras says."""

import numpy as np
import pytest

from minicnn import backend, random
from minicnn.random import SeedGenerator, set_random_seed

N = 20_000
DRAWS = {
    "normal": lambda seed: random.normal((N,), 1.0, 2.0, seed=seed),
    "truncated_normal": lambda seed: random.truncated_normal((N,), 1.0, 2.0, seed=seed),
    "uniform": lambda seed: random.uniform((N,), -1.0, 3.0, seed=seed),
    "randint": lambda seed: random.randint((N,), -2, 3, seed=seed),
    "categorical": lambda seed: random.categorical(np.log([[0.1, 0.6, 0.3]]), N, seed=seed),
    "shuffle": lambda seed: random.shuffle(np.arange(N), seed=seed),
    "dropout": lambda seed: random.dropout(np.ones(N, "float32"), 0.25, seed=seed),
}


@pytest.mark.cpu_only("looks at results with NumPy")
@pytest.mark.parametrize("draw", DRAWS.values(), ids=list(DRAWS))
def test_seeds(draw):
    def same(a, b):
        return np.array_equal(backend.to_numpy(a), backend.to_numpy(b))

    assert same(draw(3), draw(3)) and not same(draw(3), draw(4))
    assert not same(draw(None), draw(None))
    set_random_seed(1)
    first = draw(None)
    set_random_seed(1)
    assert same(first, draw(None))
    generator = SeedGenerator(5)
    one, two = draw(generator), draw(generator)
    assert not same(one, two)
    again = SeedGenerator.from_config(generator.get_config())
    assert same(one, draw(again)) and same(two, draw(again))


# mean, standard deviation, lowest, highest
MOMENTS = {
    "normal": (1, 2, None, None),
    "truncated_normal": (1, 2 * 0.8796, -3, 5),
    "uniform": (1, 4 / 12**0.5, -1, 3),
    "randint": (0, 2**0.5, -2, 2),
    "categorical": (1.2, 0.6, 0, 2),
    "dropout": (1, (1 / 3) ** 0.5, 0, 4 / 3),
}


@pytest.mark.cpu_only("looks at results with NumPy")
@pytest.mark.parametrize("name", MOMENTS)
def test_distributions(name):
    values = backend.to_numpy(DRAWS[name](0)).astype("float64")
    mean, deviation, lowest, highest = MOMENTS[name]
    assert abs(values.mean() - mean) < 5 * deviation / N**0.5
    assert abs(values.std() - deviation) < 0.02 * deviation
    if lowest is not None:
        assert values.min() >= lowest - 1e-6 and values.max() <= highest + 1e-6


@pytest.mark.cpu_only("looks at results with NumPy")
def test_shapes_and_dtypes():
    assert random.normal((2, 3)).dtype == "float32" and random.normal((2, 3)).shape == (2, 3)
    assert random.uniform((2,), dtype="float64").dtype == "float64"
    assert random.uniform((50,), 0, 5, dtype="int32").dtype == "int32"
    assert random.randint((2,), 0, 5).dtype == "int32"
    assert random.categorical(np.zeros((4, 3)), 7).shape == (4, 7)
    x = backend.asarray(np.arange(12.0).reshape(3, 4))
    shuffled = backend.to_numpy(random.shuffle(x, axis=1, seed=0))
    assert sorted(map(tuple, shuffled.T)) == sorted(map(tuple, backend.to_numpy(x).T))
    dropped = backend.to_numpy(random.dropout(np.ones((50, 4)), 0.5, noise_shape=(None, 1)))
    assert (dropped == dropped[:, :1]).all() and 0 < dropped.mean() < 2


def test_errors():
    with pytest.raises(TypeError, match="a whole number, a SeedGenerator or None, not '3'"):
        random.normal((2,), seed="3")
    with pytest.raises(ValueError, match="at least 0 and below 1, not 1"):
        random.dropout(np.ones(3), 1)
    with pytest.raises(ValueError, match="of at least 0, not -1"):
        SeedGenerator(-1)
