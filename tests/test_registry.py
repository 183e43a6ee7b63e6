"""Names to objects, objects to plain configurations and back."""

import json

import numpy as np
import pytest

from minicnn.registry import (
    Configurable,
    Registry,
    closest,
    near_matches,
    reset_names,
    serialize,
    snake_case,
    unique_name,
)

THINGS = Registry("thing")


class Base(Configurable):
    def __init__(self, name="base", **kwargs):
        self.name = name


@THINGS.register("alias")
class BigThing(Base):
    def __init__(self, size=1, part=None, **kwargs):
        super().__init__(**kwargs)
        self.size = size
        self.part = part


@pytest.mark.parametrize("name", ["BigThing", "bigthing", "big_thing", "Big Thing", "alias"])
def test_names_are_found_in_any_spelling(name):
    assert isinstance(THINGS.get(name), BigThing)


def test_what_get_takes():
    thing = BigThing(3)
    assert THINGS.get(thing) is thing
    assert THINGS.get(None) is None
    assert THINGS.get(BigThing, size=2).size == 2
    assert THINGS.get("alias", size=2).size == 2
    assert THINGS.get({"class_name": "BigThing", "config": {"size": 4}}).size == 4
    assert THINGS.get({"class_name": "BigThing"}).size == 1
    assert THINGS.names() == ["BigThing", "alias"]


def test_unknown_names_give_near_matches():
    with pytest.raises(ValueError, match="unknown thing 'BigTing'; did you mean 'BigThing'"):
        THINGS.get("BigTing")
    with pytest.raises(ValueError, match="unknown thing 'xyz'; known: BigThing, alias"):
        THINGS.get("xyz")


def test_other_types_are_refused():
    with pytest.raises(TypeError, match="a thing is given by name.*not as 3 of type int"):
        THINGS.get(3)


def test_objects_of_another_kind_are_refused():
    class Own(Base):
        """A class of the user's: a thing, though not registered."""

    class Other(Configurable):
        pass

    own = Own()
    assert THINGS.get(own) is own
    assert isinstance(THINGS.get(Own), Own)
    for other in (Other(), Other):
        with pytest.raises(TypeError, match="a thing is given by name"):
            THINGS.get(other)


def test_messages_are_english():
    with pytest.raises(TypeError, match="an optimizer is given by name"):
        Registry("optimizer").get(3)


def test_custom_objects_come_first():
    class Other(Base):
        pass

    assert THINGS.find("BigThing", {"BigThing": Other}) is Other
    assert THINGS.find("BigThing", {"Another": Other}) is BigThing


def test_near_matches_lists_all_names_once_and_the_near_ones_first():
    assert near_matches("adm", ["adam", "sgd"]) == "did you mean 'adam'? (known: adam, sgd)"


def test_near_matches_are_spelled_as_the_caller_does():
    known = ["RMSprop", "mse", "MSE", "ReLU", "MaxPooling2D"]
    assert closest("ms", known)[0] == "mse" and closest("MS", known)[0] == "MSE"
    for wrong, meant in (("rmspro", "rmsprop"), ("rellu", "relu"), ("max_poolin", "max_pooling2d")):
        assert near_matches(wrong, known, any_case=True).startswith(f"did you mean '{meant}'")
    assert near_matches("RMSpro", known, any_case=True).startswith("did you mean 'RMSprop'")
    with pytest.raises(ValueError, match="unknown thing 'big_thin'; did you mean 'big_thing'"):
        THINGS.get("big_thin")


def test_configuration_holds_the_arguments_of_the_whole_family():
    config = BigThing(2, part=BigThing(5), name="n").get_config()
    assert config == {
        "name": "n",
        "size": 2,
        "part": {"class_name": "BigThing", "config": {"name": "base", "size": 5, "part": None}},
    }
    again = BigThing.from_config({**config, "part": THINGS.get(config["part"])})
    assert again.get_config() == config


class Forgetful(Base):
    def __init__(self, k, **kwargs):
        super().__init__(**kwargs)
        self.factor = k


def test_a_needed_argument_that_is_not_kept_is_named_when_saving():
    assert Forgetful(3).factor == 3
    text = r"Forgetful needs the argument 'k' but does not keep it.*self.k = k.*get_config\(self\)"
    with pytest.raises(ValueError, match=text):
        serialize({"parts": [Forgetful(3)]})


def test_your_own_configuration_may_hold_what_is_not_kept():
    class Careful(Forgetful):
        def get_config(self):
            return {**super().get_config(), "k": self.factor}

    class Remade(Forgetful):
        @classmethod
        def from_config(cls, config):
            return cls(7)

    assert Careful.from_config(serialize(Careful(3))["config"]).factor == 3
    assert Remade.from_config(serialize(Remade(3))["config"]).factor == 7


def test_serialize_gives_json():
    value = {"a": (np.float32(0.5), np.int64(3)), "b": [np.arange(2)], "c": {"d": None}}
    assert json.loads(json.dumps(serialize(value))) == {
        "a": [0.5, 3],
        "b": [[0, 1]],
        "c": {"d": None},
    }


@pytest.mark.parametrize(
    "name, expected",
    [
        ("Conv2D", "conv2d"),
        ("MaxPooling2D", "max_pooling2d"),
        ("BatchNormalization", "batch_normalization"),
        ("GlobalAveragePooling2D", "global_average_pooling2d"),
        ("ReLU", "re_lu"),
        ("Dense", "dense"),
    ],
)
def test_default_names_are_those_of_keras(name, expected):
    assert snake_case(name) == expected


def test_unique_names_count():
    reset_names()
    assert [unique_name("a"), unique_name("b"), unique_name("a"), unique_name("a")] == [
        "a",
        "b",
        "a_1",
        "a_2",
    ]
