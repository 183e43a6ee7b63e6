"""The profile on a GPU: its clock, its peaks, and how near each layer comes to them."""

from types import SimpleNamespace

import numpy as np
import pytest
import strict_backend
from profiled import Sleeper, chain, device_profile, limits, quiet
from small_problem import X

from minicnn import Input, Sequential, mixed_precision
from minicnn.layers import Conv2D, Dense, Dropout, Flatten, GlobalAveragePooling2D, Layer
from minicnn.profiler import clocks, product_peak, profile_model, roofline


def test_the_peak_of_a_matrix_product():
    assert product_peak(seconds=0.01) > 0
    assert product_peak("float64", threads=2, seconds=0.01) > 0


def test_the_peak_in_other_dtypes():
    for dtype in ("float16", "bfloat16"):
        if dtype == "bfloat16":
            pytest.importorskip("ml_dtypes")
        assert product_peak(dtype, seconds=1e-9) > 0


def test_on_a_device_without_events(strict, monkeypatch):
    monkeypatch.setattr(clocks.backend, "_tensor_float_32", False)
    layers = [Conv2D(4, 3), Sleeper(name="sleeper"), Dropout(0.5), GlobalAveragePooling2D()]
    model = Sequential([Input((8, 8, 3)), *layers])
    profile = profile_model(model, X, batch_size=4, repeats=1)
    assert profile.rows[0].bytes_kept >= 4 * 4 * 8 * 8 * 3
    sleeper = profile.rows[1]
    assert sleeper.forward_seconds >= 0.01 and sleeper.backward_launch_seconds >= 0.02
    assert profile.launch_seconds >= 0.03
    assert profile.limits.bandwidth > 0 and profile.limits.peaks == {"float32": 10.0}
    assert not profile.limits.tensor_float_32 and "products: float32 0.0 TF" in str(profile)
    monkeypatch.setattr(clocks.backend, "_tensor_float_32", True)
    again = profile_model(model, X, batch_size=4, repeats=1)
    assert "products: float32 as TF32 0.0 TF" in str(again)
    with pytest.raises(ValueError, match="on a GPU threads must be 1, not 2"):
        profile_model(model, X, batch_size=4, threads=2)


def test_the_peak_of_float32_is_that_of_tf32_where_it_is_enabled(strict, monkeypatch):
    """CuPy's own products follow another switch, which is put back."""
    seen, switch = [], {"float32": 4}
    linalg = SimpleNamespace(
        COMPUTE_TYPE_DEFAULT=1, COMPUTE_TYPE_TF32=7,
        get_compute_type=switch.get, set_compute_type=switch.__setitem__,
    )  # fmt: skip
    module, multiply = strict_backend.module, strict_backend.module.matmul

    def matmul(a, b, out=None):
        seen.append(switch["float32"])
        return multiply(a, b, out=out)

    monkeypatch.setattr(module, "_core", SimpleNamespace(_routines_linalg=linalg), raising=False)
    cuda = FakeCuda()
    cuda.runtime = SimpleNamespace(is_hip=False)
    monkeypatch.setattr(module, "cuda", cuda, raising=False)
    monkeypatch.setattr(clocks, "current_clock", clocks.WallClock)
    monkeypatch.setattr(module, "matmul", matmul)
    for enabled, wanted in ((True, 7), (False, 1)):
        monkeypatch.setattr(clocks.backend, "_tensor_float_32", enabled)
        product_peak(seconds=1e-9)
        assert set(seen) == {wanted} and switch == {"float32": 4}
        seen.clear()
    cuda.runtime.is_hip = True
    product_peak(seconds=1e-9)
    assert set(seen) == {4}


class FakeCuda:
    """A GPU's events, whose clock goes on when a test says so.

    Attributes:
        log: what went into the queue, and "wait" where the host waited.
    """

    def __init__(self):
        self.milliseconds = 0.0
        self.log = []

    def work(self, name, milliseconds):
        self.log.append(name)
        self.milliseconds += milliseconds

    def Event(self):  # noqa: N802 - CuPy's name
        return FakeEvent(self)

    def get_elapsed_time(self, start, end):
        return end.milliseconds - start.milliseconds


