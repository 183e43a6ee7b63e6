"""Random numbers and dropout in CUDA C, run on the CPU by `cuda_on_cpu`."""

import cuda_on_cpu
import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from strategies import array_shapes, numbers

from minicnn import backend
from minicnn.dtypes import dtype_of
from minicnn.kernels.cuda import launch
from minicnn.kernels.cuda.dropout import Mask
from minicnn.kernels.cuda.random import CounterGenerator
from minicnn.kernels.dropout import dropout, dropout_gradient
from minicnn.random import next_pass

pytestmark = pytest.mark.skipif(
    cuda_on_cpu.compiler() is None, reason="there is no C++ compiler, nor the package ziglang"
)

# Counter, key and result, from the file kat_vectors of Random123, the library of the paper.
KNOWN = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000",
     "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff",
     "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0",
     "d16cfe09 94fdcceb 5001e420 24126ea1"),
]  # fmt: skip

_WORDS_KERNEL = """
__global__ void words(unsigned* at, unsigned key0, unsigned key1)
{
    const Words made = philox({{at[0], at[1], at[2], at[3]}}, key0, key1);
    for (int i = 0; i < 4; ++i) at[i] = made.at[i];
}
"""


def words(text):
    return np.array([int(word, 16) for word in text.split()], np.uint32)


@pytest.mark.parametrize("counter, key, expected", KNOWN)
def test_known_answers(counter, key, expected, monkeypatch):
    counter, key, expected = words(counter), words(key).tolist(), words(expected)
    np.testing.assert_array_equal(reference.philox(counter, key), expected)
    source = launch._with_includes("philox.cuh", set()) + _WORDS_KERNEL
    monkeypatch.setattr(launch, "source", lambda name, dtype: source)
    library = cuda_on_cpu._library.__wrapped__("philox_words", "float32")
    library.run_words(1, 1, cuda_on_cpu._as_c(counter), *key)
    np.testing.assert_array_equal(counter, expected)


def generator(seed, passes=0, draws=0):
    """A generator that has come so far."""
    made = CounterGenerator(seed)
    made._passes[0], made._draws = passes, draws
    return made


def key_of(made):
    return np.array(made._key, np.int32).view(np.uint32).tolist()


@given(
    st.integers(0, 700), st.sampled_from(["float32", "float64"]), st.integers(0, 2**63),
    st.integers(0, 2**64 - 1), st.integers(0, 2**31 - 2),
)  # fmt: skip
def test_numbers_of_a_draw(count, dtype, seed, passes, draw):
    with cuda_on_cpu.installed():
        made = generator(seed, passes, draw)
        u = made.random(count, dtype)
    assert u.dtype == dtype and u.shape == (count,)
    expected = reference.uniform_numbers(count, key_of(made), passes, draw, dtype)
    np.testing.assert_array_equal(u, expected)


@pytest.mark.parametrize("blocks, threads", [(1, 1), (4, 33), (1, 700)])
def test_any_number_of_threads_makes_the_same(blocks, threads, monkeypatch):
    x = numbers((5, 60), dtype="float32")

    def run():
        made = CounterGenerator(0)
        return [
            made.random(300, "float32"),
            dropout(x, 0.5, (5, 60), made)[0],
            dropout(x, 0.5, (1, 60), made)[0],
        ]

    with cuda_on_cpu.installed():
        expected = run()
        monkeypatch.setattr(launch, "MOST_BLOCKS", blocks)
        monkeypatch.setattr(launch, "THREADS_PER_BLOCK", threads)
        for a, b in zip(run(), expected, strict=True):
            np.testing.assert_array_equal(a, b)


def test_more_numbers_than_an_index_can_count(monkeypatch):
    monkeypatch.setattr(CounterGenerator, "_MOST_NUMBERS", 100)
    with cuda_on_cpu.installed():
        made = CounterGenerator(0)
        u = made.random((3, 50), "float32").ravel()
        parts = [reference.uniform_numbers(n, key_of(made), 0, draw, "float32")
                 for draw, n in enumerate([100, 50])]  # fmt: skip
        following = made.random(10, "float32")
    np.testing.assert_array_equal(u, np.concatenate(parts))
    expected = reference.uniform_numbers(10, key_of(made), 0, 2, "float32")
    np.testing.assert_array_equal(following, expected)


@st.composite
def masked(draw):
    """(shape of x, shape of the mask)."""
    shape = draw(array_shapes(1, 6))
    together = draw(st.lists(st.booleans(), min_size=len(shape), max_size=len(shape)))
    return shape, tuple(1 if t else n for n, t in zip(shape, together, strict=True))


@given(
    masked(), st.sampled_from(["float32", "float64", "float16", "bfloat16"]),
    st.one_of(st.floats(0, 0.99), st.just(1 - 2**-40)), st.booleans(),
)  # fmt: skip
def test_dropout_is_as_the_generic_one(shapes, dtype, rate, transposed):
    """Bit for bit, where that draws from an equal generator."""
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes")
    shape, mask_shape = shapes
    x, dy = (numbers(shape, seed).astype(dtype_of(dtype)) for seed in (0, 1))
    if transposed:
        x, dy = (np.asfortranarray(a) for a in (x, dy))
    with cuda_on_cpu.installed():
        y, mask = dropout(x, rate, mask_shape, generator(7, 3))
        dx = dropout_gradient(dy, mask)
        expected, generic_mask = dropout.__wrapped__(x, rate, mask_shape, generator(7, 3))
    assert generic_mask.shape == mask_shape
    assert y.dtype == dx.dtype == expected.dtype == x.dtype
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(dx, dropout_gradient(dy, generic_mask))


