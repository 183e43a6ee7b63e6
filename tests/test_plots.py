"""Plots are drawn whole, without a window, and written whole."""

import copy
import os
import pickle
import sys

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from figures import nothing_clipped, texts  # noqa: E402

from minicnn import plots, profiler  # noqa: E402

NAMES = "airplane automobile bird cat deer dog frog horse ship truck".split()
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(256, size=(40, 8, 8, 3), dtype=np.uint8)
LABELS = RNG.integers(10, size=(40, 1))
PROBABILITIES = RNG.dirichlet(np.ones(10), size=40)
HISTORY = {"loss": [2.0, 1.5], "accuracy": [0.3, 0.5], "val_loss": [2, 1.6], "val_accuracy": [0, 1]}


def test_samples(tmp_path):
    figure = plots.plot_samples(IMAGES, LABELS, NAMES, tmp_path / "a" / "s.png", title="CIFAR-10")
    assert (tmp_path / "a" / "s.png").read_bytes().startswith(b"\x89PNG")
    assert os.listdir(tmp_path / "a") == ["s.png"]
    assert figure.get_suptitle() == "CIFAR-10"
    assert len(figure.axes) == 32
    assert [a.get_title() for a in figure.axes] == [NAMES[i] for i in LABELS[:32, 0]]
    assert nothing_clipped(tmp_path / "a" / "s.png")


def test_a_notebook_shows_a_figure(tmp_path):
    figure = plots.plot_curves(HISTORY, tmp_path / "curves.png")
    assert figure._repr_png_() == (tmp_path / "curves.png").read_bytes()
    for other in copy.deepcopy(figure), pickle.loads(pickle.dumps(figure)):
        other.suptitle("another")
        assert other._repr_png_() != figure._repr_png_()


def test_curves(tmp_path):
    class History:
        history = HISTORY

    figure = plots.plot_curves(History(), tmp_path / "curves.svg", title="CIFAR-10")
    assert {"Loss", "Accuracy", "Epoch", "training", "validation"} <= set(texts(figure))
    loss = figure.axes[0]
    np.testing.assert_array_equal(loss.lines[0].get_xdata(), [1, 2])
    np.testing.assert_array_equal(loss.lines[1].get_ydata(), [2, 1.6])
    assert (tmp_path / "curves.svg").read_text().startswith("<?xml")
    plots.plot_curves(HISTORY, tmp_path / "curves.png", title="CIFAR-10")
    assert nothing_clipped(tmp_path / "curves.png")


def test_curves_without_accuracy_or_validation():
    figure = plots.plot_curves({"loss": [1.0]})
    assert len(figure.axes) == 1
    assert len(figure.axes[0].lines) == 1
    with pytest.raises(ValueError, match="history has no 'loss'; it has accuracy"):
        plots.plot_curves({"accuracy": [1.0]})


def test_confusion_matrix(tmp_path):
    matrix = np.diag(np.arange(1, 11) * 100)
    matrix[3, 5] = 77
    figure = plots.plot_confusion_matrix(matrix, NAMES, tmp_path / "cm.png", "CIFAR-10, test set")
    axes = figure.axes[0]
    assert [t.get_text() for t in axes.get_yticklabels()] == NAMES
    assert [t.get_text() for t in axes.get_xticklabels()] == NAMES
    cells = {t.get_position(): t for t in axes.texts}
    assert cells[5, 3].get_text() == "77"  # x is the predicted class, y the true one
    assert cells[0, 0].get_color() == "white"
    assert cells[5, 3].get_color() != "white"
    assert nothing_clipped(tmp_path / "cm.png")


def test_confusion_matrix_of_another_size():
    with pytest.raises(ValueError, match=r"10 classes has shape \(10, 10\), got \(2, 2\)"):
        plots.plot_confusion_matrix(np.eye(2), NAMES)


def test_mistakes_are_the_most_confident_ones():
    images, y_true = IMAGES[:4], np.array([0, 1, 2, 3])
    probabilities = np.array(
        [[0.9, 0.1, 0, 0], [0.7, 0.3, 0, 0], [0.05, 0.95, 0, 0], [0.1, 0.1, 0.1, 0.7]]
    )
    figure = plots.plot_mistakes(images, y_true, probabilities, NAMES, title="CIFAR-10")
    titles = [a.get_title() for a in figure.axes]
    assert titles == ["bird\nas automobile 95 %", "automobile\nas airplane 70 %"]
    assert figure.get_suptitle().startswith("CIFAR-10\n2 mistakes in 4 images")
    np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), images[2])


def test_no_mistakes_at_all(tmp_path):
    figure = plots.plot_mistakes(
        IMAGES, LABELS, np.eye(10)[LABELS[:, 0]], NAMES, tmp_path / "m.png"
    )
    assert "0 mistakes in 40 images" in figure.get_suptitle()
    assert (tmp_path / "m.png").exists()


def test_many_mistakes_fit(tmp_path):
    long = "a title that is rather longer than the picture is wide " * 3
    plots.plot_mistakes(IMAGES, LABELS, PROBABILITIES, NAMES, tmp_path / "m.png", long)
    assert nothing_clipped(tmp_path / "m.png")


def test_mistakes_of_other_lengths():
    with pytest.raises(ValueError, match="40 images, 39 classes and 40 predictions"):
        plots.plot_mistakes(IMAGES, LABELS[1:], PROBABILITIES, NAMES)


@pytest.mark.parametrize(
    "images",
    [
        IMAGES / 255,
        IMAGES.astype(np.float32),
        (IMAGES / 255 - 0.5) / 0.2,
        IMAGES[..., :1],
        np.zeros((3, 8, 8, 3), np.float32),
    ],
)
def test_images_of_any_range_come_out_between_0_and_1(images):
    figure = plots.plot_samples(images[:3], LABELS[:3], NAMES)
    for axes in figure.axes:
        shown = np.asarray(axes.images[0].get_array(), float)
        assert shown.min() >= 0
        assert shown.max() <= (255 if images.dtype == np.uint8 else 1)


def test_unwritable_folder_and_unknown_suffix(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="cannot write into the folder"):
        plots.plot_curves(HISTORY, tmp_path / "file" / "c.png")
    with pytest.raises(ValueError, match="known suffixes: .*png"):
        plots.plot_curves(HISTORY, tmp_path / "c.txt")
    assert os.listdir(tmp_path) == ["file"]


def test_global_state_is_left_alone():
    before = set(sys.modules)
    plots.plot_curves(HISTORY)
    assert "matplotlib.pyplot" not in set(sys.modules) - before


def test_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match="plots need matplotlib: pip install"):
        plots.plot_curves(HISTORY)


def test_the_picture_of_a_profile_has_its_old_name_too():
    assert plots.plot_profile is profiler.plot_profile
    with pytest.raises(AttributeError, match="'minicnn.plots' has no attribute 'plot_profiles'"):
        _ = plots.plot_profiles
