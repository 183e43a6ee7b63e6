"""Progress bars, batches and data sets in parts, pictures of models."""

import io
import sys

import numpy as np
import pytest

from minicnn import utils
from minicnn.data import Dataset
from minicnn.layers import Add, Conv2D, Dense, Flatten, Input
from minicnn.models import Model, Sequential
from minicnn.utils import progbar


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progbar_means_and_the_last_line(capsys, monkeypatch):
    clock = iter(range(0, 1000, 2))
    monkeypatch.setattr(progbar.time, "monotonic", lambda: next(clock))
    bar = utils.Progbar(4, stateful_metrics=["rate"])
    bar.update(1, [("loss", 4.0), ("rate", 1.0)])
    bar.add(2, [("loss", 1.0), ("rate", 0.5)])
    assert bar._texts() == ["loss 2.0000", "rate 0.5000"]  # (4 + 2 * 1) / 3
    bar.add(1, [("loss", np.float32(0.25))])
    assert capsys.readouterr().out == "4/4 - 6 s - 1500 ms/step - loss 0.2500 - rate 0.5000\n"


def test_progbar_in_other_ways(capsys):
    bar = utils.Progbar(None, verbose=2, stateless_metrics=["loss"], unit_name="image")
    bar.update(5, [("loss", 1.0), ("other", 1.0)])
    bar.update(10, [("loss", 2.0), ("other", 2.0)])
    assert bar._texts() == ["loss 1.5000", "other 2.0000"]
    assert capsys.readouterr().out == ""
    bar.update(10, finalize=True)
    assert capsys.readouterr().out.startswith("10 - 0 s - 0 ms/image - loss 1.5")
    silent = utils.Progbar(2, verbose=0)
    silent.update(2)
    assert capsys.readouterr().out == ""
    with pytest.raises(ValueError, match="give stateful_metrics or stateless_metrics"):
        utils.Progbar(1, stateful_metrics=["a"], stateless_metrics=["b"])


def test_progbar_on_a_terminal(monkeypatch):
    monkeypatch.setattr(sys, "stdout", Terminal())
    bar = utils.Progbar(10, width=5, interval=0)
    bar.update(4, [("loss", 2.0)])
    assert "4/10 |" in sys.stdout.getvalue() and "loss 2.0000" in sys.stdout.getvalue()
    bar.update(10)
    assert sys.stdout.getvalue().splitlines()[-1].startswith("10/10 - ")


def test_batches_packed_and_unpacked():
    for parts in ((1,), (1, 2), (1, 2, 3)):
        packed = utils.pack_x_y_sample_weight(*parts)
        assert utils.unpack_x_y_sample_weight(packed) == (*parts, None, None)[:3]
    assert utils.pack_x_y_sample_weight(1) == 1 and utils.pack_x_y_sample_weight([1, 2]) == (
        [1, 2],
    )
    assert utils.unpack_x_y_sample_weight([1, 2]) == (1, 2, None)
    with pytest.raises(ValueError, match="this one has 4 parts"):
        utils.unpack_x_y_sample_weight((1, 2, 3, 4))


def numbers(dataset):
    return [int(element) for element in dataset.as_numpy_iterator()]


@pytest.mark.parametrize(
    "sizes, lengths",
    [((0.8, None), (8, 2)), ((None, 0.3), (7, 3)), ((3, None), (3, 7)), ((2, 3), (2, 3))],
)
@pytest.mark.parametrize("shuffle", [False, True])
def test_data_sets_in_two_parts(sizes, lengths, shuffle):
    parts = utils.split_dataset(np.arange(10), *sizes, shuffle=shuffle, seed=3)
    assert tuple(len(part) for part in parts) == lengths
    left, right = map(numbers, parts)
    assert not set(left) & set(right) and (left, right) == tuple(map(numbers, parts))
    assert (left + right == sorted(left + right)) is not shuffle


def test_data_sets_of_other_kinds():
    x, y = np.arange(6), np.arange(6) * 2
    for whole in ((x, y), [x, y], Dataset.from_tensor_slices((x, y))):
        left, right = utils.split_dataset(whole, left_size=4)
        assert [(int(a), int(b)) for a, b in right.as_numpy_iterator()] == [(4, 8), (5, 10)]
    for _ in range(3):  # without a seed the parts belong together, too
        left, right = utils.split_dataset(x, 0.5, shuffle=True)
        assert sorted(numbers(left) + numbers(right)) == list(range(6))


@pytest.mark.parametrize(
    "sizes, text",
    [
        ((None, None), "needs left_size, right_size or both"),
        ((7, 8), "make parts of 7 and 8 of 10 elements"),
        ((10, None), "make parts of 10 and 0 of 10 elements"),
        ((0.01, None), "make parts of 0 and 10"),
        ((1.5, None), "lies between 0 and 1, unlike 1.5"),
        ((-2, None), "must be an integer above 0, not -2"),
    ],
)
def test_sizes_that_do_not_fit(sizes, text):
    with pytest.raises(ValueError, match=text):
        utils.split_dataset(np.arange(10), *sizes)


def branched():
    inputs = Input((4, 4, 2), name="images")
    inner = Sequential([Conv2D(2, 3, padding="same", name="inside")], name="inner")
    x = Add(name="sum")([inner(inputs), inputs])
    return Model(inputs, Dense(3, activation="softmax", name="top")(Flatten(name="flat")(x)))


def texts_of(figure):
    (axes,) = figure.axes
    return [text.get_text() for text in axes.texts if text.get_text()]


def test_pictures_of_models(tmp_path):
    model = branched()
    figure = utils.plot_model(model, tmp_path / "m.png")
    assert (tmp_path / "m.png").read_bytes().startswith(b"\x89PNG")
    assert texts_of(figure) == ["InputLayer", "Sequential", "Add", "Flatten", "Dense"]
    (axes,) = figure.axes
    assert len(axes.texts) - len(texts_of(figure)) == 5  # arrows: Add has two
    model.get_layer("top").trainable = False
    figure = utils.plot_model(
        model, None, show_shapes=True, show_dtype=True, show_layer_names=True, expand_nested=True,
        show_layer_activations=True, show_trainable=True, rankdir="LR", dpi=50,
    )  # fmt: skip
    texts = texts_of(figure)
    assert [t.split()[0] for t in texts] == ["images", "inside", "sum", "flat", "top"]
    assert texts[-1].splitlines() == [
        "top (Dense)", "activation: Softmax", "dtype: float32", "in: (n, 32)", "out: (n, 3)",
        "not trainable",
    ]  # fmt: skip
    assert figure.dpi == 50


@pytest.mark.parametrize("rankdir, axis, sign", [("TB", 1, -1), ("BT", 1, 1), ("LR", 0, 1)])
def test_directions(rankdir, axis, sign):
    (axes,) = utils.plot_model(branched(), None, rankdir=rankdir).axes
    places = [text.get_position()[axis] for text in axes.texts if text.get_text()]
    assert places == sorted(places, reverse=sign < 0) and len(set(places)) == 5


def test_errors_of_pictures():
    with pytest.raises(ValueError, match="rankdir is 'TB', 'BT', 'LR' or 'RL', not 'UP'"):
        utils.plot_model(branched(), None, rankdir="UP")
    with pytest.raises(ValueError, match="is not built"):
        utils.plot_model(Sequential([Dense(2)]), None)
    with pytest.warns(UserWarning, match="splines='curved': minicnn draws straight lines"):
        utils.plot_model(branched(), None, splines="curved")
