"""The table of layers."""

import numpy as np
import pytest

from minicnn import Input, Model, Sequential
from minicnn.layers import Add, Conv2D, Dense, Flatten, MaxPooling2D
from minicnn.models.summary import model_summary


def chain():
    return Sequential(
        [
            Input((32, 32, 3)),
            Conv2D(32, 3, activation="relu", name="conv"),
            MaxPooling2D(2, name="pool"),
            Flatten(name="flat"),
            Dense(10, name="head"),
        ],
        name="tutorial",
    )


def cells(text, first):
    (line,) = [li for li in text.splitlines() if li.startswith(first)]
    return line.split()


def test_a_line_for_each_layer():
    text = model_summary(chain())
    assert text.startswith("Model: 'tutorial'\n---")
    assert cells(text, "conv") == "conv (Conv2D) (n, 30, 30, 32) 896 777,600".split()
    assert cells(text, "pool") == "pool (MaxPooling2D) (n, 15, 15, 32) 0 0".split()
    assert cells(text, "head") == "head (Dense) (n, 10) 72,010 72,000".split()
    assert "Parameters: 72,906 (284.8 KB), 72,906 trainable, 0 not" in text
    assert "Multiply-adds: 849,600 per image" in text
    assert "Reads" not in text


def test_frozen_layers_are_marked():
    model = chain()
    model.layers[0].trainable = False
    text = model_summary(model)
    assert "conv (Conv2D) [frozen]" in text and "72,010 trainable, 896 not" in text


def test_branches_say_what_they_read():
    x = Input((4,), name="x")
    a = Dense(4, name="a")(x)
    model = Model(x, Add(name="sum")([Dense(4, name="b")(a), a]))
    text = model_summary(model)
    assert "Reads" in text
    assert cells(text, "sum")[-2:] == ["b,", "a"]
    assert cells(text, "a (")[-1] == "x"


def test_nested_models_are_one_line():
    inner = Sequential([Input((4,)), Dense(4), Dense(2)], name="inner")
    model = Sequential([Input((4,)), inner])
    text = model_summary(model)
    assert cells(text, "inner") == "inner (Sequential) (n, 2) 30 24".split()
    assert "Multiply-adds: 24 per image" in text


def test_a_model_that_is_not_built():
    text = model_summary(Sequential([Dense(3, name="d")], name="m"))
    assert text == "Model: 'm' (not built: the input's shape is not known yet): Dense 'd'"


def test_a_narrow_table():
    text = model_summary(chain(), line_length=55)
    assert max(map(len, text.splitlines()[1:8])) <= 55


def test_eighty_columns_hold_long_names_and_their_marks():
    x = Input((8, 8, 3), name="a_name_that_is_as_long_as_many_are_in_real_networks")
    long = Conv2D(3, 1, name="another_of_those_names_that_are_rather_long", trainable=False)(x)
    text = model_summary(Model(x, Add()([x, long])))
    lines = text.splitlines()
    assert max(map(len, lines)) == 80
    assert any(line.startswith("anot...long [frozen]  (n, 8, 8, 3)") for line in lines)
    assert max(map(len, model_summary(chain()).splitlines())) <= 80


def test_a_type_goes_before_a_name_is_cut():
    text = model_summary(chain(), line_length=55)
    assert cells(text, "pool") == "pool (n, 15, 15, 32) 0 0".split()
    assert "head (Dense)" in text  # there is room
    long = Dense(3, name="the_first_of_two_dense_layers")
    text = model_summary(Sequential([Input((4,)), long]), line_length=53)
    assert "the_fir...layers  (n, 3)" in text


def test_names_are_cut_where_they_do_not_differ():
    x = Input((8, 8, 3))
    names = [f"mixed_inception_3{b}_branch{k}_convolution" for b in "a" for k in ("3x3", "5x5")]
    lines = model_summary(
        Model(x, Add(name="sum")([Conv2D(3, 1, name=name)(x) for name in names])), line_length=80
    ).splitlines()
    first, second = (line.split()[0] for line in lines if line.startswith("mix"))
    assert first != second and len(first) == len(second) == 20
    assert all("..." in name and name.endswith("_convolution") for name in (first, second))


def test_names_that_tell_the_type_stand_alone():
    text = model_summary(Sequential([Input((8, 8, 3)), Conv2D(2, 3), MaxPooling2D(name="p")]))
    assert "conv2d" in text and "(Conv2D)" not in text and "p (MaxPooling2D)" in text


def test_summary_prints(capsys):
    model = chain()
    model.summary()
    assert capsys.readouterr().out == model_summary(model) + "\n"
    lines = []
    model.summary(print_fn=lines.append)
    assert "\n".join(lines) == model_summary(model)


def test_sizes_count_the_bytes_of_the_dtype():
    model = Sequential([Input((4,)), Dense(256, dtype="float64")], dtype="float64")
    assert f"({(4 * 256 + 256) * 8 / 1024:.1f} KB)" in model_summary(model)
    assert np.dtype(model.weights[0].dtype) == np.float64


def shown(model, **options):
    lines = []
    model.summary(print_fn=lines.append, **options)
    (text,) = lines
    return text.splitlines()


def nested():
    inner = Sequential([Conv2D(2, 3, name="conv"), Flatten(name="flat")], name="inner")
    inner.trainable = False
    return Sequential([Input((6, 6, 3)), inner, Dense(4, name="top"), Dense(2, name="end")])


def test_layers_of_models_inside():
    lines = shown(nested(), expand_nested=True)
    names = [line[: line.index("(")].rstrip() for line in lines[4:9]]
    assert names == ["inner", "  conv", "  flat", "top", "end"]
    total = next(line for line in lines if line.startswith("Parameters"))
    assert f"{nested().count_params():,}" in total  # counted once


def test_which_layers_learn():
    lines = shown(nested(), show_trainable=True, expand_nested=True)
    assert lines[2].split()[-1] == "Learns"
    assert [line.split()[-1] for line in lines[4:9]] == ["no", "no", "no", "yes", "yes"]


def test_a_range_of_layers():
    model = nested()
    for ends, names in ((("top", "end"), ["top", "end"]), (("inner", "t.*"), ["inner", "top"])):
        lines = shown(model, layer_range=ends)
        assert [line.split()[0] for line in lines[4:-3]] == names
    with pytest.raises(ValueError, match="no layer is called 'tpo'; did you mean 'top'"):
        model.summary(layer_range=("tpo", "end"))
    with pytest.raises(ValueError, match="a first and a last layer: 'top'"):
        model.summary(layer_range="top")


def test_positions_are_warned_of():
    with pytest.warns(UserWarning, match="columns .* are as wide as they need to be"):
        shown(nested(), positions=[0.3, 0.6, 1.0])
