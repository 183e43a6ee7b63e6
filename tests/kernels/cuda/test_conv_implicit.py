"""Convolution by an implicit product, run on the CPU, against im2col in float64 on factors rounded
to the format that is multiplied."""

import re
from dataclasses import dataclass
from pathlib import Path

import cuda_on_cpu
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import ConvolutionCase, convolutions, image_sizes, numbers, windows, with_groups

from minicnn import backend
from minicnn.dtypes import dtype_of
from minicnn.kernels import conv, conv_im2col, conv_winograd
from minicnn.kernels.cuda import conv_im2col as cuda_im2col
from minicnn.kernels.cuda import conv_implicit, launch, pool
from minicnn.kernels.windows import Convolution
from minicnn.layers import Conv2D

on_the_cpu = pytest.mark.skipif(cuda_on_cpu.compiler() is None, reason="there is no C++ compiler")


@dataclass(frozen=True)
class Format:
    """What is multiplied, and how far off results may be, beside the largest of them."""

    dtype: str
    error: float
    in_tf32: bool = False
    weights_error: float = 2e-6  # of dw, which is not rounded to 16 bits

    def rounded(self, a):
        """As factors of a product, in float64."""
        if self.in_tf32:
            bits = a.astype("float32").view("uint32")
            return ((bits + 0x1000) & 0xFFFFE000).astype("uint32").view("float32").astype("float64")
        return a.astype(dtype_of(self.dtype)).astype("float64")


FORMATS = [
    Format("float32", 2e-6),
    Format("float64", 1e-14, weights_error=1e-14),
    Format("float16", 2**-11),
    Format("bfloat16", 2**-8),
    Format("float32", 2e-6, in_tf32=True),
]
formats = pytest.mark.parametrize(
    "form", FORMATS, ids=[f.dtype + f.in_tf32 * " in tf32" for f in FORMATS]
)


@st.composite
def larger_convolutions(draw):
    """Several tiles of rows, or of columns, or slices of the sum; runs of 16 bytes and others."""
    window, groups = draw(windows()), draw(st.sampled_from([1, 1, 1, 2]))
    channels = draw(st.sampled_from([1, 3, 4, 8, 16, 20, 32]))
    filters = draw(st.sampled_from([1, 8, 10, 16, 24, 36, 64, 72, 136]))
    size = draw(image_sizes(window, extra=6))
    return ConvolutionCase(
        with_groups(window, groups), (draw(st.integers(1, 5)), *size, groups * channels),
        groups * filters, draw(st.integers(0, 1000)),
    )  # fmt: skip


def arrays(case, form):
    """x, w, dy: the kernel in float32 where the others have 16 bits."""
    dtype = dtype_of(form.dtype)
    x, w, dy = case.arrays("float64" if form.dtype == "float64" else "float32")
    return x.astype(dtype), w, dy.astype(dtype)


def by_implicit_product(case, form, x, w, dy):
    """y, dw, dx."""
    with pytest.MonkeyPatch.context() as patch, cuda_on_cpu.installed():
        patch.setattr(backend, "_tensor_float_32", form.in_tf32)
        y, kept = conv_implicit.forward(x, w, case.window, keep=True)
        return y, *conv_implicit.gradients(dy, kept, w, x.shape, case.window)


def by_im2col(case, x, w, dy):
    y, kept = conv_im2col.forward(x, w, case.window, keep=True)
    return y, *conv_im2col.gradients(dy, kept, w, x.shape, case.window)


def check(results, expected, form, w):
    for name, ours, theirs in zip(("y", "dw", "dx"), results, expected, strict=True):
        error = form.weights_error if name == "dw" else form.error
        assert ours.dtype == (w.dtype if name == "dw" else dtype_of(form.dtype))
        largest = np.abs(theirs).max(initial=0)
        np.testing.assert_allclose(ours.astype("float64"), theirs, rtol=0, atol=error * largest)


def compare(case, form, x, w, dy):
    expected = by_im2col(case, *map(form.rounded, (x, w, dy)))
    check(by_implicit_product(case, form, x, w, dy), expected, form, w)


