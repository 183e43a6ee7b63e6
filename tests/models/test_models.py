"""Models: how they are put together, looked into, and used as layers of others."""

import numpy as np
import pytest

from minicnn import Input, Model, Sequential, gradcheck
from minicnn.layers import (
    Activation,
    Add,
    BatchNormalization,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAveragePooling2D,
    InputLayer,
    Layer,
    MaxPooling2D,
    Rescaling,
)
from minicnn.models import clone_model, layer_from_config, load_model


def small(**kwargs):
    return Sequential(
        [
            Input((8, 8, 3)),
            Conv2D(4, 3, activation="relu", name="conv"),
            MaxPooling2D(2),
            Flatten(),
            Dense(5, activation="softmax", name="head"),
        ],
        **kwargs,
    )


def images(n=6, size=8, channels=3, seed=0):
    return np.random.default_rng(seed).random((n, size, size, channels), "float32")


# Sequential


def test_all_ways_to_say_the_shape_of_the_input_agree():
    def layers(**first):
        return [Conv2D(4, 3, **first), Flatten(), Dense(2)]

    given = [
        Sequential([Input((8, 8, 3)), *layers()]),
        Sequential([InputLayer(shape=(8, 8, 3)), *layers()]),
        Sequential([InputLayer(input_shape=(8, 8, 3)), *layers()]),
        Sequential(layers(input_shape=(8, 8, 3))),
        Sequential(layers()),
    ]
    assert not given[-1].built and given[-1].weights == []
    given[-1].build((None, 8, 8, 3))
    for model in given:
        assert model.built and len(model.layers) == 3
        assert model.input_shape == (None, 8, 8, 3) and model.output_shape == (None, 2)
        assert [w.shape for w in model.weights] == [(3, 3, 3, 4), (4,), (144, 2), (2,)]


def test_the_first_data_build_a_model():
    model = Sequential([Conv2D(2, 3), Flatten(), Dense(4)])
    assert model.predict(images()).shape == (6, 4)
    assert model.input_shape == (None, 8, 8, 3)
    called = Sequential([Flatten(), Dense(4)])
    assert called(images()).shape == (6, 4)


def test_add_and_pop():
    model = Sequential()
    model.add(Input((8, 8, 3)))
    model.add(Flatten())
    model.add(Dense(4))
    model.add(Dense(3))
    assert model.output_shape == (None, 3)
    kernel = model.layers[1].kernel
    taken = model.pop()
    assert isinstance(taken, Dense) and taken.units == 3
    assert model.output_shape == (None, 4) and len(model.weights) == 2
    model.add(Dense(7))
    assert model.predict(images()).shape == (6, 7)
    assert model.layers[1].kernel is kernel


def test_nothing_to_pop():
    with pytest.raises(ValueError, match="has no layers to take off"):
        Sequential([Input((3,))]).pop()


def test_a_layer_that_does_not_fit_is_not_added():
    model = small()
    with pytest.raises(ValueError, match="expects inputs of 4 axes"):
        model.add(Conv2D(3, 3))
    assert len(model.layers) == 4 and model.built
    assert model.predict(images()).shape == (6, 5)


@pytest.mark.parametrize(
    "layer, text",
    [
        (3, "is made of layers; got 3 of type int"),
        (Dense, "of type type; did you forget the brackets"),
    ],
)
def test_what_is_no_layer(layer, text):
    with pytest.raises(TypeError, match=text):
        Sequential([layer])


def test_input_stands_in_front():
    with pytest.raises(ValueError, match="Input stands only at the beginning"):
        Sequential([Flatten(), Input((3,))])


def test_names_are_unique_within_a_model():
    with pytest.raises(ValueError, match="two layers are called 'a'; give each a name of its own"):
        Sequential([Dense(2, name="a"), Dense(3, name="a")])
    x = Input((3,))
    with pytest.raises(ValueError, match="two layers are called 'a'"):
        Model(x, Dense(2, name="a")(Dense(2, name="a")(x)))


