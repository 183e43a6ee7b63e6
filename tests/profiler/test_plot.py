"""The picture of a profile shows its figures, and all of it fits."""

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from figures import nothing_clipped, texts  # noqa: E402
from profiled import device_profile  # noqa: E402

from minicnn.profiler import LayerProfile, Profile, plot_profile  # noqa: E402


def profile(layers=3):
    dense = [
        LayerProfile(f"fc{i}", "Dense", "(n, 9)", "", 0.001, 0, 10**6, 0, 9, 1e6)
        for i in range(2, layers)
    ]
    rows = [
        LayerProfile(
            "conv", "Conv2D", "(n, 8)", "winograd", 0.002, 0.006, 10**8, 2 * 10**8, 9, 1e8
        ),
        LayerProfile("pool", "MaxPooling2D", "(n, 4)", "", 0.001, 0.002, 0, 0, 4, 0),
        *dense,
    ]
    return Profile("net", "float32", rows, images=32, threads=2, peak=50.0, bytes_kept=20)


def test_profile(tmp_path):
    figure = profile().plot(tmp_path / "profile.png")
    assert figure.get_suptitle() == "net: 32 images, 2 threads"
    (axes,) = figure.axes
    assert [t.get_text() for t in axes.get_yticklabels()] == ["conv (winograd)", "pool", "fc2"]
    forward, backward = axes.containers
    np.testing.assert_allclose([bar.get_width() for bar in forward], [2, 1, 1])
    np.testing.assert_allclose([bar.get_width() for bar in backward], [6, 2, 0])
    np.testing.assert_allclose([bar.get_x() for bar in backward], [2, 1, 1])
    assert [t.get_text() for t in axes.texts] == [
        "75 GFLOP/s, 150% of peak", "2 GFLOP/s, 4% of peak"
    ]  # fmt: skip
    assert axes.yaxis_inverted()  # the first layer on top
    assert {"forward", "backward", "Milliseconds for 32 images"} <= set(texts(figure))
    assert nothing_clipped(tmp_path / "profile.png")


@pytest.mark.parametrize("layers", [2, 60])
def test_profiles_of_any_length_fit(tmp_path, layers):
    figure = plot_profile(profile(layers), tmp_path / "p.png", title="A network")
    assert figure.get_suptitle() == "A network"
    assert len(figure.axes[0].get_yticklabels()) == layers
    assert nothing_clipped(tmp_path / "p.png")


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
