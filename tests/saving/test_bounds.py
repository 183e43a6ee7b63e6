"""Files that would take the memory, the hours, or what lies in other files."""

import json
import os
import struct
import zipfile

import numpy as np
import pytest

h5py = pytest.importorskip("h5py")

from minicnn import initializers  # noqa: E402
from minicnn.layers import Dense, Input, Layer  # noqa: E402
from minicnn.models import Model, Sequential, load_model  # noqa: E402
from minicnn.registry import serialize  # noqa: E402
from minicnn.saving import reading  # noqa: E402
from minicnn.utils import set_random_seed  # noqa: E402


def network(units=4):
    model = Sequential([Input((8,)), Dense(units, name="d")], name="m")
    model.compile("adam", "mse")
    return model


def refused(path, text):
    with pytest.raises(ValueError, match=f"{path.name}': .*{text}"):
        load_model(path)


def rezipped(path, **members):
    """The .keras file with other members, {name without its ending: bytes}."""
    with zipfile.ZipFile(path) as archive:
        old = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in old.items():
            archive.writestr(name, members.get(name.split(".")[0], data))


# Weights that only the description has


def wide(config):
    """The description of the network with 40 million units."""
    text = json.dumps(config)
    assert '"units": 4,' in text
    return json.loads(text.replace('"units": 4,', '"units": 40000000,'))


def test_a_description_of_gigabytes_without_arrays(tmp_path):
    path = tmp_path / "m.safetensors"
    text = json.dumps({"version": 1, "weights": [], "model": wide(serialize(network()))})
    header = json.dumps({"__metadata__": {"minicnn": text}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    refused(path, r"'kernel', with its \(8, 40000000\), take more than 268,435,456 bytes")


def test_the_same_in_keras(tmp_path):
    path = tmp_path / "m.keras"
    network().save(path)
    with zipfile.ZipFile(path) as archive:
        config = json.loads(archive.read("config.json"))
    rezipped(path, config=json.dumps(wide(config)).encode())
    refused(path, "take more than 268,435,456 bytes")


def test_an_array_that_was_never_written(tmp_path):
    path = tmp_path / "m.h5"
    network().save(path)
    with h5py.File(path, "r+") as file:
        del file["model_weights/d/d/kernel"]
        file["model_weights/d"].create_dataset("d/kernel", (8, 4), "f4")
    refused(path, "'d/kernel' has a shape, but no data were ever written to it")


@pytest.mark.parametrize("suffix", [".safetensors", ".keras", ".h5"])
def test_no_initializer_runs_and_no_random_number_is_drawn(suffix, tmp_path, monkeypatch):
    model = network()
    model.save(tmp_path / f"m{suffix}")
    monkeypatch.setattr(initializers.GlorotUniform, "__call__", lambda *a, **k: 1 / 0)
    loaded = load_model(tmp_path / f"m{suffix}")
    for a, b in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
        assert b.flags.owndata and b.flags.c_contiguous


class Projected(Layer):
    """Keeps a layer for itself, whose weights are in no file."""

    def build(self, input_shape):
        self.hidden = Dense(2, kernel_initializer=initializers.RandomNormal(seed=3))
        self.hidden.build_for(input_shape)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], 2)

    def forward(self, x, ctx):
        return self.hidden.forward(x, ctx)


def test_weights_that_no_file_has_get_their_first_values(tmp_path):
    set_random_seed(0)
    model = Sequential([Input((3,)), Projected(), Dense(2)])
    model.save(tmp_path / "m.safetensors")
    loaded = load_model(tmp_path / "m.safetensors", {"Projected": Projected})
    x = np.ones((2, 3), "float32")
    np.testing.assert_array_equal(model(x), loaded(x))
    assert loaded.layers[0].hidden.kernel.numpy().any()


# Texts and archives


