"""Between the host's calls and the items of a plugin: what `build.py` makes a component of.

Whatever is raised but `Problem` is written to the host's log with its traceback and ends the instance. All modules
must be loaded when the component is built: there is no file system later.
"""

from __future__ import annotations

import importlib
import linecache
import sys
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import Any

from componentize_py_types import Err
from wit_world.imports import types as wit

from . import _host, drift, gate, items, loader, log
from .problem import Problem
from .rows import Rows
from .schema import Field, Kind, Schema
from .tables import rows_of

_host.inside = True
# The generated module of each extension point that is exported.
_EXPORTED: dict[str, Any] = {}
_POINTS = {"transform": "transform", "loader": "loader", "gate": "gate", "drift": "drift test"}


class _Printed:
    """Standard output and error: whole lines go to the log."""

    encoding = "utf-8"

    def __init__(self, level: int) -> None:
        self._level, self._begun = level, ""

    def write(self, text: str) -> int:
        *lines, self._begun = (self._begun + text).split("\n")
        for line in lines:
            log.write(self._level, line)
        return len(text)

    def flush(self) -> None:
        pass

    def isatty(self) -> bool:
        return False


def begin(kinds: list[str], capabilities: list[str], load: Callable[[], Any]) -> None:
    """Takes the host's interfaces, loads the plugin, and checks that it offers what its manifest says."""
    for name in ["log", "config", *capabilities]:
        _host.GRANTED[name] = importlib.import_module(f"wit_world.imports.{name}")
    for kind in kinds:
        _EXPORTED[kind] = importlib.import_module(f"wit_world.exports.plinth_{kind}")
    load()
    for kind in kinds:
        if not items.ITEMS.get(kind):
            raise TypeError(f"plugin.json says that this plugin has a {_POINTS[kind]}, and plugin.py registers none")
    for kind in items.ITEMS:
        if kind not in kinds:
            raise TypeError(f'plugin.py registers a {_POINTS[kind]}: add "{kind}" to "kind" in plugin.json')
    # So that tracebacks show lines, which cannot be read later.
    for module in list(sys.modules.values()):
        path = getattr(module, "__file__", None)
        if path and not path.startswith("/python/"):
            linecache.getlines(path)
    sys.stdout, sys.stderr = _Printed(2), _Printed(3)  # type: ignore[assignment]


def _known_sources(error: BaseException | None) -> None:
    """Keeps the traceback from looking for files: whatever was not read is told without its lines."""
    while error is not None:
        at: TracebackType | None = error.__traceback__
        while at is not None:
            path = at.tb_frame.f_code.co_filename
            kept = linecache.cache.get(path)
            lines = kept[2] if kept and len(kept) == 4 else []
            linecache.cache[path] = (sum(map(len, lines)), None, lines, path)
            at = at.tb_next
        error = error.__cause__ or error.__context__


def _told(function: Callable[..., Any]) -> Any:
    """Raises problems as the bindings want them; tells the log of anything else."""

    def called(*arguments: Any) -> Any:
        try:
            return function(*arguments)
        except Problem as problem:
            raise Err(wit.Problem(*map(_text, (problem.code, problem.message)), problem.retryable, problem.row,
                                  _text(problem.column))) from None  # fmt: skip
        except BaseException as error:
            _known_sources(error)
            log.error("".join(traceback.format_exception(error)).rstrip())
            raise

    return called


def _text(value: Any) -> Any:
    return value if value is None else str(value).encode(errors="replace").decode()


def _items(point: str) -> list[Any]:
    return [
        wit.Item(name, _text(cls.item_summary), _text(items.options_schema(cls)))
        for name, cls in items.ITEMS[point].items()
    ]


def _schema(told: Any) -> Schema:
    return Schema(Field(each.name, Kind(each.kind.value), each.nullable) for each in told.fields)


def _to_schema(schema: Schema) -> Any:
    return wit.Schema([wit.Field(_text(each.name), wit.Kind(each.kind.value), bool(each.nullable)) for each in schema])


def _to_block(rows: Rows) -> Any:
    if not isinstance(rows, Rows):
        raise TypeError(f"rows are wanted, and {type(rows).__name__} was returned")
    return wit.Block(
        len(rows), rows.f64s, rows.f32s, rows.s64s, bytes(rows.bits), rows.offsets, bytes(rows.bytes),
        bytes(rows.validity),
    )  # fmt: skip


