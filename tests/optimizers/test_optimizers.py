"""One optimizer step on NumPy: formulas, clipping, decay, state, configuration."""

import numpy as np
import pytest
from optimizer_cases import CASES, RULES, FakeWeight, documented_optimizer
from small_problem import X, Y, network

from minicnn import backend, optimizers
from minicnn.optimizers import (
    SGD,
    Adadelta,
    Adagrad,
    Adam,
    Adamax,
    AdamW,
    Lion,
    Nadam,
    Optimizer,
    RMSprop,
    on_host,
    schedules,
)
from minicnn.parallel import threads


def reference_step(o, w, g, slots, lr, t):
    """One step by the formulas of the docstrings, on whole arrays; returns the new weights."""
    if isinstance(o, SGD):
        if not o.momentum:
            return w - lr * g
        slots["m"] = o.momentum * slots.get("m", 0) - lr * g
        return w + (o.momentum * slots["m"] - lr * g if o.nesterov else slots["m"])
    if isinstance(o, RMSprop):
        slots["v"] = o.rho * slots.get("v", 0) + (1 - o.rho) * g**2
        variance = slots["v"]
        if o.centered:
            slots["a"] = o.rho * slots.get("a", 0) + (1 - o.rho) * g
            variance = variance - slots["a"] ** 2
        step = lr * g / np.sqrt(variance + o.epsilon)
        slots["m"] = o.momentum * slots.get("m", 0) + step
        return w - slots["m"]
    if isinstance(o, Adagrad):
        slots["a"] = slots.get("a", o.initial_accumulator_value) + g**2
        return w - lr * g / np.sqrt(slots["a"] + o.epsilon)
    if isinstance(o, Adadelta):
        slots["a"] = o.rho * slots.get("a", 0) + (1 - o.rho) * g**2
        before = slots.get("d", 0)
        step = g * np.sqrt((before + o.epsilon) / (slots["a"] + o.epsilon))
        slots["d"] = o.rho * before + (1 - o.rho) * step**2
        return w - lr * step
    if isinstance(o, Adamax):
        slots["m"] = o.beta_1 * slots.get("m", 0) + (1 - o.beta_1) * g
        slots["u"] = np.maximum(o.beta_2 * slots.get("u", 0), np.abs(g))
        return w - lr / (1 - o.beta_1**t) * slots["m"] / (slots["u"] + o.epsilon)
    if isinstance(o, Nadam):
        slots["m"] = o.beta_1 * slots.get("m", 0) + (1 - o.beta_1) * g
        slots["v"] = o.beta_2 * slots.get("v", 0) + (1 - o.beta_2) * g**2
        u = [o.beta_1 * (1 - 0.5 * 0.96**i) for i in range(1, t + 2)]
        ahead = u[-1] * slots["m"] / (1 - np.prod(u)) + (1 - u[-2]) * g / (1 - np.prod(u[:-1]))
        return w - lr * ahead / (np.sqrt(slots["v"] / (1 - o.beta_2**t)) + o.epsilon)
    if isinstance(o, Lion):
        m = slots.get("m", 0)
        slots["m"] = o.beta_2 * m + (1 - o.beta_2) * g
        return w - lr * np.sign(o.beta_1 * m + (1 - o.beta_1) * g)
    slots["m"] = o.beta_1 * slots.get("m", 0) + (1 - o.beta_1) * g
    slots["v"] = o.beta_2 * slots.get("v", 0) + (1 - o.beta_2) * g**2
    slots["vhat"] = np.maximum(slots.get("vhat", 0), slots["v"]) if o.amsgrad else slots["v"]
    alpha = lr * np.sqrt(1 - o.beta_2**t) / (1 - o.beta_1**t)
    return w - alpha * slots["m"] / (np.sqrt(slots["vhat"]) + o.epsilon)


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("shape", [(), (5,), (3, 4), (7, 11, 13)])
def test_formula(name, shape, monkeypatch):
    monkeypatch.setattr(on_host, "BLOCK", 64)  # (7, 11, 13) takes several blocks
    rng = np.random.default_rng(0)
    optimizer = CASES[name]()
    weight = FakeWeight(np.array(rng.normal(size=shape)))
    expected, slots = weight.value.copy(), {}
    values = weight.value
    for t in range(1, 5):
        g = np.array(rng.normal(size=shape))
        g_before = g.copy()
        decay = optimizer.weight_decay or 0.0
        expected = expected * (1 - decay * optimizer.learning_rate)
        expected = reference_step(optimizer, expected, g, slots, optimizer.learning_rate, t)
        optimizer.apply({weight: g})
        np.testing.assert_allclose(weight.value, expected, rtol=1e-12, atol=1e-14)
        np.testing.assert_array_equal(g, g_before)
    assert weight.value is values  # in place
    assert optimizer.iterations == 4


