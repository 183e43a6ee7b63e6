"""What Keras scripts do with an optimizer: its learning rate, its variables, steps by hand."""

import copy
import json
import math
import pickle
from numbers import Real

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optimizer_cases import CASES, FakeWeight

from minicnn import optimizers
from minicnn.optimizers import SGD, Adam, LossScaleOptimizer, Nadam, schedules


@pytest.mark.parametrize("make", [SGD, lambda rate: LossScaleOptimizer(SGD(rate))])
def test_the_learning_rate_can_be_assigned(make):
    optimizer = make(0.1)
    rate = optimizer.learning_rate
    rate.assign(0.5)
    assert rate == optimizer.learning_rate == optimizer.lr == 0.5
    optimizer.learning_rate *= 0.5
    assert float(rate) == 0.25 and rate.numpy() == 0.25 and str(rate) == "0.25"
    optimizer.lr = rate / 2  # a float
    assert rate == 0.125
    rate.assign(np.float32(0.5))
    rate.assign(SGD(0.0625).learning_rate)
    assert optimizer.get_config() and rate == 0.0625
    with pytest.raises(ValueError, match="finite number, 0 or above; got nan"):
        rate.assign(math.nan)


@given(st.floats(1e-8, 10), st.floats(0.1, 10))
def test_it_counts_as_a_float(rate, other):
    live = SGD(rate).learning_rate
    assert isinstance(live, Real) and isinstance(live * 1, float)
    for calculate in (
        lambda r: r + other, lambda r: other - r, lambda r: r * other, lambda r: other / r,
        lambda r: r**2, lambda r: 2**r, lambda r: r // other, lambda r: other % r, lambda r: -r,
        abs, lambda r: r < other, lambda r: other <= r, lambda r: r == rate, lambda r: r != rate,
        lambda r: min(r, other), bool, math.log10, round, lambda r: round(r, 3), repr,
        lambda r: f"{r:.3e}", lambda r: max([r, other]), np.sqrt, lambda r: r + r, lambda r: r >= r,
    ):  # fmt: skip
        assert calculate(live) == calculate(rate)
    array = np.ones(3, "float32")
    for product in (array * live, live * array):
        assert product.dtype == np.float32 and (product == array * rate).all()
    assert np.asarray(live) == rate and np.asarray([live, live], float).tolist() == [rate, rate]


def test_copies_of_it_are_floats():
    rate = SGD(0.5).learning_rate
    for copied in (copy.copy(rate), copy.deepcopy(rate), pickle.loads(pickle.dumps(rate))):
        assert type(copied) is float and copied == 0.5
    assert json.dumps([float(rate)]) == "[0.5]"


def test_a_schedule_or_a_function_gives_it():
    optimizer = SGD(schedules.InverseTimeDecay(1.0, 1, 1.0))
    optimizer.batches = 3
    assert optimizer.learning_rate == 0.25
    with pytest.raises(TypeError, match="follows a InverseTimeDecay and cannot be set to 0.5"):
        optimizer.learning_rate.assign(0.5)
    rates, weight = [0.5, 0.25], FakeWeight(np.zeros(1))
    optimizer = SGD(lambda: rates[optimizer.iterations])
    for _ in range(2):
        optimizer.apply({weight: np.ones(1)})
    assert weight.value == -0.75
    with pytest.raises(ValueError, match="follows a function, which after 0 steps gives nan"):
        SGD(lambda: math.nan).apply({weight: np.ones(1)})
    optimizer.learning_rate = 0.125
    assert optimizer.learning_rate == 0.125


@pytest.mark.cpu_only("weights and gradients of NumPy")
@pytest.mark.parametrize("name", CASES)
def test_steps_by_hand(name):
    """With gradients in pairs, in lists, or after `build` alone."""
    rng = np.random.default_rng(0)
    starts, gradients = rng.normal(size=(2, 3)), rng.normal(size=(4, 2, 3))
    results = []
    for way in ("mapping", "pairs", "lists", "built"):
        optimizer, weights = (
            CASES[name](),
            [FakeWeight(s.copy(), n) for s, n in zip(starts, "ab", strict=True)],
        )
        assert not optimizer.built
        if way == "built":
            optimizer.build(weights)
        for step, gs in enumerate(gradients):
            if way == "mapping":
                optimizer.apply(dict(zip(weights, gs, strict=True)))
            elif way == "pairs":
                assert (
                    optimizer.apply_gradients(zip(gs, weights, strict=True)) == optimizer.iterations
                )
            elif way == "lists" and step == 0:
                optimizer.apply(gs.tolist(), weights)
            else:
                optimizer.apply(list(gs))
        assert optimizer.built and optimizer.batches == 4
        results.append([w.value for w in weights])
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


