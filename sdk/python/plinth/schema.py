"""Kinds of columns, and schemas."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum

from .problem import Problem, nearest


class Kind(Enum):
    """Type of a column; `str(kind)` is its name, as in `float64`."""

    BOOLEAN = 0
    INT64 = 1
    TIMESTAMP_US = 2
    """Microseconds since 1970-01-01T00:00:00Z."""
    FLOAT32 = 3
    FLOAT64 = 4
    UTF8 = 5
    BINARY = 6

    # That of an Enum is computed from the name, by code in Python, at each look into a dict.
    __hash__ = object.__hash__

    def __str__(self) -> str:
        return self.name.lower().replace("_", "-")

    @classmethod
    def named(cls, name: str) -> Kind:
        """The kind of a name. Raises `ValueError` where there is none such."""
        for kind in cls:
            if str(kind) == name:
                return kind
        raise ValueError(f"`{name}` is no kind of column; there are {', '.join(map(str, cls))}")


NUMERIC: tuple[Kind, ...] = (Kind.BOOLEAN, Kind.INT64, Kind.FLOAT32, Kind.FLOAT64)
"""The kinds that are numbers."""


@dataclass(frozen=True)
class Field:
    """One column of a schema. Only a nullable column may hold nulls (`None`)."""

    name: str
    kind: Kind
    nullable: bool = False


# The list of a block that holds the values of a kind.
_LISTS = {
    Kind.BOOLEAN: "bits",
    Kind.INT64: "s64s",
    Kind.TIMESTAMP_US: "s64s",
    Kind.FLOAT32: "f32s",
    Kind.FLOAT64: "f64s",
    Kind.UTF8: "offsets",
    Kind.BINARY: "offsets",
}


# For kinds that are numbers in the block: the code of their arrays.
_CODES = {Kind.INT64: "q", Kind.TIMESTAMP_US: "q", Kind.FLOAT32: "f", Kind.FLOAT64: "d"}


class Schema:
    """The columns of a table, in order: `Schema([Field("x", Kind.FLOAT64)])`."""

    def __init__(self, fields: Iterable[Field]) -> None:
        self.fields: tuple[Field, ...] = tuple(fields)
        # Each column and where it lies: its list, the columns before it in that list, the nullable columns before it,
        # and the code of its array where it is one of numbers.
        self.places: list[tuple[Field, str, int, int, str]] = []
        counts = dict.fromkeys(_LISTS.values(), 0)
        self.nullables = 0
        for field in self.fields:
            place = _LISTS[field.kind]
            self.places.append((field, place, counts[place], self.nullables, _CODES.get(field.kind, "")))
            counts[place] += 1
            self.nullables += field.nullable
        self.counts = counts

    def __len__(self) -> int:
        return len(self.fields)

    def __iter__(self) -> Iterator[Field]:
        return iter(self.fields)

    def __getitem__(self, index: int) -> Field:
        return self.fields[index]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Schema) and self.fields == other.fields

    def __hash__(self) -> int:
        return hash(self.fields)

    def __repr__(self) -> str:
        columns = (f"{field.name}: {field.kind}{'?' if field.nullable else ''}" for field in self.fields)
        return f"Schema({', '.join(columns)})"

    @property
    def names(self) -> list[str]:
        """The names of the columns."""
        return [field.name for field in self.fields]

    def index(self, name: str) -> int:
        """Where a column stands. Raises `Problem` `unknown-column` with the nearest name there is."""
        for index, field in enumerate(self.fields):
            if field.name == name:
                return index
        raise Problem("unknown-column", f"unknown column `{name}`{nearest(name, self.names)}", column=name)
