import numpy as np
import pytest

from minicnn import regularizers

CASES = [
    regularizers.l1(0.03),
    regularizers.l2(0.2),
    regularizers.l1_l2(0.03, 0.2),
    regularizers.L1L2(l2=0.5),
]


@pytest.mark.parametrize("regularizer", CASES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dtype_and_shape(regularizer, dtype):
    w = np.random.default_rng(0).normal(size=(3, 4)).astype(dtype)
    assert regularizer(w).shape == () and regularizer(w).dtype == dtype
    assert regularizer.gradient(w).shape == w.shape and regularizer.gradient(w).dtype == dtype


@pytest.mark.parametrize("regularizer", CASES)
def test_gradient_by_differences(regularizer):
    rng = np.random.default_rng(1)
    w, direction = rng.normal(size=(2, 5, 4))
    h = 1e-6
    slope = (regularizer(w + h * direction) - regularizer(w - h * direction)) / (2 * h)
    assert slope == pytest.approx((regularizer.gradient(w) * direction).sum(), rel=1e-7)


def test_values():
    w = np.array([[1.0, -2.0], [0.0, 3.0]])
    assert regularizers.L1(0.5)(w) == 3.0
    assert regularizers.L2(0.5)(w) == 7.0
    assert regularizers.L1L2(0.5, 0.5)(w) == 10.0
    np.testing.assert_array_equal(regularizers.L1(0.5).gradient(w), [[0.5, -0.5], [0, 0.5]])


def test_names_and_configurations():
    assert regularizers.get(None) is None
    assert regularizers.get("l2").l2 == 0.01
    both = regularizers.get("l1_l2")
    assert (both.l1, both.l2) == (0.01, 0.01)
    for case in CASES:
        again = regularizers.get({"class_name": type(case).__name__, "config": case.get_config()})
        assert again.get_config() == case.get_config()


def test_errors():
    with pytest.raises(ValueError, match="unknown regularizer 'l3'; known: L1, L1L2, L2"):
        regularizers.get("l3")
    with pytest.raises(ValueError, match="l2 factor.*-1.0"):
        regularizers.L2(-1)
