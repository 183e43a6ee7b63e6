"""Winograd's algorithm: the identity it rests on, and images of all sizes against im2col."""

from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import numbers

from minicnn import backend
from minicnn.kernels import conv_im2col, conv_winograd
from minicnn.kernels.windows import Convolution
from minicnn.parallel import one_blas_thread

CHUNKS = [1, 12_000, 1 << 30]  # bytes: one image at a time, some, all at once


def test_four_outputs_of_three_taps_by_six_products():
    d, w = numbers(6), numbers(3, 1)
    b_t, g, a_t = map(np.array, (conv_winograd._B_T, conv_winograd._G, conv_winograd._A_T))
    outputs = [sum(d[p + i] * w[i] for i in range(3)) for p in range(4)]
    np.testing.assert_allclose(a_t @ ((g @ w) * (b_t @ d)), outputs, atol=1e-13)


def test_four_by_four_outputs_by_thirty_six_products():
    """In two dimensions, and with the matrices of the flattened form."""
    d, w = numbers((6, 6)), numbers((3, 3), 1)
    b, g, a = conv_winograd._matrices(np, np.dtype("float64"))
    assert (b.shape, g.shape, a.shape) == ((36, 36), (36, 9), (16, 36))
    outputs = [[(d[p : p + 3, q : q + 3] * w).sum() for q in range(4)] for p in range(4)]
    y = a @ ((g @ w.ravel()) * (b @ d.ravel()))
    np.testing.assert_allclose(y.reshape(4, 4), outputs, atol=1e-13)


@dataclass(frozen=True)
class Case:
    padding: str
    x_shape: tuple[int, int, int, int]
    filters: int
    seed: int = 0

    @property
    def window(self):
        return Convolution((3, 3), padding=self.padding)

    def arrays(self, dtype="float64"):
        """x, w, dy."""
        n, h, w, c = self.x_shape
        y_shape = (n, *self.window.output_size(h, w), self.filters)
        return (
            numbers(self.x_shape, self.seed, dtype),
            numbers((3, 3, c, self.filters), self.seed + 1, dtype),
            numbers(y_shape, self.seed + 2, dtype),
        )


@st.composite
def cases(draw):
    padding = draw(st.sampled_from(["valid", "same"]))
    sizes = st.integers(3 if padding == "valid" else 1, 14)
    channels = st.integers(1, 9)
    x_shape = (draw(st.integers(1, 5)), draw(sizes), draw(sizes), draw(channels))
    return Case(padding, x_shape, draw(channels), draw(st.integers(0, 1000)))


def results(algorithm, case, x, w, dy, **needs):
    """y, dw and dx by one of the two modules."""
    prepared = algorithm.prepare(w)
    y, kept = algorithm.forward(x, prepared, case.window, keep=needs.get("needs_dw", True))
    return y, *algorithm.gradients(dy, kept, prepared, x.shape, case.window, **needs)


def assert_close(actual, expected, tolerance):
    """Beside the largest of the expected elements: Winograd's sums cancel more."""
    assert actual.shape == expected.shape and actual.dtype == expected.dtype
    error = np.abs(actual.astype("float64") - expected).max()
    assert error <= tolerance * np.abs(expected).max()


def check(case, dtype, tolerance, chunk_bytes=1 << 21):
    arrays = case.arrays(dtype)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conv_winograd, "CHUNK_BYTES", chunk_bytes)
        actual = results(conv_winograd, case, *arrays)
    expected = results(conv_im2col, case, *(a.astype("float64") for a in arrays))
    for one, other in zip(actual, expected, strict=True):
        assert one.dtype == dtype
        assert_close(one.astype("float64"), other, tolerance)


@given(cases(), st.sampled_from(CHUNKS))
def test_float64(case, chunk_bytes):
    check(case, "float64", 1e-10, chunk_bytes)


@given(cases(), st.sampled_from(CHUNKS))
def test_float32(case, chunk_bytes):
    check(case, "float32", 1e-4, chunk_bytes)


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("size", [*range(3, 12), 16, 18])
def test_every_remainder_of_a_tile(padding, size):
    check(Case(padding, (2, size, 22 - size, 3), 4), "float64", 1e-10)


