"""On a device all weights of a dtype make their step at once, and come out as on NumPy."""

import copy
import pickle

import numpy as np
import pytest
import strict_backend
from hypothesis import given
from hypothesis import strategies as st
from optimizer_cases import CASES, FakeWeight, documented_optimizer

from minicnn import backend
from minicnn.optimizers import SGD, Adam, Optimizer, RMSprop
from minicnn.optimizers.schedules import PiecewiseConstantDecay

SHAPES = {
    "a/kernel": (3, 3, 2, 5),
    "a/bias": (5,),
    "b/kernel": (7, 10),
    "b/bias": (10,),
    "scale": (),
    "empty": (0, 3),
}
CLIPS = [{}, {"clipnorm": 0.5}, {"clipvalue": 0.05}, {"global_clipnorm": 0.5}]


class Twins:
    """The same training twice, on NumPy and on the active backend, step by step."""

    def __init__(self, make, shapes=SHAPES, seed=0):
        """`shapes` {name: shape}; float64 where the name ends in "64", else float32."""
        self.rng = np.random.default_rng(seed)
        self.host, self.device = {}, {}
        for name, shape in shapes.items():
            value = self.numbers(name, shape)
            self.host[name] = FakeWeight(value.copy(), name)
            self.device[name] = FakeWeight(backend.asarray(value), name)
        self.on_host, self.on_device = make(), make()

    def numbers(self, name, shape):
        dtype = "float64" if name.endswith("64") else "float32"
        return np.asarray(self.rng.normal(size=shape), dtype)

    def step(self, names=None, scale=None, wrong=0.0):
        """A step of the weights `names`, or of all, with gradients that are `scale` times too
        large; to one number of each `wrong` is added."""
        names = list(self.host) if names is None else names
        gradients = {name: self.numbers(name, self.host[name].value.shape) for name in names}
        for g in gradients.values():
            g.ravel()[-1:] += wrong
        taken = self.on_host.apply({self.host[n]: g for n, g in gradients.items()}, scale=scale)
        there = {name: backend.asarray(g) for name, g in gradients.items()}
        scale = None if scale is None else backend.asarray(np.array(scale, "float32"))
        taken_there = self.on_device.apply(
            {self.device[n]: g for n, g in there.items()}, scale=scale
        )
        assert taken == bool(taken_there)
        for name, g in there.items():
            np.testing.assert_array_equal(backend.to_numpy(g), gradients[name])  # not changed

    def assign(self, name, shape=None, dtype=None):
        """A new array for one weight, of other shape or dtype where asked for."""
        old = self.host[name].value
        value = self.rng.normal(size=old.shape).astype(dtype or old.dtype)
        value = value if shape is None else value.reshape(shape)
        self.host[name].value = value
        self.device[name].value = backend.asarray(value)

    def states(self):
        """The states of both optimizers, of NumPy first."""
        return (
            self.on_host.state_arrays({w: n for n, w in self.host.items()}),
            self.on_device.state_arrays({w: n for n, w in self.device.items()}),
        )

    def check(self):
        for name, weight in self.host.items():
            there = self.device[name].value
            assert type(there) is strict_backend.StrictArray
            assert there.shape == weight.value.shape and there.dtype == weight.value.dtype
            np.testing.assert_allclose(
                there._data, weight.value, rtol=2e-5, atol=1e-6, err_msg=name
            )
        here, there = self.states()
        assert here.keys() == there.keys()
        for key, value in here.items():
            assert type(there[key]) is np.ndarray
            assert there[key].shape == value.shape and there[key].dtype == value.dtype
            np.testing.assert_allclose(there[key], value, rtol=2e-5, atol=1e-6, err_msg=key)


def shares_memory(a, b):
    return np.shares_memory(a._data, b._data)


def excluding(optimizer):
    optimizer.exclude_from_weight_decay(var_names=["bias", "scale"])
    return optimizer


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("clip", CLIPS, ids=str)
def test_the_steps_are_those_of_numpy(name, clip, strict):
    twins = Twins(lambda: excluding(CASES[name](weight_decay=0.1, **clip)))
    for _ in range(4):
        twins.step()
        twins.check()