@on_the_cpu
@formats
@settings(max_examples=10)
@given(st.one_of(convolutions(), larger_convolutions()))
def test_all_kinds(form, case):
    compare(case, form, *arrays(case, form))


# blocks that are wanted, slices that make a part of a sum
TILINGS = {"wide tiles": (1, 1 << 20), "parts of sums": (40, 1), "parts and wide tiles": (5, 1)}
CASES = {
    "same": ConvolutionCase(Convolution((3, 3), padding="same"), (3, 8, 7, 16), 80, 0),
    "first layer": ConvolutionCase(Convolution((3, 3)), (3, 9, 8, 3), 24, 1),
    "stride": ConvolutionCase(Convolution((3, 3), (2, 2), "same"), (2, 9, 8, 8), 72, 2),
    "gaps": ConvolutionCase(Convolution((1, 2), (3, 3)), (2, 7, 8, 5), 3, 3),
    "dilation": ConvolutionCase(Convolution((3, 2), (2, 3), "same", (2, 2)), (2, 9, 8, 4), 6, 4),
    "groups": ConvolutionCase(Convolution((2, 2), groups=3), (2, 6, 7, 24), 48, 5),
    "pointwise": ConvolutionCase(Convolution((1, 1)), (2, 8, 9, 72), 136, 6),
    "large window": ConvolutionCase(Convolution((5, 5), padding="same"), (2, 2, 3, 8), 8, 7),
}


@on_the_cpu
@formats
@pytest.mark.parametrize("tiling", TILINGS.values(), ids=TILINGS.keys())
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_all_ways_to_cut_them_up(monkeypatch, case, tiling, form):
    monkeypatch.setattr(conv_implicit, "BLOCKS", tiling[0])
    monkeypatch.setattr(conv_implicit, "LEAST_SLICES", tiling[1])
    compare(case, form, *arrays(case, form))


@on_the_cpu
def test_tf32_is_not_float32():
    case = CASES["same"]
    x, w, dy = case.arrays("float32")
    for exact, rounded in zip(
        *(by_implicit_product(case, FORMATS[i], x, w, dy) for i in (0, 4)), strict=True
    ):
        error = np.abs(exact - rounded).max() / np.abs(exact).max()
        assert 1e-5 < error < 1e-3


@on_the_cpu
@formats
def test_the_same_bits_every_time(monkeypatch, form):
    monkeypatch.setattr(conv_implicit, "BLOCKS", 40)
    monkeypatch.setattr(conv_implicit, "LEAST_SLICES", 1)
    case = CASES["same"]
    for one, other in zip(
        *(by_implicit_product(case, form, *arrays(case, form)) for _ in range(2)), strict=True
    ):
        np.testing.assert_array_equal(one, other)


