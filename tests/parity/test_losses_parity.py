import numpy as np
import pytest

from minicnn.losses import (
    CategoricalCrossentropy,
    MeanSquaredError,
    SparseCategoricalCrossentropy,
)

torch = pytest.importorskip("torch")
F = pytest.importorskip("torch.nn.functional")
pytestmark = pytest.mark.parity


def check(loss, y_true, y_pred, theirs, sample_weight=None):
    predictions = torch.tensor(y_pred, requires_grad=True)
    expected = theirs(predictions)
    expected.backward()
    value, state = loss.forward(y_true, y_pred, sample_weight)
    assert value == pytest.approx(expected.item(), rel=1e-10)
    np.testing.assert_allclose(
        loss.backward(state), predictions.grad.numpy(), rtol=1e-10, atol=1e-10
    )


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("shape", [(6, 5), (3, 4, 4, 5)])
def test_cross_entropy_on_logits(smoothing, shape):
    rng = np.random.default_rng(0)
    z = rng.normal(size=shape) * 3
    labels = rng.integers(0, 5, shape[:-1])
    flat = torch.tensor(labels.reshape(-1))

    def theirs(p):
        return F.cross_entropy(p.reshape(-1, 5), flat, label_smoothing=smoothing)

    check(SparseCategoricalCrossentropy(True, label_smoothing=smoothing), labels, z, theirs)
    check(CategoricalCrossentropy(True, smoothing), np.eye(5)[labels], z, theirs)


def test_cross_entropy_on_probabilities():
    rng = np.random.default_rng(1)
    p = rng.uniform(size=(8, 5))
    p[0] = [1, 0, 0, 0, 0]  # clipped at both ends
    targets = rng.dirichlet(np.ones(5), 8)

    def theirs(p):
        q = (p / p.sum(-1, keepdim=True)).clip(1e-7, 1 - 1e-7)
        return -(torch.tensor(targets) * q.log()).sum(-1).mean()

    check(CategoricalCrossentropy(), targets, p, theirs)
    labels = rng.integers(0, 5, 8)

    def theirs_sparse(p):
        q = (p / p.sum(-1, keepdim=True)).clip(1e-7, 1 - 1e-7)
        return F.nll_loss(q.log(), torch.tensor(labels))

    check(SparseCategoricalCrossentropy(), labels, p, theirs_sparse)


def test_sample_weights():
    rng = np.random.default_rng(2)
    z, labels, weights = rng.normal(size=(6, 5)), rng.integers(0, 5, 6), rng.uniform(size=6)

    def theirs(p):
        each = F.cross_entropy(p, torch.tensor(labels), reduction="none")
        return (each * torch.tensor(weights)).mean()

    check(SparseCategoricalCrossentropy(True), labels, z, theirs, weights)


def test_mean_squared_error():
    y, p = np.random.default_rng(3).normal(size=(2, 4, 3, 5))
    check(MeanSquaredError(), y, p, lambda x: F.mse_loss(x, torch.tensor(y)))