@pytest.mark.parametrize(("chunk_bytes", "counts"), [(1, {5}), (12_000, {2, 3}), (1 << 30, {1})])
def test_images_are_cut_into_even_chunks(monkeypatch, chunk_bytes, counts):
    """An image: 36 elements of each of 4 tiles in 5 channels, 5760 bytes."""
    monkeypatch.setattr(conv_winograd, "CHUNK_BYTES", chunk_bytes)
    chunks = conv_winograd._chunks(5, 2, 3, (8, 8), 8)
    assert [i for chunk in chunks for i in range(5)[chunk]] == list(range(5))
    lengths = [chunk.stop - chunk.start for chunk in chunks]
    assert max(lengths) - min(lengths) <= 1 and len(chunks) in counts


def test_a_chunk_is_no_smaller_than_the_kernel(monkeypatch):
    """U (36, 64, 64) is as large as V and M of 8 images of 4 tiles: it is not read for each one."""
    monkeypatch.setattr(conv_winograd, "CHUNK_BYTES", 1)
    assert len(conv_winograd._chunks(32, 64, 64, (8, 8), 4)) == 4


CASE = Case("same", (3, 7, 6, 4), 5)


@pytest.mark.parametrize("chunk_bytes", CHUNKS)
def test_only_the_gradients_asked_for(monkeypatch, chunk_bytes):
    monkeypatch.setattr(conv_winograd, "CHUNK_BYTES", chunk_bytes)
    x, w, dy = CASE.arrays()
    _, dw, dx = results(conv_winograd, CASE, x, w, dy)
    _, no_dw, only_dx = results(conv_winograd, CASE, x, w, dy, needs_dw=False)
    _, only_dw, no_dx = results(conv_winograd, CASE, x, w, dy, needs_dx=False)
    assert no_dw is None and no_dx is None
    np.testing.assert_array_equal(only_dx, dx)
    np.testing.assert_array_equal(only_dw, dw)


def test_nothing_is_kept_where_no_gradient_will_be_asked_for():
    x, w, _ = CASE.arrays()
    prepared = conv_winograd.prepare(w)
    y, kept = conv_winograd.forward(x, prepared, CASE.window)
    y_too, kept_too = conv_winograd.forward(x, prepared, CASE.window, keep=True)
    assert kept is None and len(kept_too.chunks) == 1
    np.testing.assert_array_equal(y, y_too)


