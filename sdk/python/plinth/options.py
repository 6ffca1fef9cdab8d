"""Options: a dataclass says which there are; their JSON Schema, checks and errors come from it."""

from __future__ import annotations

import dataclasses
import functools
import json
import types
import typing
from typing import Any, Literal, Union, get_args, get_origin

from .problem import Problem, nearest

_PLAIN = {bool: "boolean", int: "integer", float: "number", str: "string"}
_WANTED = {bool: "true or false", int: "an integer", float: "a number", str: "a string"}


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
) -> Any:
    """One option of a dataclass of options: `bins: int = plinth.option(10, "How many bins", minimum=2)`.

    Without a default it must be given. `name` is what users write where it differs from the attribute's name;
    `minimum` and `maximum` are bounds of a number, `above` one that it must exceed, `min_items` the least length of a
    list. A plain default (`bins: int = 10`) does where nothing more is to be said.
    """
    rules = {"description": description or None, "minimum": minimum, "maximum": maximum}
    rules |= {"exclusiveMinimum": above, "minItems": min_items}
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
        given = json.loads(text or "{}", parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise Problem("bad-options", f"bad options: {error}") from None
    if not isinstance(given, dict):
        raise Problem("bad-options", "bad options: an object is wanted")
    return _object(cls, given, "")


@functools.cache
def hints_of(cls: type) -> dict[str, Any]:
    """The types of a class's attributes, worked out once."""
    return typing.get_type_hints(cls)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


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


def _bad(path: str, why: str) -> Problem:
    return Problem("bad-options", f"option `{path}`: {why}")


def _object(cls: type, given: dict[str, Any], path: str) -> Any:
    hints = hints_of(cls)
    fields = {_name(field): field for field in dataclasses.fields(cls)}
    for name in given:
        if name not in fields:
            raise Problem("bad-options", f"unknown option `{path}{name}`{nearest(name, fields)}")
    taken = {}
    for name, field in fields.items():
        # An option that is null is one that was not given.
        if given.get(name) is not None:
            taken[field.name] = _value(hints[field.name], given[name], path + name)
            _check_rules(taken[field.name], field.metadata.get("rules", {}), path + name)
        elif _default(field) is dataclasses.MISSING:
            raise _bad(path + name, "it is missing")
    return cls(**taken)


def _value(hint: Any, given: Any, path: str) -> Any:
    hint = _optional(hint)
    if hint is Any:
        return given
    if hint in _PLAIN:
        return _plain(hint, given, path)
    if get_origin(hint) is Literal:
        if not any(given == each and type(given) is type(each) for each in get_args(hint)):
            raise _bad(path, f"it is {_show(given)}, and one of {', '.join(map(_show, get_args(hint)))} is wanted")
        return given
    if get_origin(hint) is list:
        if not isinstance(given, list):
            raise _bad(path, f"it is {_show(given)}, and a list is wanted")
        return [_value(get_args(hint)[0], each, f"{path}[{index}]") for index, each in enumerate(given)]
    if not isinstance(given, dict):
        raise _bad(path, f"it is {_show(given)}, and an object is wanted")
    if get_origin(hint) is dict:
        return {key: _value(get_args(hint)[1], each, f"{path}.{key}") for key, each in given.items()}
    return _object(hint, given, f"{path}.")


def _plain(hint: type, given: Any, path: str) -> Any:
    number = isinstance(given, (int, float)) and not isinstance(given, bool)
    if hint is float and number:
        try:
            return float(given)
        except OverflowError:
            raise _bad(path, f"{given} is more than a float64 holds") from None
    # JSON tells 3 from 3.0 only in spelling.
    if hint is int and isinstance(given, float) and given.is_integer() and abs(given) <= 9e15:
        return int(given)
    if hint is int and number and isinstance(given, int) and -(2**63) <= given < 2**63:
        return given
    if hint in (bool, str) and isinstance(given, hint):
        return given
    raise _bad(path, f"it is {_show(given)}, and {_WANTED[hint]} is wanted")


def _check_rules(value: Any, rules: dict[str, Any], path: str) -> None:
    if "minItems" in rules and len(value) < rules["minItems"]:
        raise _bad(path, f"it has {len(value)} elements and needs {rules['minItems']}")
    if "minimum" in rules and not value >= rules["minimum"]:
        raise _bad(path, f"it is {value}; it must be at least {rules['minimum']}")
    if "exclusiveMinimum" in rules and not value > rules["exclusiveMinimum"]:
        raise _bad(path, f"it is {value}; it must be more than {rules['exclusiveMinimum']}")
    if "maximum" in rules and not value <= rules["maximum"]:
        raise _bad(path, f"it is {value}; it must be at most {rules['maximum']}")


def _show(given: Any) -> str:
    text = json.dumps(given, ensure_ascii=False)
    return text if len(text) <= 60 else text[:60] + "…"
