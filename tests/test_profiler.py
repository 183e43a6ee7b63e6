"""The profile of a step: every layer has its row, the figures add up, the model stays as it was."""

import time
from types import SimpleNamespace

import numpy as np
import pytest
import strict_backend

from minicnn import Input, Model, Sequential, backend, mixed_precision
from minicnn.context import Context
from minicnn.layers import (
    Add,
    BatchNormalization,
    Concatenate,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAveragePooling2D,
    Layer,
    MaxPooling2D,
)
from minicnn.profiler import (
    LayerProfile,
    Observer,
    Profile,
    clocks,
    observer,
    product_peak,
    profile_model,
    roofline,
)
from minicnn.utils import set_random_seed
from tests.small_problem import X, Y, network


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """The peak is measured in one test only, and copies are small."""
    monkeypatch.setattr(observer, "product_peak", lambda dtype, threads=1: 10.0)
    monkeypatch.setattr(clocks, "COPY_BYTES", 1 << 12)


CONV = 6 * 6 * 5 * (3 * 3 * 3)  # multiply-adds of one image: 6x6 places, 5 filters, 3x3x3 taps


def quiet(model, x=X, **arguments):
    return model.profile(
        x, **{"batch_size": 16, "repeats": 2, "print_fn": lambda _: None} | arguments
    )


def chain(**first):
    return Sequential(
        [
            Input((8, 8, 3)),
            Conv2D(5, 3, activation="relu", name="conv", **first),
            MaxPooling2D(2, name="pool"),
            Conv2D(4, 2, name="second"),
            Flatten(name="flat"),
            Dense(10, name="head"),
        ],
        name="small",
    )


class Sleeper(Layer):
    """Does nothing, but takes its time."""

    def forward(self, x, ctx):
        time.sleep(0.01)
        return x

    def backward(self, dy, ctx):
        time.sleep(0.02)
        return dy


def test_a_row_for_each_layer_in_order():
    profile = quiet(chain())
    assert [r.name for r in profile.rows] == ["conv", "pool", "second", "flat", "head"]
    assert [r.type for r in profile.rows] == "Conv2D MaxPooling2D Conv2D Flatten Dense".split()
    assert [r.output_shape for r in profile.rows][:2] == ["(n, 6, 6, 5)", "(n, 3, 3, 5)"]
    assert profile.images == 16 and profile.threads == 1


def test_multiply_adds_of_both_gradients():
    rows = {r.name: r for r in quiet(chain()).rows}
    assert rows["conv"].forward_multiply_adds == 16 * CONV
    assert rows["conv"].backward_multiply_adds == 16 * CONV  # nobody needs the images' gradient
    assert rows["head"].forward_multiply_adds == 16 * 16 * 10
    assert rows["head"].backward_multiply_adds == 2 * 16 * 16 * 10
    assert rows["pool"].multiply_adds == 0 and rows["pool"].gflops is None


def test_multiply_adds_that_the_algorithm_makes():
    """By im2col those of the definition; by Winograd those of its products and transforms."""
    layers = [
        Conv2D(6, 3, padding="same", algorithm=name, name=name, input_shape=(8, 8, 4))
        for name in ("im2col", "winograd")
    ]
    model = Sequential([layers[0], Conv2D(4, 1), layers[1], Flatten(), Dense(3)])
    rows = {r.name: r for r in quiet(model, np.ones((5, 8, 8, 4), "float32")).rows}
    assert rows["im2col"].multiply_adds_made == rows["im2col"].multiply_adds
    # 4 tiles an image: 36 C F in the products, 36 (36 C + 16 F) in the transforms; those of the
    # kernel are shared by the 128 images of a usual batch
    products = 4 * 36 * 4 * 6
    transforms = 4 * 36 * (36 * 4 + 16 * 6) + 36 * 9 * 4 * 6 / 128
    made = 5 * (3 * products + 2 * transforms)
    assert rows["winograd"].multiply_adds_made == pytest.approx(made)


def test_frozen_layers_need_one_gradient_or_none():
    model = chain(trainable=False)
    model.get_layer("head").trainable = False
    rows = {r.name: r for r in quiet(model).rows}
    assert rows["conv"].backward_multiply_adds == 0 and rows["conv"].backward_seconds == 0
    assert rows["head"].backward_multiply_adds == rows["head"].forward_multiply_adds
    assert rows["second"].backward_multiply_adds == rows["second"].forward_multiply_adds