def test_a_rate_that_is_a_number_drawn():
    x = np.ones((3, 50), "float64")
    with cuda_on_cpu.installed():
        u = CounterGenerator(0).random((3, 50), "float32")
        at = tuple(np.argwhere(u < 0.5)[0])  # the rate has more bits than the number
        for rate, kept in ((u[at], True), (np.nextafter(u[at], np.float32(1)), False),
                           (np.nextafter(u[at], np.float32(0)), True)):  # fmt: skip
            y, _ = dropout(x, float(rate), x.shape, CounterGenerator(0))
            assert (y[at] != 0) == kept
            np.testing.assert_array_equal(y != 0, u >= rate)


def test_dropout_in_many_runs_of_threads():
    x = numbers((3, 5, 5, 37), dtype="float32")
    with cuda_on_cpu.installed():
        for mask_shape in ((3, 5, 5, 37), (3, 1, 1, 37), (1, 5, 1, 37), (3, 1, 1, 1)):
            y, mask = dropout(x, 0.4, mask_shape, generator(7))
            assert isinstance(mask, Mask)
            expected, _ = dropout.__wrapped__(x, 0.4, mask_shape, generator(7))
            np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("case", ["another generator", "axes that alternate too often"])
def test_masks_that_cannot_be_made_again_are_kept(case):
    x = numbers((2, 3, 2, 3, 2), dtype="float32")

    def run():
        if case == "another generator":
            y, mask = dropout(x, 0.5, x.shape, np.random.default_rng(0))
        else:
            y, mask = dropout(x, 0.5, (1, 3, 1, 3, 1), generator(0))
        assert isinstance(mask, np.ndarray)
        return y, dropout_gradient(x, mask)

    with cuda_on_cpu.installed():
        y, dx = run()
    np.testing.assert_array_equal(y, dx)
    assert 0 < (y == 0).mean() < 1
    if case == "another generator":
        np.testing.assert_array_equal(y, run()[0])


def test_a_captured_step_draws_anew_each_time(monkeypatch):
    """What a CUDA graph does: the same launches with the same arguments again and again."""
    captured = []

    def recording(function):
        def record(*arguments):
            function(*arguments)
            captured.append(lambda: function(*arguments))

        return record

    x = np.ones((8, 4, 4, 30), "float32")
    with cuda_on_cpu.installed():
        make = launch._function
        monkeypatch.setattr(launch, "_function", lambda *args: recording(make(*args)))
        made = CounterGenerator(0)
        next_pass([made, np.random.default_rng(0)])
        noise = made.random((2, 3), "float32")
        y, mask = dropout(x, 0.5, x.shape, made)
        whole, whole_mask = dropout(x, 0.5, (8, 1, 1, 30), made)
        dx, whole_dx = dropout_gradient(x, mask), dropout_gradient(x, whole_mask)
        assert len(captured) == 5
        seen = []
        for _ in range(3):
            seen.append([a.copy() for a in (noise, y, whole)])
            np.testing.assert_array_equal(y, dx)
            np.testing.assert_array_equal(whole, whole_dx)
            made._passes += 1  # `next_pass`, as captured
            for again in captured:
                again()
        made._passes -= 1
        made.next_pass()  # without a graph a step is the same
        np.testing.assert_array_equal(made.random((2, 3), "float32"), noise)
        np.testing.assert_array_equal(dropout(x, 0.5, x.shape, made)[0], y)
    for step, other in ((0, 1), (1, 2), (0, 2)):
        for a, b in zip(seen[step], seen[other], strict=True):
            assert (a != b).any()


def test_next_pass_copies_nothing(strict):
    made = CounterGenerator(0)
    for _ in range(3):
        made.next_draw()
        made.next_pass()
    assert strict.to_device == strict.to_host == 0
    assert made.next_draw()[3] == 0
    assert made._passes.dtype == "uint64" and backend.to_numpy(made._passes).tolist() == [3]


def test_passes_and_draws_differ():
    with cuda_on_cpu.installed():
        made = CounterGenerator(0)
        first, second = made.random(40, "float32"), made.random(40, "float32")
        made.next_pass()
        third = made.random(40, "float32")
        others = [CounterGenerator(seed).random(40, "float32") for seed in (1, [0, 1], 2**70)]
    drawn = np.stack([first, second, third, *others])
    assert len(np.unique(drawn)) == drawn.size


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_numbers_are_uniform_and_independent(dtype):
    n = 200_000
    with cuda_on_cpu.installed():
        u = CounterGenerator(0).random(n, dtype)
    assert 0 <= u.min() and u.max() < 1
    shares = np.bincount((u * 10).astype(int), minlength=10) / n
    np.testing.assert_allclose(shares, 0.1, atol=5 * np.sqrt(0.09 / n))
    for apart in (1, 32, 64, 128):
        together = ((u[apart:] - 0.5) * (u[:-apart] - 0.5)).mean()
        assert abs(together) < 5 / 12 / np.sqrt(n)


def test_shapes_and_types():
    with cuda_on_cpu.installed():
        made = backend.random_generator(0)
        assert isinstance(made, CounterGenerator)
        assert made.random().shape == () and made.random().dtype == "float64"
        assert made.random(3).shape == (3,) and made.random(np.int64(3)).shape == (3,)
        assert made.random([2, 0, 3], "float32").shape == (2, 0, 3)
        for dtype in ("float16", "int32"):
            with pytest.raises(TypeError, match=f"in float32 or float64, not in {dtype}"):
                made.random(3, dtype)


def test_a_cpu_keeps_the_generator_of_numpy():
    assert type(backend.random_generator(0)) is np.random.Generator
    assert not backend.cuda_is_active()
