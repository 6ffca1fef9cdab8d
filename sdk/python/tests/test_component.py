"""The glue of `plinth._component`, with stand-ins for what componentize-py generates."""

import contextlib
import enum
import importlib
import struct
import sys
import types
import unittest
from array import array
from dataclasses import make_dataclass
from unittest import mock

import plinth
from plinth import Field, Kind, Schema, _host, items, testing

from . import example


class Err(Exception):
    """What the bindings raise."""

    def __init__(self, value) -> None:
        super().__init__(value)
        self.value = value


def record(name: str, *fields: str) -> type:
    return make_dataclass(name, fields)


def packed(code: str, *numbers: float) -> bytes:
    """A list of numbers as it crosses."""
    return array(code, numbers).tobytes()


def bindings() -> dict[str, types.ModuleType]:
    """Modules as componentize-py generates them, as far as they are used."""
    made = {}

    def module(name: str, **content) -> None:
        made[name] = types.ModuleType(name)
        vars(made[name]).update(content)

    kinds = enum.Enum("Kind", {kind.name: kind.value for kind in Kind})
    lists = ("f64s", "f32s", "s64s", "bits", "offsets", "bytes", "validity")
    wit = dict(
        Item=record("Item", "name", "summary", "options_schema"),
        Field=record("Field", "name", "kind", "nullable"),
        Schema=record("Schema", "fields"),
        Block=record("Block", "rows", *lists),
        Problem=record("Problem", "code", "message", "retryable", "row", "column"),
        Kind=kinds,
    )
    module("componentize_py_types", Err=Err)
    module("wit_world")
    module("wit_world.imports.types", **wit)
    module("wit_world.imports", types=made["wit_world.imports.types"])
    module("wit_world.imports.log", **vars(_host.LENT["log"]))
    module("wit_world.imports.config", **vars(_host.LENT["config"]))
    module("wit_world.imports.kv", **vars(_host.LENT["kv"]))
    module("wit_world.exports")
    module("wit_world.exports.plinth_transform", Step_AnotherPass=record("Again"), Step_Done=record("Done", "value"))
    module("wit_world.exports.plinth_predict")
    module(
        "wit_world.exports.plinth_loader",
        Partition=record("Partition", "token", "rows_hint", "bytes_hint"),
        ReadPlan=record("ReadPlan", "schema", "partitions"),
    )
    module(
        "wit_world.exports.plinth_gate",
        Check=record("Check", "name", "outcome", "observed", "expected", "reason"),
        Outcome=enum.Enum("Outcome", {"PASS": 0, "WARN": 1, "FAIL": 2}),
    )
    module(
        "wit_world.exports.plinth_drift",
        TestItem=record("TestItem", "item", "kinds", "multivariate", "effect"),
        Outcome=record("Outcome", "statistic", "p_value", "effect_size", "threshold", "verdict", "n_reference",
                       "n_current", "note"),
        Verdict=enum.Enum("Verdict", {"NO_DRIFT": 0, "DRIFT": 1, "INCONCLUSIVE": 2}),
    )  # fmt: skip
    return made