@on_the_cpu
@formats
@pytest.mark.parametrize("which", [0, 1, 2], ids=["x", "kernel", "dy"])
def test_arrays_that_begin_anywhere(form, which):
    """As parts of other arrays do: not where 16 bytes can be read at once."""
    case = CASES["groups"]
    given = list(arrays(case, form))
    a = given[which]
    memory = np.empty(a.size + 16 // a.itemsize, a.dtype)
    first = next(i for i in (1, 2) if (memory.ctypes.data + i * a.itemsize) % 16)
    given[which] = memory[first : first + a.size].reshape(a.shape)
    given[which][...] = a
    compare(case, form, *given)


@on_the_cpu
def test_arrays_that_are_not_contiguous():
    case, form = CASES["groups"], FORMATS[0]
    x, w, dy = case.arrays("float32")
    wide = [np.concatenate([a, a], axis=-1)[..., : a.shape[-1]] for a in (x, w, dy)]
    compare(case, form, *wide)


@on_the_cpu
@pytest.mark.parametrize("name", ["groups", "stride"])
def test_only_the_gradients_asked_for(name):
    case, form = CASES[name], FORMATS[0]
    x, w, dy = case.arrays("float32")
    _, dw, dx = by_implicit_product(case, form, x, w, dy)
    with cuda_on_cpu.installed():
        y, kept = conv_implicit.forward(x, w, case.window)
        assert kept is None and y.shape == case.y_shape
        given = (w, x.shape, case.window)
        only_dx = conv_implicit.gradients(dy, None, *given, needs_dw=False)
        only_dw = conv_implicit.gradients(dy, x, *given, needs_dx=False)
    assert only_dx[0] is None and only_dw[1] is None
    np.testing.assert_array_equal(only_dx[1], dx)
    np.testing.assert_array_equal(only_dw[0], dw)


@on_the_cpu
def test_no_images():
    case = CASES["first layer"]
    x, w, dy = (a[:0] if a.ndim == 4 and i != 1 else a for i, a in enumerate(case.arrays()))
    y, dw, dx = by_implicit_product(case, FORMATS[1], x, w, dy)
    assert y.shape == (0, *case.y_shape[1:]) and dx.shape == x.shape
    np.testing.assert_array_equal(dw, np.zeros(w.shape))


@on_the_cpu
def test_what_is_not_a_number_stays_so():
    case = CASES["same"]
    for form in FORMATS:
        x, w, dy = (a.copy() for a in arrays(case, form))
        x[0, 0, 0, 0], x[1, 0, 0, 0] = np.nan, np.inf
        y, dw, _ = by_implicit_product(case, form, x, w, dy)
        y = y.astype("float64")
        assert np.isnan(y[0, 0, 0]).all() and np.isinf(y[1, 0, 0]).all()
        assert np.isfinite(y[2]).all() and np.isnan(dw[:2, :2, 0]).all()


@pytest.mark.parametrize(
    ("file", "name", "there"),
    [
        ("conv_implicit.cuh", "Axis", conv_implicit._AXIS),
        ("conv_implicit.cuh", "Divisor", conv_implicit._DIVISOR),
        ("conv_implicit.cuh", "Geometry", conv_implicit._STRUCT),
        ("pool.cu", "Pool", pool._POOL),
    ],
)
def test_structs_have_the_same_members_here_and_there(file, name, there):
    text = (Path(launch.__file__).parent / file).read_text()
    members = re.search(rf"struct {name} {{(.*?)\n\s*(?:__device__|}};)", text, re.S).group(1)
    lines = re.findall(r"(?:int|unsigned|Axis|Divisor) ([\w,\s]+);", members)
    assert re.split(r",\s+", ", ".join(lines)) == list(there.names)


@given(st.integers(0, 2**31 - 1), st.one_of(st.integers(1, 300), st.integers(1, 2**31 - 1)))
def test_division_by_multiplication(number, by):
    multiplier, shift = conv_implicit._divisor(by)
    assert multiplier < 2**32 and shift < 64
    for n in (number, number - number % by, max(0, number - number % by - 1), 2**31 - 1):
        assert n * multiplier >> shift == n // by


def test_nothing_divides_by_the_taps_that_are_not_there():
    assert conv_implicit._divisor(0) == conv_implicit._divisor(1)


@on_the_cpu
def test_more_elements_than_indices_take_the_generic_version(monkeypatch):
    case = CASES["stride"]
    x, w, dy = case.arrays("float32")
    _, dw, dx = by_implicit_product(case, FORMATS[0], x, w, dy)
    monkeypatch.setattr(conv_implicit, "MOST_ELEMENTS", x.size)
    monkeypatch.setattr(conv_implicit, "_multiply", None)
    with cuda_on_cpu.installed():
        given = (x.shape, case.window)
        again = conv_implicit.gradients(dy, x, w, *given)
    for one, other in zip((dw, dx), again, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_tiles_are_narrow_where_there_are_few():
    few, many = 1280, 128 * 1000

    def tiling(*arguments):
        tile, count = conv_implicit._tiling(*arguments)
        return tile.name, count

    assert tiling(many, 16, 9, 1) == ("16", 1000)
    assert tiling(many, 17, 9, 1) == ("32", 1000)
    assert tiling(many, 64, 9, 1) == ("64", 1000)
    assert tiling(many, 256, 9, 1) == ("128", 2000)
    assert tiling(few, 256, 9, 1) == ("64", 40)
    assert tiling(few, 256, 1 << 20, 2) == ("128", 40)  # sums made in parts
    assert tiling(27, 32, 9, 2, True) == ("low", 2)
    assert tiling(33, 16, 9, 1, True) == ("16", 1)
    assert tiling(27, 33, 9, 1, True) == ("64", 1)


@pytest.mark.parametrize("name", ["same", "pointwise", "stride"])
def test_chosen_on_an_nvidia_gpu(name):
    convolution = CASES[name].window
    with cuda_on_cpu.installed():
        assert conv.choose_algorithm(convolution, (8, 16, 16, 64), 64) == "implicit"
        assert conv.algorithm_for("im2col", convolution, (8, 16, 16, 64), 64) == "im2col"


def test_the_generic_version_where_that_in_cuda_c_does_not_fit():
    """Not on a CPU, nor where float32 meets float64; Winograd's algorithm has no other."""
    generic = [conv.ALGORITHMS[name] for name in ("im2col", "pointwise", "implicit", "winograd")]
    assert generic == [conv_im2col] * 3 + [conv_winograd]
    images, kernels = (
        {name: np.zeros((1, 1, 1, 1), dtype_of(name)) for name in ("float16", "float32", "float64")}
        for _ in range(2)
    )

    def versions(image, kernel, *others):
        given = (images[image], kernels[kernel], *others)
        return [conv.implementation(name, *given) for name in conv.ALGORITHMS]

    assert versions("float32", "float32") == [conv.ALGORITHMS[name] for name in conv.ALGORITHMS]
    in_cuda_c = {
        "im2col": cuda_im2col, "pointwise": cuda_im2col, "implicit": conv_implicit,
        "winograd": conv_winograd,
    }  # fmt: skip
    with cuda_on_cpu.installed():
        for image, kernel in (("float32", "float32"), ("float16", "float32")):
            expected = [in_cuda_c[name] for name in conv.ALGORITHMS]
            assert versions(image, kernel) == versions(image, kernel, None) == expected
        for image, kernel in (("float32", "float64"), ("float64", "float32")):
            assert versions(image, kernel) == list(conv.ALGORITHMS.values())
        assert versions("float32", "float32", images["float64"]) == list(conv.ALGORITHMS.values())


def test_elsewhere_another_one_takes_its_place():
    layer = Conv2D(64, 3, padding="same", algorithm="implicit")
    assert layer.algorithm_for((None, 16, 16, 64)) == "winograd"
    assert layer.algorithm_for((None, 16, 16, 3)) == "im2col"
    assert layer.get_config()["algorithm"] == "implicit"
    x = numbers((2, 8, 8, 3), dtype="float32")
    y = layer(x)
    expected = conv.conv2d(x, layer.kernel.value, None, layer.window, algorithm="implicit")
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)
    with cuda_on_cpu.installed():
        assert layer.algorithm_for((None, 16, 16, 64)) == "implicit"


@pytest.mark.parametrize("form", FORMATS[2:4], ids=["float16", "bfloat16"])
@pytest.mark.parametrize("algorithm", ["im2col", "winograd"])
@pytest.mark.parametrize("channels", [3, 20])
def test_generic_algorithms_on_numbers_of_16_bits(form, algorithm, channels):
    """They calculate in float32, with the kernel rounded to 16 bits."""
    case = ConvolutionCase(Convolution((3, 3), padding="same"), (3, 8, 6, channels), 10, 0)
    x, w, dy = arrays(case, form)
    expected = by_im2col(case, *map(form.rounded, (x, w, dy)))
    y = conv.conv2d(x, w, None, case.window, algorithm=algorithm)
    results = y, *conv.conv2d_gradients(x, dy, w, case.window, algorithm=algorithm)
    loose = Format(form.dtype, 1.1 * form.error, weights_error=1e-5)
    check(results, expected, loose, w)
    module = {"im2col": conv_im2col, "winograd": conv_winograd}[algorithm]
    prepared = module.prepare(w, x.dtype)
    kept = module.forward(x, prepared, case.window, keep=True)[1]
    given = (prepared, x.shape, case.window)
    only_dx = module.gradients(dy, None, *given, needs_dw=False)
    only_dw = module.gradients(dy, kept, *given, needs_dx=False)
    assert only_dx[0] is None and only_dw[1] is None
    np.testing.assert_array_equal(only_dx[1], results[2])
    np.testing.assert_array_equal(only_dw[0], results[1])
