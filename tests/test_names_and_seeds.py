"""A name is a string and a seed an integer; anything else is told when the object is made."""

import inspect

import numpy as np
import pytest

from minicnn.initializers import INITIALIZERS
from minicnn.layers import LAYERS, Dense, Input, InputLayer
from minicnn.losses import LOSSES
from minicnn.metrics import Mean
from minicnn.metrics.base import METRICS, MeanMetricWrapper
from minicnn.models import Model, Sequential, load_model
from minicnn.optimizers import OPTIMIZERS
from minicnn.optimizers.schedules import SCHEDULES

# what constructors cannot do without; any other argument is a half
NEEDED = {
    "activation": "relu", "boundaries": [1], "decay_steps": 2, "dims": (1,), "factor": 1,
    "filters": 1, "first_decay_steps": 2, "height": 1, "inner_optimizer": "sgd", "kernel_size": 1,
    "layers": [], "loss": "mse", "n": 1, "num_classes": 2, "num_tokens": 2, "output_size": 1,
    "target_shape": (1,), "units": 1, "values": [1.0, 0.5], "width": 1,
}  # fmt: skip


def classes(*registries):
    """All classes of the `registries` but models as parameters of a test."""
    found = dict.fromkeys(c for r in registries for c in r._classes.values())
    return [pytest.param(c, id=c.__name__) for c in found if not issubclass(c, Model)]


def parameters(cls):
    """Those that a constructor has or hands on."""
    return {n: p for c in cls.__mro__[::-1] for n, p in inspect.signature(c).parameters.items()}


def made(cls, **arguments):
    needed = {
        name: NEEDED.get(name, 0.5)
        for name, parameter in inspect.signature(cls).parameters.items()
        if (parameter.default is parameter.empty or name == "num_tokens")
        and parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
    }
    if cls is InputLayer:
        needed["shape"] = (1,)
    return cls(**needed | arguments)


@pytest.mark.parametrize("cls", classes(LOSSES, METRICS, OPTIMIZERS, SCHEDULES, LAYERS))
@pytest.mark.parametrize("name", [3, 0, False, ["a"], b"a", 1.5])
def test_a_name_is_a_string(cls, name):
    with pytest.raises(ValueError, match=f"^{cls.__name__}: name must be a string") as error:
        made(cls, name=name)
    assert str(error.value).endswith(f"not {name!r}")
    assert made(cls, name="own").name == "own"
    assert made(cls, name=np.str_("own")).name == "own"


def test_names_of_models_and_wrappers():
    with pytest.raises(ValueError, match="^Sequential: name must be a string, not 7"):
        Sequential([Input((2,)), Dense(1)], name=7)
    with pytest.raises(ValueError, match="^MeanMetricWrapper: name must be a string, not 0"):
        MeanMetricWrapper(lambda y, p: p, name=0)
    assert Mean().name == Mean(None or "mean").name == "mean"


@pytest.mark.parametrize("cls", classes(OPTIMIZERS))
def test_no_slash_in_the_name_of_an_optimizer(cls):
    """As in Keras; layers of Keras 2 have some."""
    with pytest.raises(ValueError, match="name must be a string without '/', not 'a/b'"):
        made(cls, name="a/b")
    assert Dense(1, name="conv1/conv").name == "conv1/conv"


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_slash_in_the_name_of_a_layer_is_told_when_a_file_of_keras_is_written(suffix, tmp_path):
    pytest.importorskip("h5py")
    model = Sequential([Input((3,)), Dense(2, name="a/b")])
    with pytest.warns(UserWarning, match="Dense 'a/b': Keras 3 refuses files in which a layer has"):
        model.save(tmp_path / f"m{suffix}")
    model.save(tmp_path / "m.safetensors")


SEEDED = [c for c in classes(INITIALIZERS, LAYERS) if "seed" in parameters(c.values[0])]


@pytest.mark.parametrize("cls", SEEDED)
@pytest.mark.parametrize("seed", ["3", [1, 2], 1.5, -1, {}])
def test_a_seed_is_an_integer(cls, seed):
    with pytest.raises(ValueError, match=f"^{cls.__name__}: seed must be an integer, 0 or above"):
        made(cls, seed=seed)
    assert made(cls, seed=2**40).seed == 2**40 and made(cls, seed=np.int64(3)).seed == 3
    assert type(made(cls, seed=np.int64(3)).seed) is int  # as JSON has them
    assert made(cls).seed is None


def test_there_are_classes_with_seeds():
    assert {"GlorotUniform", "Orthogonal", "RandomNormal", "Dropout", "RandomFlip"} <= {
        c.values[0].__name__ for c in SEEDED
    }


@pytest.mark.parametrize("suffix", [".safetensors", ".keras", ".h5"])
def test_a_seed_in_a_file_is_refused_with_its_class(suffix, tmp_path):
    if suffix != ".safetensors":
        pytest.importorskip("h5py")
    model = Sequential([Input((3,)), Dense(2, kernel_initializer="he_normal")])
    model.layers[0].kernel_initializer.seed = "3"
    path = tmp_path / f"m{suffix}"
    model.save(path)
    with pytest.raises(ValueError, match=f"m{suffix}.*HeNormal: seed must be an integer.*got '3'"):
        load_model(path)
