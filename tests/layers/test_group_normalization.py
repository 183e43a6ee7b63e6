"""GroupNormalization: its values, its gradients, and what it refuses."""

import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from layer_calls import set_weights
from strategies import array_shapes, numbers

from minicnn.gradcheck import gradcheck
from minicnn.layers import GroupNormalization, LayerNormalization


@given(array_shapes(min_rank=3), st.integers(1, 3), st.integers(1, 3), st.booleans(), st.booleans())
def test_gradients(shape, groups, per_group, center, scale):
    # over a single element the output is beta whatever x is, and has no derivative to speak of
    shape = (*shape[:-2], shape[-2] + 1, groups * per_group)
    layer = GroupNormalization(groups, center=center, scale=scale)
    assert gradcheck(layer, numbers(shape)).max_error < 1e-6


@given(array_shapes(), st.integers(1, 3), st.integers(1, 3))
def test_values(shape, groups, per_group):
    x = 3 + 2 * numbers((*shape[:-1], groups * per_group))
    layer = set_weights(GroupNormalization(groups, dtype="float64"), x.shape)
    gamma, beta = layer.get_weights()
    expected = reference.group_norm(x, groups, gamma, beta, 1e-3)
    np.testing.assert_allclose(layer(x), expected, atol=1e-11)


def test_minus_one_is_a_group_for_each_channel():
    x = numbers((2, 4, 4, 6), dtype="float32")
    each = GroupNormalization(-1)(x)
    np.testing.assert_array_equal(each, GroupNormalization(6)(x))
    np.testing.assert_allclose(each.mean(axis=(1, 2)), 0, atol=1e-6)


def test_one_group_of_rows_is_layer_normalization():
    x = numbers((5, 8), dtype="float32")
    np.testing.assert_allclose(GroupNormalization(1)(x), LayerNormalization()(x), atol=1e-6)


def test_images_do_not_see_each_other():
    x = numbers((4, 3, 3, 4), dtype="float32")
    layer = GroupNormalization(2)
    np.testing.assert_array_equal(layer(x)[1:2], layer(x[1:2]))
    assert not layer.whole_batch


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"groups": 0}, "groups must be an integer above 0, not 0"),
        ({}, "6 channels cannot be cut into 32 groups; choose groups that divide them"),
        ({"groups": 4}, "6 channels cannot be cut into 4 groups"),
        ({"groups": 2, "axis": 1}, "axis must be -1, not 1, for inputs of shape"),
    ],
)
def test_what_it_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        GroupNormalization(**arguments)(np.zeros((2, 4, 4, 6)))


def test_other_channels_than_it_was_built_for():
    layer = GroupNormalization(2)
    layer(np.zeros((1, 2, 2, 4)))
    with pytest.raises(ValueError, match="was built for 4 channels; got inputs of 6"):
        layer(np.zeros((1, 2, 2, 6)))
