"""Objects by name, and objects to and from plain configurations.

`Registry` turns what a user may write ("adam", "SparseCategoricalCrossentropy", an instance, a
class or a saved {"class_name", "config"}) into an object; `Configurable` is the other direction.
"""

import difflib
import inspect
import re
import sys
from collections.abc import Callable, Iterable
from typing import Any

from minicnn.custom_objects import get_registered_name, get_registered_object

_name_counts: dict[str, int] = {}
_MOST_LISTED = 40  # names beside those that were probably meant


def near_matches(name: str, known: Iterable[str], any_case: bool = False) -> str:
    """The end of an "unknown name" message: what was probably meant, and all that is known, unless
    that is much.

    Args:
        name: the unknown one.
        known: all known names.
        any_case: whether names are known in any spelling, so that "Adam" may be shown as "adam" to
            those who write that.
    """
    known = list(known)
    close = closest(name, known)
    if any_case and str(name).islower():
        close = [re.sub(r"(?<=[a-z0-9])(?=[A-Z][a-z])", "_", c).lower() for c in close]
    more = len(known) - _MOST_LISTED
    listing = "known: " + ", ".join(sorted(known)[:_MOST_LISTED])
    if not close:
        return listing + (f" and {more} more" if more > 0 else "")
    meant = "did you mean " + " or ".join(repr(c) for c in close) + "?"
    return meant if more > 0 else f"{meant} ({listing})"


def closest(name: str, known: Iterable[str]) -> list[str]:
    """Up to three of the `known` names that are most like `name`; of those that differ in spelling
    alone, the one with or without capitals as `name` is."""
    in_style = sorted(known, key=lambda k: k.islower() == str(name).islower())
    by_key = {_key(k): k for k in in_style}
    matches = difflib.get_close_matches(_key(str(name)), by_key, n=3, cutoff=0.6)
    return [by_key[k] for k in matches]


def snake_case(name: str) -> str:
    """A class's `name` as a default name, in Keras's way: "MaxPooling2D" to "max_pooling2d"."""
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def checked_name(owner: Any, name: Any, slash: bool = True) -> str | None:
    """`name`, which is a string, or None for a default.

    Args:
        owner: what is given it; its class begins the message.
        name: the argument.
        slash: whether there may be a "/" in it.

    Raises:
        ValueError: it is neither.
    """
    if name is None or (isinstance(name, str) and (slash or "/" not in name)):
        return name
    without = "" if slash else " without '/'"
    raise ValueError(f"{type(owner).__name__}: name must be a string{without}, not {name!r}")


def unique_name(base: str) -> str:
    """`base` the first time, then base_1, base_2 ..."""
    count = _name_counts.get(base, 0)
    _name_counts[base] = count + 1
    return base if count == 0 else f"{base}_{count}"


def reset_names() -> None:
    """Make `unique_name` count anew."""
    _name_counts.clear()


def _key(name: str) -> str:
    return name.replace("_", "").replace(" ", "").lower()


def is_library_code(thing: Any) -> bool:
    """Whether a class or function is the library's own, so that what is known of it holds.

    Args:
        thing: a class, a function or a method.
    """
    own = __name__.partition(".")[0]
    return (thing.__module__ or "").partition(".")[0] == own


