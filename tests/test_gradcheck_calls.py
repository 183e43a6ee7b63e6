"""gradcheck finds layers that a model cannot run on parts of a batch."""

import re

import numpy as np
import pytest
from across_images import Centre, Mixed

from minicnn import Input, Sequential, gradcheck
from minicnn.backend import array_module
from minicnn.gradcheck import GradientCheckError
from minicnn.layers import (
    BatchNormalization,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    Layer,
    MaxPooling2D,
    RandomFlip,
)

SAY = (
    r"A model cuts a batch into parts and calls the layer with each alone; write "
    r"`whole_batch = True` in class {}, and it is called with all images of the batch at once"
)
KEEP = (
    r"when forward is called once more in between, so the layer keeps something of a call on "
    r"itself\. .* hand what backward needs to ctx\.save\(\.\.\.\) in forward and read ctx\.saved "
    r"in backward"
)


class ByLargest(Layer):
    """Only the image with the largest number knows nothing of the others."""

    def forward(self, x, ctx):
        largest = abs(x).max()
        ctx.save(x, largest)
        return x / largest

    def backward(self, dy, ctx):
        x, largest = ctx.saved
        dx = dy / largest
        at = np.unravel_index(int(abs(x).argmax()), x.shape)
        dx[at] -= (dy * x).sum() / largest**2 * np.sign(x[at])
        return dx


class RunningSum(Layer):
    def forward(self, x, ctx):
        return x.cumsum(0)

    def backward(self, dy, ctx):
        return dy[::-1].cumsum(0)[::-1]


class ByNumber(Layer):
    """Depends on how many images there are, not on which."""

    def forward(self, x, ctx):
        return x / len(x)

    def backward(self, dy, ctx):
        return dy / len(dy)


class Second(Layer):
    """Two inputs; the second one is centred."""

    def forward(self, xs, ctx):
        return xs[0] + xs[1] - xs[1].mean(0)

    def backward(self, dy, ctx):
        return [dy, dy - dy.mean(0)]


ACROSS = [Centre, ByLargest, RunningSum, ByNumber, Mixed]


@pytest.mark.cpu_only("layers made of NumPy's functions")
@pytest.mark.parametrize("layer", ACROSS)
@pytest.mark.parametrize("images", [2, 3, 8])
def test_a_layer_that_looks_across_images_has_to_say_so(layer, images):
    with pytest.raises(GradientCheckError) as caught:
        gradcheck(layer(name="a"), input_shape=(4, 2), batch_size=images)
    assert re.fullmatch(
        rf"{layer.__name__} 'a': what forward makes of image \d depends on the other images of the "
        rf"batch \(it changes by up to \d\.\de[-+]\d\d\)\. " + SAY.format(layer.__name__),
        str(caught.value),
    )

    class Says(layer):
        whole_batch = True

    assert gradcheck(Says(), input_shape=(4, 2), batch_size=images).max_error < 1e-6


@pytest.mark.parametrize("layer", [Centre, ByNumber])
def test_one_image_is_enough_to_find_that(layer):
    with pytest.raises(GradientCheckError, match=SAY.format(layer.__name__)):
        gradcheck(layer(), np.ones((1, 3)))


def test_of_several_inputs_each_is_looked_at():
    with pytest.raises(GradientCheckError, match=SAY.format("Second")):
        gradcheck(Second(), input_shape=[(3,), (3,)])


def test_a_layer_for_so_many_images_alone():
    class Three(Layer):
        def forward(self, x, ctx):
            return x.reshape(3, -1).reshape(x.shape)

        def backward(self, dy, ctx):
            return dy

    with pytest.raises(
        GradientCheckError,
        match=r"forward works on 3 images, but not on 1 of them alone \(ValueError: .*\)\. "
        + SAY.format("Three"),
    ):
        gradcheck(Three(), input_shape=(4,))


def test_a_result_without_an_axis_of_images():
    class Mean(Layer):
        def forward(self, x, ctx):
            ctx.save(x.shape)
            return x.mean(0)

        def backward(self, dy, ctx):
            (shape,) = ctx.saved
            return array_module(dy).broadcast_to(dy / shape[0], shape).copy()

    with pytest.raises(
        GradientCheckError,
        match=r"an array of shape \(5,\) out of 3 images; the first axis of what a layer makes is "
        r"that of the images",
    ):
        gradcheck(Mean(), input_shape=(5,))


