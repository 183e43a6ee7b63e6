"""MixUp and CutMix: images and labels are mixed alike, in a call and in nobody's model."""

import numpy as np
import pytest

from minicnn import Input, Sequential
from minicnn.layers import CutMix, MixUp
from minicnn.utils import to_categorical

pytestmark = pytest.mark.cpu_only("looks at the images as NumPy arrays")

N = 300
# image k has the value k everywhere, and the label k: what is mixed can be read off both
X = np.broadcast_to(np.arange(N).reshape(-1, 1, 1, 1), (N, 8, 9, 3)).astype("float32")
Y = np.eye(N, dtype="float32")
both = pytest.mark.parametrize("make", [MixUp, CutMix], ids=["MixUp", "CutMix"])


def test_mixup():
    out = MixUp(0.4, seed=1)({"images": X, "labels": Y})
    x, y = out["images"], out["labels"]
    assert x.dtype == y.dtype == np.float32
    np.testing.assert_allclose(y.sum(1), 1, rtol=1e-5)
    np.testing.assert_allclose(x[:, 3, 4, 1], y @ np.arange(N), rtol=1e-4, atol=1e-3)
    assert (np.ptp(x, axis=(1, 2, 3)) == 0).all()
    assert 0.3 < (y[np.arange(N), np.arange(N)] > 0.5).mean() < 0.7  # beta(a, a) has no preference


def test_cutmix():
    out = CutMix(seed=1)({"images": X, "labels": Y})
    x, y = out["images"], out["labels"]
    np.testing.assert_allclose(y.sum(1), 1, rtol=1e-5)
    kept = (x == X).all(3)
    for k in range(N):
        others = set(x[k][~kept[k]].ravel().tolist())
        assert len(others) <= 1
        rows, columns = (~kept[k]).any(1), (~kept[k]).any(0)
        assert (~kept[k]).sum() == rows.sum() * columns.sum()  # a rectangle
        if others:
            assert y[k, int(others.pop())] > 0
    # the label knows the area exactly, the pixels up to their edges
    share = y[np.arange(N), np.arange(N)]
    assert np.abs(kept.mean((1, 2)) - share).mean() < 0.08


@both
def test_what_is_called_on(make):
    labels = to_categorical(np.arange(4) % 3, 3)
    images = X[:4]
    out = make(seed=3)({"images": images, "labels": labels.astype("int64")})
    assert out["labels"].dtype == np.float32
    again = make(seed=3)({"images": images.astype("uint8"), "labels": labels.astype("float64")})
    assert again["labels"].dtype == np.float64 and again["images"].dtype == np.float32
    np.testing.assert_allclose(again["labels"], out["labels"], rtol=1e-5)
    np.testing.assert_array_equal(make(seed=3)(images), out["images"])  # images alone
    np.testing.assert_array_equal(make(seed=3)({"images": images})["images"], out["images"])
    calm = make()({"images": images, "labels": labels}, training=False)
    np.testing.assert_array_equal(calm["images"], images)
    assert calm["labels"] is labels
    one = make()({"images": images[1], "labels": labels[1]})
    np.testing.assert_array_equal(one["images"], images[1])
    assert one["labels"] is labels[1] or (one["labels"] == labels[1]).all()


@both
def test_labels_that_cannot_be_mixed_are_refused(make):
    for labels in (np.arange(4), np.arange(4)[:, None], Y[:3]):
        with pytest.raises(ValueError, match=r"one-hot labels, \(N, classes\) for 4 images; got"):
            make()({"images": X[:4], "labels": labels})
    with pytest.raises(ValueError, match="height, width, channels"):
        make()({"images": X[:4, 0, :, 0], "labels": Y[:4]})


@both
def test_models_are_refused(make):
    with pytest.raises(ValueError, match="a layer of a model sees no labels: call it on"):
        Sequential([Input((8, 9, 3)), make()])