def test_the_same_layer_twice_has_its_weights_once():
    shared = Dense(3, activation="tanh", kernel_regularizer="l2")
    model = Sequential([Input((3,)), shared, shared])
    assert model.count_params() == 12 and len(model.get_weights()) == 2
    gradcheck(model)
    again = clone_model(model)
    assert again.layers[0] is again.layers[1] and again.count_params() == 12
    again.set_weights(model.get_weights())
    x = np.ones((2, 3), "float32")
    np.testing.assert_array_equal(again.predict(x), model.predict(x))


def test_an_empty_chain_cannot_be_built():
    with pytest.raises(ValueError, match="has no layers"):
        Sequential().build((None, 3))


def test_a_layer_that_shrinks_an_image_below_one_pixel():
    with pytest.raises(ValueError, match=r"Conv2D 'second'.*2.*5") as error:
        Sequential([Input((6, 6, 3)), Conv2D(2, 5), Conv2D(2, 5, name="second")])
    assert "same" in str(error.value)  # what would do
    with pytest.raises(ValueError, match="MaxPooling2D"):
        Sequential([Input((3, 3, 1)), Conv2D(2, 3), MaxPooling2D(2)])


def test_a_graph_is_checked_when_it_is_made():
    with pytest.raises(ValueError, match="expects inputs of 4 axes"):
        Sequential([Input((6,)), Conv2D(2, 3)])


# Functional


def branched(width=4):
    x = Input((8, 8, 3), name="image")
    a = Conv2D(width, 3, padding="same", activation="relu", name="a")(x)
    b = BatchNormalization(name="norm")(Conv2D(width, 1, name="b")(x))
    y = GlobalAveragePooling2D()(Activation("tanh")(Add(name="sum")([a, b])))
    return Model(x, Dense(3, activation="softmax", name="head")(y))


def test_gradients_of_a_branched_model():
    gradcheck(branched(), samples=6)


def test_gradients_of_a_chain():
    model = Sequential(
        [
            Input((8, 8, 3)),
            Conv2D(4, 3, strides=2, activation="elu"),
            BatchNormalization(),
            Dropout(0.3),
            Conv2D(4, 2, activation="tanh"),
            Flatten(),
            Dense(5, activation="softmax"),
        ]
    )
    gradcheck(model, samples=6)


def test_gradients_of_nested_and_shared_models():
    inner = Sequential([Input((4,)), Dense(4, activation="tanh"), Dense(4)])
    a, b = Input((4,)), Input((4,))
    siamese = Model([a, b], Add()([inner(a), inner(inner(b))]))
    gradcheck(siamese)
    assert siamese.count_params() == inner.count_params() == 40
    assert len(siamese.layers) == 4


def test_several_outputs_are_predicted_as_a_list():
    x = Input((4,))
    h = Dense(3)(x)
    model = Model(x, [h, Dense(2)(h)])
    first, second = model.predict(np.ones((5, 4)))
    assert first.shape == (5, 3) and second.shape == (5, 2)
    with pytest.raises(ValueError, match="has 2 outputs; a loss takes one"):
        model.compile("sgd", "mse")
    assert model.optimizer is None
    part = Model(x, model.outputs[0])
    part.compile("sgd", "mse")
    part.fit(np.ones((5, 4)), np.ones((5, 3)), verbose=0)


def test_several_inputs_are_given_as_a_list():
    a, b = Input((4,)), Input((4,))
    model = Model([a, b], Dense(1)(Add()([a, b])))
    x = np.ones((5, 4), "float32")
    assert model.predict([x, x]).shape == (5, 1)
    model.compile("sgd", "mse")
    assert len(model.fit([x, x], np.ones(5), epochs=2, verbose=0).history["loss"]) == 2
    with pytest.raises(ValueError, match="has 2 inputs; got 1"):
        model.predict(x)


@pytest.mark.parametrize("inputs, outputs, named", [(None, None, "inputs"), ("x", 3, "outputs")])
def test_models_are_made_of_symbolic_tensors(inputs, outputs, named):
    inputs = Input((3,)) if inputs else None
    with pytest.raises(TypeError, match=rf"Model\({named}=...\) takes what Input"):
        Model(inputs, outputs)