@given(st.data())
def test_the_steps_are_those_of_numpy_whatever_happens_in_between(data):
    before = backend.get_backend()
    backend.set_backend("strict")
    try:
        shape = st.lists(st.integers(0, 5), max_size=3).map(tuple)
        count = data.draw(st.integers(1, 12), "weights")
        shapes = {
            f"{i}_{data.draw(st.sampled_from(['bias', 'kernel', 'kernel64']))}": data.draw(shape)
            for i in range(count)
        }
        case, clip = data.draw(st.sampled_from(list(CASES))), data.draw(st.sampled_from(CLIPS))
        twins = Twins(lambda: CASES[case](weight_decay=0.1, **clip), shapes)
        some = st.lists(st.sampled_from(list(shapes)), unique=True)
        for _ in range(5):
            happening = data.draw(st.sampled_from(["step", "assign", "exclude", "some", "load"]))
            names = data.draw(some)
            if happening == "assign":
                for name in names:
                    twins.assign(name)
            if happening == "exclude":
                for optimizer, weights in (
                    (twins.on_host, twins.host), (twins.on_device, twins.device),
                ):  # fmt: skip
                    optimizer.exclude_from_weight_decay(var_list=[weights[n] for n in names])
            if happening == "load":  # each goes on from the state of the other
                here, there = twins.states()
                twins.on_host.load_state_arrays(there, {w: n for n, w in twins.host.items()})
                twins.on_device.load_state_arrays(here, {w: n for n, w in twins.device.items()})
            twins.step(names if happening == "some" else None)
            twins.check()
    finally:
        backend.set_backend(before)


@pytest.mark.parametrize("clip", CLIPS, ids=str)
def test_one_update_and_one_gathering_for_each_dtype(clip, strict, monkeypatch):
    calls = {"update": 0, "concatenate": 0}

    class Counting(Adam):
        def update(self, w, g, slots, learning_rate, scratch):
            calls["update"] += 1
            assert w.ndim == 1 and w.flags.c_contiguous
            arrays = [g, scratch, *slots.values()]
            assert all(a.shape == w.shape and a.dtype == w.dtype for a in arrays)
            super().update(w, g, slots, learning_rate, scratch)

    def counting(*args, concatenate=strict_backend.module.concatenate, **kwargs):
        calls["concatenate"] += 1
        return concatenate(*args, **kwargs)

    monkeypatch.setattr(strict_backend.module, "concatenate", counting)
    for shapes, dtypes in [(SHAPES, 1), ({"a": (3,), "b64": (3,), "c": (4,), "d64": ()}, 2)]:
        twins = Twins(lambda: Counting(weight_decay=0.1, **clip), shapes)
        gradients = {w: w.value.copy() for w in twins.device.values()}
        twins.on_device.apply(gradients)
        for key in calls:
            calls[key] = 0
        for _ in range(3):
            twins.on_device.apply(gradients)
        assert calls == {"update": 3 * dtypes, "concatenate": 3 * dtypes}


@pytest.mark.parametrize("clip", CLIPS, ids=str)
def test_nothing_crosses_between_host_and_device(clip, strict):
    twins = Twins(lambda: excluding(Adam(weight_decay=0.1, **clip)))
    gradients = {w: w.value.copy() for w in twins.device.values()}
    strict.reset()
    twins.on_device.apply(gradients)  # where the arena is made
    twins.on_device.apply(gradients)
    kernel = twins.device["b/kernel"]
    kernel.value = kernel.value.copy()
    twins.on_device.apply(gradients)
    del gradients[kernel]
    twins.on_device.apply(gradients)  # and where it is made anew
    assert strict.to_device == strict.to_host == 0


@pytest.mark.parametrize("name", CASES)
def test_a_step_is_left_out_without_a_look_at_why(name, strict):
    twins = Twins(lambda: excluding(CASES[name](weight_decay=0.1)))
    for wrong in (0.0, np.inf, np.nan, 0.0):
        twins.step(scale=4.0, wrong=wrong)
        twins.check()
    scale = backend.current_module().ones((), "float32")
    gradients = {w: w.value * np.inf for w in twins.device.values()}
    strict.reset()
    twins.on_device.apply(gradients, scale=scale)
    assert strict.to_device == strict.to_host == 0
    twins.on_host.apply({w: w.value + np.inf for w in twins.host.values()}, scale=1.0)
    twins.check()


