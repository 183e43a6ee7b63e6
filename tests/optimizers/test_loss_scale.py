"""Loss scaling: what it does to gradients, and that all else is the optimizer's inside."""

import copy
import inspect
import pickle

import numpy as np
import pytest
from optimizer_cases import CASES, FakeWeight

from minicnn import backend
from minicnn.optimizers import OPTIMIZERS, SGD, Adam, LossScaleOptimizer, Optimizer
from minicnn.optimizers.schedules import ExponentialDecay
from minicnn.registry import serialize


def weight(size=3, name="kernel"):
    return FakeWeight(backend.asarray(np.ones(size, "float32")), name)


def step(optimizer, w, gradient):
    """A training step whose gradient is the same everywhere, before it is scaled."""
    g = np.full(w.value.shape, gradient, "float32") * float(optimizer.loss_scale)
    return optimizer.apply({w: backend.asarray(g)})


# The scale


def test_without_gradients_the_scale_stays(strict):
    optimizer = LossScaleOptimizer(SGD(), 8.0)
    assert optimizer.apply({}) is True
    assert float(optimizer.loss_scale) == 8 and optimizer.iterations == 1


def test_the_scale_grows_after_steps_without_overflow_and_has_limits():
    w = weight()

    def scale_after(optimizer, gradient):
        step(optimizer, w, gradient)
        return float(optimizer.loss_scale)

    optimizer = LossScaleOptimizer("sgd", 8, 3)
    seen = [scale_after(optimizer, g) for g in (1, 1, 1, 1, np.inf, 1, 1, np.nan, 1, 1, 1)]
    assert seen == [8, 8, 16, 16, 8, 8, 8, 4, 4, 4, 8]
    optimizer = LossScaleOptimizer("sgd", 2.0**24, 1)
    assert scale_after(optimizer, 1) == 2.0**24
    optimizer = LossScaleOptimizer("sgd", 1)
    assert scale_after(optimizer, -np.inf) == 1


def test_gradients_are_divided_by_the_scale():
    w = weight()
    optimizer = LossScaleOptimizer(SGD(0.5, momentum=0.9), 1024)
    optimizer.apply({w: backend.asarray(np.full(3, 1024.0, "float32"))})
    np.testing.assert_array_equal(w.value, np.full(3, 0.5))


