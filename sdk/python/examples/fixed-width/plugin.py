"""A loader of text files whose columns have fixed widths."""

import math
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import plinth

ROWS_MOST = 8192
CELL_MOST = 511  # bytes of a number
TOKEN = struct.Struct("<QQ")  # first row, rows

# Python's int() and float() read more than they should here: `1_0`, ` 1`, `nan`.
INTEGER = re.compile(rb"-?[0-9]+")
FLOAT = re.compile(rb"-?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?")


@dataclass
class Column:
    name: str
    width: int = plinth.option(minimum=1)
    kind: Literal["int64", "float64", "utf8", "boolean"] = plinth.option()
    nullable: bool = True


@dataclass
class Options:
    columns: list[Column] = plinth.option(description="The columns of a record, left to right", min_items=1)
    partition_rows: int = plinth.option(65536, "Rows that are read as one part", minimum=1, name="partition-rows")


@plinth.item("fixed-width", "Text files whose columns have fixed widths")
class FixedWidth(plinth.Loader):
    options: Options

    def plan(self, source: str) -> plinth.Plan:
        schema = self.schema()
        record, size = self.record(), plinth.objects.open(source).size()
        if size % record:
            raise plinth.Problem("bad-source", f"{size} bytes are no whole number of records of {record} bytes")
        partitions = []
        for first in range(0, size // record, self.options.partition_rows):
            rows = min(self.options.partition_rows, size // record - first)
            partitions.append(plinth.Partition(TOKEN.pack(first, rows), rows, rows * record))
        return plinth.Plan(schema, partitions)

    def read(self, source: str, schema: plinth.Schema, token: bytes) -> Iterator[plinth.Rows]:
        if len(token) != TOKEN.size or len(schema) != len(self.schema()):
            raise plinth.Problem("bad-token", "the partition is none of this loader's")
        return self.turns(plinth.objects.open(source), schema, *TOKEN.unpack(token))

    def turns(
        self, source: plinth.objects.Object, schema: plinth.Schema, first: int, left: int
    ) -> Iterator[plinth.Rows]:
        record = self.record()
        while left:
            rows = min(left, self.max_rows, ROWS_MOST)
            data = source.read(first * record, rows * record)
            if len(data) < rows * record:
                raise plinth.Problem("bad-source", f"the source ends before row {first + rows}")
            columns: list[list[Any]] = [[] for _ in schema]
            for row in range(rows):
                self.record_into(columns, data[row * record : (row + 1) * record], first + row)
            yield plinth.Rows.of(schema, columns)
            first, left = first + rows, left - rows

    def record_into(self, columns: list[list[Any]], record: bytes, row: int) -> None:
        """Reads one record: its newline first, then its cells from left to right."""
        if record[-1:] != b"\n":
            raise plinth.Problem("bad-row", f"row {row} does not end with a newline", row=row)
        at = 0
        for column, values in zip(self.options.columns, columns):
            cell = record[at : at + column.width].strip(b" ")
            at += column.width
            if cell or (column.kind == "utf8" and not column.nullable):
                values.append(read_cell(column, cell, row))
            elif column.nullable:
                values.append(None)
            else:
                why = f"column `{column.name}` is empty and not nullable"
                raise plinth.Problem("null-value", why, row=row, column=column.name)

    def schema(self) -> plinth.Schema:
        names: set[str] = set()
        for column in self.options.columns:
            if not column.name or column.name in names:
                raise plinth.Problem(
                    "bad-options", f"option `columns`: the name `{column.name}` is empty or in it twice"
                )
            names.add(column.name)
        return plinth.Schema(
            plinth.Field(each.name, plinth.Kind.named(each.kind), each.nullable) for each in self.options.columns
        )

    def record(self) -> int:
        """Bytes of a record, with its newline."""
        return sum(column.width for column in self.options.columns) + 1


def read_cell(column: Column, cell: bytes, row: int) -> Any:
    """The value of a cell that is not empty."""
    try:
        match column.kind:
            case "utf8":
                return cell.decode()
            case "boolean" if cell in (b"true", b"false"):
                return cell == b"true"
            case "int64" if len(cell) <= CELL_MOST and INTEGER.fullmatch(cell):
                if -(2**63) <= (value := int(cell)) < 2**63:
                    return value
            case "float64" if len(cell) <= CELL_MOST and FLOAT.fullmatch(cell):
                if math.isfinite(number := float(cell)):
                    return number
    except UnicodeDecodeError:
        pass
    text = cell.decode(errors="replace")
    raise plinth.Problem("bad-value", f"`{text}` is no {column.kind}", row=row, column=column.name)
