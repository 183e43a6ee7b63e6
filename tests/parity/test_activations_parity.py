import numpy as np
import pytest

from minicnn import activations

torch = pytest.importorskip("torch")
F = pytest.importorskip("torch.nn.functional")
pytestmark = pytest.mark.parity

CASES = {
    "relu": (activations.ReLU(), lambda z: F.relu(z)),
    "relu6": (activations.ReLU6(), lambda z: F.relu6(z)),
    "leaky_relu": (activations.LeakyReLU(), lambda z: F.leaky_relu(z, 0.2)),
    "elu": (activations.ELU(alpha=0.7), lambda z: F.elu(z, 0.7)),
    "selu": (activations.SELU(), lambda z: F.selu(z)),
    "gelu": (activations.GELU(), lambda z: F.gelu(z)),
    "gelu_tanh": (activations.GELU(approximate=True), lambda z: F.gelu(z, approximate="tanh")),
    "sigmoid": (activations.Sigmoid(), lambda z: torch.sigmoid(z)),
    "tanh": (activations.Tanh(), lambda z: torch.tanh(z)),
    "softmax": (activations.Softmax(), lambda z: F.softmax(z, -1)),
    "silu": (activations.SiLU(), lambda z: F.silu(z)),
    "softplus": (activations.Softplus(), lambda z: F.softplus(z)),
    "softsign": (activations.Softsign(), lambda z: F.softsign(z)),
    "mish": (activations.Mish(), lambda z: F.mish(z)),
}


@pytest.mark.parametrize("name", CASES)
def test_forward_and_gradient(name):
    ours, theirs = CASES[name]
    rng = np.random.default_rng(0)
    z = rng.normal(size=(4, 5, 6)) * 4
    dy = rng.normal(size=z.shape)
    zt = torch.tensor(z, requires_grad=True)
    yt = theirs(zt)
    yt.backward(torch.tensor(dy))
    y, kept = ours.record(z)
    dz = ours.backward(dy, kept)
    # torch's softplus is the identity beyond 20, an error of 2e-9; its mish rests on it
    tolerance = 3e-9 if name in ("softplus", "mish") else 1e-10
    np.testing.assert_allclose(y, yt.detach().numpy(), rtol=1e-10, atol=tolerance)
    np.testing.assert_allclose(dz, zt.grad.numpy(), rtol=1e-10, atol=tolerance)
