"""Loaders: turn a source into partitions that can be read in parallel, and partitions into rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from .items import Item, overrides
from .rows import Rows
from .schema import Schema


@dataclass
class Partition:
    """A part of a source that can be read on its own."""

    token: bytes = b""
    """Given back to `read`, possibly in another process or on another machine."""
    rows: int | None = None
    """Number of rows, if known."""
    bytes: int | None = None
    """Number of bytes of the source, if known."""


@dataclass
class Plan:
    """What a source holds and how to read it: its columns, and its partitions in the order of the source."""

    schema: Schema
    partitions: list[Partition] = field(default_factory=lambda: [Partition()])


class Loader(Item):
    """A loader. The host makes one object to plan, and one for each partition that it reads."""

    point = "loader"
    max_rows: int = 8192
    """How many rows the host wants next, at most. It is set before each turn of `read`, which should yield no more:
    what is over is kept for the next turn."""

    def plan(self, source: str) -> Plan:
        """Looks at a source: its schema and its partitions."""
        raise NotImplementedError

    def read(self, source: str, schema: Schema, token: bytes) -> Iterator[Rows]:
        """Reads a partition of a plan made earlier from the same source and options: a generator that yields rows."""
        raise NotImplementedError

    @classmethod
    def check_class(cls) -> None:
        for method in ("plan", "read"):
            if not overrides(cls, Loader, method):
                raise TypeError(f"{cls.__qualname__} has no `{method}`")


class Reading:
    """A partition being read, as the host asks for it: so many rows at a time."""

    def __init__(self, loader: Loader, source: str, schema: Schema, token: bytes) -> None:
        self._loader = loader
        self._turns = iter(loader.read(source, schema, token))
        self._left: Rows | None = None

    def next(self, max_rows: int) -> Rows | None:
        """At most `max_rows` rows; `None` at the end."""
        self._loader.max_rows = max_rows
        rows, self._left = self._left, None
        while not rows:
            rows = next(self._turns, None)
            if rows is None:
                return None
        if len(rows) > max_rows:
            rows, self._left = rows.slice(0, max_rows), rows.slice(max_rows, len(rows))
        return rows