def _bytes(made: Any, where: str) -> bytes:
    if not isinstance(made, (bytes, bytearray, memoryview)):
        raise TypeError(f"`{where}` returned {type(made).__name__}, not bytes")
    return bytes(made)


class TransformPoint:
    def describe(self) -> Any:
        return _told(_items)("transform")


class Fitting:
    def __init__(self, own: Any) -> None:
        self._own = own

    @classmethod
    @_told
    def start(cls, name: str, input: Any, options: str) -> Any:
        own = items.with_options(items.find("transform", name), options)
        own.schema, own.options_text = _schema(input), options or "{}"
        own.start()
        return cls(own)

    @_told
    def update(self, rows: Any) -> None:
        self._own.update(rows_of(self._own.schema, rows))

    @_told
    def partial(self) -> bytes:
        return _bytes(self._own.partial(), "partial")

    @_told
    def merge(self, partial: bytes) -> None:
        self._own.merge(partial)

    @_told
    def end_pass(self) -> Any:
        step, state = _EXPORTED["transform"], self._own.end_pass()
        return step.Step_AnotherPass() if state is None else step.Step_Done(_bytes(state, "end_pass"))


class Fitted:
    def __init__(self, own: Any) -> None:
        self._own = own

    @classmethod
    @_told
    def load(cls, name: str, state: bytes, input: Any) -> Any:
        own = items.find("transform", name)()
        own.schema = _schema(input)
        own.load(state)
        return cls(own)

    @_told
    def output(self) -> Any:
        return _to_schema(self._own.output())

    @_told
    def apply(self, rows: Any) -> Any:
        return _to_block(self._own.apply(rows_of(self._own.schema, rows)))


class LoaderPoint:
    def describe(self) -> Any:
        return _told(_items)("loader")

    @_told
    def plan(self, name: str, source: str, options: str) -> Any:
        point = _EXPORTED["loader"]
        made = items.with_options(items.find("loader", name), options).plan(source)
        if not isinstance(made, loader.Plan):
            raise TypeError(f"`plan` returned {type(made).__name__}, not a Plan")
        parts = [point.Partition(_bytes(each.token, "token"), each.rows, each.bytes) for each in made.partitions]
        return point.ReadPlan(_to_schema(made.schema), parts)


class Reader:
    def __init__(self, reading: loader.Reading) -> None:
        self._reading = reading

    @classmethod
    @_told
    def open(cls, name: str, source: str, options: str, schema: Any, token: bytes) -> Any:
        own = items.with_options(items.find("loader", name), options)
        return cls(loader.Reading(own, source, _schema(schema), token))

    @_told
    def next(self, max_rows: int) -> Any:
        rows = self._reading.next(max_rows)
        return None if rows is None else _to_block(rows)


class GatePoint:
    def describe(self) -> Any:
        return _told(_items)("gate")

    @_told
    def evaluate(self, name: str, evidence: Any, options: str) -> Any:
        point = _EXPORTED["gate"]
        own = items.with_options(items.find("gate", name), options)
        baseline = None if evidence.baseline is None else _subject(evidence.baseline)
        return [
            point.Check(_text(each.name), point.Outcome(each.outcome.value), _text(each.observed),
                        _text(each.expected), _text(each.reason))
            for each in own.evaluate(gate.Evidence(_subject(evidence.candidate), baseline))
        ]  # fmt: skip


def _subject(told: Any) -> gate.Subject:
    metrics = [gate.Metric(each.name, each.value, each.slice, each.n) for each in told.metrics]
    return gate.Subject(told.reference, metrics, list(told.tags))


class DriftPoint:
    @_told
    def describe(self) -> Any:
        point = _EXPORTED["drift"]
        return [
            point.TestItem(told, [wit.Kind(kind.value) for kind in cls.kinds], cls.multivariate)
            for told, cls in zip(_items("drift"), items.ITEMS["drift"].values())
        ]

    @_told
    def test(self, name: str, schema: Any, reference: Any, current: Any, options: str) -> Any:
        point = _EXPORTED["drift"]
        cls, columns = items.find("drift", name), _schema(schema)
        cls.check_schema(columns)
        made = items.with_options(cls, options).test(rows_of(columns, reference), rows_of(columns, current))
        if not isinstance(made, drift.Outcome):
            raise TypeError(f"`test` returned {type(made).__name__}, not an Outcome")
        return point.Outcome(
            float(made.statistic), made.p_value, made.effect_size, float(made.threshold),
            point.Verdict(made.verdict.value), int(made.n_reference), int(made.n_current), _text(made.note),
        )  # fmt: skip