@pytest.mark.parametrize("suffix", [".safetensors", ".keras", ".h5"])
def test_a_description_that_is_too_long_is_neither_written_nor_read(suffix, tmp_path, monkeypatch):
    path = tmp_path / f"m{suffix}"
    network().save(path)
    monkeypatch.setattr(reading, "MOST_TEXT", 300)
    refused(path, "has .* characters; at most 300 are read")
    with pytest.raises(ValueError, match="at most 300 can be read again: are there arrays among"):
        network().save(path)


def test_a_member_that_lies_about_its_size(tmp_path, monkeypatch):
    path = tmp_path / "m.keras"
    network().save(path)
    rezipped(path, config=bytes(1 << 26))
    data = bytearray(path.read_bytes())
    at = data.find(b"PK\x01\x02")
    while at >= 0:
        length = int.from_bytes(data[at + 28 : at + 30], "little")
        if data[at + 46 : at + 46 + length] == b"config.json":
            data[at + 24 : at + 28] = struct.pack("<I", 500)
        at = data.find(b"PK\x01\x02", at + 4)
    path.write_bytes(data)
    asked = []
    read = zipfile.ZipExtFile.read
    monkeypatch.setattr(
        zipfile.ZipExtFile, "read", lambda self, n=-1: asked.append(n) or read(self, n)
    )
    refused(path, "cut short: Bad CRC-32")
    assert asked and all(0 < n <= 1 << 29 for n in asked)  # never "all that there is"