@pytest.mark.parametrize("name", CASES)
def test_several_threads_make_the_same_step(name, monkeypatch):
    """Each has its own part of a large weight; the bits are those of one thread."""
    monkeypatch.setattr(threads, "_MIN_ELEMENTS_PER_THREAD", 100)
    monkeypatch.setattr(on_host, "BLOCK", 64)
    rng = np.random.default_rng(0)
    start = rng.normal(size=(50, 17)).astype("float32")
    gradients = rng.normal(size=(3, 50, 17)).astype("float32")
    results = []
    for number in "1234":
        monkeypatch.setenv("MINICNN_NUM_THREADS", number)
        optimizer, weight = CASES[name](weight_decay=0.01), FakeWeight(start.copy())
        for gradient in gradients:
            optimizer.apply({weight: gradient})
        results.append([weight.value, *optimizer._slots[weight].values()])
    for others in results[1:]:
        for one, other in zip(others, results[0], strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", CASES)
def test_dtype_kept(name):
    optimizer = CASES[name](weight_decay=0.1, clipnorm=1.0)
    weight = FakeWeight(np.ones((3, 4), "float32"))
    optimizer.apply({weight: np.full((3, 4), 2.0, "float32")})
    assert weight.value.dtype == np.float32
    state = optimizer.state_arrays({weight: "w"})
    assert all(a.dtype == np.float32 for k, a in state.items() if k != "iterations")


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("clip", ["clipnorm", "clipvalue", "global_clipnorm"])
def test_runs_on_a_device_without_transfers(name, clip, strict):
    rng = np.random.default_rng(0)
    value, gradient = rng.normal(size=(2, 3, 4)).astype("float32")
    host, device = FakeWeight(value.copy()), FakeWeight(backend.asarray(value))
    here, there = (CASES[name](weight_decay=0.1, **{clip: 0.5}) for _ in range(2))
    gradient_there = backend.asarray(gradient)
    strict.reset()
    for _ in range(3):
        there.apply({device: gradient_there})
    assert strict.to_host == strict.to_device == 0
    for _ in range(3):
        here.apply({host: gradient})
    # squares are added up in another order
    np.testing.assert_allclose(backend.to_numpy(device.value), host.value, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", [*RULES, "averaged"])
def test_a_step_may_be_left_out(name):
    """As after gradients that are not finite: it is counted, and changes nothing else."""
    rng = np.random.default_rng(0)
    weight, optimizer = FakeWeight(rng.normal(size=5)), CASES[name](weight_decay=0.1)
    assert optimizer.apply({weight: rng.normal(size=5)}, scale=2.0) is True
    before = weight.value.copy()
    state = optimizer.state_arrays({weight: "w"})
    assert optimizer.apply({weight: np.array([1, np.inf, 2, 3, 4])}, scale=2.0) is False
    np.testing.assert_array_equal(weight.value, before)
    after = optimizer.state_arrays({weight: "w"})
    assert after.pop("iterations") == 2 == state.pop("iterations") + 1
    for key, value in state.items():
        np.testing.assert_array_equal(after[key], value)


def test_a_transposed_weight_or_gradient_is_updated_too():
    weight = FakeWeight(np.zeros((4, 3)).T)
    SGD(1.0).apply({weight: np.arange(12.0).reshape(4, 3).T})
    np.testing.assert_array_equal(weight.value, -np.arange(12.0).reshape(4, 3).T)


def test_weight_decay_and_its_exceptions():
    kernel, bias, gamma = (FakeWeight(np.ones(2), n) for n in ("kernel", "bias", "gamma"))
    optimizer = SGD(0.5, weight_decay=0.2)
    optimizer.exclude_from_weight_decay(var_list=[gamma], var_names=["bias"])
    optimizer.apply({w: np.zeros(2) for w in (kernel, bias, gamma)})
    np.testing.assert_allclose(kernel.value, 0.9)
    np.testing.assert_array_equal([bias.value, gamma.value], 1)


def test_clipping():
    a, b = FakeWeight(np.zeros(2)), FakeWeight(np.zeros(2))
    long, short = np.array([3.0, 4.0]), np.array([0.3, 0.4])

    def after(**clip):
        a.value[:] = b.value[:] = 0
        SGD(1.0, **clip).apply({a: long, b: short})
        return -a.value.copy(), -b.value.copy()

    first, second = after(clipnorm=1.0)
    np.testing.assert_allclose(first, [0.6, 0.8])
    np.testing.assert_allclose(second, short)
    first, second = after(clipvalue=0.35)
    np.testing.assert_allclose(first, 0.35)
    np.testing.assert_allclose(second, [0.3, 0.35])
    first, second = after(global_clipnorm=1.0)
    norm = np.sqrt(25.25)
    np.testing.assert_allclose(first, long / norm)
    np.testing.assert_allclose(second, short / norm)


def test_learning_rate():
    optimizer = Adam()
    assert optimizer.learning_rate == 0.001
    optimizer.learning_rate = 0.5
    assert optimizer.learning_rate == 0.5
    weight = FakeWeight(np.zeros(1))
    optimizer = SGD(schedules.PiecewiseConstantDecay([0], [1.0, 0.1]))
    for _ in range(3):
        optimizer.apply({weight: np.ones(1)})
    np.testing.assert_allclose(weight.value, -1.2)
    with pytest.raises(TypeError, match="follows a PiecewiseConstantDecay.*cannot be set to 0.1"):
        optimizer.learning_rate = 0.1
    optimizer.learning_rate = schedules.ExponentialDecay(1.0, 3, 0.5)
    assert optimizer.learning_rate == 0.5


@pytest.mark.parametrize("name", CASES)
def test_saved_state_goes_on_where_it_was(name):
    rng = np.random.default_rng(0)
    gradients = rng.normal(size=(6, 5))
    whole, part = FakeWeight(np.ones(5)), FakeWeight(np.ones(5))
    optimizer, first = CASES[name](), CASES[name]()
    for g in gradients:
        optimizer.apply({whole: g})
    for g in gradients[:3]:
        first.apply({part: g})
    second = CASES[name]()
    resumed = FakeWeight(part.value.copy())
    second.load_state_arrays(first.state_arrays({part: "a/kernel"}), {resumed: "a/kernel"})
    assert second.batches == 3
    for g in gradients[3:]:
        second.apply({resumed: g})
    np.testing.assert_array_equal(resumed.value, whole.value)


def test_bad_state_is_refused_as_a_whole():
    weight = FakeWeight(np.ones(3))
    optimizer = Adam()
    optimizer.apply({weight: np.ones(3)})
    state = optimizer.state_arrays({weight: "w"})
    keys = {FakeWeight(np.ones(3)): "w"}
    for change, message in [
        ({"iterations": None}, "without 'iterations'"),
        ({"momentum/w": None}, r"of w has \['velocity'\]; Adam keeps \['momentum', 'velocity'\]"),
        ({"momentum/w": np.ones(4)}, r"momentum/w has shape \(4,\); the weight has shape \(3,\)"),
    ]:
        bad = {k: v for k, v in {**state, **change}.items() if v is not None}
        fresh = Adam()
        with pytest.raises(ValueError, match=message):
            fresh.load_state_arrays(bad, keys)
        assert fresh.iterations == 0 and fresh.state_arrays(keys).keys() == {"iterations"}


@pytest.mark.parametrize("make", [lambda: SGD(0.1, momentum=0.9), Adam, RMSprop])
def test_averages_of_dead_gradients_never_become_denormal(make):
    optimizer = make()
    weight = FakeWeight(np.ones(4, "float32"))
    optimizer.apply({weight: np.full(4, 1e-3, "float32")})
    zero = np.zeros(4, "float32")
    smallest = np.finfo("float32").smallest_normal
    for _ in range(2000):
        optimizer.apply({weight: zero})
        for key, slot in optimizer.state_arrays({weight: "w"}).items():
            if key != "iterations":
                assert not ((slot != 0) & (np.abs(slot) < smallest)).any()


@pytest.mark.parametrize("name", CASES)
def test_configuration(name):
    optimizer = CASES[name](clipnorm=2.0, name="mine")
    again = optimizers.get(
        {"class_name": type(optimizer).__name__, "config": optimizer.get_config()}
    )
    assert again.get_config() == optimizer.get_config()
    assert again.get_config()["clipnorm"] == 2.0


def test_configuration_of_a_schedule():
    optimizer = Adam(schedules.CosineDecay(0.1, 100, warmup_target=0.2, warmup_steps=10))
    again = Adam.from_config(optimizer.get_config())
    assert again.get_config() == optimizer.get_config()
    again.iterations = optimizer.iterations = 30
    assert again.learning_rate == optimizer.learning_rate


def test_names_and_defaults():
    assert isinstance(optimizers.get("rmsprop"), RMSprop)
    assert isinstance(optimizers.get("RMSprop"), RMSprop)
    assert optimizers.get("adamw").weight_decay == 0.004
    assert optimizers.get("sgd").learning_rate == 0.01
    assert optimizers.get("adam").get_config() == {
        "learning_rate": 0.001,
        "weight_decay": None,
        "clipnorm": None,
        "clipvalue": None,
        "global_clipnorm": None,
        "use_ema": False,
        "ema_momentum": 0.99,
        "ema_overwrite_frequency": None,
        "loss_scale_factor": None,
        "gradient_accumulation_steps": None,
        "name": "adam",
        "beta_1": 0.9,
        "beta_2": 0.999,
        "epsilon": 1e-7,
        "amsgrad": False,
    }


def test_your_own_optimizer():
    class SignSGD(Optimizer):
        def update(self, w, g, slots, learning_rate, scratch):
            w -= learning_rate * np.sign(g)

    weight = FakeWeight(np.zeros(2))
    SignSGD(0.5).apply({weight: np.array([3.0, -4.0])})
    np.testing.assert_array_equal(weight.value, [-0.5, 0.5])


def test_the_optimizer_of_the_documentation():
    optimizer, rng = documented_optimizer()(0.1), np.random.default_rng(0)
    weight, m = FakeWeight(rng.normal(size=(4, 5))), 0
    expected = weight.value.copy()
    for _ in range(3):
        g = rng.normal(size=(4, 5))
        expected -= 0.1 * np.sign(0.9 * m + 0.1 * g)
        m = m + 0.01 * (g - m)
        optimizer.apply({weight: g})
        np.testing.assert_allclose(weight.value, expected, rtol=1e-12)
    np.testing.assert_allclose(optimizer.state_arrays({weight: "w"})["momentum/w"], m, rtol=1e-12)


@pytest.mark.parametrize("library", ["numpy", "strict"])
def test_the_optimizer_of_the_documentation_trains(library):
    backend.set_backend(library)
    model = network(optimizer=documented_optimizer()(0.01, weight_decay=0.01))
    loss = model.fit(X, Y, epochs=12, verbose=0).history["loss"]
    assert loss[-1] < loss[0] / 2
    assert model.evaluate(X, Y, verbose=0)[1] > 0.95


def test_errors():
    with pytest.raises(TypeError, match="RMSprop has no argument 'rate'.*learning_rate.*rho"):
        RMSprop(rate=0.1)
    with pytest.raises(TypeError, match="Adam has no argument 'beta1'; did you mean 'beta_1'"):
        Adam(beta1=0.9)
    with pytest.raises(ValueError, match="one of clipnorm, clipvalue and global_clipnorm"):
        Adam(clipnorm=1.0, clipvalue=1.0)
    with pytest.raises(
        ValueError, match="clipnorm must be a finite number above 0, or None for no limit; got 0"
    ):
        Adam(clipnorm=0)
    with pytest.raises(ValueError, match="0 or above; got -1"):
        SGD(-1)
    with pytest.raises(TypeError, match="a float or a .*got 'fast' of type str"):
        SGD("fast")
    with pytest.raises(ValueError, match="momentum from 0 to 1; got 2"):
        SGD(momentum=2)
    with pytest.raises(ValueError, match="beta_2 from 0 to 1; got 1"):
        Adam(beta_2=1)
    with pytest.raises(ValueError, match="without one, use Adam"):
        AdamW(weight_decay=None)
    with pytest.raises(ValueError, match="unknown optimizer 'adamm'; did you mean 'adam'"):
        optimizers.get("adamm")


def test_names_of_older_scripts():
    optimizer = SGD(0.5)
    optimizer.lr = 0.25
    assert optimizer.learning_rate == optimizer.lr == 0.25
    with pytest.raises(TypeError, match="Adam has no argument 'lr'; say learning_rate"):
        Adam(lr=0.1)
    with pytest.warns(UserWarning, match="decay has no effect.*InverseTimeDecay"):
        SGD(0.1, decay=1e-6)


def test_the_size_of_a_step_may_be_your_own():
    class Halved(SGD):
        def step_size(self, learning_rate):
            return learning_rate / 2

    weight = FakeWeight(np.zeros(3))
    Halved(1.0).apply({weight: np.ones(3)})
    np.testing.assert_array_equal(weight.value, -0.5)


def test_one_name_excludes_from_decay_as_several_do():
    weights = [FakeWeight(np.ones(2), name) for name in ("bias", "gamma", "kernel")]
    for names, expected in (("bias", [1, 0.5, 0.5]), (["bias", "gamma"], [1, 1, 0.5])):
        for weight in weights:
            weight.value[...] = 1
        optimizer = SGD(0.5, weight_decay=1.0)
        optimizer.exclude_from_weight_decay(var_names=names)
        optimizer.apply({weight: np.zeros(2) for weight in weights})
        assert [weight.value[0] for weight in weights] == expected
