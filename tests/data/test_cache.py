"""`Dataset.cache`: elements of the first whole pass, in memory and in a file."""

import os

import numpy as np
import pytest

from minicnn.data import Dataset


class Source:
    """Elements 0 to 9 of several kinds, and how many were computed."""

    def __init__(self):
        self.made = 0

    def __call__(self, i):
        self.made += 1
        return {"x": np.full((2, int(i)), i, "uint8"), "t": f"ä{i}" if i else ""}, i, None

    def cached(self, filename=""):
        return Dataset.range(10).map(self).cache(filename)


def listed(elements):
    return [(e[0]["x"].tolist(), str(e[0]["t"]), int(e[1]), e[2]) for e in elements]


@pytest.mark.parametrize("in_file", [False, True])
def test_elements_are_computed_once(tmp_path, in_file):
    source = Source()
    dataset = source.cached(tmp_path / "cache" if in_file else "")
    expected = listed(Dataset.range(10).map(Source()))
    assert listed(dataset) == expected
    assert listed(dataset) == listed(dataset.repeat(2).take(10)) == expected
    assert listed(dataset.iterate(5, 7)) == expected[7:]
    assert source.made == 10 and len(dataset) == 10
    assert next(iter(dataset))[0]["x"].dtype == np.uint8


@pytest.mark.parametrize("in_file", [False, True])
def test_a_pass_that_stops_early_keeps_nothing(tmp_path, in_file):
    source = Source()
    dataset = source.cached(str(tmp_path / "cache") if in_file else "")
    for number, _ in enumerate(dataset):
        if number == 4:
            break
    assert os.listdir(tmp_path) == []
    assert len(listed(dataset)) == 10 and source.made == 15


def test_the_first_order_is_kept_whichever_pass_is_first():
    def make():
        return Dataset.range(20).shuffle(20, seed=1).cache()

    dataset = make()
    passes = [[int(x) for x in dataset] for _ in range(3)]
    assert passes[0] == passes[1] == passes[2] == [int(x) for x in make().iterate(2)]
    assert [int(x) for x in make().iterate(2, 15)] == passes[0][15:]


def test_a_file_serves_the_next_process(tmp_path):
    list(Source().cached(tmp_path / "cache"))
    source = Source()
    assert len(listed(source.cached(tmp_path / "cache"))) == 10 and source.made == 0
    assert os.listdir(tmp_path) == ["cache"]


@pytest.mark.parametrize("damage", ["cut", "flipped", "other", "empty"])
def test_a_damaged_file_is_named(tmp_path, damage):
    path = tmp_path / "cache"
    list(Source().cached(path))
    content = bytearray(path.read_bytes())
    if damage == "flipped":
        content[content.index(b"\x93NUMPY") + 130] ^= 255
    path.write_bytes({"cut": content[:-50], "other": b"text", "empty": b""}.get(damage, content))
    with pytest.raises(
        ValueError, match="cache is not a cache of a data set, or is damaged.*delete"
    ):
        list(Source().cached(path))


def test_elements_of_several_structures_cannot_be_kept_in_a_file(tmp_path):
    dataset = Dataset.range(2).map(lambda x: (x, x) if x else x).cache(tmp_path / "cache")
    with pytest.raises(ValueError, match="elements differ"):
        list(dataset)
    assert os.listdir(tmp_path) == []
