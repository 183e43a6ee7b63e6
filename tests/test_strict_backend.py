"""The stand-in for CuPy refuses what CuPy refuses, and computes what NumPy computes."""

import numpy as np
import pytest
from strict_backend import ABSENT, StrictArray, StrictGenerator

from minicnn import backend
from minicnn.dtypes import dtype_of

HOST = np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.fixture
def x(strict):
    return backend.asarray(HOST)


@pytest.fixture
def xp(strict):
    return backend.current_module()


MIXING = {
    "np.asarray(x)": lambda x: np.asarray(x),
    "np.array([x])": lambda x: np.array([x]),
    "np.maximum(x, 0)": lambda x: np.maximum(x, 0),
    "np.add(a, x)": lambda x: np.add(HOST, x),
    "np.sum(x)": lambda x: np.sum(x),
    "np.concatenate": lambda x: np.concatenate([x, HOST]),
    "x + a": lambda x: x + HOST,
    "a + x": lambda x: HOST + x,
    "x @ a": lambda x: x @ HOST.T,
    "a @ x": lambda x: HOST @ x.T,
    "x == a": lambda x: x == HOST,
    "x < a": lambda x: x < HOST,
    "x += a": lambda x: x.__iadd__(HOST),
    "a += x": lambda x: HOST.copy().__iadd__(x),
    "x[a]": lambda x: x[np.array([0, 1])],
    "a[x]": lambda x: HOST[x > 1],
    "x[mask]": lambda x: x[HOST > 1],
    "x[...] = a": lambda x: x.__setitem__(..., HOST),
    "x[...] = list": lambda x: x.__setitem__(0, [1.0, 2.0, 3.0]),
    "a[...] = x": lambda x: HOST.copy().__setitem__(..., x),
    "x + list": lambda x: x + [1.0, 2.0, 3.0],
    "xp.maximum(x, a)": lambda x: backend.array_module(x).maximum(x, HOST),
    "xp.maximum(x, list)": lambda x: backend.array_module(x).maximum(x, [1.0, 2.0, 3.0]),
    "xp.add(out=a)": lambda x: backend.array_module(x).add(x, x, out=HOST.copy()),
    "xp.matmul(a)": lambda x: backend.array_module(x).matmul(HOST, x.T),
    "xp.sum(a)": lambda x: backend.array_module(x).sum(HOST),
    "xp.sum(list)": lambda x: backend.array_module(x).sum([1.0, 2.0]),
    "xp.where(a)": lambda x: backend.array_module(x).where(HOST > 1, x, 0),
    "xp.concatenate": lambda x: backend.array_module(x).concatenate([x, HOST]),
    "xp.take(x, a)": lambda x: backend.array_module(x).take(x, np.array([0])),
    "x.dot(a)": lambda x: x.dot(HOST.T),
}


@pytest.mark.parametrize("operation", MIXING.values(), ids=MIXING.keys())
def test_mixing_with_numpy_is_refused(x, operation):
    with pytest.raises(TypeError):
        operation(x)


@pytest.mark.parametrize(
    "call",
    [
        lambda xp, x: xp.sum(x, where=x > 1),
        lambda xp, x: xp.max(x, initial=0),
        lambda xp, x: x.sum(where=x > 1),
        lambda xp, x: xp.add(x, x, where=x > 1),
        lambda xp, x: xp.take(x, xp.asarray([0]), mode="clip"),
        lambda xp, x: xp.clip(x, min=0, max=1),
        lambda xp, x: xp.einsum("ij->i", x, out=xp.zeros(2)),
        lambda xp, x: xp.zeros(3, device="cpu"),
        lambda xp, x: x.astype("float64", casting="safe"),
    ],
)
def test_arguments_cupy_lacks_are_refused(xp, x, call):
    with pytest.raises(TypeError):
        call(xp, x)


@pytest.mark.parametrize("name", sorted(n for n in ABSENT if hasattr(np, n)))
def test_functions_cupy_lacks_are_absent(xp, name):
    with pytest.raises(AttributeError, match=name):
        getattr(xp, name)


@pytest.mark.parametrize("method", ["reduce", "accumulate", "reduceat"])
def test_reducing_methods_of_ufuncs_are_absent(xp, method):
    with pytest.raises(AttributeError, match=method):
        getattr(xp.add, method)


def test_repeat_takes_no_array_of_counts(xp, x):
    with pytest.raises(ValueError, match="repeats"):
        xp.repeat(x, xp.asarray([1, 2]), axis=0)


def test_scalars_of_python_and_numpy_are_welcome(x):
    for y in (x + 1, 1.0 + x, x * np.float32(2), np.float32(2) * x, np.float64(2) - x):
        assert isinstance(y, StrictArray)
    assert (np.float32(2) * x).dtype == np.float32
    assert (np.float64(2) * x).dtype == np.float64  # the silent float64 to look out for


