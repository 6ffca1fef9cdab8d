"""Between the host's calls and the items of a plugin: what `build.py` makes a component of.

Whatever is raised but `Problem` is written to the host's log with its traceback and ends the instance. All modules
must be loaded when the component is built: there is no file system later, no clock, and nothing else of the system.
"""

from __future__ import annotations

import builtins
import importlib
import io
import operator
import sys
import time
from array import array
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
# What Python itself loads only when it is first needed.
_LATER = [
    "_strptime",
    *(f"encodings.{name}" for name in ("ascii", "cp1252", "latin_1", "utf_8_sig", "utf_16", "utf_16_le")),
]
# The generated module of each extension point that is exported.
_EXPORTED: dict[str, Any] = {}
_POINTS = {"transform": "transform", "loader": "loader", "gate": "gate", "drift": "drift test", "predict": "model"}


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
    for kind in items.ITEMS:
        if kind not in kinds:
            raise TypeError(f'plugin.py registers a {_POINTS[kind]}: add "{kind}" to "kind" in plugin.json')
    for kind in kinds:
        if not items.ITEMS.get(kind):
            raise TypeError(f"plugin.json says that this plugin has a {_POINTS[kind]}, and plugin.py registers none")
    for module in _LATER:
        importlib.import_module(module)
    _keep_sources()


# ---- A Python without a system --------------------------------------------------------------------------------------


# The lines of each file of Python that is not of Python itself, for tracebacks.
_SOURCES: dict[str, list[str]] = {}


def _keep_sources() -> None:
    for module in list(sys.modules.values()):
        path = getattr(module, "__file__", None)
        if path and path.endswith(".py") and not path.startswith("/python/"):
            try:
                with open(path, encoding="utf-8", errors="replace") as file:
                    _SOURCES[path] = file.read().splitlines()
            except OSError:
                pass


_left = False