def test_rates_are_written_to_the_device_only_where_they_change(strict, monkeypatch):
    written = []

    def fill(self, value, fill=strict_backend.StrictArray.fill):
        written.append(value)
        fill(self, value)

    monkeypatch.setattr(strict_backend.StrictArray, "fill", fill)
    rates = PiecewiseConstantDecay([1, 3], [0.5, 0.25, 0.125])  # two steps, two steps, the rest
    for make, expected in [
        (lambda: SGD(0.5), [0.5, 1.0]),
        (lambda: SGD(rates, weight_decay=0.5), [0.5, 0.75, 0.25, 0.875, 0.125, 0.9375]),
        (lambda: Adam(0.5, 0, 0), [0.5, 1.0]),
    ]:
        twins = Twins(make)
        del written[:]
        for _ in range(6):
            twins.step()
            twins.on_device.set_rates()  # those of the next step, which then finds them there
        assert written == expected
        twins.check()


def test_weights_become_views_into_one_array_that_begin_where_a_gpu_reads_best(strict):
    twins = Twins(lambda: SGD(0.1))
    given = {name: w.value for name, w in twins.device.items()}
    twins.step()
    (arena,) = twins.on_device._arenas
    views = {name: w.value for name, w in twins.device.items()}
    for name, view in views.items():
        assert view is not given[name]
        assert shares_memory(view, arena.w) == (view.size > 0)
        offset = view._data.ctypes.data - arena.w._data.ctypes.data
        assert offset % 16 == 0 and view.flags.c_contiguous
    assert 0 <= arena.w.size - sum(v.size for v in views.values()) < 4 * len(views)
    twins.step()
    assert all(twins.device[name].value is view for name, view in views.items())  # in place


def test_an_array_that_was_assigned_is_copied_in(strict):
    twins = Twins(lambda: Adam(0.1))
    twins.step()
    view, arena = twins.device["a/bias"].value, twins.on_device._arenas[0]
    twins.assign("a/bias")
    assigned = twins.device["a/bias"].value
    before = assigned.get()
    twins.step()
    twins.check()
    assert twins.device["a/bias"].value is view and twins.on_device._arenas == [arena]
    np.testing.assert_array_equal(assigned._data, before)  # it belongs to whoever assigned it


@pytest.mark.parametrize("change", [{"shape": (5, 2, 3, 3)}, {"dtype": "float64"}], ids=str)
def test_an_array_of_another_shape_or_dtype_gets_another_place(change, strict):
    twins = Twins(lambda: SGD(0.1, weight_decay=0.1))
    twins.step()
    twins.assign("a/kernel", **change)
    twins.step()
    twins.check()
    assert len(twins.on_device._arenas) == (2 if "dtype" in change else 1)


@pytest.mark.parametrize("name", CASES)
def test_frozen_weights_stay_and_go_on_where_they_were(name, strict):
    twins = Twins(lambda: excluding(CASES[name](weight_decay=0.1)))
    head = ["b/kernel", "b/bias"]
    for names in (head, None, None, head, head, [], None):
        twins.step(names)
        twins.check()


def test_a_weight_that_leaves_keeps_no_memory_but_its_own(strict):
    twins = Twins(lambda: Adam(0.1))
    twins.step()
    (old,) = twins.on_device._arenas
    twins.step(["b/kernel", "b/bias"])
    assert twins.on_device._arenas != [old]
    for weight in twins.device.values():
        for array in (weight.value, *twins.on_device._slots[weight].values()):
            assert not any(shares_memory(array, a) for a in (old.w, *old.slots.values()))


def test_sets_of_weights_that_take_turns_keep_their_arenas(strict):
    """As where one optimizer trains a generator and a discriminator."""
    twins = Twins(lambda: Adam(0.1))
    one, other = list(SHAPES)[:2], list(SHAPES)[2:]
    twins.step(one)
    twins.step(other)
    arenas = list(twins.on_device._arenas)
    assert len(arenas) == 2
    twins.step(one)
    twins.step(other)
    twins.check()
    assert twins.on_device._arenas == arenas


