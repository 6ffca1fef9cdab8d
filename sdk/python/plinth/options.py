"""Options: a dataclass says which there are; their JSON Schema, checks and errors come from it.

Other JSON that a plugin has to read is read by the same rules.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import math
import re
import types
import typing
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from .problem import Problem, nearest

_PLAIN = {bool: "boolean", int: "integer", float: "number", str: "string"}
_WANTED = {bool: "true or false", int: "an integer", float: "a number", str: "a string"}
Read = TypeVar("Read")


@dataclasses.dataclass(frozen=True)
class NoOptions:
    """The options of an item that takes none."""


def option(
    default: Any = dataclasses.MISSING,
    description: str = "",
    *,
    name: str | None = None,
    minimum: float | None = None,
    maximum: float | None = None,
    above: float | None = None,
    min_items: int | None = None,
    min_length: int | None = None,
) -> Any:
    """One option of a dataclass of options: `bins: int = plinth.option(10, "How many bins", minimum=2)`.

    Without a default it must be given. `name` is what users write where it differs from the attribute's name;
    `minimum` and `maximum` are bounds of a number, `above` one that it must exceed, `min_items` the least length of a
    list and `min_length` that of a text. A plain default (`bins: int = 10`) does where nothing more is to be said.
    """
    rules = {"description": description or None, "minimum": minimum, "maximum": maximum}
    rules |= {"exclusiveMinimum": above, "minItems": min_items, "minLength": min_length}
    metadata = {"name": name, "rules": {key: value for key, value in rules.items() if value is not None}}
    if isinstance(default, (list, dict)):
        return dataclasses.field(default_factory=lambda: type(default)(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def schema_of(cls: type) -> dict[str, Any]:
    """The JSON Schema of a dataclass. Raises `TypeError` for what no option can be."""
    if not dataclasses.is_dataclass(cls):
        raise TypeError(f"options are a dataclass, and {cls.__qualname__} is none: put @dataclass above it")
    properties: dict[str, Any] = {}
    required = []
    hints = hints_of(cls)
    for field in dataclasses.fields(cls):
        said = _type_schema(hints[field.name], f"{cls.__qualname__}.{field.name}")
        said |= field.metadata.get("rules", {})
        default = _default(field)
        if default is dataclasses.MISSING:
            required.append(_name(field))
        elif default is not None and not dataclasses.is_dataclass(default):
            said["default"] = default
        properties[_name(field)] = said
    made: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": False}
    return made | ({"required": required} if required else {})


def parse(cls: type, text: str) -> Any:
    """Options of a JSON text; an empty one stands for `{}`. Raises `Problem` `bad-options`, which names the option."""
    try:
        return _object(cls, _loaded(text or "{}"), "", nulls=True)
    except Misread as error:
        raise Problem("bad-options", error.told("option", "bad options: ")) from None


def parse_json(cls: type[Read], data: bytes) -> Read:
    """An object of a dataclass out of JSON of any other origin, such as the artifact of a model. As strict as options
    are, and more: a null is taken only by `T | None`, and no name may be given twice.

    Raises `ValueError`, which names the field: make a `Problem` of it, with a code of your own.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise Misread("", "it is not UTF-8") from None
    made: Read = _object(cls, _loaded(text, object_pairs_hook=_once), "", nulls=False)
    return made


class Misread(ValueError):
    """What is wrong with a JSON text: the value at a path (the whole where there is none), or a name that nothing has."""

    def __init__(self, path: str, why: str, *, unknown: bool = False) -> None:
        super().__init__(path, why)
        self.path, self.why, self.unknown = path, why, unknown

    def told(self, noun: str, whole: str) -> str:
        """It in words, with what the text consists of, and what comes before where it is about the whole."""
        if self.unknown:
            return f"unknown {noun} `{self.path}`{self.why}"
        return f"{noun} `{self.path}`: {self.why}" if self.path else whole + self.why

    def __str__(self) -> str:
        return self.told("field", "")


@functools.cache
def hints_of(cls: type) -> dict[str, Any]:
    """The types of a class's attributes, worked out once."""
    return typing.get_type_hints(cls)


NESTED_MAX = 128
"""How deep JSON may be nested: its reader goes down by calling itself, and a component's stack is small."""


def _loaded(text: str, **more: Any) -> Any:
    if _depth(text) > NESTED_MAX:
        raise Misread("", f"it is nested more than {NESTED_MAX} deep")
    try:
        return json.loads(text, parse_constant=_no_constant, parse_int=_integer, **more)
    except (ValueError, RecursionError) as error:
        raise Misread("", str(error)) from None


def _depth(text: str) -> int:
    """How deep a JSON text is nested; a bound of it where it is short."""
    most = text.count("[") + text.count("{")
    if most <= NESTED_MAX:
        return most
    brackets = re.findall(r'"(?:[^"\\]|\\.)*"?|[\[\]{}]', text)
    steps = (1 if found in "[{" else -1 for found in brackets if found in "[]{}")
    return max(itertools.accumulate(steps))


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _integer(text: str) -> float:
    return -0.0 if text == "-0" else int(text)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of these pairs; Python's own reader takes the last of a name."""
    made: dict[str, Any] = {}
    for name, value in pairs:
        if name in made:
            raise ValueError(f"`{name}` is given twice")
        made[name] = value
    return made


