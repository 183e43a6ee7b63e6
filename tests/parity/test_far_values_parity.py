"""Numbers and windows at the far end, against PyTorch."""

import numpy as np
import pytest
from layer_calls import run, set_weights
from strategies import numbers

from minicnn import activations, layers
from minicnn.losses import SparseCategoricalCrossentropy

torch = pytest.importorskip("torch")
F = torch.nn.functional
pytestmark = pytest.mark.parity

ACTIVATIONS = {
    "relu": F.relu, "relu6": F.relu6, "elu": F.elu, "gelu": F.gelu, "sigmoid": torch.sigmoid,
    "tanh": torch.tanh, "silu": F.silu, "mish": F.mish, "softplus": F.softplus,
    "softsign": F.softsign,
}  # fmt: skip


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name):
    """Torch's GELU of 3.4e38 is infinite; the limit is 3.4e38."""
    z = np.array([-3.4e38, -1e37, -1e20, -1e4, -200, -104, -89, -88, -87.5, -86, 88, 1e4, 1e37])
    z = z.astype("float32")
    tensor = torch.tensor(z, requires_grad=True)
    expected = ACTIVATIONS[name](tensor)
    expected.sum().backward()
    activation = activations.get(name)
    y, kept = activation.record(z.copy())
    dz = activation.backward(np.ones_like(z), kept)
    np.testing.assert_allclose(y, expected.detach().numpy(), rtol=1e-5, atol=1e-37)
    np.testing.assert_allclose(dz, tensor.grad.numpy(), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    "z, label",
    [
        ([1, -np.inf, 0], 0), ([1, -np.inf, 0], 2), ([1, -np.inf, 0], 1),
        ([3e38, -3e38, 0], 2), ([3e38, -3e38, 0], 0), ([-3e38, 3e38, 3e38], 1),
    ],
)  # fmt: skip
def test_cross_entropy(z, label):
    z, labels = np.array([z], "float32"), np.array([label])
    tensor = torch.tensor(z, requires_grad=True)
    expected = F.cross_entropy(tensor, torch.tensor(labels))
    expected.backward()
    loss = SparseCategoricalCrossentropy(from_logits=True)
    value, state = loss.forward(labels, z)
    assert value == pytest.approx(expected.item(), rel=1e-6)
    np.testing.assert_allclose(loss.backward(state), tensor.grad.numpy(), rtol=1e-6)


@pytest.mark.parametrize("algorithm", ["im2col", "winograd"])
@pytest.mark.parametrize("size, kernel_size", [(5e36, 1e-4), (3e38, 1e-3)])
def test_convolution(algorithm, size, kernel_size):
    x = (np.clip(numbers((2, 9, 9, 4)), -1, 1) * size).astype("float32")
    layer = layers.Conv2D(3, 3, use_bias=False, algorithm=algorithm)
    set_weights(layer, (None, 9, 9, 4))
    kernel = layer.kernel.value = (layer.kernel.value * kernel_size).astype("float32")
    dy = (np.clip(numbers((2, 7, 7, 3), 1), -1, 1) * 1e-6).astype("float32")
    out = run(layer, x, dy)
    images = torch.tensor(x.astype("float64").transpose(0, 3, 1, 2), requires_grad=True)
    weights = torch.tensor(kernel.astype("float64").transpose(3, 2, 0, 1), requires_grad=True)
    y = F.conv2d(images, weights)
    y.backward(torch.tensor(dy.astype("float64").transpose(0, 3, 1, 2)))
    for ours, theirs in (
        (out.y, y.detach().permute(0, 2, 3, 1)),
        (out.dx, images.grad.permute(0, 2, 3, 1)),
        (out.gradients["kernel"], weights.grad.permute(2, 3, 1, 0)),
    ):
        theirs = theirs.numpy()
        largest = np.abs(theirs).max()
        assert np.isfinite(ours).all()
        np.testing.assert_allclose(ours / largest, theirs / largest, atol=2e-5)


@pytest.mark.parametrize("strides", [1, 2, 3])
@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.parametrize("dilation", [1, 3, 4, 5, 9])
@pytest.mark.parametrize("depthwise", [False, True])
def test_taps_beyond_the_image(strides, size, dilation, depthwise):
    arguments = {
        "strides": strides, "padding": "same", "dilation_rate": dilation, "use_bias": False,
    }  # fmt: skip
    if depthwise:
        layer = layers.DepthwiseConv2D(size, dtype="float64", **arguments)
    else:
        layer = layers.Conv2D(3, size, groups=1, dtype="float64", **arguments)
    set_weights(layer, (None, 4, 5, 3))
    x = numbers((2, 4, 5, 3))
    out = run(layer, x)
    pads = layer.window.pads(4, 5)
    images = torch.tensor(x.transpose(0, 3, 1, 2).copy(), requires_grad=True)
    (weight,) = layer.weights
    weights = torch.tensor(weight.value.copy(), requires_grad=True)
    order = (2, 3, 0, 1) if depthwise else (3, 2, 0, 1)
    y = F.conv2d(
        F.pad(images, (*pads[1], *pads[0])), weights.permute(order),
        stride=strides, dilation=dilation, groups=3 if depthwise else 1,
    )  # fmt: skip
    y.backward(torch.tensor(numbers(out.y.shape, 99).transpose(0, 3, 1, 2).copy()))
    np.testing.assert_allclose(out.y, y.detach().permute(0, 2, 3, 1).numpy(), atol=1e-12)
    np.testing.assert_allclose(out.dx, images.grad.permute(0, 2, 3, 1).numpy(), atol=1e-12)
    gradient = out.gradients[weight.name]
    np.testing.assert_allclose(gradient, weights.grad.numpy(), atol=1e-12)
