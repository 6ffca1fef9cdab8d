"""The host, played on your machine: to test a plugin with unittest or pytest, without WebAssembly.

    from plinth import testing
    import plugin

    state = testing.fit(plugin.StandardScale, rows)
    assert testing.apply(plugin.StandardScale, state, rows)["x"].values() == [-1.0, 1.0]

Rows are made by `rows`, what the plugin may be granted by `lend_object`, `lend_secret` and their like; `reset` takes
back what was lent.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import IntEnum
from types import SimpleNamespace
from typing import Any

from . import _host, nn
from .drift import DriftTest, Outcome
from .gate import Check, Evidence, Gate
from .http import Response
from .items import with_options
from .loader import Loader, Partition, Plan, Reading
from .predict import Model
from .problem import Problem
from .rows import Rows, Value
from .schema import Field, Kind, Schema
from .transform import Transform

Options = Mapping[str, Any] | str
"""Options as a dictionary, or as JSON."""


def rows(columns: Mapping[str, Sequence[Value]], kinds: Mapping[str, Kind | str] | None = None) -> Rows:
    """Rows of the values of each column; a column with a `None` is nullable. Kinds follow from the values (int64 of
    ints, utf8 of texts, …) unless they are given: `rows({"x": [1.5, None], "at": [0]}, {"at": "timestamp-us"})`.
    """
    fields = []
    for name, values in columns.items():
        given = (kinds or {}).get(name)
        kind = Kind.named(given) if isinstance(given, str) else given or _kind(name, values)
        fields.append(Field(name, kind, None in values))
    return Rows.of(Schema(fields), columns)


def _kind(name: str, values: Iterable[Value]) -> Kind:
    types = {type(value) for value in values if value is not None}
    for kind, wanted in (
        (Kind.BOOLEAN, {bool}), (Kind.INT64, {int}), (Kind.FLOAT64, {float, int}), (Kind.UTF8, {str}),
        (Kind.BINARY, {bytes}),
    ):  # fmt: skip
        if types and types <= wanted:
            return kind
    raise TypeError(f"the kind of column `{name}` does not follow from its values: give it in `kinds`")


def _text(options: Options) -> str:
    return options if isinstance(options, str) else json.dumps(options)


def start(item: type[Transform], schema: Schema, options: Options = "{}") -> Any:
    """Starts a fit: an object of the class, ready for `update`."""
    made = with_options(item, _text(options))
    made.schema, made.options_text = schema, _text(options)
    made.start()
    return made


def fit(item: type[Transform], *parts: Rows, options: Options = "{}") -> bytes:
    """The state that is learned of some rows. Several parts are learned of apart and merged, as the host may do."""
    passes = 0
    fits = [start(item, part.schema, options) for part in parts]
    while passes < 1000:
        for each, part in zip(fits, parts):
            each.update(part)
        for other in fits[1:]:
            fits[0].merge(bytes(other.partial()))
        state = fits[0].end_pass()
        passes += 1
        if state is not None:
            return bytes(state)
        if len(fits) > 1:
            raise NotImplementedError("several passes over several parts")
    raise RuntimeError("the fit is not done after 1000 passes")


def load(item: type[Transform], state: bytes, schema: Schema) -> Any:
    """Binds a state: an object of the class, ready for `apply`."""
    made = item()
    made.schema = schema
    made.load(state)
    return made


def apply(item: type[Transform], state: bytes, given: Rows) -> Rows:
    """What a fitted transform makes of rows, which are left as they are. Checks that they fit `output`."""
    fitted = load(item, state, given.schema)
    copy = Rows.of(given.schema, [column.values() for column in given])
    made: Rows = fitted.apply(copy)
    if made.schema != fitted.output():
        raise AssertionError(f"`apply` returned {made.schema}, and `output` says {fitted.output()}")
    if len(made) != len(given):
        raise AssertionError(f"`apply` made {len(made)} rows of {len(given)}")
    return made


def plan(item: type[Loader], source: str, options: Options = "{}") -> Plan:
    """What a loader finds in a source; lend it first."""
    made: Plan = with_options(item, _text(options)).plan(source)
    return made


def read(
    item: type[Loader], source: str, options: Options = "{}", partition: Partition | None = None, max_rows: int = 8192
) -> list[Rows]:
    """What a loader reads of a source, or of one of its partitions, in the turns in which the host would get it."""
    found = plan(item, source, options)
    turns: list[Rows] = []
    for each in found.partitions if partition is None else [partition]:
        reading = Reading(with_options(item, _text(options)), source, found.schema, each.token)
        while (turn := reading.next(max_rows)) is not None:
            turns.append(turn)
    return turns


def predict(item: type[Model], given: Rows, artifact: bytes = b"", options: Options = "{}") -> Rows:
    """What a model predicts. Checks that it fits `output`."""
    model = with_options(item, _text(options))
    model.schema = given.schema
    model.load(artifact)
    made: Rows = model.predict(given)
    if made.schema != model.output() or len(made) != len(given):
        raise AssertionError(f"`predict` made {len(made)} rows of {made.schema}, and `output` says {model.output()}")
    return made


def evaluate(item: type[Gate], evidence: Evidence, options: Options = "{}") -> list[Check]:
    """What a gate says."""
    return list(with_options(item, _text(options)).evaluate(evidence))


def drift(item: type[DriftTest], reference: Rows, current: Rows, options: Options = "{}") -> Outcome:
    """What a drift test concludes."""
    item.check_schema(reference.schema)
    outcome: Outcome = with_options(item, _text(options)).test(reference, current)
    return outcome


# ---- What the host offers -------------------------------------------------------------------------------------------

logged: list[tuple[str, str]] = []
"""What the plugin wrote to the log: level and message."""
_objects: dict[str, bytes] = {}
_tables: dict[str, list[Rows]] = {}
_config: dict[str, str] = {}
_secrets: dict[str, str] = {}
_kept: dict[str, bytes] = {}
_answers: dict[tuple[str, str], Response] = {}
_models: dict[str, Callable[[dict[str, nn.Tensor]], dict[str, nn.Tensor]]] = {}
_time = SimpleNamespace(now_us=1_704_067_200_000_000, looks=0, seed=0)


def lend_object(uri: str, data: bytes) -> None:
    """Lends the bytes of a source."""
    _objects[uri] = data


def lend_table(name: str, *blocks: Rows) -> None:
    """Lends a table; each of the rows is one answer of `next`."""
    _tables[name] = list(blocks)


def lend_config(key: str, value: str) -> None:
    """Gives a setting."""
    _config[key] = value


def lend_secret(name: str, value: str) -> None:
    """Gives a secret."""
    _secrets[name] = value


def lend_answer(url: str, response: Response, method: str = "GET") -> None:
    """Lends the answer to a request."""
    _answers[method, url] = response


def lend_model(name: str, compute: Callable[[dict[str, nn.Tensor]], dict[str, nn.Tensor]]) -> None:
    """Lends a model: a function from its inputs to its outputs."""
    _models[name] = compute


def lend_time(now_us: int) -> None:
    """Sets the wall clock, which stands still."""
    _time.now_us = now_us


def reset() -> None:
    """Takes back what was lent, and forgets what was logged and kept."""
    for each in (logged, _objects, _tables, _config, _secrets, _kept, _answers, _models):
        each.clear()
    _time.now_us, _time.looks, _time.seed = 1_704_067_200_000_000, 0, 0


class _Level(IntEnum):
    TRACE = 0
    DEBUG = 1
    INFO = 2
    WARN = 3
    ERROR = 4


def _log(level: _Level, message: str) -> None:
    logged.append((level.name.lower(), message))
    print(f"{level.name.lower()}: {message}", file=sys.stderr)


def _lent(where: Mapping[Any, Any], key: Any, code: str, message: str) -> Any:
    if key not in where:
        raise Problem(code, message)
    return where[key]


def _open(uri: str) -> SimpleNamespace:
    data = _lent(_objects, uri, "not-found", f"no source `{uri}`")
    return SimpleNamespace(size=lambda: len(data), read=lambda offset, length: data[offset : offset + length])


def _open_table(name: str) -> SimpleNamespace:
    blocks = list(_lent(_tables, name, "not-found", f"no table `{name}` was lent"))
    turns = iter([_block(each) for each in blocks])
    return SimpleNamespace(schema=lambda: blocks[0].schema, next=lambda max_rows: next(turns, None))


def _block(given: Rows) -> SimpleNamespace:
    lists = ("f64s", "f32s", "s64s", "bits", "offsets", "bytes", "validity")
    return SimpleNamespace(rows=len(given), **{name: getattr(given, name) for name in lists})


def _page(names: Iterable[str], prefix: str, after: str | None, most: int) -> list[str]:
    return sorted(name for name in names if name.startswith(prefix) and (after is None or name > after))[:most]


def _swap(key: str, expected: bytes | None, value: bytes) -> bool:
    same = _kept.get(key) == expected
    if same:
        _kept[key] = value
    return same


def _send(request: SimpleNamespace) -> Response:
    key = (request.method, request.url)
    answer: Response = _lent(_answers, key, "denied", f"no answer of {key[0]} `{key[1]}` was lent")
    return answer


def _random(length: int) -> bytes:
    """SplitMix64 of a fixed seed."""
    out, mask = b"", (1 << 64) - 1
    while len(out) < length:
        _time.seed = (_time.seed + 0x9E3779B97F4A7C15) & mask
        mixed = _time.seed
        mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9 & mask
        mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EB & mask
        out += (mixed ^ mixed >> 31).to_bytes(8, "little")
    return out[:length]


def _monotonic() -> int:
    _time.looks += 1
    return 1_000_000_000 + 1_000 * int(_time.looks)


def _load_model(name: str) -> SimpleNamespace:
    model = _lent(_models, name, "denied", f"no model `{name}` was lent")

    def compute(given: list[SimpleNamespace]) -> list[SimpleNamespace]:
        made = model({each.name: nn.Tensor(tuple(each.dimensions), each.ty, each.data) for each in given})
        return [
            SimpleNamespace(name=key, dimensions=list(each.shape), ty=each.type, data=each.data)
            for key, each in made.items()
        ]

    return SimpleNamespace(compute=compute, inputs=list, outputs=list)


def _request(method: str, url: str, headers: list[tuple[str, str]], body: bytes) -> SimpleNamespace:
    return SimpleNamespace(method=method, url=url, headers=headers, body=body)


def _tensor(name: str, dimensions: list[int], ty: nn.TensorType, data: bytes) -> SimpleNamespace:
    return SimpleNamespace(name=name, dimensions=dimensions, ty=ty, data=data)


_host.LENT.update(
    log=SimpleNamespace(Level=_Level, log=_log),
    config=SimpleNamespace(get=_config.get, get_all=lambda: sorted(_config.items())),
    objects=SimpleNamespace(
        open=_open, list_objects=lambda prefix, after, most: _page(_objects, prefix, after, most)
    ),
    tables=SimpleNamespace(open=_open_table),
    kv=SimpleNamespace(
        get=_kept.get,
        set=_kept.__setitem__,
        swap=_swap,
        delete=lambda key: _kept.pop(key, None),
        list_keys=lambda prefix, after, most: _page(_kept, prefix, after, most),
    ),
    http=SimpleNamespace(
        Method=lambda index: ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")[index], Request=_request, send=_send
    ),
    clock=SimpleNamespace(now_us=lambda: _time.now_us, monotonic_ns=_monotonic),
    random=SimpleNamespace(get_bytes=_random, get_u64=lambda: int.from_bytes(_random(8), "little")),
    secrets=SimpleNamespace(get=lambda name: _lent(_secrets, name, "denied", f"no secret `{name}` was lent")),
    nn=SimpleNamespace(Tensor=_tensor, TensorType=nn.TensorType, load_by_name=_load_model),
)
