"""The tables of a profile fit 100 columns, whatever the names and the figures."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from profiled import chain, quiet

from minicnn import Input, Model, Sequential
from minicnn.layers import Conv2D, Dense, Flatten
from minicnn.profiler import LayerProfile, Profile, roofline
from minicnn.profiler.table import figures, percent

NAMES = st.text("abc_/- 123", min_size=1, max_size=80)
TYPES = st.sampled_from(["Conv2D", "BatchNormalization", "ALayerOfOnesOwnWithAVeryLongName"])
ALGORITHMS = st.sampled_from(["", "im2col", "winograd", "pointwise", "one_of_ones_own"])
SIZES = st.integers(1, 4096)
SHAPES = st.lists(
    st.lists(SIZES, max_size=4).map(lambda sizes: f"(n{''.join(f', {s}' for s in sizes)})"),
    min_size=1, max_size=3,
).map(", ".join)  # fmt: skip
SECONDS = st.floats(-6, 2.9).map(lambda power: 10.0**power)  # a microsecond to hundreds of seconds
COUNTS = st.integers(0, 10**14)
DTYPES = st.sampled_from(["float32", "float16", "bfloat16", "float64"])


@st.composite
def layers(draw):
    return LayerProfile(
        draw(NAMES), draw(TYPES), draw(SHAPES),
        draw(ALGORITHMS),
        draw(SECONDS), draw(SECONDS | st.just(0.0)), draw(COUNTS), draw(COUNTS), draw(COUNTS), 1e9,
        draw(DTYPES), draw(COUNTS), draw(COUNTS), draw(SECONDS), draw(SECONDS),
    )  # fmt: skip


def check(text, names):
    """No line is too long, the rules are as wide as the table, of each name there is enough."""
    lines = text.splitlines()
    assert max(map(len, lines)) <= 100
    first, second, third = (i for i, line in enumerate(lines) if set(line) == {"-"})
    assert len(lines[first]) == len(lines[second]) == len(lines[third])
    assert max(map(len, lines[first:third])) == len(lines[first])
    assert second == first + 3  # two lines of header
    for line, name in zip(lines[second + 1 : third], names, strict=True):
        if name is not None and not line.startswith(name.rstrip()):
            begin, _, rest = line.partition("...")
            end = max(k for k in range(len(name)) if rest.startswith(name[len(name) - k :]))
            assert name.startswith(begin) and len(begin) + 3 + end >= 15
            assert len(begin) >= 3 and end >= 3


@given(
    NAMES, st.lists(layers(), min_size=1, max_size=6), st.integers(1, 4096), st.integers(1, 64),
    st.floats(0.01, 1e6), COUNTS, SECONDS,
)  # fmt: skip
def test_a_profile_fits_100_columns(name, rows, images, threads, peak, kept, between):
    profile = Profile(name, "bfloat16", rows, images, threads, peak, kept, between)
    check(str(profile), [row.name for row in rows])


@given(
    NAMES, st.lists(layers(), min_size=1, max_size=4), st.integers(1, 4096),
    st.floats(0.1, 1e5), st.floats(0.1, 1e7), st.booleans(), COUNTS, SECONDS, SECONDS,
)  # fmt: skip
def test_a_device_profile_fits_100_columns(
    name, rows, images, bandwidth, peak, tf32, kept, between, launch
):
    peaks = dict.fromkeys((row.dtype for row in rows), peak)
    limits = roofline.Limits("A GPU whose name is rather long, 80GB HBM3", bandwidth, peaks, tf32)
    profile = roofline.DeviceProfile(name, "float32", rows, images, limits, kept, between, launch)
    names = []
    for row in rows:
        names += [row.name, None][: len(profile.phases(row))]
    check(str(profile), names)


def test_what_is_usual_is_whole():
    """Times of 9 s, shapes of 224 x 224 x 1024, all algorithms, Winograd above the peak."""
    row = LayerProfile(
        "conv4_block23", "Conv2D", "(n, 224, 224, 1024)", "pointwise", 4.5, 4.5,
        4 * 10**11, 8 * 10**11, 99_000 * 10**6, 1e9,
    )  # fmt: skip
    lines = str(Profile("net", "float32", [row], 128, 2, 90.0, 10**6)).splitlines()
    cells = "conv4_block23 (n, 224, 224, 1024) pointwise 4,500 177.8 4,500 355.6 100% 296% 99,000"
    assert lines[5].split() == cells.split()
    assert len(lines[5]) == 100


def test_seconds_where_milliseconds_are_too_many():
    row = LayerProfile("a", "Dense", "(n, 3)", "", 300.0, 123.4567, 0, 0, 0, 0)
    text = str(Profile("net", "float32", [row], 1, 1, 1.0, 0))
    assert "-- Forward --" in text and " s  GFLOP/s" in text and " ms" not in text
    assert text.splitlines()[5].split() == "a (Dense) (n, 3) 300.0 123.5 100% 0.00".split()
    assert "forward 300.00 s + backward 123.46 s + between layers 0.00 s = 423.46 s" in text


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.001, 0.5], ["0.001", "0.500"]),
        ([0.001, 12.3456], ["0.00", "12.35"]),
        ([None, 123.4], ["", "123.4"]),
        ([5, 9999], ["5", "9,999"]),
        ([9.9999], ["10.00"]),
        ([3, 123456], ["3", "1e+05"]),
        ([None], [""]),
        ([], []),
    ],
)
def test_figures_of_a_column_have_as_many_decimals(values, expected):
    assert figures(values, 5) == expected


def test_percentages():
    assert [percent(share) for share in (None, 0, 0.004, 1, 1.48, 9.99, 20)] == [
        "", "0%", "0%", "100%", "148%", "999%", ">999%"
    ]  # fmt: skip


def test_names_of_models_in_models_are_cut_in_the_middle():
    x = Input((8, 8, 3))
    inner = Sequential(
        [Input((8, 8, 3)), Conv2D(3, 3, name="a_convolution_of_the_first_block")],
        name="the_first_block_of_the_network_with_a_name_that_is_long",
    )
    outer = Sequential([Input((8, 8, 3)), inner], name="part")
    profile = quiet(Model(x, Dense(2)(Flatten()(outer(x)))))
    lines = str(profile).splitlines()
    line = next(line for line in lines if line.startswith("part/"))
    assert re.match(r"part/\w+\.\.\.\w*first_block  ", line)
    assert max(map(len, lines)) == 100
    assert profile.rows[0].name.count("/") == 2  # whole in the rows


def test_the_figures_that_the_table_leaves_out_are_in_the_rows():
    row = quiet(chain()).rows[0]
    assert row.forward_multiply_adds == 16 * 6 * 6 * 5 * 27
