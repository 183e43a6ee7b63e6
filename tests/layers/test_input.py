"""Input and InputLayer."""

import numpy as np
import pytest
from layer_calls import run

from minicnn.layers import Dense, Input, InputLayer


def test_input_is_a_place_in_a_model():
    x = Input((8, 6, 3), name="images")
    assert x.shape == (None, 8, 6, 3)
    assert x.source.name == "images"
    assert Dense(4)(x).shape == (None, 8, 6, 4)


@pytest.mark.parametrize(
    "layer",
    [
        InputLayer((4, 5)),
        InputLayer(shape=[4, 5]),
        InputLayer(input_shape=(4, 5)),
        InputLayer(batch_shape=(None, 4, 5)),
        InputLayer(batch_input_shape=(None, 4, 5)),
    ],
)
def test_ways_to_say_the_shape(layer):
    assert layer.shape == (4, 5)
    assert layer.output_shape == (None, 4, 5)


def test_it_hands_through():
    x = np.ones((2, 3), "float32")
    out = run(InputLayer((3,)), x, dy=2 * x)
    np.testing.assert_array_equal(out.y, x)
    np.testing.assert_array_equal(out.dx, 2 * x)


def test_dtype_of_scripts_that_feed_bytes():
    assert Input((8, 8, 3), dtype="uint8").shape == (None, 8, 8, 3)


def test_open_sizes_and_batches_that_are_said():
    assert Dense(4)(Input((None, None, 3))).shape == (None, None, None, 4)
    x = Input((8,), batch_size=4)
    assert Dense(2)(x).shape == (4, 2) and x.shape == (4, 8)
    assert InputLayer(batch_input_shape=(7, 4, 5)).output_shape == (7, 4, 5)


def test_errors():
    with pytest.raises(ValueError, match=r"needs shape=, such as shape=\(32, 32, 3\)"):
        InputLayer()
    with pytest.raises(ValueError, match="shape is a tuple such as .*, not 32"):
        Input(32)
    with pytest.raises(ValueError, match=r"above 0, or None for any, not \(0, 3\)"):
        Input((0, 3))