class ComponentTest(unittest.TestCase):
    """Each test loads the glue anew, with nothing registered."""

    def setUp(self) -> None:
        testing.reset()
        held = contextlib.ExitStack()
        self.addCleanup(held.close)
        held.enter_context(mock.patch.dict(sys.modules, bindings()))
        held.enter_context(mock.patch.dict(items.ITEMS, clear=True))
        held.enter_context(mock.patch.dict(_host.GRANTED, clear=True))
        held.enter_context(mock.patch.object(_host, "inside", True))
        held.callback(sys.modules.pop, "plinth._component", None)
        sys.modules.pop("plinth._component", None)
        self.glue = importlib.import_module("plinth._component")
        # What leaves the system alone in a component would leave it alone here.
        held.enter_context(mock.patch.object(self.glue, "_left", True))
        self.wit = sys.modules["wit_world.imports.types"]

    def begin(self, folder: str, kind: str, *capabilities: str) -> None:
        self.glue.begin([kind], list(capabilities), lambda: example(folder))

    def schema(self, *fields: Field):
        return self.glue._to_schema(Schema(fields))

    def problem(self, call, *arguments):
        with self.assertRaises(Err) as raised:
            call(*arguments)
        return raised.exception.value

    def ended(self, kind: type, call, *arguments) -> list[tuple[str, str]]:
        """What the log was told of an exception that ends the instance."""
        with self.assertRaises(kind):
            call(*arguments)
        return testing.logged

    def test_a_transform_is_fitted_and_applied(self) -> None:
        self.begin("standard-scale", "transform")
        (told,) = self.glue.TransformPoint().describe()
        self.assertEqual(told.name, "standard-scale")
        rows = testing.rows({"x": [1.0, None, 3.0]})
        input, block = self.glue._to_schema(rows.schema), self.glue._to_block(rows, "test")
        fitting = self.glue.Fitting.start("standard-scale", input, "{}")
        other = self.glue.Fitting.start("standard-scale", input, "")
        fitting.update(block)
        other.merge(fitting.partial())
        state = other.end_pass().value
        self.assertEqual(state, struct.pack("<Idd", 0, 2.0, 1.0))
        fitted = self.glue.Fitted.load("standard-scale", state, input)
        self.assertEqual(fitted.output(), input)
        made = fitted.apply(block)
        self.assertEqual((made.rows, made.f64s, made.validity), (3, packed("d", -1.0, 0.0, 1.0), b"\x05"))
        told = self.problem(self.glue.Fitting.start, "standard-scale", input, '{"columns": ["y"]}')
        self.assertEqual((told.code, told.column, told.row, told.retryable), ("unknown-column", "y", None, False))
        self.assertEqual(self.problem(self.glue.Fitted.load, "scale", b"", input).code, "unknown-item")

    def test_another_pass(self) -> None:
        class Twice(plinth.Transform):
            passes = 0

            def end_pass(self):
                self.passes += 1
                return b"" if self.passes == 2 else None

            def apply(self, rows):
                return None

            def load(self, state):
                pass

        self.glue.begin(["transform"], [], lambda: plinth.item("twice")(Twice))
        fitting = self.glue.Fitting.start("twice", self.schema(), "{}")
        self.assertEqual([type(fitting.end_pass()).__name__ for _ in range(2)], ["Again", "Done"])
        fitted = self.glue.Fitted.load("twice", b"", self.schema())
        block = self.glue._to_block(testing.rows({}), "test")
        told = self.ended(TypeError, fitted.apply, block)
        self.assertEqual(told, [("error", "TypeError: `apply` returned NoneType, not Rows")])

    def test_a_loader_plans_and_reads(self) -> None:
        self.begin("fixed-width", "loader", "kv")
        _host.GRANTED["objects"] = _host.LENT["objects"]
        testing.lend_object("f", b"1\n2\nx\n")
        options = '{"columns": [{"name": "i", "width": 1, "kind": "int64"}], "partition-rows": 2}'
        self.assertEqual(self.glue.LoaderPoint().describe()[0].name, "fixed-width")
        plan = self.glue.LoaderPoint().plan("fixed-width", "f", options)
        self.assertEqual([(part.rows_hint, part.bytes_hint) for part in plan.partitions], [(2, 4), (1, 2)])
        first, second = (
            self.glue.Reader.open("fixed-width", "f", options, plan.schema, part.token) for part in plan.partitions
        )
        self.assertEqual(
            [first.next(1).s64s, first.next(9).s64s, first.next(9)], [packed("q", 1), packed("q", 2), None]
        )
        told = self.problem(second.next, 9)
        self.assertEqual((told.code, told.row, told.column), ("bad-value", 2, "i"))
        told = self.problem(self.glue.Reader.open, "fixed-width", "f", options, plan.schema, b"?")
        self.assertEqual(told.code, "bad-token")

    def test_a_gate_judges(self) -> None:
        self.begin("threshold-gate", "gate")
        metric = types.SimpleNamespace(name="f1", value=0.5, slice=None, n=None)
        candidate = types.SimpleNamespace(reference="m", metrics=[metric], tags=[("a", "b")])
        evidence = types.SimpleNamespace(candidate=candidate, baseline=candidate)
        point = self.glue.GatePoint()
        (check,) = point.evaluate("threshold", evidence, '{"thresholds": [{"metric": "f1", "min": 0.6}]}')
        self.assertEqual(
            (check.name, check.outcome.name, check.observed, check.expected), ("f1", "FAIL", "0.5", "at least 0.6")
        )

    def test_a_drift_test_compares(self) -> None:
        self.begin("psi", "drift")
        (told,) = self.glue.DriftPoint().describe()
        self.assertEqual([kind.name for kind in told.kinds], ["BOOLEAN", "INT64", "FLOAT32", "FLOAT64"])
        rows = testing.rows({"i": list(range(40))})
        schema, block = self.glue._to_schema(rows.schema), self.glue._to_block(rows, "test")
        outcome = self.glue.DriftPoint().test("psi", schema, block, block, "")
        self.assertEqual((outcome.verdict.name, outcome.n_current, outcome.p_value), ("NO_DRIFT", 40, None))
        text = self.schema(Field("s", Kind.UTF8))
        self.assertEqual(self.problem(self.glue.DriftPoint().test, "psi", text, None, None, "").code, "wrong-kind")

    def test_a_model_predicts(self) -> None:
        self.begin("linear-model", "predict")
        (told,) = self.glue.PredictPoint().describe()
        self.assertEqual(told.name, "linear-model")
        rows = testing.rows({"x": [1.0, None, 2.5]})
        input, block = self.glue._to_schema(rows.schema), self.glue._to_block(rows, "test")
        load = lambda artifact, name="linear-model": self.glue.Model.load(name, artifact, input, "")  # noqa: E731
        model = load(b'{"coefficients": [{"column": "x", "value": 2}]}')
        self.assertEqual([field.name for field in model.output().fields], ["prediction"])
        for _ in range(2):
            made = model.predict(block)
            self.assertEqual((made.rows, made.f64s, made.validity), (3, packed("d", 2.0, 0.0, 5.0), b"\x05"))
        self.assertEqual(self.problem(load, b"?").code, "bad-artifact")
        self.assertEqual(self.problem(load, b"", "linear").code, "unknown-item")

    def test_what_a_model_returns_has_to_be_what_crosses(self) -> None:
        class Wrong(plinth.Model):
            def output(self):
                return ["prediction"]

            def predict(self, rows):
                return [1.0]

        self.glue.begin(["predict"], [], lambda: plinth.item("wrong")(Wrong))
        model = self.glue.Model.load("wrong", b"", self.schema(), "{}")
        self.ended(TypeError, model.output)
        told = self.ended(TypeError, model.predict, self.glue._to_block(testing.rows({}), "test"))
        wanted = ["TypeError: `output` returned list, not a Schema", "TypeError: `predict` returned list, not Rows"]
        self.assertEqual(told, [("error", each) for each in wanted])

    def test_other_exceptions_are_told_with_their_lines(self) -> None:
        class Fails(plinth.Gate):
            def evaluate(self, evidence):
                try:
                    return {}["é"]
                except KeyError as error:
                    raise ValueError("outer") from error

        class Wrong(plinth.Gate):
            def evaluate(self, evidence):
                return [None]

        def load() -> None:
            plinth.item("fails")(Fails)
            plinth.item("wrong")(Wrong)

        self.glue.begin(["gate"], [], load)
        nobody = types.SimpleNamespace(reference="m", metrics=[], tags=[])
        evidence = types.SimpleNamespace(candidate=nobody, baseline=None)
        calls, what = self.ended(ValueError, self.glue.GatePoint().evaluate, "fails", evidence, "{}")
        self.assertRegex(what[1], r"^ValueError: outer \(test_component.py, line \d+\)$")
        self.assertRegex(calls[1], r'(?s)Fails.evaluate\n    return \{\}\["é"\]\nKeyError: .*\nand because of that:\n')
        testing.logged.clear()
        told = self.ended(TypeError, self.glue.GatePoint().evaluate, "wrong", evidence, "{}")
        self.assertEqual(told, [("error", "TypeError: `evaluate` returned NoneType, not a Check")])

    def test_the_manifest_and_the_plugin_have_to_agree(self) -> None:
        with self.assertRaisesRegex(TypeError, 'registers a drift test: add "drift" to "kind"'):
            self.glue.begin(["gate"], [], lambda: example("psi"))
        items.ITEMS.clear()
        with self.assertRaisesRegex(TypeError, "has a gate, and plugin.py registers none"):
            self.glue.begin(["gate"], [], lambda: None)

    def test_only_what_was_asked_for_is_there(self) -> None:
        self.begin("psi", "drift", "kv")
        plinth.kv.set("a", b"1")
        with self.assertRaisesRegex(RuntimeError, "does not ask for `clock`"):
            plinth.clock.now_us()

    def test_what_is_printed_is_logged(self) -> None:
        self.begin("psi", "drift")
        printed = self.glue._Printed(2)
        print("one\ntwo", 3, end="", file=printed)
        print(" more", file=printed)
        self.assertEqual(testing.logged, [("info", "one"), ("info", "two 3 more")])
