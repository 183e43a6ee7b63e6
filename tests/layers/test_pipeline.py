"""Pipeline: its layers one after the other, in a call as in a model."""

import numpy as np
import pytest

from minicnn import Input, Sequential, layers
from minicnn.layers import Pipeline
from minicnn.registry import serialize

pytestmark = pytest.mark.cpu_only("looks at the images as NumPy arrays")
X = np.random.default_rng(0).uniform(0, 255, (5, 6, 7, 3)).astype("float32")


def parts():
    return [layers.RandomFlip(seed=1), layers.RandomCrop(4, 5, seed=2), layers.Rescaling(1 / 255)]


def test_a_call_is_that_of_its_layers():
    expected = X
    for layer in parts():
        expected = layer(expected)
    np.testing.assert_array_equal(Pipeline(parts())(X), expected)
    calm = Pipeline(parts())(X, training=False)
    np.testing.assert_allclose(calm, X[:, 1:5, 1:6] / 255, rtol=1e-6)
    assert Pipeline(parts())(X[0]).shape == (4, 5, 3)


def test_a_call_without_a_word_about_training_trains():
    x = np.ones((1, 50, 50, 1), "float32")
    assert (Pipeline([layers.Dropout(0.5)])(x) == 0).any()
    assert (Pipeline([layers.Dropout(0.5)])(x, training=False) == 1).all()


def test_images_with_labels():
    mixing = Pipeline([layers.RandomFlip(), layers.MixUp(seed=1)])
    out = mixing({"images": X, "labels": np.eye(5, dtype="float32")})
    assert (out["labels"] > 0).sum() > 5 and out["images"].shape == X.shape


def test_in_a_model():
    model = Sequential([Input((6, 7, 3)), Pipeline(parts()), layers.Flatten(), layers.Dense(2)])
    assert model.layers[0].output_shape == (None, 4, 5, 3)
    model.compile("sgd", "mse")
    np.testing.assert_array_equal(model.predict(X, verbose=0), model.predict(X, verbose=0))
    model.fit(X, np.zeros((5, 2)), verbose=0)
    assert Pipeline([layers.RandAugment()]).whole_batch and not Pipeline(parts()).whole_batch


def test_configuration():
    pipeline = Pipeline(parts(), name="p")
    again = layers.LAYERS.get(serialize(pipeline))
    assert [type(a) for a in again.layers] == [type(a) for a in pipeline.layers]
    np.testing.assert_array_equal(again(X), Pipeline(parts())(X))


def test_what_is_refused():
    with pytest.raises(ValueError, match="layers without weights; Conv2D 'c' has some"):
        Sequential([Input((6, 7, 3)), Pipeline([layers.Conv2D(2, 3, name="c")])])
    with pytest.raises(TypeError, match="is made of layers; got 3"):
        Pipeline([3])