class Configurable:
    """An object whose constructor arguments are kept as attributes of the same names.

    `get_config` reads them back, so that `type(obj).from_config(obj.get_config())` is an equal,
    untrained object. Values that are `Configurable` themselves become {"class_name", "config"}.
    """

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments by name, in terms of JSON."""
        names = [n for n in argument_names(type(self)) if hasattr(self, n)]
        return {name: serialize(getattr(self, name)) for name in names}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """An object made from the `config` that `get_config` returned."""
        return cls._made_with(config)

    @classmethod
    def _made_with(cls, arguments: dict[str, Any]) -> Any:
        return cls(**arguments)


def argument_names(cls: type) -> list[str]:
    """Constructor arguments of `cls` and of those it hands the rest to, base classes first."""
    names: dict[str, None] = {}
    for c in reversed(cls.__mro__):
        maker = c if "__signature__" in vars(c) else vars(c).get("__init__")
        if maker is not None and c is not object:
            for name, parameter in inspect.signature(maker).parameters.items():
                if name != "self" and parameter.kind not in (
                    parameter.VAR_KEYWORD,
                    parameter.VAR_POSITIONAL,
                ):
                    names[name] = None
    return list(names)


def serialize(value: Any) -> Any:
    """`value` in terms of JSON.

    Raises:
        ValueError: an object does not keep an argument that its constructor needs.
    """
    if isinstance(value, Configurable):
        config = value.get_config()
        _require_arguments(type(value), config)
        return {"class_name": get_registered_name(type(value)), "config": config}
    if isinstance(value, (list, tuple)):
        return [serialize(v) for v in value]
    if isinstance(value, dict):
        return {k: serialize(v) for k, v in value.items()}
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        return value.item()  # a NumPy scalar
    if hasattr(value, "tolist"):
        return value.tolist()
    return value


def serialize_object(thing: Configurable, module: str) -> dict[str, Any]:
    """`thing` as Keras 3 describes it.

    Args:
        thing: of the library, or your own.
        module: where Keras has the library's.
    """
    own = is_library_code(type(thing))
    return {
        "module": module if own else type(thing).__module__,
        **serialize(thing),
        "registered_name": None if own else type(thing).__name__,
    }


def _require_arguments(cls: Any, config: dict[str, Any]) -> None:
    """Raise unless `config` has all that the constructor of `cls` cannot do without: better now
    than when a file is to be read."""
    maker = next(c for c in cls.__mro__ if "from_config" in vars(c))
    if maker is not Configurable:
        return  # it may make its objects from other things
    for name, parameter in inspect.signature(cls).parameters.items():
        needed = parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
        if needed and parameter.default is parameter.empty and name not in config:
            raise ValueError(
                f"{cls.__name__} needs the argument {name!r} but does not keep it, so that it "
                f"could not be made again from a file: set self.{name} = {name} in its __init__, "
                f"or define get_config(self)"
            )


class Registry:
    """Classes of one kind by name; case, spaces and underscores do not matter.

    Args:
        kind: "optimizer", "loss" ..., for error messages.
    """

    def __init__(self, kind: str):
        self.kind = kind
        self._classes: dict[str, type] = {}
        self._keys: dict[str, type] = {}
        self._left_out: dict[str, str] = {}

    def leave_out(self, reason: str, *names: str) -> None:
        """Answer those who ask for `names`, which Keras has, with a `reason` such as "is for ..."
        in place of a list of what there is."""
        for name in names:
            self._left_out[_key(name)] = f"minicnn leaves out {name}: it {reason}"

    def why_left_out(self, name: str) -> str | None:
        """What `leave_out` was told of `name`; None if nothing."""
        return self._left_out.get(_key(name))

    def module_getattr(self, module: str) -> Callable[[str], Any]:
        """A `__getattr__` for the `module` of that name, which says why a name is left out."""

        def missing(name: str) -> Any:
            reason = self.why_left_out(name)
            if reason is None:
                raise AttributeError(f"module {module!r} has no attribute {name!r}")
            # `from module import name` would not show what an AttributeError says
            imports = sys._getframe(1).f_code.co_name == "_handle_fromlist"
            raise (ImportError if imports else AttributeError)(reason)

        return missing

    def register(self, *aliases: str) -> Any:
        """Class decorator: known under the class's own name and under `aliases`."""

        def add(cls: type) -> type:
            for name in (cls.__name__, *aliases):
                self._classes[name] = cls
                self._keys[_key(name)] = cls
            return cls

        return add

    def names(self) -> list[str]:
        """All names, aliases too."""
        return list(self._classes)

    def find(self, name: str, custom_objects: dict[str, type] | None = None) -> type:
        """The class called `name`.

        Args:
            name: in any spelling.
            custom_objects: the user's classes by name, which come first, and then those of
                `minicnn.custom_objects`.

        Raises:
            ValueError: no such class; the message lists the near matches.
        """
        cls = get_registered_object(name, custom_objects) or self._keys.get(_key(name))
        if cls is None:
            unknown = f"unknown {self.kind} {name!r}; "
            unknown += near_matches(name, self._classes, any_case=True)
            raise ValueError(self.why_left_out(name) or unknown)
        return cls

    def find_saved(self, name: str, custom_objects: dict[str, type] | None = None) -> type:
        """The class that a configuration calls `name`.

        Args:
            name: as `serialize` wrote it.
            custom_objects: your own classes by name, which come first.

        Raises:
            ValueError: no such class; the message says how one of your own is given.
        """
        try:
            return self.find(name, custom_objects)
        except ValueError as error:
            raise ValueError(
                f"{error}. If it is a class of your own: custom_objects={{{name!r}: {name}}}"
            ) from None

    def get(self, identifier: Any, **defaults: Any) -> Any:
        """An instance.

        Args:
            identifier: a name, class or configuration, an instance, or None, which stays None.
            defaults: constructor arguments, used with a name or a class.

        Raises:
            ValueError: an unknown name; the message lists the near matches.
            TypeError: something else.
        """
        if identifier is None:
            return None
        if isinstance(identifier, str):
            found = self.find(identifier)
            return found(**defaults) if isinstance(found, type) else self.get(found)
        if isinstance(identifier, dict) and "class_name" in identifier:
            registered = identifier.get("registered_name") or ""  # as Keras writes it
            name = registered if ">" in registered else identifier["class_name"]
            cls: Any = self.find_saved(name)
            return cls.from_config(identifier.get("config") or {})
        families = tuple({_family(c) for c in self._classes.values()})
        if isinstance(identifier, type) and issubclass(identifier, families):
            return identifier(**defaults)
        if isinstance(identifier, families):
            return identifier
        article = "an" if self.kind[0] in "aeiou" else "a"
        if inspect.isfunction(identifier) and len(families) == 1:
            raise TypeError(
                f"the function {identifier.__name__} has no gradient that training could follow: "
                f"write {article} {self.kind} as a subclass of {families[0].__name__} that says "
                f"what it gives and its gradient"
            )
        raise TypeError(
            f"{article} {self.kind} is given by name, as an instance or as a configuration, "
            f"not as {identifier!r} of type {type(identifier).__name__}; "
            f"known names: {', '.join(sorted(self._classes))}"
        )

    def deserialize(self, config: Any, custom_objects: dict[str, type] | None = None) -> Any:
        """An instance from its configuration.

        Args:
            config: {"class_name", "config", ...}, or what else `get` takes.
            custom_objects: your own classes by name, which come first.

        Raises:
            ValueError, TypeError: as `get`.
        """
        if not isinstance(config, dict) or not custom_objects:
            return self.get(config)
        cls: Any = self.find(config["class_name"], custom_objects)
        arguments = dict(config.get("config") or {})
        if "custom_objects" in inspect.signature(cls.from_config).parameters:
            return cls.from_config(arguments, custom_objects)
        return cls.from_config(arguments)


def _family(cls: type) -> type:
    """The class below `Configurable` that `cls` descends from, such as Loss: what the library's
    classes of one kind share with those a user derives."""
    return next((c for c in reversed(cls.__mro__) if c in Configurable.__subclasses__()), cls)
