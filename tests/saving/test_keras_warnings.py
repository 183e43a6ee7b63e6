"""What is lost on the way from a file of Keras is told, with the name of the file."""

import io
import json
import re
import zipfile

import numpy as np
import pytest

h5py = pytest.importorskip("h5py")

from minicnn.layers import Dense, Input  # noqa: E402
from minicnn.models import Sequential, load_model  # noqa: E402
from minicnn.optimizers import SGD  # noqa: E402
from minicnn.saving.reading import errors_named, warn  # noqa: E402


def saved(path, optimizer="adam", steps=3):
    model = Sequential([Input((4,)), Dense(5, activation="tanh"), Dense(3)])
    model.compile(optimizer, "mse", ["mae"])
    for _ in range(steps):
        model.train_on_batch(np.ones((8, 4)), np.ones((8, 3)))
    model.save(path)
    return model


def change(path, arrays=None, description=None):
    """Change a file: its HDF5 part, and its description of how the model is trained."""
    if path.suffix == ".h5":
        with h5py.File(path, "r+") as file:
            if arrays:
                arrays(file)
            if description:
                training = json.loads(file.attrs["training_config"])
                description(training)
                file.attrs["training_config"] = json.dumps(training)
        return
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    buffer, config = io.BytesIO(members["model.weights.h5"]), json.loads(members["config.json"])
    if arrays:
        with h5py.File(buffer, "r+") as file:
            arrays(file)
    if description:
        description(config["compile_config"])
    members |= {"model.weights.h5": buffer.getvalue(), "config.json": json.dumps(config)}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)


@pytest.fixture(params=[".keras", ".h5"])
def path(request, tmp_path):
    return tmp_path / f"model{request.param}"


def optimizer_group(file):
    return next(name for name in ("optimizer", "minicnn_optimizer_weights") if name in file)


def warning(path, text):
    return pytest.warns(UserWarning, match=f"^{re.escape(repr(str(path)))}: {text}")


def test_a_file_without_the_optimizers_state(path):
    model = saved(path)

    def without(file):
        del file[optimizer_group(file)]

    change(path, without)
    with warning(path, "there is no state of the Adam in it: the optimizer starts afresh$"):
        loaded = load_model(path)
    assert loaded.optimizer.iterations == 0
    for w, v in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(w, v)
    load_model(path, compile=False)  # nothing is lost that was asked for


def test_a_state_without_its_arrays(path):
    """The steps are counted, but what the optimizer has kept of them is not there."""
    saved(path)

    def without(file):
        group = file[optimizer_group(file)]
        if path.suffix == ".keras":
            names = [f"vars/{i}" for i in range(2, len(group["vars"]))]
        else:
            names = list(group.attrs["weight_names"])
            group.attrs["weight_names"], names = names[:2], names[2:]
        for name in names:
            del group[name]

    change(path, without)
    with warning(path, "the Adam in it has 0 arrays, but the weights that learn need 8: it starts"):
        assert load_model(path).optimizer.iterations == 0


@pytest.mark.parametrize(("optimizer", "steps"), [("adam", 0), (lambda: SGD(0.1), 3)])
def test_files_that_have_all_there_is_are_read_without_a_word(path, optimizer, steps):
    saved(path, optimizer if isinstance(optimizer, str) else optimizer(), steps)
    assert load_model(path).optimizer.iterations == steps


def test_a_metric_that_is_left_out(path):
    saved(path)

    def add(training):
        metric = {"module": "keras.metrics", "class_name": "Sharpness", "config": {"name": "s"}}
        training["metrics"] = [["mae", metric]]

    change(path, description=add)
    with warning(path, "a metric is left out: minicnn has no metric 'Sharpness'"):
        assert len(load_model(path).metric_identifiers) == 1


@pytest.mark.parametrize("name", ["m.keras", "m.h5", "w.weights.h5", "m.safetensors"])
def test_layers_that_do_not_fit(name, tmp_path):
    path = tmp_path / name
    model = Sequential([Input((4,)), Dense(5), Dense(3)])
    (model.save_weights if "weights" in name else model.save)(path)
    other = Sequential([Input((4,)), Dense(5), Dense(2)])
    with warning(path, "weights are taken over in part; left as they are: Dense"):
        other.load_weights(path, skip_mismatch=True)


def test_a_warning_of_nothing_in_a_file_names_none(tmp_path):
    with pytest.warns(UserWarning, match="^here$"):
        warn("here")
    with pytest.raises(ValueError), errors_named(tmp_path):
        raise ValueError
    with pytest.warns(UserWarning, match="^there$"):
        warn("there")