def test_sub_models_of_intermediate_tensors():
    model = branched()
    features = Model(model.inputs, model.get_layer("sum").output)
    assert features.predict(images()).shape == (6, 8, 8, 4)
    assert features.get_layer("a") is model.get_layer("a")
    assert model.get_layer("image").output is model.input is model.get_layer("a").input
    assert model.get_layer("sum").input == [model.get_layer(n).output for n in ("a", "norm")]


def test_a_head_on_the_output_of_a_base():
    base = small()
    base.pop()
    model = Model(base.input, Dense(2)(base.output))
    assert model.predict(images()).shape == (6, 2)
    with pytest.raises(ValueError, match="is not built"):
        Sequential([Dense(2)]).output  # noqa: B018
    with pytest.raises(ValueError, match="Dense 'd' stands in no built model yet"):
        Dense(2, name="d").output  # noqa: B018


# Looking inside


def test_get_layer():
    model = small()
    assert model.get_layer("head") is model.layers[-1] is model.get_layer(index=3)
    assert model.get_layer(index=-4).name == "conv"
    with pytest.raises(ValueError, match="has no layer 'haed'.*head"):
        model.get_layer("haed")
    with pytest.raises(ValueError, match="has 4 layers; no index 4"):
        model.get_layer(index=4)


def test_weights_go_out_and_in():
    model, other = small(), small()
    other.set_weights(model.get_weights())
    np.testing.assert_array_equal(model.predict(images()), other.predict(images()))
    before = other.get_weights()
    with pytest.raises(ValueError, match="has 4 weights; got 3 arrays"):
        other.set_weights(before[:3])
    with pytest.raises(ValueError, match=r"head/bias has shape \(5,\).*\(6,\)"):
        other.set_weights([0 * w for w in before[:3]] + [np.ones(6)])
    for a, b in zip(before, other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_get_weights_gives_copies():
    model = small()
    model.get_weights()[0][:] = 7
    assert not (model.get_weights()[0] == 7).any()


def test_clones_have_weights_of_their_own():
    for model in (small(), branched()):
        model.compile("adam", "sparse_categorical_crossentropy")
        clone = clone_model(model)
        assert clone.get_config() == {**model.get_config(), "name": clone.name}
        clone.set_weights(model.get_weights())
        np.testing.assert_array_equal(model.predict(images()), clone.predict(images()))
        assert not set(model.weights) & set(clone.weights)


def test_clones_of_your_own_layers():
    class Double(Layer):
        def forward(self, x, ctx):
            return 2 * x

    inner = Sequential([Input((3,)), Double()])
    twin = clone_model(Sequential([Input((3,)), inner]))
    np.testing.assert_array_equal(twin(np.ones((1, 3))), np.full((1, 3), 2))


@pytest.mark.parametrize("called_with", [None, False, True])
def test_a_call_may_say_whether_it_is_training(called_with, tmp_path):
    x = inputs = Input((4,))
    x = BatchNormalization(name="norm")(x, training=called_with)
    model = Model(inputs, Dense(1)(Dropout(0.5)(x, training=called_with)))
    model.compile("sgd", "mse")
    model.save(tmp_path / "model.safetensors")
    for m in (model, load_model(tmp_path / "model.safetensors")):
        data = np.arange(48.0).reshape(12, 4)
        drops = not np.array_equal(m.predict(data, verbose=0), m.predict(data, verbose=0))
        assert drops is (called_with is True)
        m.fit(data, np.ones(12), verbose=0)
        moved = m.get_layer("norm").moving_mean.numpy().any()
        assert moved == (called_with is not False)


def test_configurations_of_nested_models():
    inner = Sequential([Dense(4, activation="relu"), Dense(2)], name="inner")
    outer = Sequential([Input((3,)), Rescaling(0.5), inner, branchless()], name="outer")
    again = layer_from_config({"class_name": "Sequential", "config": outer.get_config()})
    assert list(again.weight_keys().values()) == list(outer.weight_keys().values())
    assert "inner/" in list(outer.weight_keys().values())[0]


def branchless():
    x = Input((2,), name="in")
    return Model(x, Dense(1, name="d")(x), name="functional")


# Shapes of data


@pytest.mark.parametrize(
    "shape, text",
    [
        ((8, 8, 3), r"a single image needs a batch axis in front: x\[None\]"),
        ((6, 8, 8), r"grey images need a channel axis at the end"),
        ((6, 3, 8, 8), r"channels come last here: x.transpose\(0, 2, 3, 1\)"),
        ((6, 8, 8, 1), r"takes inputs of shape \(n, 8, 8, 3\); got \(6, 8, 8, 1\)"),
        ((6, 2, 8, 3), r"made for inputs of shape \(n, 8, 8, 3\); got \(6, 2, 8, 3\): Conv2D '"),
        ((6,), r"got \(6,\)"),
    ],
)
@pytest.mark.parametrize("what", ["predict", "fit", "evaluate", "train_on_batch"])
def test_data_of_another_shape(shape, text, what):
    model = small()
    model.compile("sgd", "sparse_categorical_crossentropy")
    x = np.zeros(shape, "float32")
    labels = () if what == "predict" else (np.zeros(len(x), int),)
    with pytest.raises(ValueError, match=text):
        getattr(model, what)(x, *labels)


def test_a_deferred_model_says_what_is_wrong_with_the_rank():
    model = Sequential([Conv2D(4, 3), Flatten(), Dense(2)])
    with pytest.raises(ValueError, match=r"Conv2D.*expects inputs of 4 axes.*shape \(None, 8, 8\)"):
        model.predict(np.zeros((6, 8, 8), "float32"))
    assert model.predict(images()).shape == (6, 2)


def test_a_deferred_model_may_be_given_other_data_after_an_error():
    inner = Sequential([Conv2D(4, 3), BatchNormalization()])
    model = Sequential([inner, MaxPooling2D(2), Flatten(), Dense(2)])
    with pytest.raises(ValueError, match="would shrink an image of 1x6 pixels below 1 pixel"):
        model.predict(images().transpose(0, 3, 1, 2))
    assert not model.built and model.weights == []
    assert model.predict(images()).shape == (6, 2)
    assert len(model.weights) == 8


# Your own layers and models


def test_writing_a_layer():
    class Scale(Layer):
        """y = g x with a learned g."""

        def build(self, input_shape):
            self.g = self.add_weight("g", (input_shape[-1],), "ones")

        def forward(self, x, ctx):
            ctx.save(x)
            return x * self.g.value

        def backward(self, dy, ctx):
            (x,) = ctx.saved
            ctx.add_gradient(self.g, (dy * x).reshape(-1, x.shape[-1]).sum(0))
            return dy * self.g.value

    gradcheck(Scale(), input_shape=(4, 3))
    model = Sequential([Input((4, 3)), Scale(), Flatten(), Dense(2)])
    assert model.get_layer(index=0).output_shape == (None, 4, 3)
    gradcheck(model)


@pytest.mark.parametrize("base", [Model, Sequential])
@pytest.mark.parametrize("method", ["forward", "backward"])
def test_a_model_does_not_define_its_passes(base, method):
    """Training goes by the graph, and would never come by there."""
    with pytest.raises(TypeError, match=rf"Own defines {method}, but .* from minicnn.Layer, which"):
        type("Own", (base,), {method: lambda self, x, ctx: x})


def test_a_model_may_define_anything_else():
    class Classifier(Sequential):
        def __init__(self, classes, **kwargs):
            super().__init__([Flatten(), Dense(classes, activation="softmax")], **kwargs)

        def classify(self, x):
            return self.predict(x, verbose=0).argmax(-1)

    model = Classifier(3)
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.fit(images(), np.arange(6) % 3, verbose=0)
    assert model.classify(images()).shape == (6,)


def test_layers_say_what_they_do_not_define():
    with pytest.raises(NotImplementedError, match=r"Layer does not define forward\(x, ctx\)"):
        Layer()(np.ones((1, 2)))


def test_unknown_arguments_are_named():
    with pytest.raises(TypeError, match="Conv2D has no argument 'stride'; did you mean 'strides'"):
        Conv2D(3, 3, stride=2)
    with pytest.raises(TypeError, match="Sequential has no argument 'nme'"):
        Sequential(nme="x")


def test_a_file_that_is_not_there():
    with pytest.raises(FileNotFoundError, match="no file 'nowhere.safetensors'"):
        load_model("nowhere.safetensors")
