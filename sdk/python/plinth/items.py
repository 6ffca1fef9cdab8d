"""Items: what a plugin offers, under a name."""

from __future__ import annotations

import json
import re
import typing
from typing import Any, TypeVar

from . import options
from .problem import Problem, nearest

ITEMS: dict[str, dict[str, type[Item]]] = {}
"""What was registered: extension point, name, class."""


class Item:
    """What the classes of the extension points have in common."""

    item_name: str = ""
    """Its name, given to `@plinth.item`."""
    item_summary: str = ""
    """Its summary: one line for a list."""
    point: str = ""
    """Its extension point."""
    options: Any = options.NoOptions()
    """The options of the call. Annotate it with a dataclass to take any: `options: Options`."""
    options_type: type | None = None
    """The dataclass of the options, for a class that is made and has no annotations."""

    @classmethod
    def check_class(cls) -> None:
        """Raises `TypeError` where the class lacks what its extension point needs."""


Class = TypeVar("Class", bound=type[Item])


def item(name: str, summary: str = "") -> Any:
    """Registers a class as an item of the plugin: `@plinth.item("clip", "Holds numbers within a range")`.

    The name is in kebab-case; the summary is one line, by default the first of the class's docstring.
    """
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
        raise TypeError(f"`{name}` is no name of an item: it is lower case, with hyphens between words")

    def register(cls: Class) -> Class:
        if not (isinstance(cls, type) and issubclass(cls, Item) and cls.point):
            raise TypeError("an item is a class made from plinth.Transform, Loader, Gate, DriftTest or Model")
        cls.item_name = name
        cls.item_summary = summary or (cls.__doc__ or name).strip().splitlines()[0]
        options_schema(cls)
        cls.check_class()
        if ITEMS.setdefault(cls.point, {}).setdefault(name, cls) is not cls:
            before = ITEMS[cls.point][name]
            if before.__qualname__ != cls.__qualname__:
                raise TypeError(f"`{name}` is both {before.__qualname__} and {cls.__qualname__}")
            ITEMS[cls.point][name] = cls
        return cls

    return register


def find(point: str, name: str) -> type[Any]:
    """The item of a name. Raises `Problem` `unknown-item`."""
    items = ITEMS.get(point, {})
    if name not in items:
        raise Problem("unknown-item", f"this component has no `{name}`{nearest(name, items)}")
    return items[name]


def options_class(cls: type[Item]) -> type:
    """The dataclass of an item's options."""
    if cls.options_type is not None:
        return cls.options_type
    hint = options.hints_of(typing.cast(type, cls)).get("options", Any)
    return options.NoOptions if hint is Any else hint


def options_schema(cls: type[Item]) -> str:
    """The JSON Schema of an item's options, as text."""
    return json.dumps(options.schema_of(options_class(cls)), ensure_ascii=False)


def with_options(cls: type[Any], text: str) -> Any:
    """A new object of an item's class, with its options."""
    made = cls()
    made.options = options.parse(options_class(cls), text)
    return made


def overrides(cls: type, base: type, method: str) -> bool:
    """Whether a class has its own of a method."""
    return getattr(cls, method) is not getattr(base, method)
