"""Classes and functions of your own, under the names by which files and configurations call them.

@register_keras_serializable("mine")
class Scale(Layer): ...          # files call it "mine>Scale", and find it again

with custom_object_scope({"Scale": Scale}):
    model = load_model("model.keras")
"""

import inspect
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, TypeVar

T = TypeVar("T")

_objects: dict[str, Any] = {}
_names: dict[Any, str] = {}
_scope: ContextVar[dict[str, Any] | None] = ContextVar("custom_objects", default=None)


def register_keras_serializable(
    package: str = "Custom", name: str | None = None
) -> Callable[[T], T]:
    """Decorator: files call a class or function "package>name", and find it under that name.

    Args:
        package: the first part; keeps classes of the same name apart.
        name: the second part; default: that of the class.

    Raises:
        ValueError: a class without `get_config`.
    """

    def register(thing: Any) -> Any:
        if inspect.isclass(thing) and not hasattr(thing, "get_config"):
            raise ValueError(
                f"{thing.__name__} has no get_config(), from which it could be made again: derive "
                f"it from a class of minicnn, or define it"
            )
        full = f"{package}>{name or thing.__name__}"
        _objects[full], _names[thing] = thing, full
        return thing

    return register


def get_custom_objects() -> dict[str, Any]:
    """The dictionary of all that is registered, itself: what is put in is known from then on."""
    return _objects


def get_registered_name(obj: Any) -> str:
    """What files call the class or function `obj`: "package>name", or its own name if it is not
    registered."""
    name = _names.get(obj)
    return str(obj.__name__) if name is None else name


def get_registered_object(
    name: str,
    custom_objects: Mapping[str, Any] | None = None,
    module_objects: Mapping[str, Any] | None = None,
) -> Any:
    """The class or function that is known as `name`, or None.

    Args:
        name: "package>name", or a plain one.
        custom_objects: {name: object}, which come first; then those of the scope, and those
            registered. A class may stand there without its package.
        module_objects: {name: object}, which come last.
    """
    for known in (custom_objects, _scope.get(), _objects, module_objects):
        for key in (name, name.rpartition(">")[2]):
            if known and key in known:
                return known[key]
    return None


class CustomObjectScope:
    """A block in which names stand for objects of your own.

    Args:
        custom_objects: {name: class or function}.
    """

    def __init__(self, custom_objects: Mapping[str, Any] | None):
        self.custom_objects = dict(custom_objects or {})

    def __enter__(self) -> "CustomObjectScope":
        self._token = _scope.set({**(_scope.get() or {}), **self.custom_objects})
        return self

    def __exit__(self, *error: Any) -> None:
        _scope.reset(self._token)


custom_object_scope = CustomObjectScope
