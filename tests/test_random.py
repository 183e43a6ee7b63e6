"""Everything random comes from one place."""

import random as python_random
from concurrent.futures import ThreadPoolExecutor

import cuda_on_cpu
import numpy as np
import pytest

from minicnn import Sequential, random
from minicnn.kernels.cuda.random import CounterGenerator
from minicnn.layers import Dense, Dropout, Input
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


@pytest.mark.cpu_only("runs kernels in CUDA C on the CPU")
@pytest.mark.skipif(cuda_on_cpu.compiler() is None, reason="no C++ compiler")
def test_a_seed_fixes_training_with_numbers_by_counter(monkeypatch):
    monkeypatch.setenv("MINICNN_NUM_THREADS", "1")
    x, y = np.random.default_rng(0).random((24, 6), dtype="float32"), np.arange(24) % 3

    def trained(seed):
        set_random_seed(seed)
        model = Sequential(
            [Input((6,)), Dropout(0.2, seed=1), Dense(8), Dropout(0.5), Dense(3)],
        )
        model.compile("sgd", "mse")
        model.fit(x, np.eye(3, dtype="float32")[y], batch_size=8, epochs=2, verbose=0)
        dropped = model.layers[-2](np.ones((9, 9), "float32"), training=True)
        return [*model.get_weights(), dropped]

    with cuda_on_cpu.installed():
        assert isinstance(random.device_generator(), CounterGenerator)
        first, second, other = trained(0), trained(0), trained(1)
    for a, b, c in zip(first, second, other, strict=True):
        np.testing.assert_array_equal(a, b)
        assert (a != c).any()


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


def test_a_place_has_numbers_of_its_own_in_its_thread_alone():
    random.set_random_seed(0)
    expected = [random.host_generator().random() for _ in range(2)]
    random.set_random_seed(0)
    found = [random.host_generator().random()]

    def drawn(*numbers):
        with random.at_place(*numbers):
            return [random.host_generator().random() for _ in range(2)]

    assert drawn(1, 2) == drawn(1, 2) != drawn(1, 3)
    assert len(set(drawn(1, 2))) == 2
    with random.at_place(1, 2):
        assert drawn(1, 3) != drawn(1, 2)  # within each other
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(random.host_generator).result() is not random.host_generator()
    found.append(random.host_generator().random())
    assert found == expected
