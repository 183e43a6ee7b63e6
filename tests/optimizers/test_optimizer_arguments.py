"""Numbers that an optimizer refuses: with them weights would become NaN."""

import math

import numpy as np
import pytest

from minicnn.optimizers import SGD, Adam, AdamW, Lion, RMSprop
from minicnn.optimizers.schedules import (
    ExponentialDecay,
    InverseTimeDecay,
    LearningRateSchedule,
    PiecewiseConstantDecay,
)

HUGE = pytest.param(10**5000, id="huge")
NO_NUMBERS = [math.nan, math.inf, -math.inf, -1.0, 1e300, "0.1", HUGE]


class FakeWeight:
    """A weight as far as optimizers are concerned."""

    name, path = "w", "w"

    def __init__(self, value):
        self.value = value


@pytest.mark.parametrize("argument", ["clipnorm", "clipvalue", "global_clipnorm"])
@pytest.mark.parametrize("value", [*NO_NUMBERS, 0, 1e-60])
def test_limits_of_gradients(argument, value):
    with pytest.raises(ValueError, match=f"{argument} must be a finite number above 0, or None"):
        SGD(0.1, **{argument: value})


@pytest.mark.parametrize("value", NO_NUMBERS)
@pytest.mark.parametrize("maker", [SGD, Adam, AdamW, RMSprop, Lion])
def test_weight_decay(maker, value):
    with pytest.raises(ValueError, match="weight_decay must be a finite number, 0 or above"):
        maker(0.1, weight_decay=value)


@pytest.mark.parametrize("value", [*NO_NUMBERS, None, 0, 1e-60])
@pytest.mark.parametrize("maker", [Adam, AdamW, RMSprop])
def test_epsilon(maker, value):
    with pytest.raises(ValueError, match=f"{maker.__name__} needs an epsilon that is a finite"):
        maker(epsilon=value)


@pytest.mark.parametrize("value", [*NO_NUMBERS, None, 1.5])
@pytest.mark.parametrize(
    "maker, argument",
    [
        (SGD, "momentum"), (Adam, "beta_1"), (Adam, "beta_2"), (AdamW, "beta_1"),
        (RMSprop, "rho"), (RMSprop, "momentum"), (Lion, "beta_1"), (Lion, "beta_2"),
    ],
)  # fmt: skip
def test_what_an_average_forgets(maker, argument, value):
    with pytest.raises(ValueError, match=f"{maker.__name__} needs a {argument} from 0 to 1"):
        maker(**{argument: value})


@pytest.mark.parametrize("value", [math.nan, math.inf, -1, 1e300, HUGE])
def test_learning_rate(value):
    message = "learning_rate must be a finite number, 0 or above; got"
    with pytest.raises(ValueError, match=message) as caught:
        SGD(value)
    assert len(str(caught.value)) < 120
    optimizer = SGD(0.1)
    with pytest.raises(ValueError, match=message):
        optimizer.learning_rate = value
    assert optimizer.learning_rate == 0.1


class Given(LearningRateSchedule):
    """One value for ever."""

    def __init__(self, value):
        self.value = value

    def __call__(self, step):
        return self.value


@pytest.mark.parametrize(
    "schedule, shown",
    [
        (Given(math.nan), "nan"),
        (Given(math.inf), "inf"),
        (Given(-0.1), "-0.1"),
        (Given(None), "None"),
        (Given(1 + 1j), r"\(1\+1j\)"),
        (ExponentialDecay(math.nan, 10, 0.5), "nan"),
        (ExponentialDecay(0.1, 1, 1e300), "OverflowError"),
        (InverseTimeDecay(0.1, 1, -0.5), "ZeroDivisionError"),
        (PiecewiseConstantDecay([1], [0.1, math.nan]), "nan"),
    ],
)
def test_what_a_schedule_gives(schedule, shown):
    """The step that cannot be taken changes no weight."""
    optimizer = SGD(schedule)
    optimizer.iterations = 2
    weight = FakeWeight(np.ones(3, "float32"))
    message = rf"learning_rate follows a {type(schedule).__name__}, which after 2 steps .*{shown}"
    with pytest.raises(ValueError, match=message):
        optimizer.apply({weight: np.ones(3, "float32")})
    np.testing.assert_array_equal(weight.value, np.ones(3))
    assert optimizer.iterations == 2


def test_numbers_of_numpy_are_numbers():
    optimizer = Adam(
        np.float32(0.5), np.float64(0.5), epsilon=np.float32(1e-3), clipnorm=np.int8(2)
    )
    weight = FakeWeight(np.ones(3, "float32"))
    optimizer.apply({weight: np.ones(3, "float32")})
    assert np.isfinite(weight.value).all() and (weight.value < 1).all()
