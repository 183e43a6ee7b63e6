"""Every layer against PyTorch in float64: output, input gradient and all weight gradients."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from layer_calls import run, set_weights
from strategies import array_shapes, convolutions, numbers, pools
from torch_layers import (
    torch_activations,
    torch_average_pool,
    torch_conv,
    torch_depthwise,
    torch_max_pool,
)

from minicnn import layers

torch = pytest.importorskip("torch")
F = torch.nn.functional
pytestmark = pytest.mark.parity


def compare(layer, x, function, training=True):
    """`function(x, **weights)` is the layer in PyTorch; images come and go as (N, H, W, C)."""
    xs = x if isinstance(x, list) else [x]
    shapes = [(None, *a.shape[1:]) for a in xs]
    set_weights(layer, shapes if isinstance(x, list) else shapes[0])
    out = run(layer, x, training=training)
    tensors = [torch.tensor(a, requires_grad=True) for a in xs]
    weights = {w.name: torch.tensor(w.numpy(), requires_grad=True) for w in layer.weights}
    y = function(*tensors, **weights)
    y.backward(torch.tensor(numbers(out.y.shape, 99)))
    close(out.y, y)
    for ours, theirs in zip(out.dx if isinstance(x, list) else [out.dx], tensors, strict=True):
        close(ours, theirs.grad)
    assert set(out.gradients) == {w.name for w in layer.trainable_weights}
    for name, gradient in out.gradients.items():
        close(gradient, weights[name].grad)
    return out


def close(ours, theirs):
    theirs = theirs.detach().numpy()
    assert ours.dtype == theirs.dtype == np.float64
    np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-10)


@given(convolutions(), st.booleans())
def test_conv2d(case, use_bias):
    layer = layers.Conv2D(
        case.filters, groups=case.groups, use_bias=use_bias, dtype="float64", **case.arguments
    )

    def function(x, kernel, bias=None):
        return torch_conv(x, kernel, bias, case.window, case.groups)

    compare(layer, case.arrays()[0], function)


@given(convolutions(grouped=False), st.integers(1, 3))
def test_depthwise_conv2d(case, multiplier):
    layer = layers.DepthwiseConv2D(depth_multiplier=multiplier, dtype="float64", **case.arguments)
    compare(layer, case.arrays()[0], lambda x, kernel, bias: torch_depthwise(
        x, kernel, bias, case.window
    ))  # fmt: skip


@given(convolutions(grouped=False), st.integers(1, 2))
def test_separable_conv2d(case, multiplier):
    layer = layers.SeparableConv2D(
        case.filters, depth_multiplier=multiplier, dtype="float64", **case.arguments
    )

    def function(x, kernel, pointwise_kernel, bias):
        return torch_depthwise(x, kernel, None, case.window) @ pointwise_kernel[0, 0] + bias

    compare(layer, case.arrays()[0], function)


@given(pools())
def test_max_pooling(case):
    window, x = case
    layer = layers.MaxPooling2D(window.size, window.strides, window.padding)
    compare(layer, x, lambda x: torch_max_pool(x, window))


@given(pools())
def test_average_pooling(case):
    window, x = case
    layer = layers.AveragePooling2D(window.size, window.strides, window.padding)
    compare(layer, x, lambda x: torch_average_pool(x, window))


@given(st.tuples(*[st.integers(1, 5)] * 4), st.booleans())
def test_global_pooling(shape, keepdims):
    x = numbers(shape)
    compare(
        layers.GlobalAveragePooling2D(keepdims=keepdims),
        x,
        lambda x: x.mean((1, 2), keepdim=keepdims),
    )
    compare(
        layers.GlobalMaxPooling2D(keepdims=keepdims), x, lambda x: x.amax((1, 2), keepdim=keepdims)
    )


@given(array_shapes(min_rank=2, max_rank=4), st.booleans())
def test_batch_normalization(shape, training):
    shape = (shape[0] + 1, *shape[1:])  # PyTorch refuses a single number a channel in training
    moved = {}

    def function(x, gamma, beta, moving_mean, moving_variance):
        mean, variance = moving_mean.detach().clone(), moving_variance.detach().clone()
        x = x.movedim(-1, 1)
        # PyTorch's momentum is the part taken from the batch
        y = F.batch_norm(x, mean, variance, gamma, beta, training, momentum=0.2, eps=1e-3)
        moved.update(moving_mean=mean, moving_variance=variance)
        return y.movedim(1, -1)

    layer = layers.BatchNormalization(momentum=0.8, dtype="float64")
    x = numbers(shape)
    out = compare(layer, x, function, training)
    if not training:
        assert not out.updates
        return
    close(out.updates["moving_mean"], moved["moving_mean"])
    # PyTorch averages the unbiased variance n / (n - 1), Keras and the paper's training the biased
    n = x.size // shape[-1]
    before = layer.moving_variance.numpy()
    unbiased = (out.updates["moving_variance"] - 0.8 * before) * n / (n - 1) + 0.8 * before
    close(unbiased, moved["moving_variance"])


@given(array_shapes(min_rank=2), st.data())
def test_layer_normalization(shape, data):
    axes = data.draw(st.integers(1, len(shape) - 1))
    layer = layers.LayerNormalization(list(range(-axes, 0)), dtype="float64")
    compare(
        layer,
        numbers(shape),
        lambda x, gamma, beta: F.layer_norm(x, gamma.shape, gamma, beta, eps=1e-3),
    )


@given(array_shapes(min_rank=3), st.integers(1, 3), st.integers(1, 3))
def test_group_normalization(shape, groups, per_group):
    compare(
        layers.GroupNormalization(groups, dtype="float64"),
        # PyTorch refuses groups of a single element
        numbers((*shape[:-2], shape[-2] + 1, groups * per_group)),
        lambda x, gamma, beta: F.group_norm(
            x.movedim(-1, 1), groups, gamma, beta, eps=1e-3
        ).movedim(1, -1),
    )


@given(array_shapes(), st.integers(1, 4), st.booleans())
def test_dense(shape, units, use_bias):
    compare(
        layers.Dense(units, use_bias=use_bias, dtype="float64"),
        numbers(shape),
        lambda x, kernel, bias=None: F.linear(x, kernel.T, bias),
    )


ACTIVATIONS = torch_activations()


@pytest.mark.parametrize("name", ACTIVATIONS)
@given(shape=array_shapes())
def test_activations(name, shape):
    compare(layers.Activation(name), 3 * numbers(shape), ACTIVATIONS[name])


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_layers_that_end_in_an_activation(name):
    """Each writes over its own z where it may; the kernel and the bias then get the gradient."""
    function = ACTIVATIONS[name]
    compare(
        layers.Dense(4, activation=name, dtype="float64"),
        numbers((3, 5)),
        lambda x, kernel, bias: function(x @ kernel + bias),
    )
    layer = layers.Conv2D(4, (3, 2), activation=name, dtype="float64")
    compare(
        layer,
        numbers((2, 5, 4, 3)),
        lambda x, kernel, bias: function(torch_conv(x, kernel, bias, layer.window)),
    )


ACTIVATION_LAYERS = {
    "ReLU": (layers.ReLU(), torch.relu),
    "ReLU with a limit": (layers.ReLU(1.5), lambda x: torch.clamp(x, 0, 1.5)),
    "LeakyReLU": (layers.LeakyReLU(), lambda x: F.leaky_relu(x, 0.3)),
    "ELU": (layers.ELU(0.7), lambda x: F.elu(x, 0.7)),
    "GELU": (layers.GELU(), F.gelu),
    "GELU with tanh": (layers.GELU(approximate=True), lambda x: F.gelu(x, approximate="tanh")),
    "Softmax": (layers.Softmax(), lambda x: torch.softmax(x, -1)),
    "Softmax of rows": (layers.Softmax(axis=1), lambda x: torch.softmax(x, 1)),
}


@pytest.mark.parametrize(
    ("layer", "function"), ACTIVATION_LAYERS.values(), ids=ACTIVATION_LAYERS.keys()
)
@given(shape=array_shapes())
def test_activation_layers(layer, function, shape):
    compare(layer, 3 * numbers(shape), function)


@given(array_shapes(), st.integers(2, 4))
def test_merging(shape, count):
    xs = [numbers(shape, i) for i in range(count)]
    compare(layers.Add(), xs, lambda *xs: torch.stack(xs).sum(0))
    compare(layers.Multiply(), xs, lambda *xs: torch.stack(xs).prod(0))
    compare(layers.Concatenate(), xs, lambda *xs: torch.cat(xs, -1))


def test_merging_with_broadcasting():
    """Squeeze and excitation: a factor for each channel of each image."""
    xs = [numbers((3, 4, 5, 2)), numbers((3, 1, 1, 2), 1)]
    compare(layers.Multiply(), xs, lambda a, b: a * b)
    compare(layers.Add(), xs, lambda a, b: a + b)


@given(array_shapes(min_rank=4))
def test_moving_and_scaling(shape):
    x = numbers(shape)
    compare(layers.Flatten(), x, lambda x: x.flatten(1))
    compare(layers.Reshape((-1,)), x, lambda x: x.reshape(len(x), -1))
    compare(layers.ZeroPadding2D(((0, 1), (2, 3))), x, lambda x: F.pad(x, (0, 0, 2, 3, 0, 1)))
    compare(layers.Rescaling(1 / 255, -1), x, lambda x: x / 255 - 1)


def test_dropout_scales_as_torch_does():
    """The masks are random; what is kept is as large in both."""
    x = np.ones((50, 50))
    ours = run(layers.Dropout(0.3), x).y
    theirs = F.dropout(torch.ones(50, 50, dtype=torch.float64), 0.3)
    close(np.unique(ours), torch.unique(theirs))
