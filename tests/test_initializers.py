import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minicnn import initializers
from minicnn.random import set_random_seed

SCALED = {
    "glorot_uniform": (1.0, "avg", "uniform"),
    "glorot_normal": (1.0, "avg", "normal"),
    "he_uniform": (2.0, "in", "uniform"),
    "he_normal": (2.0, "in", "normal"),
    "lecun_uniform": (1.0, "in", "uniform"),
    "lecun_normal": (1.0, "in", "normal"),
}


@pytest.mark.parametrize(
    "shape, fans",
    [
        ((), (1, 1)),
        ((7,), (7, 7)),
        ((30, 40), (30, 40)),
        ((3, 5, 16, 32), (3 * 5 * 16, 3 * 5 * 32)),
    ],
)
def test_fans(shape, fans):
    assert initializers.compute_fans(shape) == fans


def test_fans_over_given_axes():
    assert initializers.compute_fans((2, 3, 5, 7), [0, 2], [3]) == (10, 7)


@pytest.mark.parametrize("name", SCALED)
def test_variance_and_bounds(name):
    scale, mode, distribution = SCALED[name]
    shape = (3, 3, 40, 60)
    fan_in, fan_out = 360, 540
    variance = scale / {"in": fan_in, "avg": (fan_in + fan_out) / 2}[mode]
    set_random_seed(0)
    values = initializers.get(name)(shape, dtype="float64")
    assert abs(values.mean()) < 4 * math.sqrt(variance / values.size)
    assert values.var() == pytest.approx(variance, rel=0.03)
    if distribution == "uniform":
        limit = math.sqrt(3 * variance)
    else:
        limit = 2 * math.sqrt(variance) / 0.87962566103423978
    assert 0.95 * limit < np.abs(values).max() <= limit


def test_truncated_normal_redraws():
    values = initializers.TruncatedNormal(1.0, 0.5, seed=3)((50000,), "float64")
    assert values.min() >= 0 and values.max() <= 2
    assert values.std() == pytest.approx(0.5 * 0.87962566103423978, rel=0.02)


@given(
    st.sampled_from(sorted(initializers.INITIALIZERS.names())),
    st.tuples(st.integers(2, 5), st.integers(2, 5)),
    st.sampled_from(["float32", "float64"]),
)
@settings(max_examples=60, deadline=None)
def test_shape_dtype_and_configuration(name, shape, dtype):
    initializer = initializers.get(name)
    set_random_seed(1)
    values = initializer(shape, dtype=dtype)
    assert values.shape == shape and values.dtype == dtype
    config = initializer.get_config()
    again = initializers.get({"class_name": type(initializer).__name__, "config": config})
    set_random_seed(1)
    np.testing.assert_array_equal(again(shape, dtype=dtype), values)


def test_seeds():
    one = initializers.HeNormal(seed=5)
    np.testing.assert_array_equal(one((4, 4)), one((4, 4)))
    np.testing.assert_array_equal(one((4, 4)), one((4, 4), "float64").astype("float32"))
    unseeded = initializers.HeNormal()
    assert not np.array_equal(unseeded((4, 4)), unseeded((4, 4)))


@pytest.mark.parametrize("shape", [(8, 3), (3, 8), (3, 3, 2, 5)])
def test_orthogonal(shape):
    q = initializers.Orthogonal(gain=2.0)(shape, "float64").reshape(-1, shape[-1])
    small = q @ q.T if q.shape[0] < q.shape[1] else q.T @ q
    np.testing.assert_allclose(small, 4 * np.eye(len(small)), atol=1e-12)


def test_constants():
    assert (initializers.Constant(3.0)((2, 2)) == 3).all()
    assert (initializers.Ones()((2,)) == 1).all()
    assert (initializers.Zeros()((2,)) == 0).all()
    np.testing.assert_array_equal(initializers.Identity(2.0)((2, 3)), [[2, 0, 0], [0, 2, 0]])
    assert initializers.he_normal is initializers.HeNormal


@pytest.mark.parametrize("name", initializers.INITIALIZERS.names())
def test_serialized_and_cloned(name):
    initializer = initializers.get(name)
    for again in (
        initializers.deserialize(initializers.serialize(initializer)), initializer.clone()
    ):  # fmt: skip
        assert type(again) is type(initializer)
        assert again.get_config() == initializer.get_config()


def test_an_array_or_a_function():
    values = np.arange(6.0).reshape(2, 3)
    given = initializers.get(values)
    assert given((2, 3)).dtype == np.float32
    np.testing.assert_array_equal(given((2, 3), "float64"), values)
    with pytest.raises(ValueError, match=r"of shape \(2, 3\) was given .* of shape \(3, 2\)"):
        given((3, 2))
    of_shape = initializers.get(lambda shape, dtype=None: np.full(shape, len(shape), dtype))
    np.testing.assert_array_equal(of_shape((2, 2)), np.full((2, 2), 2, "float32"))
    with pytest.raises(ValueError, match="cannot be written to a file; use initializers.Constant"):
        given.get_config()
    np.testing.assert_array_equal(initializers.Constant(values[0]).clone()((2, 3)), [values[0]] * 2)


def test_errors():
    with pytest.raises(ValueError, match="did you mean 'glorot_uniform'"):
        initializers.get("glorot_unifrom")
    with pytest.raises(ValueError, match=r"matrices.*\(3,\)"):
        initializers.Identity()((3,))
    with pytest.raises(ValueError, match=r"two axes; got \(3,\)"):
        initializers.Orthogonal()((3,))
    with pytest.raises(ValueError, match="positive scale; got 0"):
        initializers.VarianceScaling(scale=0)
    with pytest.raises(ValueError, match="'fan_avg', not 'fan'"):
        initializers.VarianceScaling(mode="fan")
    with pytest.raises(ValueError, match="not 'cauchy'"):
        initializers.VarianceScaling(distribution="cauchy")
