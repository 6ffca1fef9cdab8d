"""Named tables that the host lends for the time of one call, such as `data`: the capability `tables`."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import Any

from . import _host
from .rows import Rows
from .schema import Field, Kind, Schema


class Table:
    """An open table, read once from its start."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle
        fields = handle.schema().fields
        self.schema = Schema(Field(each.name, Kind(each.kind.value), each.nullable) for each in fields)

    def next(self, max_rows: int = 8192) -> Rows | None:
        """At most `max_rows` rows; `None` at the end."""
        block = _host.call(self._handle.next, max_rows)
        return None if block is None else rows_of(self.schema, block)

    def __iter__(self) -> Iterator[Rows]:
        while (rows := self.next()) is not None:
            yield rows


def open(name: str) -> Table:
    """Opens a lent table by name, such as `data` or `predictions`."""
    return Table(_host.call(_host.interface("tables").open, name))


def rows_of(schema: Schema, block: Any) -> Rows:
    """The rows of a block as the host sends it, with the bytes of lists of numbers."""
    return Rows(
        schema, block.rows, array("d", block.f64s), array("f", block.f32s), array("q", block.s64s), block.bits,
        array("I", block.offsets), block.bytes, block.validity,
    )  # fmt: skip
