"""Transforms: fitted once on training data, applied unchanged everywhere else."""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Callable
from typing import Any

from . import options as options_module
from .items import Item, item, options_class, overrides
from .problem import Problem
from .rows import Rows
from .schema import Kind, Schema


class Transform(Item):
    """A transform. The host makes one object for a fit and another for what was fitted.

    One that learns nothing has only `apply` (and `output` where it changes the columns): its state is its options. One
    that learns has all of `start`, `update`, `partial`, `merge`, `end_pass`, `load` and `apply`.
    """

    point = "transform"
    schema: Schema
    """The columns of the rows to come, set before `start` and before `load`."""
    options_text: str = "{}"
    """The options of a fit as they were given."""

    # The fit.

    def start(self) -> None:
        """Starts a fit, with `self.schema` and `self.options`."""

    def update(self, rows: Rows) -> None:
        """Takes the next rows of this pass."""

    def partial(self) -> bytes:
        """What this fit learned in this pass, to be merged into another that started with the same arguments."""
        return b""

    def merge(self, partial: bytes) -> None:
        """Takes in what another fit learned. The result must not depend on how rows were spread over fits."""

    def end_pass(self) -> bytes | None:
        """Ends the pass: the state, or `None` where the same rows are needed once more."""
        return self.options_text.encode()

    # What was fitted.

    def load(self, state: bytes) -> None:
        """Binds a state to the rows to come, with `self.schema`."""
        self.options = options_module.parse(options_class(type(self)), state.decode())

    def output(self) -> Schema:
        """The schema of what `apply` returns."""
        return self.schema

    def apply(self, rows: Rows) -> Rows:
        """Transforms rows; one row out for each row in, in order. Pure: same state, same rows, same bytes. Quickest is
        to write into the columns of the rows that were given and to return them.
        """
        raise NotImplementedError

    @classmethod
    def check_class(cls) -> None:
        if not overrides(cls, Transform, "apply"):
            raise TypeError(f"{cls.__qualname__} has no `apply`")
        if overrides(cls, Transform, "update"):
            for method in ("partial", "merge", "end_pass", "load"):
                if not overrides(cls, Transform, method):
                    raise TypeError(f"{cls.__qualname__} learns from rows (`update`), and so needs `{method}`")


def float64_columns(schema: Schema, names: list[str] | None) -> list[int]:
    """Where the float64 columns of these names stand, or all float64 columns where no names are given.

    Raises `Problem`: `unknown-column`, `wrong-kind`, or `bad-options` where a name is given twice.
    """
    if names is None:
        return [index for index, field in enumerate(schema) if field.kind is Kind.FLOAT64]
    twice = [name for at, name in enumerate(names) if name in names[:at]]
    if twice:
        raise Problem("bad-options", f"option `columns`: `{twice[0]}` is in it twice")
    found: list[int] = []
    for name in names:
        index = schema.index(name)
        field = schema[index]
        if field.kind is not Kind.FLOAT64:
            raise Problem("wrong-kind", f"column `{name}` is {field.kind}, not float64: cast it first", column=name)
        found.append(index)
    return found


def map_columns(name: str, summary: str = "") -> Any:
    """Makes a transform of a function from a number to a number; parameters after the first are options.

        @plinth.map_columns("clip")
        def clip(value: float, min: float, max: float) -> float:
            "Holds numbers within a range."
            ...

    It also takes `columns`, the float64 columns to change; without it all of them are. Nulls stay null.
    """

    def register(function: Callable[..., float]) -> Callable[..., float]:
        class Mapped(_Mapped):
            options_type = options_of(function)
            each = staticmethod(function)

        Mapped.__qualname__ = function.__qualname__
        function.item = Mapped  # type: ignore[attr-defined]
        item(name, summary or (function.__doc__ or name).strip().splitlines()[0])(Mapped)
        return function

    return register


class _Mapped(Transform):
    each: Callable[..., float]

    def start(self) -> None:
        float64_columns(self.schema, self.options.columns)

    def apply(self, rows: Rows) -> Rows:
        given = dict(vars(self.options))
        for index in float64_columns(self.schema, given.pop("columns")):
            column = rows[index]
            column.write_raw([0.0 if value is None else float(self.each(value, **given)) for value in column.values()])
        return rows


def options_of(function: Callable[..., float]) -> type:
    """The dataclass of the options that a function of `map_columns` takes, and of `columns`."""
    hints = typing.get_type_hints(function)
    parameters = list(inspect.signature(function).parameters.values())[1:]
    fields: list[Any] = [("columns", list[str] | None, None)]
    for parameter in parameters:
        if parameter.name == "columns" or parameter.name not in hints:
            why = "is what every map_columns takes" if parameter.name == "columns" else "has no type"
            raise TypeError(f"{function.__qualname__}: `{parameter.name}` {why}")
        default = dataclasses.MISSING if parameter.default is parameter.empty else parameter.default
        fields.append((parameter.name, hints[parameter.name], dataclasses.field(default=default)))
    return dataclasses.make_dataclass(f"{function.__name__}_options", fields, kw_only=True)
