"""Whatever is wrong with a file, the error is a ValueError or OSError that begins with its name."""

import zipfile

import numpy as np
import pytest
from safetensors_parts import read, write

from minicnn.layers import BatchNormalization, Conv2D, Dense, Flatten, Input, Layer
from minicnn.models import Sequential, load_model
from minicnn.optimizers import SGD
from minicnn.utils import set_random_seed


def network():
    set_random_seed(0)
    model = Sequential(
        [
            Input((4, 4, 1)),
            Conv2D(2, 3, name="conv"),
            BatchNormalization(name="norm"),
            Flatten(name="flat"),
            Dense(3, name="head"),
        ],
        name="small",
    )
    model.compile(SGD(0.1, momentum=0.9), "mse", ["mae"])
    model.train_on_batch(np.ones((4, 4, 4, 1)), np.ones((4, 3)))
    return model


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "m.safetensors"
    network().save(file)
    return file


def refused(path, text, load=load_model):
    with pytest.raises(ValueError, match=f"^'[^']*{path.name}': .*{text}"):
        load(path)


WRONG = {
    "not as minicnn writes it .KeyError: 'class_name'": lambda t: t["model"].pop("class_name"),
    "not as minicnn writes it .TypeError": lambda t: t.update(model=5),
    "not as minicnn writes it .*rror": lambda t: t["model"].update(class_name=7),
    "not as minicnn writes it .TypeError: list": lambda t: t["model"].update(config=[]),
    "unknown layer 'Dens'; did you mean 'Dense'": (
        lambda t: t["model"]["config"]["layers"][-1].update(class_name="Dens")
    ),
    "filters must be": lambda t: t["model"]["config"]["layers"][1]["config"].update(filters=-1),
    "not as minicnn writes it .KeyError: 'loss'": lambda t: t["compile"].pop("loss"),
    "as minicnn writes it .TypeError: a name is a text, not a list": (
        lambda t: t["compile"]["loss"]["config"].update(name=[])
    ),
    "entry of its metadata is damaged": lambda t: t.update(weights=[[1]] * 10),
}


@pytest.mark.parametrize("text", WRONG)
def test_wrong_descriptions(text, path):
    header, description, data = read(path)
    WRONG[text](description)
    write(path, header, description, data)
    refused(path, text)


def deep(depth=10**5):
    return "[" * depth + "]" * depth


def test_nesting(path, tmp_path):
    pytest.importorskip("h5py")
    header, _, data = read(path)
    write(path, header, deep(), data)
    refused(path, "nested too deeply")
    refused(path, "nested too deeply", network().load_weights)
    for name in ("m.keras", "m.h5"):
        network().save(tmp_path / name)
    with zipfile.ZipFile(tmp_path / "m.keras", "a") as archive, pytest.warns(UserWarning):
        archive.writestr("config.json", deep())
    refused(tmp_path / "m.keras", "nested too deeply")
    import h5py

    with h5py.File(tmp_path / "m.h5", "r+") as file:
        file.attrs["model_config"] = deep(3 * 10**4)
    refused(tmp_path / "m.h5", "nested too deeply")


class Failing(Layer):
    """Raises what it is told when it is made anew."""

    error: Exception | None = None

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        if Failing.error is not None:
            raise Failing.error

    def compute_output_shape(self, input_shape):
        return input_shape


@pytest.mark.parametrize(
    "error, kind, text",
    [
        (MemoryError("Unable to allocate 58 TiB"), ValueError, "asks for more memory than there"),
        (OverflowError("too large"), ValueError, r"as minicnn writes it \(OverflowError: too lar"),
        (RuntimeError("encrypted"), ValueError, r"writes it \(RuntimeError: encrypted"),
        (ZeroDivisionError("by zero"), ValueError, r"writes it \(ZeroDivisionError: by zero"),
        (PermissionError("not yours"), OSError, "not yours"),
        (ValueError("x" * 10**6), ValueError, r"x{900}.* \.\.\. \(1,000,000 characters\)$"),
    ],
)
def test_every_kind_of_error(error, kind, text, tmp_path, monkeypatch):
    path = tmp_path / "m.safetensors"
    Sequential([Input((3,)), Failing(), Dense(2)]).save(path)
    monkeypatch.setattr(Failing, "error", error)
    with pytest.raises(kind, match=f"^'[^']*m.safetensors': .*{text}") as caught:
        load_model(path, {"Failing": Failing})
    assert len(str(caught.value)) < 2000 and caught.value.__cause__ is error


