"""Every public name of Keras is here or says why not (`benchmarks/keras_names.py`)."""

import os
import sys
from pathlib import Path

import pytest

os.environ.setdefault("KERAS_BACKEND", "torch")
pytest.importorskip("torch")
pytest.importorskip("keras")
sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

import keras_names  # noqa: E402

import minicnn  # noqa: E402
from minicnn import absent  # noqa: E402

pytestmark = [
    pytest.mark.parity,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # Keras on NumPy 2
]


def test_no_name_is_missing():
    found = keras_names.survey()
    missing = {f"{path}.{name}" for path, names in found.items() for name in names.missing}
    assert not missing
    assert len(found) > 20 and sum(len(names.here) for names in found.values()) > 400


def test_imports_say_the_same_sentences():
    for path, names in keras_names.survey().items():
        module = f"minicnn.{path}".rstrip(".")
        for name, sentence in list(names.answered.items())[::7]:
            with pytest.raises(ImportError) as error:
                exec(f"from {module} import {name}", {})
            assert str(error.value) == sentence and sentence.startswith("minicnn")


def test_no_sentence_is_left_of_what_is_here_now():
    import keras

    here = set(dir(minicnn.layers)) & set(dir(keras.layers))
    assert len(here) > 90 and not [name for name in here if absent.reason(f"layers.{name}")]