def test_the_figures_add_up():
    profile = quiet(chain())
    layers = sum(r.forward_seconds + r.backward_seconds for r in profile.rows)
    assert profile.seconds == pytest.approx(layers + profile.seconds_between)
    assert profile.multiply_adds == sum(r.multiply_adds for r in profile.rows)
    head = profile.rows[-1]
    assert head.gflops == pytest.approx(2 * 3 * 16 * 160 / head.seconds / 1e9)
    assert profile.peak_share(head) == pytest.approx(head.gflops / profile.peak)
    assert profile.peak_share(profile.rows[1]) is None


@pytest.mark.cpu_only("sleeping takes no time on a GPU")
def test_a_slow_layer_shows():
    model = Sequential([Input((4,)), Dense(4), Sleeper(name="sleeper"), Dense(2)])
    row = quiet(model, np.ones((4, 4))).rows[1]
    assert row.forward_seconds >= 0.01 and row.backward_seconds >= 0.02


@pytest.mark.cpu_only("about threads of the CPU")
def test_a_slow_layer_in_two_threads():
    model = Sequential([Input((4,)), Dense(4), Sleeper(name="sleeper"), Dense(2)])
    profile = quiet(model, np.ones((4, 4)), threads=2)
    assert profile.rows[1].forward_seconds >= 0.01  # of one thread, not half of it
    assert profile.threads == 2 and profile.rows[0].forward_multiply_adds == 4 * 16


@pytest.mark.cpu_only("what is kept differs on a GPU")
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_bytes_kept_for_backward(threads):
    x = Input((6,))
    a = Dense(8, activation="sigmoid", name="a")(x)
    profile = quiet(Model(x, Dense(3, name="b")(a)), np.ones((12, 6)), threads=threads)
    a_row, b_row = profile.rows
    assert a_row.bytes_kept == 4 * 12 * (6 + 8)  # its input, and the output for the derivative
    assert b_row.bytes_kept == 4 * 12 * 8
    assert profile.bytes_kept == 4 * 12 * (6 + 8)  # b's input is a's output


def test_inner_records_and_reshaped_views_count_once():
    class Block(Layer):
        def forward(self, x, ctx):
            ctx.save([x, {"again": x.reshape(-1)}, None, 3])
            ctx.child("inner").save(x + 1)
            return x

        def backward(self, dy, ctx):
            return dy

    model = Sequential([Input((4,)), Dense(5, name="first"), Block(name="block")])
    row = quiet(model, np.ones((2, 4), "float32")).rows[1]
    assert row.bytes_kept == 2 * (4 * 2 * 5)


def test_branches_and_several_inputs_and_outputs():
    a, b = Input((4,)), Input((3,))
    h = Dense(3, name="h")(a)
    shared = Dense(3, name="shared")
    end = Concatenate(name="cat")([Add(name="sum")([shared(h), b]), shared(b)])
    model = Model([a, b], [Dense(2, name="left")(end), h])
    profile = quiet(model, [np.ones((8, 4)), np.ones((8, 3))])
    assert sorted(r.name for r in profile.rows) == "cat h left shared shared sum".split()
    shared_rows = [r for r in profile.rows if r.name == "shared"]
    assert sorted(r.backward_multiply_adds for r in shared_rows) == [8 * 9, 2 * 8 * 9]


def test_nested_models_give_their_layers():
    inner = Sequential([Input((4,)), Dense(4, name="one"), Dense(4, name="two")], name="inner")
    x = Input((4,))
    profile = quiet(Model(x, inner(inner(x))), np.ones((8, 4)))
    assert [r.name for r in profile.rows] == ["inner/one", "inner/two"]
    assert sum(r.forward_multiply_adds for r in profile.rows) == 2 * 8 * (16 + 16)
    one = profile.rows[0]
    assert one.backward_multiply_adds == 8 * 16 * (1 + 2)  # no dx in the first of its two calls


def test_a_softmax_that_the_loss_takes_over_is_left_out():
    class Probe(Dense):
        def forward(self, x, ctx):
            seen.append(ctx.wants_logits)
            return super().forward(x, ctx)

    seen = []
    model = Sequential([Input((4,)), Probe(3, activation="softmax")])
    quiet(model, np.ones((2, 4)), repeats=1)
    assert set(seen) == {False}
    seen.clear()
    model.compile("adam", "sparse_categorical_crossentropy")
    quiet(model, np.ones((2, 4)), repeats=1)
    assert set(seen) == {True}


