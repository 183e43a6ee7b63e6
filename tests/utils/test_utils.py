"""Keras's helpers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minicnn import Sequential, utils
from minicnn.layers import Dense
from minicnn.utils import PyDataset


@given(st.lists(st.integers(0, 9), min_size=1), st.booleans(), st.sampled_from(["int64", "uint8"]))
def test_one_hot_rows(labels, as_column, dtype):
    y = np.array(labels, dtype)
    rows = utils.to_categorical(y[:, None] if as_column else y, 10)
    assert rows.shape == (len(labels), 10) and rows.dtype == np.float32
    np.testing.assert_array_equal(rows.argmax(1), labels)
    np.testing.assert_array_equal(rows.sum(1), 1)


def test_the_number_of_classes_is_the_largest_label_plus_one():
    assert utils.to_categorical([0, 2]).tolist() == [[1, 0, 0], [0, 0, 1]]
    assert utils.to_categorical(np.array([0.0, 1.0])).shape == (2, 2)
    assert utils.to_categorical([[0, 1], [1, 1]]).shape == (2, 2, 2)
    assert utils.to_categorical([], 3).shape == (0, 3)


@pytest.mark.parametrize(
    "labels, classes, text",
    [
        ([0, 3], 3, "lie between 0 and 3; with num_classes=3 they must be from 0 to 2"),
        ([-1, 0], None, "lie between -1 and 0"),
        ([0.5], None, "class numbers are integers; got dtype float64"),
        (["cat"], None, "class numbers are integers; got dtype <U3"),
        ([], None, "say num_classes for an empty array"),
    ],
)
def test_bad_labels(labels, classes, text):
    with pytest.raises(ValueError, match=text):
        utils.to_categorical(labels, classes)


def test_normalize():
    x = np.array([[3.0, 4.0], [0.0, 0.0]])
    np.testing.assert_allclose(utils.normalize(x), [[0.6, 0.8], [0, 0]])
    np.testing.assert_allclose(utils.normalize(x, axis=0, order=1), [[1, 1], [0, 0]])


def test_names_scripts_look_for():
    for name in utils.__all__:
        assert callable(getattr(utils, name))


class _Squares(PyDataset):
    def __init__(self):
        self.epochs = 0

    def __len__(self):
        return 3

    def __getitem__(self, index):
        return np.full((4, 2), index, "float32"), np.zeros((4, 1), "float32")

    def on_epoch_end(self):
        self.epochs += 1


def test_a_dataset_by_batch_number_feeds_fit():
    model = Sequential([Dense(1, input_shape=(2,))])
    model.compile("sgd", "mse")
    batches = _Squares()
    history = model.fit(batches, epochs=2, verbose=0)
    assert len(history.history["loss"]) == 2 and batches.epochs == 2
    assert history.params["steps"] == 3
    assert model.predict(batches, verbose=0).shape == (12, 1)


def test_a_dataset_that_defines_nothing_says_so():
    with pytest.raises(NotImplementedError, match="PyDataset does not define __len__"):
        len(PyDataset())
