"""Everything random comes from one place."""

import random as python_random

import numpy as np
import pytest

from minicnn import random
from minicnn.layers import Dense
from minicnn.utils import set_random_seed


def draw():
    layer = Dense(4)
    layer.build((None, 3))
    return (
        layer.kernel.numpy().tolist(),
        random.host_generator().random(),
        random.device_generator().random(3).tolist(),
        np.random.rand(),
        python_random.random(),
    )


def test_a_seed_fixes_everything():
    set_random_seed(7)
    first = draw()
    set_random_seed(7)
    assert draw() == first
    set_random_seed(8)
    other = draw()
    assert all(a != b for a, b in zip(first, other, strict=True))


def test_generators_of_their_own_seed_leave_the_common_one_alone():
    set_random_seed(1)
    a = random.host_generator().random()
    set_random_seed(1)
    assert random.host_generator(5).random() == np.random.default_rng(5).random()
    assert random.host_generator().random() == a


def test_device_generators_differ():
    set_random_seed(1)
    assert random.device_generator().random() != random.device_generator().random()


@pytest.mark.parametrize("seed", [-1, 2**32, 1.5, "abc", None])
def test_a_seed_has_32_bits(seed):
    with pytest.raises(ValueError, match=f"from 0 to 2\\*\\*32 - 1, not {seed!r}"):
        set_random_seed(seed)


def test_the_device_generator_is_on_the_active_backend(strict):
    from strict_backend import StrictArray

    assert isinstance(random.device_generator().random(3, dtype="float32"), StrictArray)