def _name(field: dataclasses.Field[Any]) -> str:
    return field.metadata.get("name") or field.name


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _optional(hint: Any) -> Any:
    """`T` of `T | None`, else the hint itself."""
    if get_origin(hint) in (Union, types.UnionType):
        left = [each for each in get_args(hint) if each is not type(None)]
        return left[0] if len(left) == 1 else hint
    return hint


def _type_schema(hint: Any, where: str) -> dict[str, Any]:
    hint = _optional(hint)
    if hint is Any:
        return {}
    if hint in _PLAIN:
        return {"type": _PLAIN[hint]}
    if get_origin(hint) is list:
        return {"type": "array", "items": _type_schema(get_args(hint)[0], where)}
    if get_origin(hint) is dict and get_args(hint)[0] is str:
        return {"type": "object", "additionalProperties": _type_schema(get_args(hint)[1], where)}
    if get_origin(hint) is Literal:
        return {"enum": list(get_args(hint))}
    if dataclasses.is_dataclass(hint):
        return schema_of(typing.cast(type, hint))
    raise TypeError(
        f"{where} is {hint}: an option is bool, int, float, str, Literal, a dataclass, list[T], dict[str, T] or Any"
    )


def _object(cls: type, given: Any, path: str, nulls: bool) -> Any:
    """An object of a dataclass; with `nulls`, a field that is null is one that was not given."""
    if not isinstance(given, dict):
        raise Misread(path, f"it is {_show(given)}, and an object is wanted" if path else "an object is wanted")
    within = path and f"{path}."
    hints = hints_of(cls)
    fields = {_name(field): field for field in dataclasses.fields(cls)}
    for name in given:
        if name not in fields:
            raise Misread(within + name, nearest(name, fields), unknown=True)
    taken = {}
    for name, field in fields.items():
        hint = hints[field.name]
        # What may be null is not given where it is.
        absent = name not in given or (given[name] is None and (nulls or _optional(hint) is not hint))
        if not absent:
            taken[field.name] = _value(hint, given[name], within + name, nulls)
            _check_rules(taken[field.name], field.metadata.get("rules", {}), within + name)
        elif _default(field) is dataclasses.MISSING:
            raise Misread(within + name, "it is missing")
    return cls(**taken)


def _value(hint: Any, given: Any, path: str, nulls: bool) -> Any:
    hint = _optional(hint)
    if hint is Any:
        return given
    if hint in _PLAIN:
        return _plain(hint, given, path)
    if get_origin(hint) is Literal:
        if not any(given == each and type(given) is type(each) for each in get_args(hint)):
            raise Misread(path, f"it is {_show(given)}, and one of {', '.join(map(_show, get_args(hint)))} is wanted")
        return given
    if get_origin(hint) is list:
        if not isinstance(given, list):
            raise Misread(path, f"it is {_show(given)}, and a list is wanted")
        return [_value(get_args(hint)[0], each, f"{path}[{index}]", nulls) for index, each in enumerate(given)]
    if get_origin(hint) is not dict:
        return _object(hint, given, path, nulls)
    if not isinstance(given, dict):
        raise Misread(path, f"it is {_show(given)}, and an object is wanted")
    return {key: _value(get_args(hint)[1], each, f"{path}.{key}", nulls) for key, each in given.items()}


def _plain(hint: type, given: Any, path: str) -> Any:
    number = isinstance(given, (int, float)) and not isinstance(given, bool)
    if hint is float and number:
        try:
            value = float(given)
        except OverflowError:
            value = math.inf
        if not math.isfinite(value):  # 1e999, which Python reads as infinity
            raise Misread(path, "it is more than a float64 holds")
        return value
    # JSON tells 3 from 3.0 only in spelling.
    if hint is int and isinstance(given, float) and given.is_integer() and abs(given) <= 9e15:
        return int(given)
    if hint is int and number and isinstance(given, int) and -(2**63) <= given < 2**63:
        return given
    if hint in (bool, str) and isinstance(given, hint):
        return given
    raise Misread(path, f"it is {_show(given)}, and {_WANTED[hint]} is wanted")


def _check_rules(value: Any, rules: dict[str, Any], path: str) -> None:
    if "minItems" in rules and len(value) < rules["minItems"]:
        raise Misread(path, f"it has {len(value)} elements and needs {rules['minItems']}")
    if "minLength" in rules and len(value) < rules["minLength"]:
        raise Misread(path, f"it has {len(value)} characters and needs {rules['minLength']}")
    if "minimum" in rules and not value >= rules["minimum"]:
        raise Misread(path, f"it is {value}; it must be at least {rules['minimum']}")
    if "exclusiveMinimum" in rules and not value > rules["exclusiveMinimum"]:
        raise Misread(path, f"it is {value}; it must be more than {rules['exclusiveMinimum']}")
    if "maximum" in rules and not value <= rules["maximum"]:
        raise Misread(path, f"it is {value}; it must be at most {rules['maximum']}")


def _show(given: Any) -> str:
    text = json.dumps(given, ensure_ascii=False)
    return text if len(text) <= 60 else text[:60] + "…"