def test_nothing_that_training_sees_is_changed():
    def trained(profiled):
        set_random_seed(3)
        model = network(extra=[BatchNormalization(), Dropout(0.3, seed=5), Dropout(0.3)])
        model.fit(X, Y, epochs=1, verbose=0)
        before = model.get_weights()
        if profiled:
            quiet(model, repeats=1)
            for old, new in zip(before, model.get_weights(), strict=True):
                np.testing.assert_array_equal(old, new)
        model.fit(X, Y, epochs=1, verbose=0)
        return model.get_weights()

    for a, b in zip(trained(False), trained(True), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_table():
    shapes = "(n, 8, 8, 4)", "(n, 256)"
    rows = [
        LayerProfile(
            "conv2d_1",
            "Conv2D",
            shapes[0],
            "im2col",
            0.002,
            0.004,
            10**6,
            10**6,
            5 * 10**6,
            multiply_adds_made=1.5e6,
        ),
        LayerProfile("last", "Flatten", shapes[1], "", 0.001, 0.001, 0, 0, 0, 0),
    ]
    profile = Profile("net", "float32", rows, 100, 2, 10.0, 4_000_000, seconds_between=0.002)
    lines = str(profile).splitlines()
    assert lines[0] == "Profile of 'net': a step on 100 images, 2 threads"
    headers = "Layer (type) Output shape Algorithm Multiply-adds Forward ms GFLOP/s Backward ms "
    assert " ".join(lines[2].split()) == headers + "GFLOP/s Of time Of peak Kept MB"
    conv = "conv2d_1 (n, 8, 8, 4) im2col 10,000 2.00 1.0 4.00 0.5 60% 7% 5.00"
    assert lines[4].split() == conv.split()
    assert lines[5].split() == "last (Flatten) (n, 256) 1.00 1.00 20% 0.00".split()
    assert lines[7] == (
        "Time: forward 3.00 ms + backward 5.00 ms + between layers 2.00 ms = 10.00 ms, "
        "10,000 images/s"
    )
    assert lines[8] == (
        "Rate: 0.4 GFLOP/s; peak of a float32 matrix product on 2 threads: 10.0 GFLOP/s"
    )
    assert lines[9] == "Products of the algorithms at that peak, and nothing else: 0.30 ms"
    assert lines[10] == "Kept for backward: 4.00 MB"
    assert len(lines[1]) == len(lines[2]) == len(lines[4]) == len(lines[5])


def test_profile_prints_and_returns(capsys):
    profile = chain().profile(X, batch_size=4, repeats=1)
    assert isinstance(profile, Profile)
    assert capsys.readouterr().out == str(profile) + "\n"


def test_the_algorithm_is_the_layers_own_word():
    class Named(Dense):
        def algorithm_for(self, input_shape):
            return f"by hand {input_shape}"

    profile = quiet(Sequential([Input((4,)), Named(3), Dense(2)]), np.ones((2, 4)))
    assert [r.algorithm for r in profile.rows] == ["by hand (None, 4)", ""]


def test_batches_are_the_first_images():
    assert quiet(chain(), X[:7]).images == 7
    assert quiet(chain(), X, batch_size=9).images == 9


def test_float64():
    model = Sequential([Input((4,)), Dense(3, dtype="float64")], dtype="float64")
    profile = quiet(model, np.ones((2, 4)))
    assert profile.dtype == "float64" and " float64 " in str(profile)


@pytest.mark.parametrize(
    "arguments, text",
    [
        ({"repeats": 0}, "repeats must be an integer above 0, not 0"),
        ({"batch_size": 0}, "batch_size must be an integer above 0"),
        ({"threads": 1.5}, "threads must be an integer above 0, not 1.5"),
        ({"threads": 9, "batch_size": 8}, "threads=9, but there are 8 images"),
        ({"x": X[:, :5]}, r"Sequential 'small' takes inputs of shape \(n, 8, 8, 3\); got"),
        ({"x": X[:0]}, "x holds no images"),
    ],
)
def test_arguments_that_do_not_fit(arguments, text):
    with pytest.raises(ValueError, match=text):
        quiet(chain(), **arguments)


def test_models_that_cannot_be_timed():
    with pytest.raises(ValueError, match="Sequential 's' is not built: the input's shape"):
        quiet(Sequential([Dense(3)], name="s"))
    x = Input((3,))
    with pytest.raises(ValueError, match="Model 'm' has no layers to time"):
        quiet(Model(x, x, name="m"), np.ones((2, 3)))


def test_an_error_in_a_layer_comes_out_and_leaves_seeds_alone():
    class Fails(Layer):
        def compute_output_shape(self, input_shape):
            return input_shape

        def forward(self, x, ctx):
            raise RuntimeError("from the layer")

        def backward(self, dy, ctx):
            return dy

    dropout = Dropout(0.5, seed=1)
    dropout.draw(Context(True), 3)
    model = Sequential([Input((4,)), Dense(4), dropout, Fails()])
    with pytest.raises(RuntimeError, match="from the layer"):
        quiet(model, np.ones((2, 4)))
    generator = backend.random_generator([1, 0])
    generator.random(3, dtype="float32")
    expected = generator.random(3, dtype="float32")
    np.testing.assert_array_equal(dropout.draw(Context(True), 3), expected)


@pytest.mark.cpu_only("the passes are given NumPy arrays")
def test_an_observer_adds_nothing_to_the_numbers():
    model = network(extra=[BatchNormalization()])
    observer = Observer()
    plain, seen = Context(training=True), Context(training=True, observer=observer)
    y, y_seen = model.forward(X, plain), model.forward(X, seen)
    np.testing.assert_array_equal(y, y_seen)
    np.testing.assert_array_equal(model.backward(y, plain), model.backward(y, seen))
    phases = [call.phase for call in observer.calls]
    assert phases == ["forward"] * 4 + ["backward"] * 4
    assert [c.node for c in observer.calls[:4]] == [c.node for c in observer.calls[:3:-1]]


def test_the_peak_of_a_matrix_product():
    assert product_peak(seconds=0.01) > 0
    assert product_peak("float64", threads=2, seconds=0.01) > 0


def test_the_peak_in_other_numbers():
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


def limits(**changes):
    given = {"device": "GPU", "bandwidth": 1000.0, "peaks": {"float32": 4000.0, "float16": 9000.0}}
    return roofline.Limits(**given | changes)


def device_profile(**changes):
    """conv: forward 2 GB, 4e9 operations; backward 1 GB, 16e9."""
    conv = LayerProfile(
        "conv", "Conv2D", "(n, 8)", "im2col", 0.004, 0.008, 2 * 10**9, 8 * 10**9, 7, 1e9,
        forward_bytes=2 * 10**9, backward_bytes=10**9,
        forward_launch_seconds=0.001, backward_launch_seconds=0.002,
    )  # fmt: skip
    flat = LayerProfile("flatten", "Flatten", "(n, 64)", "", 0.001, 0.0, 0, 0, 0, 0)
    given = {"bytes_kept": 7 * 10**6, "seconds_between": 0.003, "launch_seconds": 0.002}
    rows = [conv, flat]
    return roofline.DeviceProfile("net", "float32", rows, 32, limits(), **given | changes)


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
    assert lines[0] == "Profile of 'net': a step on 32 images, GPU"
    header = "Layer (type) Output shape Algorithm Pass ms Of time Launch ms MB GB/s Of copy TFLOP/s"
    assert " ".join(lines[2].split()) == header + " Of peak Nearer limit"
    forward = "conv (Conv2D) (n, 8) im2col forward 4.000 25% 1.000 2,000.00 500 50% 1.00 25% memory"
    assert " ".join(lines[4].split()) == forward
    backward = "backward 8.000 50% 2.000 1,000.00 125 12% 2.00 50% products"
    assert " ".join(lines[5].split()) == backward
    assert " ".join(lines[6].split()) == "flatten (n, 64) forward 1.000 6% 0.000"
    assert lines[8:] == [
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


def test_the_picture_of_a_device(tmp_path):
    figure = device_profile().plot(tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert figure.get_suptitle() == "net: 32 images, GPU"
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.texts] == ["50% of memory and products"]
    (line,) = [c for c in axes.collections if c.get_label() == "at the nearer limits"]
    ((top, bottom),) = line.get_segments()
    assert top[0] == bottom[0] == pytest.approx(6.0)
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["at the nearer limits", "forward", "backward"]


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