@pytest.mark.parametrize(
    "case",
    [CASE, Case("valid", (2, 6, 6, 2), 3), Case("valid", (2, 10, 7, 2), 3)],
    ids=["same", "one whole tile", "valid"],
)
@pytest.mark.parametrize("chunk_bytes", CHUNKS)
def test_arguments_stay_as_they_are(monkeypatch, case, chunk_bytes):
    monkeypatch.setattr(conv_winograd, "CHUNK_BYTES", chunk_bytes)
    arrays = case.arrays()
    before = [a.copy() for a in arrays]
    first = results(conv_winograd, case, *arrays)
    for now, then in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(now, then)
    for one, other in zip(results(conv_winograd, case, *arrays), first, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("padding", ["valid", "same"])
def test_gradients_may_be_asked_for_twice(padding):
    """What forward kept and prepared is not used up."""
    case = Case(padding, (3, 6, 9, 2), 3)
    x, w, dy = case.arrays()
    prepared = conv_winograd.prepare(w)
    _, kept = conv_winograd.forward(x, prepared, case.window, keep=True)
    first, second = (
        conv_winograd.gradients(dy, kept, prepared, x.shape, case.window) for _ in range(2)
    )
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


SLICES = {
    "channels": lambda a: np.concatenate([a, a], axis=-1)[..., : a.shape[-1]],
    "pixels": lambda a: np.repeat(a, 2, axis=2)[:, :, ::2],
    "images": lambda a: np.repeat(a, 2, axis=0)[::2],
    "turned": lambda a: np.ascontiguousarray(a[:, ::-1])[:, ::-1],
    "transposed": lambda a: np.ascontiguousarray(a.transpose(0, 2, 1, 3)).transpose(0, 2, 1, 3),
}


@pytest.mark.parametrize("case", [CASE, Case("valid", (2, 6, 10, 3), 3)], ids=["same", "whole"])
@pytest.mark.parametrize("name", SLICES)
def test_arrays_that_are_not_contiguous(case, name):
    x, w, dy = case.arrays()
    x2, dy2 = SLICES[name](x), SLICES[name](dy)
    assert not x2.flags.c_contiguous and np.array_equal(x, x2)
    actual, expected = (results(conv_winograd, case, a, w, b) for a, b in ((x2, dy2), (x, dy)))
    for one, other in zip(actual, expected, strict=True):
        assert_close(one, other, 1e-12)


@pytest.mark.parametrize("padding", ["valid", "same"])
def test_what_it_supports(padding):
    assert conv_winograd.supports(Convolution((3, 3), padding=padding))
    for convolution in (
        Convolution((3, 3), padding=padding, groups=2),
        Convolution((3, 3), (2, 1), padding),
        Convolution((3, 3), (1, 1), padding, (1, 2)),
        Convolution((3, 1), padding=padding),
        Convolution((5, 5), padding=padding),
        Convolution((1, 1), padding=padding),
    ):
        assert not conv_winograd.supports(convolution)


@pytest.mark.parametrize("padding", ["valid", "same"])
def test_on_the_device(strict, padding):
    """Nothing crosses over but the arguments and, once, the matrices."""
    case = Case(padding, (3, 7, 9, 2), 3)
    host = case.arrays("float32")
    device = [backend.asarray(a) for a in host]
    results(conv_winograd, case, *device)
    strict.reset()
    actual = results(conv_winograd, case, *device)
    assert (strict.to_device, strict.to_host) == (0, 0)
    for one, other in zip(actual, results(conv_winograd, case, *host), strict=True):
        assert_close(backend.to_numpy(one), other, 1e-6)


@pytest.mark.parametrize(
    "x_size, kernel_size, dy_size",
    [
        (5e36, 1e-4, 1e-3),
        (3e38, 1e-3, 1e-7),
        (1e37, 1.0, 1e-3),
        (1.0, 1e-5, 1e36),  # the other way round
        (1e30, 1e-6, 1e6),
        (1e37, 1e-4, 1e-30),
    ],
)
@pytest.mark.parametrize("chunk_bytes", CHUNKS)
@pytest.mark.parametrize("notices", [nullcontext, one_blas_thread])
def test_numbers_near_the_end_of_float32(
    monkeypatch, x_size, kernel_size, dy_size, chunk_bytes, notices
):
    """The changes of basis overflow, the result does not: it is that of im2col, without a
    warning, whether the overflow is noticed (with one BLAS thread) or results are looked at."""
    monkeypatch.setattr(conv_winograd, "CHUNK_BYTES", chunk_bytes)
    case = Case("same", (3, 9, 8, 5), 4)
    x, w, dy = (
        (np.clip(a, -1, 1) * size).astype("float32")
        for a, size in zip(case.arrays(), (x_size, kernel_size, dy_size), strict=True)
    )
    with notices():
        ours = results(conv_winograd, case, x, w, dy)
    theirs = results(conv_im2col, case, *(a.astype("float64") for a in (x, w, dy)))
    for a, b in zip(ours, theirs, strict=True):
        assert a.dtype == np.float32 and np.isfinite(a).all()
        largest = np.abs(b).max()
        np.testing.assert_allclose(a / largest, b / largest, atol=2e-5)


def test_images_that_are_nan_stay_so():
    case = Case("same", (2, 8, 8, 5), 4)
    x, w, dy = (a.astype("float32") for a in case.arrays())
    x[1, 3, 3] = np.nan
    y, dw, dx = results(conv_winograd, case, x, w, dy)
    assert np.isnan(y[1, 2:5, 2:5]).all() and np.isfinite(y[0]).all()
    assert np.isnan(dw).all() and np.isfinite(dx).all()
