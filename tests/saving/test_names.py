"""Weights by their names: none is lost, and what does not fit is named or left out on request."""

import numpy as np
import pytest
from safetensors_parts import read, write

from minicnn.layers import Dense, Flatten, Input, Layer
from minicnn.models import Model, Sequential, load_model
from minicnn.optimizers import AdamW
from minicnn.utils import set_random_seed

FORMATS = [".safetensors", ".keras", ".h5"]


class Twice(Layer):
    def build(self, input_shape):
        self.add_weight("w", (2,), "ones")
        self.add_weight("w", (2,), "zeros")


def test_a_name_that_the_layer_has_is_refused():
    with pytest.raises(ValueError, match="Twice 'two' has a weight 'w' already; .*another name"):
        Sequential([Input((4,)), Twice(name="two")])


def paths_that_meet():
    set_random_seed(0)
    x = Input((4,))
    inner = Sequential([Input((4,)), Dense(4, name="b")], name="a")
    model = Model(x, Dense(4, name="a/b")(inner(x)))
    model.compile("adam", "mse")
    model.train_on_batch(np.ones((2, 4)), np.zeros((2, 4)))
    return model


class Pair(Layer):
    """Two layers in one of your own, whose weights have the same names."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.parts = [Dense(4, name="part"), Dense(4, name="part")]

    @property
    def weights(self):
        return [w for part in self.parts for w in part.weights]

    def build(self, input_shape):
        for part in self.parts:
            part.build_for(input_shape)

    def compute_output_shape(self, input_shape):
        return input_shape

    def forward(self, x, ctx):
        for part in self.parts:
            x = part.forward(x, ctx)
        return x


def same_bits(model, other):
    for a, b in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_every_weight_has_a_name_of_its_own():
    names = list(paths_that_meet().weight_keys().values())
    assert names == ["a/b/kernel", "a/b/bias", "a/b/kernel_1", "a/b/bias_1"]
    model = Sequential([Input((4,)), Pair(name="pair")])
    names = list(model.weight_keys().values())
    assert names == ["pair/kernel", "pair/bias", "pair/kernel_1", "pair/bias_1"]


def test_names_that_meet_come_back_with_the_optimizers_state(tmp_path):
    model = paths_that_meet()
    model.save(tmp_path / "m.safetensors")
    loaded = load_model(tmp_path / "m.safetensors")
    for m in (model, loaded):
        m.train_on_batch(np.ones((2, 4)), np.zeros((2, 4)))
    same_bits(model, loaded)


def test_a_layer_of_several_comes_back(tmp_path):
    model = Sequential([Input((4,)), Pair(name="pair")])
    model.save(tmp_path / "m.safetensors")
    same_bits(model, load_model(tmp_path / "m.safetensors", {"Pair": Pair}))


def test_a_file_in_which_weights_are_lost_says_so(tmp_path):
    """As earlier versions wrote it: one array for two weights."""
    path = tmp_path / "m.safetensors"
    paths_that_meet().save(path)
    header, text, data = read(path)
    text["weights"] = ["a/b/kernel", "a/b/bias"] * 2
    write(path, header, text, data)
    for load in (load_model, paths_that_meet().load_weights):
        with pytest.raises(ValueError, match="m.safetensors': .*'a/b/kernel', whose others are lo"):
            load(path)


# Another head


def network(classes, name=None):
    set_random_seed(classes)
    return Sequential([Input((2, 2)), Flatten(), Dense(5), Dense(classes, name=name)])


@pytest.mark.parametrize("suffix", [*FORMATS, ".weights.h5"])
def test_another_head(suffix, tmp_path):
    path = tmp_path / f"w{suffix}"
    source, model = network(3), network(4)
    (source.save_weights if suffix == ".weights.h5" else source.save)(path)
    before = model.get_weights()
    with pytest.raises(
        ValueError, match=r"(?s)w.*shape \(5, 3\).*\(5, 4\).*load_weights\(path, skip_mismatch=Tr"
    ):
        model.load_weights(path)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    head = model.layers[-1]
    with pytest.warns(UserWarning, match=f"left as they are: Dense '{head.name}' "):
        model.load_weights(path, skip_mismatch=True)
    for i, (a, b) in enumerate(zip(source.get_weights(), model.get_weights(), strict=True)):
        np.testing.assert_array_equal(a if i < 2 else before[i], b)


@pytest.mark.parametrize("suffix", [*FORMATS, ".weights.h5"])
def test_layers_that_one_of_them_does_not_have(suffix, tmp_path):
    path = tmp_path / f"w{suffix}"
    first, second = (Dense(5, name="first") for _ in range(2))
    source = Sequential([Input((3,)), first, Dense(5, name="more"), Dense(2, name="most")])
    model = Sequential([Input((3,)), second, Dense(5, name="more")])
    (source.save_weights if suffix == ".weights.h5" else source.save)(path)
    with pytest.warns(UserWarning, match="in part; not in the model: .*(most|dense_2)"):
        model.load_weights(path, skip_mismatch=True)
    for a, b in zip(source.get_weights()[:4], model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    model.save_weights(tmp_path / "less.safetensors")
    with pytest.warns(
        UserWarning, match="left as they are: Dense 'most' .it has no weight 'most/k"
    ):
        source.load_weights(tmp_path / "less.safetensors", skip_mismatch=True)


def test_no_warning_where_all_fits(tmp_path, recwarn):
    source, model = network(3, "head"), network(3, "head")
    source.save_weights(tmp_path / "w.safetensors")
    model.load_weights(tmp_path / "w.safetensors", skip_mismatch=True)
    same_bits(source, model)
    assert not recwarn.list


# How it is trained


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("by_name", [False, True])
def test_what_does_not_decay_comes_back(by_name, suffix, tmp_path):
    model = network(3)
    optimizer = AdamW(0.013, weight_decay=0.5)
    if by_name:
        optimizer.exclude_from_weight_decay(var_names=["bias"])
    else:
        optimizer.exclude_from_weight_decay(var_list=[model.layers[-1].kernel])
    model.compile(optimizer, "mse")
    x, y = np.ones((4, 2, 2)), np.ones((4, 3))
    model.train_on_batch(x, y)
    model.save(tmp_path / f"m{suffix}")
    loaded = load_model(tmp_path / f"m{suffix}")
    assert loaded.optimizer.learning_rate == 0.013  # not what float32 makes of it
    for m in (model, loaded):
        m.train_on_batch(x, y)
    same_bits(model, loaded)


def test_another_rate_in_the_variables_counts(tmp_path):
    """Keras writes the configuration's rate as it was at first."""
    h5py = pytest.importorskip("h5py")
    model = network(3)
    model.compile("adam", "mse")
    model.save(tmp_path / "m.h5")
    with h5py.File(tmp_path / "m.h5", "r+") as file:
        file["minicnn_optimizer_weights/adam/learning_rate"][()] = 0.25
    assert load_model(tmp_path / "m.h5").optimizer.learning_rate == 0.25