class FakeEvent:
    def __init__(self, cuda):
        self._cuda = cuda

    def record(self):
        self.milliseconds = self._cuda.milliseconds

    def synchronize(self):
        self._cuda.log.append("wait")


@pytest.fixture
def cuda(strict, monkeypatch):
    fake = FakeCuda()
    monkeypatch.setattr(strict_backend.module, "cuda", fake, raising=False)
    monkeypatch.setattr(clocks.Copies, "_copy", lambda self: fake.work("copy", 0.5))
    return fake


def test_events_tell_the_time_of_a_device(cuda):
    class Works(Layer):
        def forward(self, x, ctx):
            cuda.work("forward", 2.0)
            return x + 1

        def backward(self, dy, ctx):
            cuda.work("backward", 5.0)
            return dy + 1

    model = Sequential([Input((4,)), Dense(4), Works(name="works"), Dense(2)])
    profile = profile_model(model, np.ones((8, 4), "float32"), repeats=3)
    times = [(row.forward_seconds, row.backward_seconds) for row in profile.rows]
    assert times == [(0, 0), pytest.approx((0.002, 0.005)), (0, 0)]
    assert profile.seconds == pytest.approx(0.007) and profile.seconds_between == 0
    assert all(row.forward_launch_seconds > 0 for row in profile.rows)
    bandwidth = 2 * clocks.COPY_BYTES / 0.0005 / 1e9
    assert profile.limits.bandwidth == pytest.approx(bandwidth)
    # busy before each half of a pass, in which nobody waits
    log = cuda.log[cuda.log.index("copy") :]
    for k in [k for k, name in enumerate(log) if name == "backward"][1:4]:
        before = [name for name in log[:k] if name != "wait"]
        assert before[-1] == "copy"
        place = len(log[:k]) - log[:k][::-1].index("forward")
        assert set(log[place:k]) == {"copy"}
        assert log[place - 2] == "copy"


def test_the_bytes_that_a_layer_has_to_move(strict):
    """Inputs, outputs and weights; what is only handed on counts nothing."""
    n = 6
    model = Sequential(
        [
            Input((8, 8, 3)),
            Conv2D(5, 3, name="conv"),
            Flatten(name="flat"),
            Dense(7, name="fixed", trainable=False),
            Dense(4, name="head"),
        ],
    )
    rows = {r.name: r for r in profile_model(model, X, batch_size=n, repeats=1).rows}
    x, y, w = n * 8 * 8 * 3, n * 6 * 6 * 5, 3 * 3 * 3 * 5 + 5
    assert rows["conv"].forward_bytes == 4 * (x + y + w)
    assert rows["conv"].backward_bytes == 4 * (y + x + w)  # dy, x, dw: no dx of images
    assert rows["flat"].forward_bytes == rows["flat"].backward_bytes == 0
    fixed = 180 * 7 + 7
    assert rows["fixed"].forward_bytes == 4 * (n * (180 + 7) + fixed)
    head = 7 * 4 + 4
    assert rows["head"].forward_bytes == 4 * (n * (7 + 4) + head)
    assert rows["head"].backward_bytes == 4 * (n * (4 + 7 + 7) + 2 * head)  # dy, dx, x; dw, w
    assert {r.dtype for r in rows.values()} == {"float32"}


def test_work_in_place_moves_bytes(strict):
    """ReLU and bias behind a max-pooling are done in place."""
    rows = quiet(chain(), batch_size=2).rows
    conv = 2 * (8 * 8 * 3 + 6 * 6 * 5 + 2 * 3 * 3 * 5) + 3 * 3 * 3 * 5 + 5
    assert rows[0].name == "conv" and rows[0].forward_bytes == 4 * conv