def test_two_optimizers_take_turns_on_the_same_weights(strict):
    twins, others = Twins(lambda: Adam(0.1)), Twins(lambda: RMSprop(0.01))
    others.host, others.device = twins.host, twins.device
    for _ in range(3):
        twins.step()
        twins.check()
        others.step()
        others.check()


def test_weight_decay_may_change_between_steps(strict):
    twins = Twins(lambda: SGD(0.1, momentum=0.9))
    for decay in (None, 0.1, 0.5, 0.0, 0.1):
        twins.on_host.weight_decay = twins.on_device.weight_decay = decay
        twins.step()
        twins.check()
    for weights, optimizer in ((twins.host, twins.on_host), (twins.device, twins.on_device)):
        optimizer.exclude_from_weight_decay(var_list=[weights["a/kernel"]], var_names=["b/"])
    twins.step()
    twins.check()


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("steps", [0, 2])
@pytest.mark.parametrize("source", ["host", "device"])
def test_state_of_one_backend_goes_on_on_the_other(name, steps, source, strict):
    """Into an optimizer that has made no step, and into one that has."""
    first, second = Twins(CASES[name]), Twins(CASES[name], seed=1)
    for _ in range(3):
        first.step()
    for _ in range(steps):
        second.step()
    here, there = first.states()
    state = here if source == "host" else there
    second.on_host.load_state_arrays(state, {w: n for n, w in second.host.items()})
    second.on_device.load_state_arrays(state, {w: n for n, w in second.device.items()})
    for _ in range(2):
        second.check()
        second.step()
    second.check()
    assert second.on_device.batches == 5


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["copy", "pickle"]
)
def test_a_copy_goes_on_by_itself(copied, strict):
    twins = Twins(lambda: Adam(0.1, weight_decay=0.1))
    twins.step()
    again = copied(twins)
    twins.step()
    again.check()  # as before that step
    again.step()
    again.check()
    for name, weight in twins.device.items():
        np.testing.assert_array_equal(again.device[name].value._data, weight.value._data)
    twins.check()


def test_your_own_optimizer(strict):
    class Signs(Optimizer):
        """Steps by the sign of a running sum."""

        def slots(self):
            return ("total",)

        def update(self, w, g, slots, learning_rate, scratch):
            total = slots["total"]
            total += g
            w -= learning_rate * backend.array_module(g).sign(total)

        @property
        def learning_rate(self):
            assert 0.0 < float(super().learning_rate) < 1.0
            return super().learning_rate

    twins = Twins(lambda: Signs(0.1, weight_decay=0.1, clipvalue=0.5))
    for names in (None, ["b/kernel"], None):
        twins.step(names)
        twins.check()


def test_the_optimizer_of_the_documentation(strict):
    twins = Twins(lambda: documented_optimizer()(0.1, weight_decay=0.1, global_clipnorm=1.0))
    for scale, wrong in ((None, 0), (4.0, 0), (4.0, np.inf), (None, 0)):
        twins.step(scale=scale, wrong=wrong)
        twins.check()


def test_transposed_and_wider_gradients(strict):
    class Checking(SGD):
        def update(self, w, g, slots, learning_rate, scratch):
            assert w.dtype == g.dtype == scratch.dtype == np.float32
            super().update(w, g, slots, learning_rate, scratch)

    weights = [FakeWeight(backend.asarray(np.zeros((4, 3), "float32"))) for _ in range(2)]
    g = np.arange(12.0).reshape(3, 4)  # float64
    Checking(1.0).apply({w: backend.asarray(g).T for w in weights})
    for weight in weights:
        np.testing.assert_array_equal(weight.value._data, -g.T)


def test_a_gradient_of_another_size_changes_nothing(strict):
    twins = Twins(lambda: SGD(1.0))
    gradients = {w: w.value.copy() for w in twins.device.values()}
    gradients[twins.device["b/bias"]] = backend.asarray(np.zeros((2, 3), "float32"))
    with pytest.raises(ValueError, match=r"an array of shape \(2, 3\) is not one for <.*Weight"):
        twins.on_device.apply(gradients)
    twins.check()
    assert twins.on_device.iterations == 0