class _NoFiles:
    """Stands where Python would look for modules in files."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> Any:
        raise ModuleNotFoundError(
            f"`{name}` was not loaded when the plugin was built: import it at the top of a module", name=name
        )


def _leave_system() -> None:
    """Makes errors of what could only trap. Not before the first call: componentize-py still loads modules then."""
    global _left
    _left = True
    sys.meta_path = [each for each in sys.meta_path if "PathFinder" not in repr(each)] + [_NoFiles]
    sys.stdout, sys.stderr = _Printed(2), _Printed(3)
    sys.excepthook = lambda *_: None  # `_told` has told it
    builtins.open = io.open = _refuse("a plugin has no files: sources are read with plinth.objects")
    for name in ("time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "sleep"):
        setattr(time, name, _refuse("a plugin has no clock: ask for the capability `clock` and use plinth.clock"))


def _refuse(why: str) -> Callable[..., Any]:
    def refused(*_: Any, **__: Any) -> Any:
        raise OSError(why)

    return refused


def _traceback(error: BaseException) -> list[str]:
    """What Python prints of an exception, out of what was kept: its own way reads files. The error itself is last."""
    told: list[str] = []
    if error.__cause__ is not None:
        told = [*_traceback(error.__cause__), "and because of that:"]
    elif error.__context__ is not None and not error.__suppress_context__:
        told = [*_traceback(error.__context__), "and while that was handled:"]
    calls: list[str] = []
    place = ""
    at: TracebackType | None = error.__traceback__
    while at is not None:
        code = at.tb_frame.f_code
        if code.co_filename != __file__:
            lines = _SOURCES.get(code.co_filename, [])
            shown = lines[at.tb_lineno - 1].strip() if at.tb_lineno <= len(lines) else ""
            place = f"{code.co_filename.rpartition('/')[2]}, line {at.tb_lineno}"
            name = getattr(code, "co_qualname", code.co_name)
            calls.append(f"  {place}, in {name}" + (f"\n    {shown}" if shown else ""))
        at = at.tb_next
    if len(calls) > 20:
        calls[10:-10] = [f"  ({len(calls) - 20} calls more)"]
    try:
        what = f"{type(error).__qualname__}: {error}"
    except Exception:
        what = type(error).__qualname__
    return [*told, *calls, what + (f" ({place})" if place else "")]


# ---- What the host calls --------------------------------------------------------------------------------------------


def _told(function: Callable[..., Any]) -> Any:
    """Raises problems as the bindings want them; tells the log of anything else."""

    def called(*arguments: Any) -> Any:
        try:
            if not _left:
                _leave_system()
            return function(*arguments)
        except Problem as problem:
            row = problem.row if isinstance(problem.row, int) and 0 <= problem.row < 2**64 else None
            code, message, column = map(_text, (problem.code, problem.message, problem.column))
            raise Err(wit.Problem(code, message, bool(problem.retryable), row, column)) from None
        except BaseException as error:
            # The error itself comes last and alone: the host shows the last message of an instance that ends.
            *calls, what = _traceback(error)
            if calls:
                log.error("\n".join(calls))
            log.error(what)
            raise

    return called


def _text(value: Any) -> Any:
    return value if value is None else str(value).encode(errors="replace").decode()


def _items(point: str) -> list[Any]:
    return [
        wit.Item(name, _text(cls.item_summary), _text(items.options_schema(cls)))
        for name, cls in items.ITEMS[point].items()
    ]


def _float(value: Any) -> float | None:
    return None if value is None else float(value)


def _schema(told: Any) -> Schema:
    return Schema(Field(each.name, Kind(each.kind.value), each.nullable) for each in told.fields)


def _to_schema(schema: Schema) -> Any:
    _of(schema, Schema, "output", "a Schema")
    return wit.Schema([wit.Field(_text(each.name), wit.Kind(each.kind.value), bool(each.nullable)) for each in schema])


def _to_block(rows: Any, where: str) -> Any:
    _of(rows, Rows, where, "Rows")
    return wit.Block(
        len(rows), _packed("d", rows.f64s), _packed("f", rows.f32s), _packed("q", rows.s64s), bytes(rows.bits),
        _packed("I", rows.offsets), bytes(rows.bytes), bytes(rows.validity),
    )  # fmt: skip


def _packed(code: str, numbers: Any) -> bytes:
    """A list of numbers as it crosses: its bytes."""
    if type(numbers) is not array or numbers.typecode != code:
        numbers = array(code, numbers)
    return numbers.tobytes()


def _bytes(made: Any, where: str) -> bytes:
    return bytes(_of(made, (bytes, bytearray, memoryview), where, "bytes"))


def _of(made: Any, wanted: Any, where: str, name: str) -> Any:
    """What could not cross the boundary has to be told here: there it only traps."""
    if not isinstance(made, wanted):
        raise TypeError(f"`{where}` returned {type(made).__name__}, not {name}")
    return made


def _count(value: Any, where: str) -> int | None:
    if value is not None and not 0 <= operator.index(value) < 2**64:
        raise ValueError(f"{where} is {value}, and a count is wanted")
    return value if value is None else operator.index(value)


class TransformPoint:
    @_told
    def describe(self) -> Any:
        return _items("transform")


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
        return _to_block(self._own.apply(rows_of(self._own.schema, rows)), "apply")


class PredictPoint:
    @_told
    def describe(self) -> Any:
        return _items("predict")


class Model:
    def __init__(self, own: Any) -> None:
        self._own = own

    @classmethod
    @_told
    def load(cls, name: str, artifact: bytes, input: Any, options: str) -> Any:
        own = items.with_options(items.find("predict", name), options)
        own.schema = _schema(input)
        own.load(artifact)
        return cls(own)

    @_told
    def output(self) -> Any:
        return _to_schema(self._own.output())

    @_told
    def predict(self, rows: Any) -> Any:
        return _to_block(self._own.predict(rows_of(self._own.schema, rows)), "predict")


class LoaderPoint:
    @_told
    def describe(self) -> Any:
        return _items("loader")

    @_told
    def plan(self, name: str, source: str, options: str) -> Any:
        point = _EXPORTED["loader"]
        made = items.with_options(items.find("loader", name), options).plan(source)
        _of(made, loader.Plan, "plan", "a Plan")
        parts = [
            point.Partition(_bytes(each.token, "token"), _count(each.rows, "rows"), _count(each.bytes, "bytes"))
            for each in made.partitions
        ]
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
        return None if rows is None else _to_block(rows, "read")


class GatePoint:
    @_told
    def describe(self) -> Any:
        return _items("gate")

    @_told
    def evaluate(self, name: str, evidence: Any, options: str) -> Any:
        point = _EXPORTED["gate"]
        own = items.with_options(items.find("gate", name), options)
        baseline = None if evidence.baseline is None else _subject(evidence.baseline)
        made = []
        for each in own.evaluate(gate.Evidence(_subject(evidence.candidate), baseline)):
            _of(each, gate.Check, "evaluate", "a Check")
            outcome = point.Outcome(_of(each.outcome, gate.Result, "evaluate", "a Result").value)
            made.append(
                point.Check(_text(each.name), outcome, *map(_text, (each.observed, each.expected, each.reason)))
            )
        return made


def _subject(told: Any) -> gate.Subject:
    metrics = [gate.Metric(each.name, each.value, each.slice, each.n) for each in told.metrics]
    return gate.Subject(told.reference, metrics, list(told.tags))


class DriftPoint:
    @_told
    def describe(self) -> Any:
        point = _EXPORTED["drift"]
        return [
            point.TestItem(told, [wit.Kind(kind.value) for kind in cls.kinds], bool(cls.multivariate), _text(cls.effect))
            for told, cls in zip(_items("drift"), items.ITEMS["drift"].values())
            if issubclass(cls, drift.DriftTest)
        ]

    @_told
    def test(self, name: str, schema: Any, reference: Any, current: Any, options: str) -> Any:
        point = _EXPORTED["drift"]
        cls, columns = items.find("drift", name), _schema(schema)
        cls.check_schema(columns)
        made = items.with_options(cls, options).test(rows_of(columns, reference), rows_of(columns, current))
        _of(made, drift.Outcome, "test", "an Outcome")
        return point.Outcome(
            float(made.statistic), _float(made.p_value), _float(made.effect_size), float(made.threshold),
            point.Verdict(_of(made.verdict, drift.Verdict, "test", "a Verdict").value),
            _count(made.n_reference, "n_reference"), _count(made.n_current, "n_current"), _text(made.note),
        )  # fmt: skip