def test_the_nearer_of_two_limits():
    profile = device_profile()
    forward, backward = profile.phases(profile.rows[0])
    assert forward.bandwidth == pytest.approx(500) and forward.gflops == pytest.approx(1000)
    assert forward.memory_seconds == pytest.approx(0.002)
    assert forward.product_seconds == pytest.approx(0.001)
    assert (forward.nearer_limit, forward.least_seconds) == ("memory", pytest.approx(0.002))
    assert (backward.nearer_limit, backward.least_seconds) == ("products", pytest.approx(0.004))
    (flat,) = profile.phases(profile.rows[1])
    assert (flat.bandwidth, flat.gflops, flat.nearer_limit, flat.least_seconds) == (
        None,
        None,
        "",
        0,
    )
    assert profile.least_seconds == pytest.approx(0.006)
    assert profile.peak_share(profile.rows[0]) == pytest.approx(20 / 12 / 4)


def test_each_dtype_is_held_against_its_own_peak():
    phase = roofline.Phase("forward", 1.0, 0.0, 0, 9 * 10**12, "float16", limits())
    assert phase.product_seconds == pytest.approx(2.0)


def test_the_table_of_a_device():
    lines = str(device_profile()).splitlines()
    assert lines[0] == "Profile of 'net': forward and backward of 32 images, GPU"
    assert lines[2].split() == "Of Launch Of Of Nearer".split()
    header = "Layer (type) Pass ms time ms MB GB/s copy TFLOP/s peak limit"
    assert " ".join(lines[3].split()) == header
    forward = "conv (Conv2D) forward 4.000 25% 1.000 2,000 500 50% 1.00 25% memory"
    assert " ".join(lines[5].split()) == forward
    assert lines[6].startswith("  im2col")
    backward = "im2col backward 8.000 50% 2.000 1,000 125 12% 2.00 50% products"
    assert " ".join(lines[6].split()) == backward
    assert " ".join(lines[7].split()) == "flatten forward 1.000 6% 0.000"
    assert lines[9:] == [
        "Time: forward 5.000 ms + backward 8.000 ms + between layers 3.000 ms = 16.000 ms, "
        "2,000 images/s",
        "The host launches the kernels one by one in 2.000 ms",
        "Limits: copy 1,000 GB/s; products: float32 4.0 TFLOP/s, float16 9.0 TFLOP/s",
        "Every pass at its nearer limit: 6.000 ms",
        "Kept for backward: 7.00 MB",
    ]
    waiting = str(device_profile(launch_seconds=0.02))
    assert "one by one in 20.000 ms; the GPU would wait for it" in waiting
    tf32 = limits(tensor_float_32=True)
    assert (tf32.precision("float32"), tf32.precision("float16")) == ("float32 as TF32", "float16")


def test_16_bits_on_a_device(strict):
    class Scale(Layer):
        def build(self, input_shape):
            self.s = self.add_weight("s", (input_shape[-1],), "ones")

        def forward(self, x, ctx):
            ctx.save(x)
            return (x * self.s.value).astype(x.dtype)

        def backward(self, dy, ctx):
            (x,) = ctx.saved
            ctx.add_gradient(self.s, (x * dy).sum(axis=0).astype("float32"))
            return (dy * self.s.value).astype(dy.dtype)

        def multiply_adds(self, input_shape):
            return input_shape[-1]

    mixed_precision.set_global_policy("mixed_float16")
    try:
        model = Sequential([Input((4,)), Scale(), Scale(name="second")])
    finally:
        mixed_precision.set_global_policy(None)
    profile = profile_model(model, np.ones((8, 4), "float32"), repeats=1)
    assert {row.dtype for row in profile.rows} == {"float16"}
    assert profile.limits.peaks == {"float16": 10.0}
    second = profile.rows[1]
    assert second.forward_bytes == 2 * 8 * (4 + 4) + 4 * 4  # x, y; the weights of 32 bits
    assert second.backward_bytes == 2 * 8 * (4 + 4 + 4) + 2 * 4 * 4  # dy, dx, x; ds, s
