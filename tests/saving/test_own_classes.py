"""Classes of your own in all formats of files: written under their names, read with custom_objects,
in a scope, or because they are registered."""

import json
import zipfile

import numpy as np
import pytest

h5py = pytest.importorskip("h5py")

from minicnn import custom_objects, initializers, losses, metrics, optimizers  # noqa: E402
from minicnn.activations import ReLU  # noqa: E402
from minicnn.custom_objects import (  # noqa: E402
    custom_object_scope,
    get_custom_objects,
    get_registered_name,
    get_registered_object,
    register_keras_serializable,
)
from minicnn.layers import Conv2D, Dense, Flatten, Input, Layer  # noqa: E402
from minicnn.models import Model, Sequential, load_model  # noqa: E402
from minicnn.optimizers.schedules import ExponentialDecay  # noqa: E402
from minicnn.regularizers import L2  # noqa: E402

SUFFIXES = [".safetensors", ".keras", ".h5"]


class Scale(Layer):
    """y = factor x s, with one s per channel."""

    def __init__(self, factor=2.0, initializer=None, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor
        self.initializer = initializers.get(initializer or "ones")

    def build(self, input_shape):
        self.s = self.add_weight("s", (input_shape[-1],), self.initializer)

    def forward(self, x, ctx):
        ctx.save(x)
        return x * (self.factor * self.s.value)

    def backward(self, dy, ctx):
        (x,) = ctx.saved
        gradient = self.factor * (dy * x).sum(tuple(range(x.ndim - 1)))
        ctx.add_gradient(self.s, gradient)
        return dy * (self.factor * self.s.value)


class Halves(initializers.Initializer):
    def __call__(self, shape, dtype=None):
        return np.full(shape, 0.5, dtype)


class Penalty(L2):
    pass


class Tripled(ReLU):
    def forward(self, z, out=None):
        return 3 * super().forward(z, out)

    def backward(self, dy, kept):
        return 3 * super().backward(dy, kept)


class Error(losses.MeanSquaredError):
    pass


class Count(metrics.Mean):
    def update_state(self, y_true, y_pred, sample_weight=None):
        super().update_state(np.ones(len(y_pred)))


class Descent(optimizers.SGD):
    pass


class Decay(ExponentialDecay):
    pass


OWN = [Scale, Halves, Penalty, Tripled, Error, Count, Descent, Decay]
BY_NAME = {cls.__name__: cls for cls in OWN}


@pytest.fixture(autouse=True)
def nothing_stays_registered():
    before, names = dict(custom_objects._objects), dict(custom_objects._names)
    yield
    for known, kept in ((custom_objects._objects, before), (custom_objects._names, names)):
        known.clear()
        known.update(kept)


def model():
    made = Sequential(
        [
            Input((6, 6, 3)),
            Conv2D(4, 3, kernel_initializer="he_normal", kernel_regularizer=Penalty(0.1)),
            Scale(3.0, initializer=Halves(), name="scale"),
            Scale(0.5, name="second"),
            Flatten(),
            Dense(3, activation=Tripled()),
        ]
    )
    made.compile(Descent(Decay(0.01, 2, 0.5), momentum=0.9), Error(), [Count(name="count")])
    return made


X = np.random.default_rng(0).normal(size=(8, 6, 6, 3)).astype("float32")
Y = np.random.default_rng(1).normal(size=(8, 3)).astype("float32")


def check_equal(again, before):
    np.testing.assert_array_equal(again.predict(X, verbose=0), before.predict(X, verbose=0))
    assert again.get_layer("scale").factor == 3.0
    assert type(again.get_layer("scale").initializer) is Halves
    kinds = [again.optimizer, again.optimizer._learning_rate, again.loss]
    kinds += [again.layers[0].kernel_regularizer, again.layers[-1].activation]
    assert [type(k) for k in kinds] == [Descent, Decay, Error, Penalty, Tripled]
    for trained in (before, again):  # the optimizer's state is there too
        trained.fit(X, Y, batch_size=4, shuffle=False, verbose=0)
    np.testing.assert_array_equal(again.predict(X, verbose=0), before.predict(X, verbose=0))
    assert again.metrics_names == ["loss", "count"]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("way", ["custom_objects", "scope", "registered", "without package"])
def test_all_kinds_of_classes(way, suffix, tmp_path):
    if way in ("registered", "without package"):
        for cls in OWN:
            register_keras_serializable("mine")(cls)
    before = model()
    before.fit(X, Y, batch_size=4, shuffle=False, verbose=0)
    path = tmp_path / f"m{suffix}"
    before.save(path)
    if way == "scope":
        with custom_object_scope(BY_NAME):
            again = load_model(path)
    elif way == "without package":
        get_custom_objects().clear()
        again = load_model(path, BY_NAME)
    else:
        again = load_model(path, BY_NAME if way == "custom_objects" else None)
    check_equal(again, before)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_without_them_the_class_is_named(suffix, tmp_path):
    path = tmp_path / f"m{suffix}"
    model().save(path)
    kept = {k: v for k, v in BY_NAME.items() if k != "Scale"}
    with pytest.raises(ValueError, match="Scale.*custom_objects={'Scale': "):
        load_model(path, kept)


def test_names_in_the_file(tmp_path):
    register_keras_serializable("mine", "Factor")(Scale)
    model().save(tmp_path / "m.keras")
    with zipfile.ZipFile(tmp_path / "m.keras") as archive:
        config = json.loads(archive.read("config.json"))
    entry = config["config"]["layers"][2]
    assert (entry["class_name"], entry["registered_name"]) == ("Scale", "mine>Factor")
    assert entry["module"] == __name__
    model().save(tmp_path / "m.h5")
    with h5py.File(tmp_path / "m.h5") as file:
        config = json.loads(file.attrs["model_config"])
    assert config["config"]["layers"][2]["class_name"] == "mine>Factor"


def test_graphs_hold_them_too(tmp_path):
    inputs = Input((6, 6, 3))
    shared = Scale(2.0, name="shared")
    graph = Model(inputs, Dense(2)(Flatten()(shared(shared(inputs)))))
    for suffix in SUFFIXES:
        graph.save(tmp_path / f"g{suffix}")
        again = load_model(tmp_path / f"g{suffix}", {"Scale": Scale})
        np.testing.assert_array_equal(again.predict(X, verbose=0), graph.predict(X, verbose=0))


def hits(y_true, y_pred):
    return (np.asarray(y_true)[:, 0] < np.asarray(y_pred)[:, 0]).astype("float32")


@pytest.mark.cpu_only("functions that are written in NumPy")
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_functions_as_metrics(suffix, tmp_path):
    before = model()
    before.compile("sgd", "mse", [hits])
    before.save(tmp_path / f"m{suffix}")
    again = load_model(tmp_path / f"m{suffix}", {**BY_NAME, "hits": hits})
    assert again.evaluate(X, Y, verbose=0) == before.evaluate(X, Y, verbose=0)
    with pytest.warns(UserWarning, match="left out: unknown metric 'hits'"):
        assert load_model(tmp_path / f"m{suffix}", BY_NAME).metric_identifiers == []


class Pair(Layer):
    """Makes its arguments into others, as Keras's own layers of layers do."""

    def __init__(self, sizes, **kwargs):
        super().__init__(**kwargs)
        self.low, self.high = sizes

    def forward(self, x, ctx):
        return x + (self.high - self.low)

    def backward(self, dy, ctx):
        return dy

    def get_config(self):
        return {**super().get_config(), "low": self.low, "high": self.high}

    @classmethod
    def from_config(cls, config):
        return cls((config.pop("low"), config.pop("high")), **config)


class Forgetful(Layer):
    def __init__(self, k, **kwargs):
        super().__init__(**kwargs)

    def forward(self, x, ctx):
        return x

    def backward(self, dy, ctx):
        return dy


def test_configurations_of_their_own(tmp_path):
    for suffix in SUFFIXES:
        before = Sequential([Input((3,)), Pair((1, 4))])
        before.save(tmp_path / f"p{suffix}")
        again = load_model(tmp_path / f"p{suffix}", {"Pair": Pair})
        np.testing.assert_array_equal(again(np.ones((1, 3))), before(np.ones((1, 3))))
        with pytest.raises(ValueError, match="needs the argument 'k' but does not keep it"):
            Sequential([Input((3,)), Forgetful(2)]).save(tmp_path / f"f{suffix}")


def test_registering():
    @register_keras_serializable("mine")
    class Thing(Scale):
        pass

    assert get_registered_name(Thing) == "mine>Thing" and get_registered_name(Scale) == "Scale"
    assert get_registered_object("mine>Thing") is get_custom_objects()["mine>Thing"] is Thing
    assert get_registered_object("Thing") is None
    assert get_registered_object("Thing", module_objects={"Thing": Scale}) is Scale
    assert get_registered_object("mine>Thing", {"Thing": Scale}) is Scale  # given: first
    assert register_keras_serializable(name="f")(hits) is hits
    assert get_registered_name(hits) == "Custom>f"
    with pytest.raises(ValueError, match="int has no get_config"):
        register_keras_serializable()(int)


def test_scopes():
    with custom_object_scope({"triple": Tripled}):
        assert type(Dense(2, activation="triple").activation) is Tripled
        with custom_object_scope({"halves": Halves}):
            layer = Dense(2, activation="triple", kernel_initializer="halves")
            assert type(layer.kernel_initializer) is Halves
        with pytest.raises(ValueError, match="unknown initializer 'halves'"):
            Dense(2, kernel_initializer="halves")
    with pytest.raises(ValueError, match="unknown activation 'triple'"):
        Dense(2, activation="triple")
