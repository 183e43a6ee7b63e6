import math

import pytest

from minicnn.optimizers import SGD, schedules

ALL = [
    schedules.ExponentialDecay(0.1, 10, 0.5),
    schedules.ExponentialDecay(0.1, 10, 0.5, staircase=True),
    schedules.InverseTimeDecay(0.1, 10, 0.5),
    schedules.PiecewiseConstantDecay([5, 8], [1.0, 0.5, 0.1]),
    schedules.PolynomialDecay(0.1, 10, 0.01, power=2.0),
    schedules.PolynomialDecay(0.1, 10, cycle=True),
    schedules.CosineDecay(0.1, 10, alpha=0.1),
    schedules.CosineDecay(0.0, 10, warmup_target=0.1, warmup_steps=4),
    schedules.CosineDecayRestarts(0.1, 7),
    schedules.CosineDecayRestarts(0.1, 7, t_mul=1, m_mul=0.5, alpha=0.1),
]


@pytest.mark.parametrize("schedule", ALL)
def test_floats_and_configuration(schedule):
    again = schedules.get({"class_name": type(schedule).__name__, "config": schedule.get_config()})
    for step in range(40):
        assert isinstance(schedule(step), float)
        assert again(step) == schedule(step)


def test_exponential():
    assert schedules.ExponentialDecay(0.1, 10, 0.5)(5) == pytest.approx(0.1 * 0.5**0.5)
    assert schedules.ExponentialDecay(0.1, 10, 0.5, staircase=True)(19) == pytest.approx(0.05)


def test_inverse_time():
    assert schedules.InverseTimeDecay(0.1, 10, 0.5)(20) == pytest.approx(0.05)
    assert schedules.InverseTimeDecay(0.1, 10, 1.0, staircase=True)(19) == pytest.approx(0.05)


def test_piecewise_changes_after_the_boundary():
    schedule = schedules.PiecewiseConstantDecay([5, 8], [1.0, 0.5, 0.1])
    assert [schedule(s) for s in (0, 5, 6, 8, 9)] == [1.0, 1.0, 0.5, 0.5, 0.1]


def test_polynomial():
    schedule = schedules.PolynomialDecay(0.1, 10, 0.0, power=2.0)
    assert schedule(5) == pytest.approx(0.025)
    assert schedule(10) == schedule(99) == 0
    cycling = schedules.PolynomialDecay(0.1, 10, 0.0, cycle=True)
    assert cycling(15) == pytest.approx(0.1 * (1 - 15 / 20))


def test_cosine():
    schedule = schedules.CosineDecay(0.1, 10, alpha=0.1)
    assert schedule(0) == pytest.approx(0.1)
    assert schedule(5) == pytest.approx(0.1 * (0.9 * 0.5 + 0.1))
    assert schedule(10) == schedule(50) == pytest.approx(0.01)


def test_cosine_with_warmup():
    schedule = schedules.CosineDecay(0.02, 10, warmup_target=0.1, warmup_steps=4)
    assert schedule(0) == pytest.approx(0.02)
    assert schedule(2) == pytest.approx(0.06)
    assert schedule(4) == pytest.approx(0.1)
    assert schedule(9) == pytest.approx(0.1 * 0.5 * (1 + math.cos(math.pi / 2)))
    assert schedule(14) == pytest.approx(0.0)


@pytest.mark.parametrize("t_mul", [1, 1.5, 2, 3])
@pytest.mark.parametrize("first", [1, 3, 10])
def test_each_period_begins_at_its_peak(t_mul, first):
    schedule = schedules.CosineDecayRestarts(0.5, first, t_mul, m_mul=0.5, alpha=0.25)
    begin = 0
    for period in range(8):
        length = first * t_mul**period
        if begin == int(begin):
            assert schedule(int(begin)) == pytest.approx(0.5 * (0.75 * 0.5**period + 0.25))
        middle = schedule(begin + length / 2)
        assert middle == pytest.approx(0.5 * (0.75 * 0.5 * 0.5**period + 0.25))
        assert schedule(begin + length * (1 - 1e-9)) == pytest.approx(0.125)
        begin += length


def test_errors():
    with pytest.raises(ValueError, match="CosineDecay needs decay_steps above 0; got 0"):
        schedules.CosineDecay(0.1, 0)
    with pytest.raises(ValueError, match="needs first_decay_steps above 0; got 0"):
        schedules.CosineDecayRestarts(0.1, 0)
    with pytest.raises(ValueError, match="t_mul of 1 or above; got 0.5"):
        schedules.CosineDecayRestarts(0.1, 5, 0.5)
    with pytest.raises(ValueError, match="2 values and 2 boundaries"):
        schedules.PiecewiseConstantDecay([1, 2], [0.1, 0.2])
    with pytest.raises(ValueError, match=r"must rise; got \[2, 1\]"):
        schedules.PiecewiseConstantDecay([2, 1], [0.1, 0.2, 0.3])


def test_a_schedule_made_of_the_rate_that_it_replaces():
    optimizer = SGD(0.2)
    optimizer.learning_rate = schedules.ExponentialDecay(optimizer.learning_rate, 1, 0.5)
    assert float(optimizer.learning_rate) == 0.2
    optimizer.iterations = 2
    assert float(optimizer.learning_rate) == 0.05
    optimizer = SGD(0.4)
    optimizer.learning_rate = schedules.PiecewiseConstantDecay([1], [optimizer.learning_rate, 0.1])
    assert float(optimizer.learning_rate) == 0.4
