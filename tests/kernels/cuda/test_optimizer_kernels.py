"""The optimizers' kernels in CUDA C against `update`, run on the CPU by `cuda_on_cpu`."""

import cuda_on_cpu
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optimizer_cases import CASES, FakeWeight

from minicnn.kernels.cuda import launch
from minicnn.kernels.cuda import optimizers as cuda
from minicnn.optimizers import SGD, Adam, RMSprop
from minicnn.optimizers.arena import Arena
from minicnn.optimizers.averages import average_weights
from minicnn.optimizers.on_device import step_on_device
from minicnn.optimizers.schedules import ExponentialDecay

pytestmark = pytest.mark.skipif(
    cuda_on_cpu.compiler() is None, reason="there is no C++ compiler, nor the package ziglang"
)
TOLERANCE = {"float32": {"rtol": 2e-5, "atol": 1e-6}, "float64": {"rtol": 1e-12, "atol": 1e-13}}
CLIPS = [{}, {"clipnorm": 0.5}, {"clipvalue": 0.05}, {"global_clipnorm": 0.5}]


class Twins:
    """The same training twice, by `update` and by the kernels, on arrays of NumPy."""

    def __init__(self, make, shapes, dtype="float32"):
        rng = np.random.default_rng(0)
        self.numbers = lambda shape: np.asarray(rng.normal(size=shape), dtype)
        values = {f"{i}_{'bias' if i % 3 else 'kernel'}": self.numbers(s) for i, s in shapes}
        self.plain = {name: FakeWeight(v.copy(), name) for name, v in values.items()}
        self.ours = {name: FakeWeight(v.copy(), name) for name, v in values.items()}
        self.optimizers = make(), make()
        for optimizer in self.optimizers:
            optimizer.exclude_from_weight_decay(var_names=["bias"])
        self.tolerance = TOLERANCE[dtype]

    def step(self, scale=None, wrong=0.0):
        gradients = {name: self.numbers(w.value.shape) for name, w in self.plain.items()}
        for g in gradients.values():
            g.ravel()[-1:] += wrong
        plain, ours = self.optimizers
        plain.apply({self.plain[name]: g for name, g in gradients.items()}, scale=scale)
        with cuda_on_cpu.installed():
            step_on_device(ours, {self.ours[name]: g for name, g in gradients.items()}, scale)
            if ours.use_ema:
                average_weights(ours, [self.ours[name] for name in gradients])
        ours.batches += 1

    def check(self):
        for name, weight in self.plain.items():
            np.testing.assert_allclose(
                self.ours[name].value, weight.value, **self.tolerance, err_msg=name
            )
        plain, ours = self.optimizers
        expected = plain.state_arrays({w: name for name, w in self.plain.items()})
        found = ours.state_arrays({w: name for name, w in self.ours.items()})
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            assert found[key].dtype == value.dtype
            np.testing.assert_allclose(found[key], value, **self.tolerance, err_msg=key)


@settings(max_examples=40)
@given(
    st.sampled_from(list(CASES)), st.sampled_from(CLIPS), st.sampled_from([0.0, 0.1]),
    st.sampled_from(["float32", "float64"]),
    st.lists(st.lists(st.integers(0, 5), max_size=3).map(tuple), min_size=1, max_size=40),
)  # fmt: skip
def test_steps_are_those_of_update(name, clip, decay, dtype, shapes):
    twins = Twins(lambda: CASES[name](weight_decay=decay, **clip), enumerate(shapes), dtype)
    for scale, wrong in ((None, 0), (4.0, 0), (4.0, np.inf), (None, 0)):
        twins.step(scale, wrong)
        twins.check()


@pytest.mark.parametrize(
    "make", [lambda: SGD(1, momentum=1), lambda: RMSprop(1, 0, 1, 1), lambda: Adam(1, 0, 0, 1)]
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_whole_numbers_will_do(make, dtype):
    twins = Twins(make, [(0, (7,))], dtype)
    for _ in range(3):
        twins.step()
        twins.check()


def test_gradients_that_are_not_finite_reach_nothing_where_the_step_is_left_out():
    weight = FakeWeight(np.ones(3, "float32"))
    optimizer = Adam(0.1, weight_decay=0.1)
    with cuda_on_cpu.installed():
        step_on_device(optimizer, {weight: np.ones(3, "float32")}, None)
        before = weight.value.copy()
        step_on_device(optimizer, {weight: np.full(3, np.nan, "float32")}, 1.0)
        np.testing.assert_array_equal(weight.value, before)
        step_on_device(optimizer, {weight: np.full(3, np.nan, "float32")}, None)
        assert np.isnan(weight.value).all()


def test_amsgrad_hands_on_what_is_not_a_number():
    weight, optimizer = FakeWeight(np.ones(3)), Adam(0.1, amsgrad=True)
    with cuda_on_cpu.installed():
        for g in ([1.0, np.nan, 1.0], [1.0, 1.0, 1.0]):
            step_on_device(optimizer, {weight: np.array(g)}, None)
    assert np.isnan(optimizer._slots[weight]["velocity_hat"]).tolist() == [False, True, False]


def test_one_kernel_for_the_step_and_one_for_each_sixteen_gradients(monkeypatch):
    """And new rates are all that changes in their arguments, so that the step can be captured."""
    twins = Twins(
        lambda: Adam(ExponentialDecay(0.1, 1, 0.5), weight_decay=0.1),
        [(i, (i % 4 + 1, 3)) for i in range(35)],
    )
    launched = []

    def recording(file, kernel, dtype, threads, *arguments):
        launched.append((kernel, [a for a in arguments if isinstance(a, (int, np.generic))]))
        launch.launch(file, kernel, dtype, threads, *arguments)

    monkeypatch.setattr(cuda, "launch", recording)
    twins.step()
    rates = []
    for _ in range(2):
        twins.step()
        rates.append(twins.optimizers[1]._arenas[0].rates.copy())
    twins.check()
    first, second = launched[-8:-4], launched[-4:]
    assert first == second and [kernel for kernel, _ in first] == ["gather"] * 3 + ["adam"]
    assert (rates[0] != rates[1]).all()


@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=50), st.sampled_from(["float32", "float64"])
)
def test_gathering(sizes, dtype):
    """Weights begin at multiples of 16 bytes, and there is 0 in between."""
    weights = [FakeWeight(np.arange(1, size + 1, dtype=dtype)) for size in sizes]
    expected = Arena(dict.fromkeys(weights, False), {w: {} for w in weights})
    values = [w.value for w in weights]
    with cuda_on_cpu.installed():
        flat = expected.gather(values)
        transposed = expected.gather([np.stack([v, v], 1)[:, 0] for v in values])
        wider = expected.gather([v.astype("float64") for v in values])
    for array in (flat, transposed, wider):
        assert array.dtype == dtype
        np.testing.assert_array_equal(array, expected.w)


def test_an_update_that_was_replaced_is_called():
    class Slower(SGD):
        def update(self, w, g, slots, learning_rate, scratch):
            super().update(w, g, slots, learning_rate / 2, scratch)

    weight = FakeWeight(np.zeros(3))
    with cuda_on_cpu.installed():
        step_on_device(Slower(1.0), {weight: np.ones(3)}, None)
    np.testing.assert_array_equal(weight.value, -0.5)
