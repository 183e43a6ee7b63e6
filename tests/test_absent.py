"""What is not here says why; modules of older versions of Keras lead to where their names are."""

import importlib
import importlib.util
import subprocess
import sys

import pytest

import minicnn as keras
from minicnn import absent


@pytest.mark.parametrize(
    "statement, text",
    [
        ("from minicnn.layers import LSTM", "minicnn.layers.LSTM is for sequences and text"),
        ("from minicnn.layers import Dense, Conv1D", "minicnn.layers.Conv1D is for sequences"),
        ("from minicnn import applications", "minicnn.applications has weights trained on Image"),
        ("import minicnn.applications.vgg16", "minicnn.applications has weights"),
        ("from minicnn.applications.vgg16 import VGG16", "minicnn.applications has weights"),
        ("from minicnn.wrappers.scikit_learn import K", "minicnn.wrappers joins Keras to another"),
        ("from minicnn.preprocessing.text import T", "minicnn.preprocessing.text is for sequences"),
        ("from minicnn.datasets import imdb", "minicnn.datasets.imdb is for sequences and text"),
        ("from minicnn.layers import Conv2d", "has no attribute 'Conv2d'; did you mean 'Conv2D'"),
        (
            "from minicnn.models import save_mdel",
            "has no attribute 'save_mdel'; did you mean 'save_model'",
        ),
        ("from minicnn.utils import to_categoricl", "did you mean 'to_categorical'"),
    ],
)
def test_imports_say_why(statement, text):
    with pytest.raises(ImportError, match=text):
        exec(statement, {})


def test_attributes_say_why_and_are_not_there():
    with pytest.raises(AttributeError, match="minicnn.layers.Conv1D is for sequences"):
        keras.layers.Conv1D  # noqa: B018
    with pytest.raises(AttributeError, match="minicnn.ops has the operations of tensors.*NumPy's"):
        keras.ops  # noqa: B018
    with pytest.raises(AttributeError, match="layers' has no attribute 'dens'; did you mean 'Dens"):
        keras.layers.dens  # noqa: B018
    assert not hasattr(keras, "ops") and not hasattr(keras.layers, "LSTM")
    assert getattr(keras.layers, "LSTM", None) is None
    with pytest.raises(AttributeError, match="^module .* has no attribute '__wrapped__'$"):
        keras.layers.__wrapped__  # noqa: B018


def test_all_public_modules_answer():
    for name in ("layers", "optimizers.schedules", "preprocessing.image", "callbacks", "config"):
        module = importlib.import_module(f"minicnn.{name}")
        with pytest.raises(AttributeError, match=f"minicnn.{name}' has no attribute 'zzzzz'$"):
            module.zzzzz  # noqa: B018


def test_other_modules_are_left_alone():
    with pytest.raises(ModuleNotFoundError, match="^No module named 'minicnn.zzzzz'$"):
        importlib.import_module("minicnn.zzzzz")
    assert importlib.util.find_spec("applications") is None


@pytest.mark.parametrize("path", absent.MOVED)
def test_older_modules_have_the_names_of_the_newer(path):
    module, target = (importlib.import_module(f"minicnn.{p}") for p in (path, absent.MOVED[path]))
    assert [getattr(module, name) for name in target.__all__] == [
        getattr(target, name) for name in target.__all__
    ]
    assert target.__name__ == target.__spec__.name == f"minicnn.{absent.MOVED[path]}"
    with pytest.raises(AttributeError, match="zzzzz"):
        module.zzzzz  # noqa: B018


def test_older_paths_as_scripts_write_them():
    script = (
        "import minicnn as keras\n"
        "a = keras.layers.experimental.preprocessing.RandomFlip\n"
        "from minicnn.layers.experimental import preprocessing\n"
        "from minicnn.layers.convolutional import Conv2D, MaxPooling2D\n"
        "from minicnn.utils.np_utils import to_categorical\n"
        "assert a is preprocessing.RandomFlip is keras.layers.RandomFlip\n"
        "assert keras.optimizers.legacy.Adam is keras.optimizers.Adam\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_sentences_are_of_names_that_are_not_here():
    """A sentence that a name no longer needs would never be read again."""
    for path in (
        "layers.Conv2D",
        "callbacks.EarlyStopping",
        "utils.to_categorical",
        "models.Model",
    ):
        assert absent.reason(path) is None
