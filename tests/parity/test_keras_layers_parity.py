"""Every layer against Keras's of the same name (on its torch backend): output, gradients,
configuration, and files both ways. The cases are those of `layers/test_every_layer.py`."""

import inspect
import os

import numpy as np
import pytest
from layer_calls import run
from layers.test_every_layer import FLAT, as_list, inputs, make, with_random_weights
from strategies import numbers

from minicnn import layers, models
from minicnn.layers.base import LAYERS
from minicnn.saving.keras_reading import ConfigReader
from minicnn.saving.keras_writing import ConfigWriter

os.environ.setdefault("KERAS_BACKEND", "torch")
torch = pytest.importorskip("torch")
keras = pytest.importorskip("keras")
pytest.importorskip("h5py")
pytestmark = [
    pytest.mark.parity,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # Keras on NumPy 2
    pytest.mark.filterwarnings("ignore:.*HDF5 file.*"),
    pytest.mark.filterwarnings("ignore:.*complex to real.*"),
]

RANDOM = ("AlphaDropout", "Dropout", "Gaussian", "SpatialDropout")  # in training
# drawn otherwise in Keras, and compared in test_augmentation_parity.py
AUGMENTATION = (
    "AugMix", "AutoContrast", "CutMix", "Equalization", "MixUp", "Pipeline", "Rand", "Solarization",
)  # fmt: skip
CASES = [
    c
    for c in FLAT
    if hasattr(keras.layers, c[0]) and c[0] != "InputLayer" and not c[0].startswith(AUGMENTATION)
]


def cases(*left_out):
    return pytest.mark.parametrize(
        ("name", "arguments", "shape"),
        [
            pytest.param(*c, id=f"{c[0]}-{i}")
            for i, c in enumerate(CASES)
            if not c[0].startswith(left_out)
        ],
    )


# Keras on torch counts the padding of averages otherwise than with TensorFlow
PADDED = "AveragePooling2D"


def keras_layer(class_name, arguments, **more):
    return getattr(keras.layers, class_name)(**arguments, **more)


def as_host(tensor):
    return keras.ops.convert_to_numpy(tensor)


@cases(PADDED)
def test_values_and_gradients(name, arguments, shape):
    check_values_and_gradients(name, arguments, shape, training=False)


@cases(PADDED, *RANDOM)
def test_values_and_gradients_in_training(name, arguments, shape):
    check_values_and_gradients(name, arguments, shape, training=True)


def check_values_and_gradients(name, arguments, shape, training):
    x = inputs(shape, "float64")
    ours = with_random_weights(make(name, arguments, dtype="float64"), shape)
    out = run(ours, x, training=training)
    theirs = keras_layer(name, arguments, dtype="float64")
    tensors = [torch.tensor(a, requires_grad=True) for a in as_list(x)]
    given = tensors if isinstance(x, list) else tensors[0]
    with torch.no_grad():
        theirs(given)  # builds it
    theirs.set_weights(ours.get_weights())
    keywords = {"training": training} if theirs._call_has_training_arg else {}
    y = theirs(given, **keywords)
    close(out.y, as_host(y))
    if name == "CategoryEncoding":
        return  # Keras has no gradient
    y.backward(torch.tensor(numbers(out.y.shape, 99)))
    for dx, tensor in zip(as_list(out.dx), tensors, strict=True):
        close(dx, tensor.grad.numpy())
    for weight, variable in zip(ours.weights, theirs.weights, strict=True):
        assert weight.shape == tuple(variable.shape)
        if weight.trainable:
            close(out.gradients[weight.name], variable.value.grad.numpy())


def close(ours, theirs):
    assert ours.dtype == np.float64
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


@cases("nothing")
def test_configurations_both_ways(name, arguments, shape):
    theirs = keras_layer(name, arguments, name="it")
    ours = make(name, arguments, name="it")
    read = keras.layers.deserialize(ConfigWriter().layer(ours))
    assert plain(read.get_config()) == plain(theirs.get_config())
    again = ConfigReader(None).layer(keras.layers.serialize(theirs))
    assert type(again) is type(ours) and again.get_config() == ours.get_config()


def plain(config):
    if isinstance(config, (list, tuple)):
        return [plain(c) for c in config]
    return {k: plain(v) for k, v in config.items()} if isinstance(config, dict) else config


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("library", ["minicnn", "Keras"])
def test_files_both_ways(library, suffix, tmp_path):
    """A model of every case, each with an output of its own."""
    # see above; and of several axes in .h5 Keras takes the first
    several = [c[1] for c in CASES if np.size(c[1].get("axis")) > 1]
    kept = [c for c in CASES if c[0] != "AveragePooling2D" and c[1] not in several]
    L, M = (layers, models) if library == "minicnn" else (keras.layers, keras.models)
    ins, outs, images = {}, [], []
    for i, (name, arguments, shape) in enumerate(kept):
        shapes = as_list(shape)
        for j, s in enumerate(shapes):
            if (s, j) not in ins:
                ins[s, j] = L.Input(s, name=f"input_{len(ins)}")
                images.append(as_list(inputs(s))[0])
        given = [ins[s, j] for j, s in enumerate(shapes)]
        layer = getattr(L, name)(**arguments, name=f"layer_{i}")
        outs.append(layer(given if isinstance(shape, list) else given[0]))
    model = M.Model(list(ins.values()), outs)
    rng = np.random.default_rng(0)
    model.set_weights([rng.uniform(0.1, 0.5, w.shape) for w in model.get_weights()])
    model.save(tmp_path / f"model{suffix}")
    reader = keras.models if library == "minicnn" else models
    other = reader.load_model(tmp_path / f"model{suffix}")
    pairs = zip(model.predict(images, verbose=0), other.predict(images, verbose=0), strict=True)
    for a, b in pairs:
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


ELSEWHERE = {  # arguments of all layers, and of features that are not there
    "self", "name", "dtype", "trainable", "lora_rank", "lora_alpha", "quantization_config",
    "synchronized", "renorm", "renorm_clipping", "renorm_momentum",
}  # fmt: skip


@pytest.mark.parametrize("name", sorted({case[0] for case in CASES}))
def test_arguments_are_those_of_keras(name):
    """In Keras's order: scripts give them by position."""
    theirs = positional(getattr(keras.layers, name))
    ours = positional(getattr(layers, name))
    assert list(ours)[: len(theirs)] == list(theirs)
    defaults = {k: v for k, v in theirs.items() if v is not inspect.Parameter.empty}
    assert {argument: ours[argument] for argument in defaults} == defaults


def positional(cls):
    parameters = inspect.signature(cls.__init__).parameters.values()
    kept = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    defaults = {p.name: p.default for p in kept if p.name not in ELSEWHERE}
    return {k: v.lower() if isinstance(v, str) else v for k, v in defaults.items()}


@pytest.mark.parametrize("name", LAYERS.names())
def test_other_names_are_there_too(name):
    if hasattr(keras.layers, name):
        assert getattr(layers, name) is LAYERS.find(name)
