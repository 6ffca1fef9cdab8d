"""Rows of a schema, and their columns.

Rows move between host and plugin as a *block*: all columns of one physical type in one list, column after column. Only
here is it known where a block keeps a column.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from .problem import Problem
from .schema import Field, Kind, Schema

Value = bool | int | float | str | bytes | None
"""What a cell holds; `None` where it is null."""

# The eight bits of each byte, least significant first.
_BITS = [[bool(byte >> bit & 1) for bit in range(8)] for byte in range(256)]
# The value in the slot of a null.
_ZEROS: dict[Kind, Value] = {
    Kind.BOOLEAN: False, Kind.INT64: 0, Kind.TIMESTAMP_US: 0, Kind.FLOAT32: 0.0, Kind.FLOAT64: 0.0,
    Kind.UTF8: "", Kind.BINARY: b"",
}  # fmt: skip


def _unpacked(bits: bytes, rows: int) -> list[bool]:
    """The first bits of a bitmap."""
    flags = [flag for byte in bits for flag in _BITS[byte]]
    del flags[rows:]
    return flags


def _packed(flags: Sequence[object]) -> bytes:
    """A bitmap of what is true."""
    if not flags:
        return b""
    text = "".join(["1" if flag else "0" for flag in reversed(flags)])
    return int(text, 2).to_bytes((len(flags) + 7) // 8, "little")


class Column:
    """One column of some rows: a view, so that what is written shows in the rows."""

    __slots__ = ("_rows", "field", "_place", "_before", "_nullables", "_code")

    def __init__(self, rows: Rows, index: int) -> None:
        self._rows = rows
        self.field: Field
        self.field, self._place, self._before, self._nullables, self._code = rows.schema.places[index]

    @property
    def name(self) -> str:
        """Its name."""
        return self.field.name

    @property
    def kind(self) -> Kind:
        """Its kind."""
        return self.field.kind

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.values())

    def __repr__(self) -> str:
        return f"Column({self.name}: {self.kind}, {self.values()!r})"

    def _slots(self) -> slice:
        """Where it lies in its list."""
        rows = self._rows._len
        width = rows if self._code else rows + 1 if self._place == "offsets" else (rows + 7) // 8
        return slice(self._before * width, (self._before + 1) * width)

    def values(self) -> list[Any]:
        """Its values, `None` for nulls: floats, ints, bools, texts or bytes."""
        raw, present = self.raw(), self.present()
        return raw if present is None else [value if there else None for value, there in zip(raw, present)]

    def numbers(self) -> list[float | None]:
        """The values of any numeric column as floats (a timestamp as its microseconds), `None` for nulls.

        Raises `Problem` `wrong-kind` for text and bytes.
        """
        if self.kind in (Kind.UTF8, Kind.BINARY):
            raise Problem("wrong-kind", f"column `{self.name}` is {self.kind}, not a number", column=self.name)
        values = self.values()
        if self.kind in (Kind.FLOAT64, Kind.FLOAT32):
            return values
        return [None if value is None else float(value) for value in values]

    def raw(self) -> list[Any]:
        """Its values without a look at nulls, whose slots hold zero or an empty text: quicker than `values`."""
        if self._code:  # without a call more, since a service asks for each column of each row
            rows = self._rows._len
            numbers: list[Any] = getattr(self._rows, self._place)[
                self._before * rows : (self._before + 1) * rows
            ].tolist()
            return numbers
        part = getattr(self._rows, self._place)[self._slots()]
        if self._place == "bits":
            return _unpacked(part, len(self._rows))
        data, ends = self._rows.bytes, part.tolist()
        cells = [data[start:end] for start, end in zip(ends, ends[1:])]
        return [cell.decode() for cell in cells] if self.kind is Kind.UTF8 else cells

    def present(self) -> list[bool] | None:
        """Which rows hold a value; `None` where all do."""
        validity, rows = self._rows.validity, len(self._rows)
        if not validity or not self.field.nullable:
            return None
        width = (rows + 7) // 8
        flags = _unpacked(validity[self._nullables * width : (self._nullables + 1) * width], rows)
        return None if all(flags) else flags

    def write(self, values: Iterable[Value]) -> None:
        """Replaces its values; `None` makes a null. Raises `Problem` `bad-output` for what the column cannot hold."""
        rows = self._rows
        columns: dict[str, Any] = {column.name: column for column in rows}
        columns[self.name] = list(values)
        rows._take(Rows.of(rows.schema, columns))

    def write_raw(self, values: Sequence[Any]) -> None:
        """Replaces the values of a column of numbers, quicker than `write`: nulls stay nulls, whatever is in their
        slots. Raises `Problem` `bad-output` for what the column cannot hold.
        """
        rows, code = self._rows, self._code
        if not code:
            raise TypeError(f"column `{self.name}` is {self.kind}: use write()")
        length = rows._len
        if len(values) != length:
            raise Problem("bad-output", f"{len(values)} values for {length} rows", column=self.name)
        try:
            numbers = array(code, values)
        except (TypeError, OverflowError):
            raise _no_numbers(self.field, code, values) from None
        present = self.present() if rows.validity else None
        if present is not None:
            for row, there in enumerate(present):
                if not there:
                    numbers[row] = 0
        getattr(rows, self._place)[self._before * length : (self._before + 1) * length] = numbers


class Rows:
    """Some rows of a schema. `rows["x"]` and `rows[0]` are columns.

    The lists of the block are there for those who want no detour: `f64s`, `f32s`, `s64s` and `offsets` (arrays of the
    module `array`, of the codes d, f, q and I), `bits`, `validity` (bitmaps, as bytes) and `bytes`. A call moves them
    as they are.
    """

    __slots__ = ("schema", "_len", "f64s", "f32s", "s64s", "bits", "offsets", "bytes", "validity")

    def __init__(
        self,
        schema: Schema,
        rows: int,
        f64s: array[float],
        f32s: array[float],
        s64s: array[int],
        bits: bytes,
        offsets: array[int],
        bytes: bytes,
        validity: bytes,
    ) -> None:
        self.schema = schema
        self._len = rows
        self.f64s = f64s
        self.f32s = f32s
        self.s64s = s64s
        self.bits = bits
        self.offsets = offsets
        self.bytes = bytes
        self.validity = validity

    @classmethod
    def of(cls, schema: Schema, columns: Mapping[str, Iterable[Value]] | Sequence[Iterable[Value]]) -> Rows:
        """Makes rows of the values of each column, by name or in the order of the schema.

        Raises `Problem` `bad-output`, with row and column, for what a column cannot hold.
        """
        if isinstance(columns, Mapping):
            for name in columns:
                schema.index(name)
            missing = [name for name in schema.names if name not in columns]
            columns = [columns[name] for name in schema.names if name in columns]
        else:
            missing = schema.names[len(columns) :]
            if len(columns) > len(schema):
                raise Problem("bad-output", f"{len(columns)} columns for a schema of {len(schema)}")
        if missing:
            raise Problem("bad-output", f"column `{missing[0]}` was not written", column=missing[0])
        taken = [column.values() if isinstance(column, Column) else list(column) for column in columns]
        rows = len(taken[0]) if taken else 0
        made = cls(schema, rows, array("d"), array("f"), array("q"), b"", array("I"), b"", b"")
        made._append(taken)
        return made

    def _append(self, columns: list[list[Any]]) -> None:
        """Puts the columns where they belong."""
        bits, data, validity, nulls = bytearray(), bytearray(), bytearray(), False
        for (field, place, _, _, code), values in zip(self.schema.places, columns):
            if len(values) != self._len:
                why = f"column `{field.name}` has {len(values)} values, and others {self._len}"
                raise Problem("bad-output", why, column=field.name)
            if None in values:
                if not field.nullable:
                    why = f"column `{field.name}` is not nullable and has a null"
                    raise Problem("bad-output", why, row=values.index(None), column=field.name)
                nulls, zero = True, _ZEROS[field.kind]
                validity += _packed([value is not None for value in values])
                values = [zero if value is None else value for value in values]
            elif field.nullable:
                validity += _packed([True] * self._len)
            if code:
                getattr(self, place).extend(_checked(field, code, values))
            else:
                self._append_other(field, values, bits, data)
        self.bits, self.bytes = bytes(bits), bytes(data)
        self.validity = bytes(validity) if nulls else b""

    def _append_other(self, field: Field, values: list[Any], bits: bytearray, data: bytearray) -> None:
        if field.kind is Kind.BOOLEAN:
            if not all([value is True or value is False for value in values]):
                raise _wrong(field, values, _boolean)
            bits += _packed(values)
        else:
            try:
                cells = [value.encode() for value in values] if field.kind is Kind.UTF8 else values
                ends = [len(data)]
                for cell in cells:
                    data += cell
                    ends.append(len(data))
            except (AttributeError, TypeError, UnicodeEncodeError):
                check = str.encode if field.kind is Kind.UTF8 else bytearray().extend
                raise _wrong(field, values, check) from None
            self.offsets.extend(ends)

    def _take(self, other: Rows) -> None:
        for name in self.__slots__:
            setattr(self, name, getattr(other, name))

    def __len__(self) -> int:
        return self._len

    def __iter__(self) -> Iterator[Column]:
        return (Column(self, index) for index in range(len(self.schema)))

    def __getitem__(self, column: str | int) -> Column:
        return Column(self, self.schema.index(column) if isinstance(column, str) else column)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Rows):
            return NotImplemented
        return self.schema == other.schema and self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Rows({self.to_dict()!r})"

    def to_dict(self) -> dict[str, list[Any]]:
        """The values of each column by its name."""
        return {column.name: column.values() for column in self}

    def records(self) -> Iterator[dict[str, Any]]:
        """Row by row, each by the names of its columns: the slowest way."""
        names = self.schema.names
        return (dict(zip(names, cells)) for cells in zip(*[column.values() for column in self]))

    def slice(self, start: int, end: int) -> Rows:
        """Some of the rows."""
        return Rows.of(self.schema, [column.values()[start:end] for column in self])


def _checked(field: Field, code: str, values: Sequence[Any]) -> array[Any]:
    """Numbers as the column holds them."""
    try:
        return array(code, values)
    except (TypeError, OverflowError):
        raise _no_numbers(field, code, values) from None


def _no_numbers(field: Field, code: str, values: Sequence[Any]) -> Problem:
    return _wrong(field, values, lambda value: array(code, [value]))


def _boolean(value: Any) -> None:
    if not isinstance(value, bool):
        raise TypeError


def _wrong(field: Field, values: Sequence[Any], check: Any) -> Problem:
    """The problem of the first value that a column cannot hold."""
    for row, value in enumerate(values):
        try:
            check(value)
        except Exception:
            why = f"column `{field.name}` is {field.kind}, and {value!r} is not"
            return Problem("bad-output", why, row=row, column=field.name)
    return Problem("bad-output", f"column `{field.name}` is {field.kind}, and its values are not", column=field.name)