def test_it_computes_what_numpy_computes(xp, x):
    def same(ours, theirs):
        assert isinstance(ours, StrictArray)
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(backend.to_numpy(ours), theirs)

    same(x @ x.T, HOST @ HOST.T)
    same(x.sum(axis=0), HOST.sum(axis=0))
    same(x[:, ::-1], HOST[:, ::-1])
    same(x[x > 2], HOST[HOST > 2])
    same(x[xp.asarray([1, 0])], HOST[[1, 0]])
    same(x[xp.arange(2), [2, 0]], HOST[[0, 1], [2, 0]])
    same(xp.pad(x, ((1, 1), (0, 0))), np.pad(HOST, ((1, 1), (0, 0))))
    same(xp.einsum("ij,kj->ik", x, x), np.einsum("ij,kj->ik", HOST, HOST))
    same(xp.stack([x, x], axis=-1), np.stack([HOST, HOST], axis=-1))
    same(xp.where(x > 2, x, 0.0), np.where(HOST > 2, HOST, 0.0))
    same(xp.linalg.norm(x), np.linalg.norm(HOST))
    same(xp.sqrt(2.0), np.sqrt(2.0))
    windows = xp.lib.stride_tricks.sliding_window_view(x, 2, axis=1)
    same(windows, np.lib.stride_tricks.sliding_window_view(HOST, 2, axis=1))
    assert xp.result_type(x, xp.float64) == np.float64
    assert [tuple(row.shape) for row in x] == [(3,), (3,)]


def test_reductions_stay_on_the_device_as_arrays_without_axes(xp, x, strict):
    strict.reset()
    total = x.sum()
    assert isinstance(total, StrictArray) and total.shape == ()
    assert isinstance(x[0, 1], StrictArray)
    assert isinstance(xp.allclose(x, x), StrictArray)
    assert strict.to_host == 0
    assert float(total) == 15.0
    assert strict.to_host == 1


def test_out_and_in_place_return_the_same_object(xp, x):
    out = xp.empty_like(x)
    assert xp.maximum(x, 1, out=out) is out
    assert x.sum(axis=0, out=out[0]).shape == (3,)
    assert xp.matmul(x, x.T, out=xp.zeros((2, 2), "float32")).shape == (2, 2)
    before = x
    x += 1
    x *= x
    assert x is before
    np.testing.assert_array_equal(x.get(), (HOST + 1) ** 2)
    assert x.astype("float32", copy=False) is x
    assert xp.asarray(x) is x


def test_views_share_memory(x):
    x.reshape(-1)[0] = 7
    x.T[2, 1] = 9
    assert float(x[0, 0]) == 7 and float(x[1, 2]) == 9


def test_scatter_by_ufunc_at(xp):
    sums = xp.zeros(3)
    xp.add.at(sums, xp.asarray([0, 0, 2]), 1.0)
    assert sums.tolist() == [2, 0, 1]


def test_transfers_are_counted(xp, strict):
    x = backend.asarray(HOST)
    assert (strict.to_device, strict.to_host) == (1, 0)
    backend.asarray(x)
    xp.asarray(x) + xp.zeros((2, 3))
    assert (strict.to_device, strict.to_host) == (1, 0)
    backend.to_numpy(x)
    bool(x[0, 0])
    x[0, 0].item()
    assert (strict.to_device, strict.to_host) == (1, 3)


def test_masks_as_indices_wait_for_the_number_of_their_true(x, strict):
    mask = x > 2
    x[0], x[mask[0].astype("int64")]
    x[...] = 1
    assert strict.to_host == 0
    x[mask], x.nonzero()
    x[mask] = 0
    assert strict.to_host == 3


BFLOAT16 = {
    "where": lambda xp, x: xp.where(x > 0, x, x),
    "clip": lambda xp, x: xp.clip(x, 0, 1),
    "x.clip": lambda xp, x: x.clip(0, 1),
    "sort": lambda xp, x: x.sort(),
    "argsort": lambda xp, x: xp.argsort(x, axis=-1),
    "add.at": lambda xp, x: xp.add.at(x, xp.asarray([0]), x[:1]),
}


@pytest.mark.parametrize("call", BFLOAT16.values(), ids=BFLOAT16.keys())
def test_what_knows_no_bfloat16_is_refused(xp, x, call):
    half = x.astype(dtype_of("bfloat16"))
    with pytest.raises(TypeError, match="no bfloat16"):
        call(xp, half)
    call(xp, x)
    xp.maximum(half, 0), half * (half > 0), half.sum(0), half.max(0), half.argmax(0)


def test_where_takes_the_condition_as_an_array(xp, x):
    with pytest.raises(AttributeError, match="condition"):
        xp.where(True, x, x)


def test_copies_are_copies(x):
    host = backend.to_numpy(x)
    host[...] = -1
    assert float(x[1, 2]) == 5


def test_generator_draws_on_the_device(strict):
    a = backend.random_generator(0).random((2, 3), dtype="float32")
    assert isinstance(a, StrictArray) and a.dtype == np.float32
    assert isinstance(backend.random_generator(0), StrictGenerator)
    np.testing.assert_array_equal(
        backend.to_numpy(a), np.random.default_rng(0).random((2, 3), dtype="float32")
    )
    with pytest.raises(AttributeError):
        backend.random_generator(0).permutation(3)  # cupy's generator has none


@pytest.mark.cpu_only("starts from NumPy being active")
def test_the_fixture_gives_numpy_back():
    assert backend.get_backend() != "strict"
