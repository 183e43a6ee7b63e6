"""Mixed precision as Keras 3 has it: results, the loss scale, and model files both ways."""

import os

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "torch")
pytest.importorskip("torch")
pytest.importorskip("h5py")
keras = pytest.importorskip("keras")

import minicnn  # noqa: E402
from minicnn.optimizers import SGD, LossScaleOptimizer  # noqa: E402

pytestmark = [
    pytest.mark.parity,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # Keras on NumPy 2
    pytest.mark.filterwarnings("ignore:.*HDF5 file.*"),
]
RNG = np.random.default_rng(0)
X, Y = RNG.random((16, 8, 8, 3), "float32"), np.arange(16) % 3


@pytest.fixture(autouse=True, params=["mixed_float16", "mixed_bfloat16"])
def policy(request):
    libraries = keras, minicnn
    for library in libraries:
        library.mixed_precision.set_global_policy(request.param)
    yield request.param
    for library in libraries:
        library.mixed_precision.set_global_policy("float32")
    minicnn.mixed_precision.set_global_policy(None)


def network(k):
    k.utils.set_random_seed(0)
    model = k.Sequential([
        k.Input((8, 8, 3)), k.layers.Conv2D(6, 3, activation="relu"),
        k.layers.BatchNormalization(), k.layers.MaxPooling2D(), k.layers.Flatten(),
        k.layers.Dense(8, activation="gelu"),
        k.layers.Dense(3, activation="softmax", dtype="float32"),
    ])  # fmt: skip
    model.compile("adam", "sparse_categorical_crossentropy")
    return model


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_files_go_both_ways(policy, tmp_path, suffix):
    theirs = network(keras)
    theirs.train_on_batch(X, Y)
    theirs.save(tmp_path / f"theirs{suffix}")
    ours = minicnn.models.load_model(tmp_path / f"theirs{suffix}")
    unit = 2**-10 if policy == "mixed_float16" else 2**-7
    expected = theirs.predict(X, verbose=0)
    np.testing.assert_allclose(ours.predict(X, verbose=0), expected, atol=4 * unit)
    names = [layer.dtype_policy.name for layer in theirs.layers]
    assert [layer.dtype_policy.name for layer in ours.layers] == names
    assert type(ours.optimizer).__name__ == type(theirs.optimizer).__name__
    # Keras does not count steps that an overflow left out
    assert ours.optimizer.iterations == int(theirs.optimizer.iterations)

    for model in (ours, theirs):
        model.train_on_batch(X, Y)
    close = {"atol": 20 * unit, "rtol": 0}
    np.testing.assert_allclose(ours.predict(X, verbose=0), theirs.predict(X, verbose=0), **close)
    if policy == "mixed_float16":
        ours.optimizer.scale_and_steps[:] = 512, 7
    ours.save(tmp_path / f"ours{suffix}")
    back = keras.models.load_model(tmp_path / f"ours{suffix}")
    np.testing.assert_allclose(back.predict(X, verbose=0), ours.predict(X, verbose=0), **close)
    if suffix == ".keras":
        assert int(back.optimizer.iterations) == ours.optimizer.iterations > 0
        if policy == "mixed_float16":
            assert float(back.optimizer.dynamic_scale) == 512
            assert int(back.optimizer.step_counter) == 7
    again = minicnn.models.load_model(tmp_path / f"ours{suffix}")
    for a, b in zip(again.get_weights(), ours.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    if policy == "mixed_float16":
        np.testing.assert_array_equal(again.optimizer.scale_and_steps, [512, 7])


def test_the_scale_and_the_steps_it_leaves_out():
    layer = minicnn.layers.Dense(1, use_bias=False)
    layer.build_for((None, 2))
    layer.set_weights([np.zeros((2, 1))])
    ours = LossScaleOptimizer(SGD(0.125, momentum=0.5), 16.0, 3)
    variable = keras.Variable(np.zeros((2, 1)), dtype="float32")
    theirs = keras.mixed_precision.LossScaleOptimizer(
        keras.optimizers.SGD(0.125, momentum=0.5), initial_scale=16.0, dynamic_growth_steps=3
    )
    theirs.build([variable])
    for value in (1, 2, 3, np.inf, 4, np.nan, np.nan, 5, 6, 7, 8, -np.inf, 9):
        gradient = np.full((2, 1), value, "float32")
        ours.apply({layer.kernel: gradient})
        theirs.apply([keras.ops.convert_to_tensor(gradient)], [variable])
        assert float(ours.loss_scale) == float(theirs.dynamic_scale)
        np.testing.assert_allclose(layer.get_weights()[0], keras.ops.convert_to_numpy(variable))