@pytest.mark.parametrize("name", CASES)
def test_a_step_with_a_scale_of_a_power_of_two_is_that_of_the_optimizer_inside(name):
    rng = np.random.default_rng(0)
    plain, scaled = CASES[name](weight_decay=0.1), LossScaleOptimizer(CASES[name](weight_decay=0.1))
    one, other = weight(), weight()
    for g in rng.normal(size=(4, 3)).astype("float32"):
        plain.apply({one: backend.asarray(g)})
        scaled.apply({other: backend.asarray(g * 2.0**15)})
    np.testing.assert_array_equal(backend.to_numpy(other.value), backend.to_numpy(one.value))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"initial_scale": 0}, "initial_scale must lie between 1 and 1.67772e[+]07; got 0"),
        ({"dynamic_growth_steps": 0}, "dynamic_growth_steps must be above 0; got 0"),
        ({"inner_optimizer": LossScaleOptimizer("sgd")}, "would scale twice"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        LossScaleOptimizer(**{"inner_optimizer": "sgd", **arguments})


# What belongs to the optimizer inside


def test_what_belongs_to_the_optimizer_inside():
    inner = Adam(ExponentialDecay(0.1, 1, 0.5))
    optimizer = LossScaleOptimizer(inner)
    assert optimizer.learning_rate == 0.1 and optimizer.iterations == 0
    assert optimizer.slots() == ("momentum", "velocity")
    optimizer = LossScaleOptimizer("sgd")
    optimizer.learning_rate = 0.2
    assert optimizer.inner_optimizer.learning_rate == optimizer.learning_rate == 0.2
    config = optimizer.get_config()
    again = OPTIMIZERS.get(serialize(optimizer))
    assert again.get_config() == config and type(again.inner_optimizer) is SGD


SETTINGS = {
    "weight_decay": 0.25,
    "clipnorm": 2.0,
    "clipvalue": 3.0,
    "global_clipnorm": 4.0,
    "iterations": 7,
    "learning_rate": 0.5,
    "lr": 0.5,
    "use_ema": True,
    "ema_momentum": 0.5,
    "ema_overwrite_frequency": 3,
    "loss_scale_factor": 8.0,
    "gradient_accumulation_steps": 4,
    "batches": 5,
    "beta_1": 0.75,  # of Adam alone
}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_is_that_of_the_optimizer_inside(name):
    inner = Adam(weight_decay=0.1, clipnorm=1.0)
    optimizer = LossScaleOptimizer(inner)
    assert getattr(optimizer, name) == getattr(inner, name)
    setattr(optimizer, name, SETTINGS[name])
    assert getattr(optimizer, name) == getattr(inner, name) == SETTINGS[name]
    setattr(inner, name, None if "clip" in name else 0)
    assert getattr(optimizer, name) == getattr(inner, name) != SETTINGS[name]


def test_its_own_attributes_are_not_those_of_the_optimizer_inside():
    inner = Adam(name="inside")
    optimizer = LossScaleOptimizer(inner, 16.0, 5)
    assert (optimizer.name, inner.name) == ("loss_scale_optimizer", "inside")
    optimizer.name, optimizer.initial_scale, optimizer.dynamic_growth_steps = "outside", 8.0, 6
    assert inner.name == "inside" and not hasattr(inner, "initial_scale")
    assert optimizer.get_config() == {
        "inner_optimizer": {
            "module": "keras.optimizers", "class_name": "Adam", "config": inner.get_config(),
            "registered_name": None,
        },
        "initial_scale": 8.0, "dynamic_growth_steps": 6, "name": "outside",
    }  # fmt: skip
    with pytest.raises(AttributeError, match="has no attribute 'wings'"):
        _ = optimizer.wings


def test_a_property_of_your_own_optimizer_is_set_there():
    class Own(SGD):
        @property
        def rho(self):
            return self._rho

        @rho.setter
        def rho(self, value):
            self._rho = value

    inner = Own(0.1)
    inner.rho = 1.0
    optimizer = LossScaleOptimizer(inner)
    optimizer.rho = 2.0
    assert inner.rho == optimizer.rho == 2.0


def of_both(call):
    """What a call gives on the optimizer inside, and on the one around it."""
    inner, w = SGD(0.5, momentum=0.5, weight_decay=0.5), weight()
    optimizer = LossScaleOptimizer(inner, 2.0)
    step(optimizer, w, 1.0)
    return call(inner, w), call(optimizer, w)


def updated(optimizer, w):
    value = np.ones(3, "float32")
    optimizer.update(value, value.copy(), {"momentum": value.copy()}, 0.5, value.copy())
    return value.tolist()


def excluded(optimizer, w):
    before = optimizer._decays(w)
    optimizer.exclude_from_weight_decay([w])
    without = optimizer._decays(w)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    return before, without, optimizer._decays(w)


def loaded(optimizer, w):
    state = optimizer.state_arrays({w: "w"})
    optimizer.iterations = 0
    optimizer.load_state_arrays(state, {w: "w"})
    momentum = optimizer._slots_of(w)["momentum"]
    return sorted(set(state) - {"loss_scale"}), optimizer.iterations, backend.to_numpy(momentum)


def assigned(optimizer, w):
    """All variables one by one, and at once."""
    values = [variable.numpy() for variable in optimizer.variables]
    for variable in optimizer.variables:
        variable.assign(np.zeros(variable.shape))
    zeros = [variable.numpy() for variable in optimizer.variables]
    optimizer.set_weights(values)
    return zeros, [(v.name, v.shape, v.numpy()) for v in optimizer.variables]


def averaged(optimizer, w):
    optimizer.use_ema = True
    optimizer._slots_of(w)["average"] = backend.asarray(np.full(3, 7.0, "float32"))
    optimizer.finalize_variable_values([w])
    return backend.to_numpy(optimizer.average_of(w)), backend.to_numpy(w.value)


METHODS = {
    "all_slots": lambda optimizer, w: optimizer.all_slots(),
    "slot_groups": lambda optimizer, w: optimizer.slot_groups(),
    "paired_slots": lambda optimizer, w: optimizer.paired_slots,
    "first_value": lambda optimizer, w: optimizer.first_value("momentum"),
    "derived_state": lambda optimizer, w: optimizer.derived_state(),
    "variables": assigned,
    "set_weights": assigned,
    "average_of": averaged,
    "finalize_variable_values": averaged,
    "build": lambda optimizer, w: optimizer.build([w]),
    "built": lambda optimizer, w: optimizer.built,
    "step_size": lambda optimizer, w: optimizer.step_size(0.25),
    "slots": lambda optimizer, w: optimizer.slots(),
    "update": updated,
    "exclude_from_weight_decay": excluded,
    "state_arrays": loaded,
    "load_state_arrays": loaded,
    "set_rates": lambda optimizer, w: optimizer.set_rates(),
    "is_settled": lambda optimizer, w: optimizer.is_settled(),
}


@pytest.mark.parametrize("name", METHODS)
def test_a_method_is_that_of_the_optimizer_inside(name):
    ours, theirs = of_both(METHODS[name])
    np.testing.assert_equal(ours, theirs)


def test_each_public_name_of_an_optimizer_is_tried():
    public = {name for name in {*dir(Optimizer), *vars(Adam())} if name[0] != "_"}
    its_own = {
        "apply",
        "apply_gradients",
        "loss_scale",
        "scale_loss",
        "name",
        "get_config",
        "from_config",
    }
    assert public == (METHODS.keys() | SETTINGS.keys() | its_own | {"epsilon", "beta_2", "amsgrad"})


def test_each_method_of_an_optimizer_takes_the_same_arguments():
    for name, method in inspect.getmembers(Optimizer, inspect.isfunction):
        if name in ("__init__", "__setattr__", "__getattr__"):
            continue
        ours = inspect.signature(getattr(LossScaleOptimizer, name)).parameters
        assert list(ours) == list(inspect.signature(method).parameters), name


def test_rates_reach_the_device(strict):
    optimizer, w = LossScaleOptimizer(SGD(0.5, weight_decay=0.5)), weight()
    step(optimizer, w, 1.0)
    (arena,) = optimizer._arenas
    optimizer.learning_rate = 0.25
    optimizer.set_rates()
    np.testing.assert_array_equal(arena.rates._data, [0.25, 1 - 0.25 * 0.5])
    w.value = backend.asarray(np.full(3, 7, "float32"))
    assert optimizer.is_settled()
    np.testing.assert_array_equal(arena.w._data[:3], 7)  # copied in
    w.value = backend.asarray(np.ones(4, "float32"))
    assert not optimizer.is_settled()


# Copies


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["copy", "pickle"]
)
def test_a_copy_goes_on_by_itself(copied):
    optimizer, w = LossScaleOptimizer(Adam(0.1), 64, 2), weight()
    step(optimizer, w, 1.0)
    again, again_w = copied((optimizer, w))
    assert again.inner_optimizer is not optimizer.inner_optimizer
    assert (again.iterations, again.learning_rate, float(again.loss_scale)) == (1, 0.1, 64)
    step(optimizer, w, 1.0)
    optimizer.learning_rate = 0.2
    assert float(optimizer.loss_scale) == 128
    assert (again.iterations, again.learning_rate, float(again.loss_scale)) == (1, 0.1, 64)
    assert (backend.to_numpy(again_w.value) != backend.to_numpy(w.value)).all()
    step(again, again_w, 1.0)
    assert float(again.loss_scale) == 128
    np.testing.assert_array_equal(backend.to_numpy(again_w.value), backend.to_numpy(w.value))


def test_a_shallow_copy_has_the_same_optimizer_inside():
    optimizer = LossScaleOptimizer(Adam(0.1), 64, 2)
    again = copy.copy(optimizer)
    assert again.inner_optimizer is optimizer.inner_optimizer
    again.learning_rate = 0.2
    assert optimizer.learning_rate == 0.2 and float(again.loss_scale) == 64