def test_members_that_unpack_to_too_much(tmp_path):
    path = tmp_path / "m.keras"
    network().save(path)
    rezipped(path, config=bytes(1 << 25))
    refused(path, "config.json would unpack to more than 16,777,216 bytes")
    network().save(path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    refused(path, r"packed in a way \(number 14\) not of Keras")


# Models in models


class Counting(Layer):
    """Counts how often it is asked for its shape."""

    asked = 0

    def compute_output_shape(self, input_shape):
        Counting.asked += 1
        return input_shape

    def forward(self, x, ctx):
        return x


@pytest.mark.parametrize("grows", [False, True])
def test_models_called_twice_by_the_next_take_no_power_of_two(grows):
    Counting.asked = 0
    x = Input((4, 4, 1))
    model = Model(x, Counting()(x))
    for i in range(12):
        x = Input((5 + i, 5 + i, 1) if grows else (4, 4, 1))
        model = Model(x, model(model(x)))
    assert Counting.asked < 50
    assert model.compute_output_shape((None, 9, 9, 1)) == (None, 9, 9, 1)
    assert Counting.asked < 50


# Links in HDF5


LINKED = {
    "m.h5": ["model_weights", "model_weights/d", "model_weights/d/d", "model_weights/d/d/kernel",
             "minicnn_optimizer_weights"],
    "w.weights.h5": ["layers", "layers/dense", "layers/dense/vars", "layers/dense/vars/0"],
}  # fmt: skip


@pytest.mark.parametrize("kind", ["external", "soft", "pipe"])
@pytest.mark.parametrize("name, place", [(n, p) for n, places in LINKED.items() for p in places])
def test_links_are_not_followed_at_any_hop(name, place, kind, tmp_path):
    """Each link leads to what would load."""
    path, other = tmp_path / name, tmp_path / "other.h5"
    model = network()
    model.train_on_batch(np.ones((2, 8)), np.ones((2, 4)))
    (model.save_weights if "weights" in name else model.save)(path)
    if kind == "pipe":
        os.mkfifo(other)
    else:
        other.write_bytes(path.read_bytes())
    with h5py.File(path, "r+") as file:
        if kind == "soft":
            file.move(place, "elsewhere")
            file[place] = h5py.SoftLink("/elsewhere")
        else:
            del file[place]
            file[place] = h5py.ExternalLink(str(other), place)
    with pytest.raises(ValueError, match=f"{name}': .*points to somewhere else"):
        model.load_weights(path) if "weights" in name else load_model(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
@pytest.mark.parametrize("name", ["m.safetensors", "m.keras", "m.h5", "w.weights.h5"])
def test_a_pipe_in_place_of_a_file(name, tmp_path):
    os.mkfifo(tmp_path / name)
    for load in (load_model, network().load_weights):
        with pytest.raises(OSError, match=f"{name}' is a device or a pipe; give the file to load"):
            load(tmp_path / name)


def test_many_names_that_are_one_text(tmp_path):
    path = tmp_path / "m.h5"
    network().save(path)
    with h5py.File(path, "r+") as file:
        file["model_weights/d"].attrs["weight_names"] = np.full(4000, b"d/kernel")
    refused(path, "weight_names in it has 4,000 names, where 2 are expected")


def test_layers_in_reverse_order(tmp_path):
    """The order of a file's layers does not matter."""
    x = y = Input((3,))
    for i in range(6):
        y = Dense(3, name=f"d{i}")(y)
    model, path = Model(x, y), tmp_path / "m.keras"
    model.save(path)
    with zipfile.ZipFile(path) as archive:
        config = json.loads(archive.read("config.json"))
    config["config"]["layers"].reverse()
    rezipped(path, config=json.dumps(config).encode())
    ones = np.ones((1, 3), "float32")
    np.testing.assert_array_equal(load_model(path)(ones), model(ones))


@pytest.mark.parametrize("history", [["d0", -1, 0], ["d0", 0, -1]])
def test_outputs_are_not_counted_from_the_end(history, tmp_path):
    x = Input((3,))
    model, path = Model(x, Dense(3)(Dense(3, name="d0")(x))), tmp_path / "m.keras"
    model.save(path)
    with zipfile.ZipFile(path) as archive:
        text = archive.read("config.json").decode()
    assert '["d0", 0, 0]' in text
    rezipped(path, config=text.replace('["d0", 0, 0]', json.dumps(history)).encode())
    refused(path, "there is no output .* of the layer 'd0'")


def test_names_that_hdf5_would_not_find_again(tmp_path):
    for name in ("/a", "a/", "a//b", ".", "a/./b", "a\0b", "top_level_model_weights"):
        model = Sequential([Input((3,)), Dense(2, name=name)])
        with pytest.raises(ValueError, match=r"a .h5 file cannot hold a layer of that name; give"):
            model.save(tmp_path / "m.h5")
        model.save(tmp_path / "m.safetensors")
        load_model(tmp_path / "m.safetensors")
    assert [p.name for p in tmp_path.iterdir()] == ["m.safetensors"]
    model = Sequential([Input((3,)), Dense(2, name="a/b")])
    with pytest.warns(UserWarning, match="Keras 3 refuses files"):
        model.save(tmp_path / "m.h5")
    np.testing.assert_array_equal(
        load_model(tmp_path / "m.h5").get_weights()[0], model.get_weights()[0]
    )


@pytest.mark.parametrize("name", ["m.h5", "m.keras", "w.weights.h5"])
def test_an_array_where_a_group_belongs(name, tmp_path):
    path, inside = tmp_path / name, tmp_path / "inside.h5"
    model = network()
    model.train_on_batch(np.ones((2, 8)), np.ones((2, 4)))
    (model.save_weights if "weights" in name else model.save)(path)
    if path.suffix == ".keras":
        with zipfile.ZipFile(path) as archive:
            inside.write_bytes(archive.read("model.weights.h5"))
    else:
        inside = path
    with h5py.File(inside, "r+") as file:
        place = {"m.h5": "minicnn_optimizer_weights", "m.keras": "optimizer"}.get(name, "layers")
        del file[place]
        file[place] = np.ones(4)
    if path.suffix == ".keras":
        rezipped(path, model=inside.read_bytes())
    text = f"'/{place}' in it is an array, where a group of arrays belongs"
    with pytest.raises(ValueError, match=f"{name}': {text}"):
        model.load_weights(path) if "weights" in name else load_model(path)