@pytest.mark.cpu_only("weights and gradients of NumPy")
def test_errors_of_steps_by_hand():
    a, b = FakeWeight(np.zeros(1), "a"), FakeWeight(np.zeros(1), "b")
    optimizer = SGD(1.0)
    with pytest.raises(ValueError, match="a list need the weights they belong to"):
        optimizer.apply([np.ones(1)])
    with pytest.raises(ValueError, match="got 1 gradients for 2 weights"):
        optimizer.apply([np.ones(1)], [a, b])
    with pytest.raises(ValueError, match="got 2 gradients for 1 weights"):
        optimizer.apply([np.ones(1)] * 2, [a, a])
    with pytest.raises(ValueError, match="all of them are None"):
        optimizer.apply([None, None], [a, b])
    with pytest.warns(UserWarning, match=r"no gradients for the weights \['b'\]"):
        optimizer.apply([np.ones(1), None], [a, b])
    assert (a.value, b.value, optimizer.iterations) == (-1, 0, 1)


@pytest.mark.cpu_only("weights and gradients of NumPy")
def test_variables():
    weights = [FakeWeight(np.ones(2), "a"), FakeWeight(np.ones((3, 1)), "b")]
    optimizer = Adam(0.5, amsgrad=True, use_ema=True)
    optimizer.build(weights)
    assert [v.name for v in optimizer.variables] == [
        "iteration", "learning_rate", "a_average", "b_average", "a_momentum", "a_velocity",
        "b_momentum", "b_velocity", "a_velocity_hat", "b_velocity_hat",
    ]  # fmt: skip
    values = [np.full(v.shape, i) for i, v in enumerate(optimizer.variables, 3)]
    optimizer.set_weights(values)
    assert (optimizer.iterations, optimizer.learning_rate) == (3, 4.0)
    assert [v.numpy().ravel()[0] for v in optimizer.variables] == [*range(3, 13)]
    assert optimizer._slots[weights[1]]["momentum"].tolist() == [[9.0]] * 3
    with pytest.raises(ValueError, match=r"a_average has shape \(2,\); got one of \(3,\)"):
        optimizer.variables[2].assign(np.zeros(3))


@pytest.mark.parametrize("name", [n for n in optimizers.OPTIMIZERS.names() if n[0] != "L"])
def test_serialized(name):
    optimizer = optimizers.OPTIMIZERS.find(name)(
        schedules.CosineDecayRestarts(0.1, 5), clipnorm=2.0, use_ema=True
    )
    config = json.loads(json.dumps(optimizers.serialize(optimizer)))
    assert (config["module"], config["class_name"]) == ("keras.optimizers", name)
    again = optimizers.deserialize(config)
    assert type(again) is type(optimizer) and again.get_config() == optimizer.get_config()


def test_your_own_serialized():
    class Mine(Nadam):
        pass

    class Falling(schedules.LearningRateSchedule):
        def __init__(self, first):
            super().__init__()
            self.first = first

        def __call__(self, step):
            return self.first / (step + 1)

        def get_config(self):
            return {"first": self.first}

    own = {"Mine": Mine, "Falling": Falling}
    for optimizer in (Mine(Falling(0.5)), LossScaleOptimizer(Mine(Falling(0.5)))):
        config = optimizers.serialize(optimizer)
        again = optimizers.deserialize(config, own)
        again.iterations = 1
        assert again.learning_rate == 0.25
        with pytest.raises(ValueError, match="unknown optimizer 'Mine'"):
            optimizers.deserialize(config)
    assert config["registered_name"] is None
    config = schedules.serialize(Falling(0.5))
    assert config["registered_name"] == "Falling" and config["config"] == {"first": 0.5}
    assert schedules.deserialize(config, own)(4) == 0.1
