import numpy as np
import pytest

from minicnn import backend, regularizers

CASES = [
    regularizers.l1(0.03),
    regularizers.l2(0.2),
    regularizers.l1_l2(0.03, 0.2),
    regularizers.L1L2(l2=0.5),
    regularizers.OrthogonalRegularizer(0.3),
    regularizers.orthogonal_regularizer(0.3, mode="columns"),
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


def test_each_regularizer_is_tried():
    names = regularizers.REGULARIZERS.names()
    assert {type(case) for case in CASES} == {regularizers.REGULARIZERS.find(n) for n in names}


def test_orthogonal_rows():
    orthogonal = regularizers.OrthogonalRegularizer(0.5)
    assert orthogonal(np.array([[2.0, 0], [0, 3]])) == 0
    assert orthogonal(np.array([[1.0, 0], [-5, 0], [0, 1]])) == pytest.approx(0.5 / 3)
    assert orthogonal(np.array([[1.0, 2]])) == 0  # there are no pairs
    w = np.array([[0.0, 0, 0], [1, 2, 3]])
    assert orthogonal(w) == 0 and np.isfinite(orthogonal.gradient(w)).all()


@pytest.mark.parametrize("regularizer", CASES)
def test_serialized(regularizer):
    again = regularizers.deserialize(regularizers.serialize(regularizer))
    assert type(again) is type(regularizer) and again.get_config() == regularizer.get_config()


@pytest.mark.parametrize("regularizer", CASES)
def test_runs_on_a_device(regularizer, strict):
    w = np.random.default_rng(0).normal(size=(3, 4)).astype("float32")
    there = backend.asarray(w)
    strict.reset()
    penalty, gradient = regularizer(there), regularizer.gradient(there)
    assert strict.to_host == strict.to_device == 0
    np.testing.assert_allclose(backend.to_numpy(penalty), regularizer(w), rtol=1e-5)
    np.testing.assert_allclose(backend.to_numpy(gradient), regularizer.gradient(w), rtol=1e-5)


def test_errors():
    with pytest.raises(ValueError, match="mode must be 'rows' or 'columns', not 'row'"):
        regularizers.OrthogonalRegularizer(mode="row")
    with pytest.raises(ValueError, match=r"takes matrices; got shape \(3, 3, 1, 2\)"):
        regularizers.OrthogonalRegularizer()(np.zeros((3, 3, 1, 2)))
    with pytest.raises(TypeError, match="the function <lambda> has no gradient that"):
        regularizers.get(lambda w: 0.0)
    with pytest.raises(ValueError, match="unknown regularizer 'l3'; known: L1, L1L2, L2, Orth"):
        regularizers.get("l3")
    with pytest.raises(ValueError, match="l2 factor.*-1.0"):
        regularizers.L2(-1)