def test_a_class_of_your_own_that_is_missing(tmp_path):
    path = tmp_path / "m.safetensors"
    Sequential([Input((3,)), Failing(), Dense(2)]).save(path)
    refused(path, "unknown layer 'Failing'.*of your own: custom_objects={'Failing': Failing}")


# What only the checksum can tell


def test_every_flipped_bit_of_the_arrays_is_found(path):
    whole = path.read_bytes()
    start = len(whole) - len(read(path)[2])
    for at in range(start, len(whole), 7):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << at % 8
        path.write_bytes(damaged)
        refused(path, "it is damaged: .*the checksum differs")
        refused(path, "the checksum differs", network().load_weights)


def test_the_description_is_under_the_checksum(path):
    header, text, data = read(path)
    text["model"]["config"]["layers"][2]["config"]["epsilon"] = 0.5
    write(path, header, text, data, checksum=True)
    refused(path, "the checksum differs")


def test_a_checksum_that_is_not_found_is_missed(path):
    header, text, data = read(path)
    header["__metadata__"]["linicnn_crc32"] = header["__metadata__"].pop("minicnn_crc32")
    write(path, header, text, data, checksum=True)
    refused(path, "the checksum differs")


def test_files_without_a_checksum_are_read(path):
    header, text, data = read(path)
    assert "minicnn_crc32" in header["__metadata__"]
    text["compile"].pop("undecayed")
    write(path, header, text, data)
    loaded, model = load_model(path), network()
    assert loaded.optimizer.iterations == 1
    for a, b in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


# Where there is none


@pytest.mark.parametrize(
    "name, text",
    [
        ("weights/head/kernel", "'head/kernel' holds int32 numbers, not floating-point"),
        ("optimizer/momentum/head/kernel", "'momentum/head/kernel' holds int32 numbers"),
    ],
)
def test_wrong_dtypes(name, text, path):
    header, description, data = read(path)
    header[name]["dtype"] = "I32"
    write(path, header, description, data)
    refused(path, text)


def test_damaged_names_of_layers(path):
    header, description, data = read(path)
    description["model"]["config"]["layers"][1]["config"]["name"] = "cons"
    write(path, header, description, data)
    refused(path, "'cons/kernel' in the model's description and 'conv/kernel' in the list")


def test_a_damaged_name_in_the_optimizer(path):
    header, description, data = read(path)
    header["optimizer/momentum/cons/kernel"] = header.pop("optimizer/momentum/conv/kernel")
    write(path, header, description, data)
    refused(path, "optimizer's 'momentum' is of a weight 'cons/kernel' that is not there")


class Nameless(Layer):
    """Does not keep its name."""

    def __init__(self):
        super().__init__()

    def build(self, input_shape):
        self.gain = self.add_weight("gain", (input_shape[-1],), "ones")

    def compute_output_shape(self, input_shape):
        return input_shape

    def forward(self, x, ctx):
        ctx.save(x)
        return x * self.gain.value

    def backward(self, dy, ctx):
        (x,) = ctx.saved
        ctx.add_gradient(self.gain, (dy * x).sum(0))
        return dy * self.gain.value

    def get_config(self):
        return {}


def test_layers_that_do_not_keep_their_name_go_by_order(tmp_path):
    model = Sequential([Input((3,)), Nameless(), Dense(2)])
    model.compile(SGD(0.1, momentum=0.9), "mse")
    x, y = np.ones((4, 3)), np.ones((4, 2))
    model.train_on_batch(x, y)
    model.save(tmp_path / "m.safetensors")
    loaded = load_model(tmp_path / "m.safetensors", {"Nameless": Nameless})
    assert loaded.layers[0].name != model.layers[0].name
    for m in (model, loaded):
        m.train_on_batch(x, y)
    for a, b in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_thousand_changed_descriptions(path):
    """Each loads, or is refused in the library's own words."""
    header, _, data = read(path)
    text = header["__metadata__"]["minicnn"]
    rng = np.random.default_rng(0)
    for _ in range(1000):
        changed = bytearray(text.encode())
        for at in rng.integers(0, len(changed), rng.integers(1, 4)):
            changed[at] = rng.integers(32, 127)
        write(path, header, changed.decode(), data)
        try:
            load_model(path)
        except (ValueError, OSError) as error:
            assert str(error).startswith(f"'{path}': ")