class Square(Layer):
    """y = s x x; `kept` says what of a call is on the layer, and not in ctx."""

    def __init__(self, kept, **kwargs):
        super().__init__(**kwargs)
        self.kept = kept

    def build(self, input_shape):
        self.s = self.add_weight("s", (), "ones")

    def forward(self, x, ctx):
        if self.kept == "if recorded" and not ctx.record:
            return self.s.value * x * x
        self.x, self.ctx, self.largest = x, ctx, abs(x).max()
        ctx.save(x, self.largest)
        return self.s.value * x * x

    def backward(self, dy, ctx):
        x, largest = (self.ctx if self.kept == "ctx" else ctx).saved
        if self.kept in ("x", "if recorded"):
            x = self.x
        if self.kept == "a number":
            dy = dy * (self.largest / largest)
        ctx.add_gradient(self.s, (dy * (self.x if self.kept == "x of s" else x) ** 2).sum())
        return 2 * dy * self.s.value * x


def test_what_is_not_read_again_may_lie_on_the_layer():
    assert gradcheck(Square(None), input_shape=(4,)).max_error < 1e-6


@pytest.mark.parametrize("kept", ["x", "ctx", "x of s", "if recorded", "a number"])
@pytest.mark.parametrize("images", [1, 3])
def test_a_layer_that_keeps_the_call_on_itself(kept, images):
    with pytest.raises(GradientCheckError) as caught:
        gradcheck(Square(kept, name="a"), input_shape=(4,), batch_size=images)
    what = r"(backward fails \(ValueError: .*\)|backward gives another gradient of (x|s))"
    assert re.fullmatch(rf"Square 'a': {what} {KEEP}", str(caught.value))


@pytest.mark.parametrize("kept", ["x", "a number"])
def test_a_layer_of_the_whole_batch_keeps_nothing_either(kept):
    class OfTheBatch(Square):
        whole_batch = True

    with pytest.raises(GradientCheckError, match=f"another gradient of s {KEEP}|of x {KEEP}"):
        gradcheck(OfTheBatch(kept), input_shape=(4,))


def test_a_layer_that_hands_out_its_own_memory():
    class Doubled(Layer):
        y = np.empty(0)

        def forward(self, x, ctx):
            if self.y.shape != x.shape:
                self.y = x.copy()
            self.y[...] = 2 * x
            return self.y

        def backward(self, dy, ctx):
            return 2 * dy

    with pytest.raises(
        GradientCheckError,
        match=r"what forward has returned changes when forward is called once more in between, .*: "
        r"make a new array for what forward returns",
    ):
        gradcheck(Doubled(), input_shape=(4,))


def test_a_layer_within_a_model_is_named():
    """Also beside a layer that looks across images and says so."""
    layers = [Conv2D(3, 3), BatchNormalization()]
    inner = Sequential([Input((4, 4, 3)), Centre(name="c")])
    with pytest.raises(GradientCheckError, match="^Centre 'c': " + "what forward makes"):
        gradcheck(Sequential([Input((6, 6, 2)), *layers, inner]))
    with pytest.raises(GradientCheckError, match="^Square 's': .*" + KEEP):
        gradcheck(Sequential([Input((6, 6, 2)), *layers, Square("x", name="s"), Flatten()]))


def test_what_is_random_or_of_the_whole_batch_passes():
    model = Sequential(
        [
            Input((8, 8, 3)),
            RandomFlip("horizontal_and_vertical"),
            RandomFlip(seed=3),
            Conv2D(4, 3, activation="relu"),
            MaxPooling2D(2),
            Dropout(0.3),
            BatchNormalization(),
            Dropout(0.3, seed=1),
            Flatten(),
            Dense(3, activation="softmax"),
        ]
    )
    for seed in range(5):
        assert gradcheck(model, samples=2, seed=seed).max_error < 1e-6


class Absolute:
    """A loss with its state on itself, if `kept`."""

    def __init__(self, kept):
        self.kept = kept

    def forward(self, y_true, y_pred, sample_weight=None, total=None):
        self.d = y_pred - y_true
        return (self.d**2).sum(), self.d

    def backward(self, state):
        return 2 * (self.d if self.kept else state)


def test_a_loss_that_keeps_the_call_on_itself():
    y_pred, y_true = np.ones((3, 2)), np.zeros((3, 2))
    gradcheck(Absolute(kept=False), y_pred, y_true)
    with pytest.raises(
        GradientCheckError,
        match="Absolute: backward gives another gradient when forward is called once more in "
        "between, so the loss keeps .*: return what backward needs beside the loss",
    ):
        gradcheck(Absolute(kept=True), y_pred, y_true)


def test_on_the_strict_backend(strict):
    gradcheck(Square(None), input_shape=(4, 3))
    with pytest.raises(GradientCheckError, match="ctx.save"):
        gradcheck(Square("x"), input_shape=(4, 3))
    with pytest.raises(GradientCheckError, match="whole_batch = True"):
        gradcheck(Centre(), input_shape=(4, 3))
