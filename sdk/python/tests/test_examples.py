"""The examples do what sdk/conformance/README.md says."""

import json
import math
import os
import random
import struct
import subprocess
import sys
import unittest
from pathlib import Path

from . import SDK, example

import plinth
from plinth import Evidence, Field, Kind, Metric, Problem, Result, Rows, Schema, Subject, Verdict, testing

scale = example("standard-scale").StandardScale
psi_module = example("psi")
psi = psi_module.Psi
gate = example("threshold-gate").ThresholdGate
loader = example("fixed-width").FixedWidth
model_module = example("linear-model")
model = model_module.LinearModel
NAN = math.nan


class Example(unittest.TestCase):
    def failing(self, code: str, call, *arguments, row=None, column=None, message=None, **named) -> None:
        with self.assertRaises(Problem) as raised:
            call(*arguments, **named)
        problem = raised.exception
        self.assertEqual((code, row, column), (problem.code, problem.row, problem.column), problem)
        if message is not None:
            self.assertEqual(problem.message, message)


class OwnTestsTest(unittest.TestCase):
    def test_the_tests_that_examples_have_pass(self) -> None:
        for folder in ("standard-scale", "psi", "threshold-gate", "fixed-width", "linear-model"):
            with self.subTest(folder):
                self.passes(SDK / "examples" / folder)

    def passes(self, folder: Path) -> None:
        environment = os.environ | {"PYTHONPATH": str(SDK)}
        done = subprocess.run(
            [sys.executable, "-m", "unittest"], cwd=folder, env=environment, capture_output=True, text=True
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("Ran 3 tests", done.stderr)


class StandardScaleTest(Example):
    def test_state_and_rows(self) -> None:
        rows = testing.rows({"s": ["a"] * 5, "x": [1.0, None, 3.0, NAN, 2.0], "y": [4.0] * 5})
        state = testing.fit(scale, rows)
        self.assertEqual(state, struct.pack("<IddIdd", 1, 2.0, math.sqrt(2.0 / 3), 2, 4.0, 1.0))
        made = testing.apply(scale, state, rows)
        deviation = math.sqrt(2.0 / 3)
        self.assertEqual(made["x"].values()[:3], [-1.0 / deviation, None, 1.0 / deviation])
        self.assertTrue(math.isnan(made["x"].values()[3]))
        self.assertEqual(made["y"].values(), [0.0] * 5)
        self.assertEqual(struct.pack("<d", made["x"].raw()[1]), bytes(8))
        self.assertEqual(made.schema, rows.schema)

    def test_columns_in_the_order_of_the_option(self) -> None:
        rows = testing.rows({"x": [1.0, 3.0], "y": [2.0, 2.0]})
        state = testing.fit(scale, rows, options={"columns": ["y", "x"]})
        self.assertEqual(state, struct.pack("<IddIdd", 1, 2.0, 1.0, 0, 2.0, 1.0))
        self.assertEqual(testing.fit(scale, rows, options={"columns": []}), b"")

    def test_no_rows_and_infinities(self) -> None:
        self.assertEqual(
            testing.fit(scale, testing.rows({"x": []}, {"x": "float64"})), struct.pack("<Idd", 0, 0.0, 1.0)
        )
        state = testing.fit(scale, testing.rows({"x": [math.inf, 1.0, 2.0]}))
        _, mean, deviation = struct.unpack("<Idd", state)
        self.assertTrue(math.isnan(mean))
        self.assertEqual(struct.pack("<d", deviation), struct.pack("<Q", 0x7FF8000000000000))

    def test_partials_are_merged_as_the_specification_has_it(self) -> None:
        parts = [testing.rows({"x": values}) for values in ([1.5, 2.25, -7.0], [1e9, 3.0], [0.1])]
        fits = [testing.start(scale, part.schema) for part in parts]
        for fit, part in zip(fits, parts):
            fit.update(part)
        (n, mean, m2), (b_n, b_mean, b_m2) = (struct.unpack("<ddd", fit.partial()) for fit in fits[:2])
        fits[0].merge(fits[1].partial())
        apart, both = b_mean - mean, n + b_n
        wanted = (both, mean + apart * (b_n / both), m2 + (b_m2 + apart * apart * (n * b_n / both)))
        self.assertEqual(struct.unpack("<ddd", fits[0].partial()), wanted)
        before = fits[0].partial()
        fits[0].merge(struct.pack("<ddd", 0.0, 5.0, 5.0))
        self.assertEqual(fits[0].partial(), before)
        self.failing("bad-partial", fits[0].merge, before[:-1])
        fits[0].merge(struct.pack("<ddd", -both, 1.0, 1.0))  # no partial of ours: nothing is raised

    def test_bad_columns_and_states(self) -> None:
        rows = testing.rows({"x": [1.0], "i": [1]})
        start = lambda columns: testing.fit(scale, rows, options={"columns": columns})  # noqa: E731
        self.failing("unknown-column", start, ["z"], column="z")
        wrong = "column `i` is int64, not float64: cast it first"
        self.failing("wrong-kind", start, ["i"], column="i", message=wrong)
        self.failing("bad-options", start, ["x", "x"])
        self.failing("bad-options", start, ["nowhere", "x", "x"])
        self.failing("bad-options", start, "x")
        for state in (b"x", struct.pack("<Idd", 1, 0.0, 1.0), struct.pack("<Idd", 2, 0.0, 1.0)):
            self.failing("bad-state", testing.load, scale, state, rows.schema)

    def test_a_deviation_of_zero_raises_nothing(self) -> None:
        made = testing.apply(scale, struct.pack("<Idd", 0, 1.0, 0.0), testing.rows({"x": [2.0, 0.0]}))
        self.assertEqual(made["x"].values(), [math.inf, -math.inf])


class PsiTest(Example):
    def column(self, values) -> Rows:
        return Rows.of(Schema([Field("x", Kind.FLOAT64, True)]), [values])

    def test_the_index_of_shifted_samples(self) -> None:
        reference = self.column([float(i) for i in range(100)])
        current = self.column([float(i) + 30 for i in range(100)] + [None, NAN])
        outcome = testing.drift(psi, reference, current)
        self.assertEqual((outcome.verdict, outcome.n_reference, outcome.n_current), (Verdict.DRIFT, 100, 100))
        # Bins of ten: three lose all theirs, the last has 40.
        p, q = 10.5 / 105, [0.5 / 105] * 3 + [10.5 / 105] * 6 + [40.5 / 105]
        wanted = sum((each - p) * math.log(each / p) for each in q)
        self.assertAlmostEqual(outcome.statistic, wanted, 13)
        self.assertEqual(outcome.effect_size, outcome.statistic)
        self.assertIsNone(outcome.p_value or outcome.note)
        alike = testing.drift(psi, reference, reference, options={"threshold": 1e-300})
        self.assertEqual((alike.statistic, alike.verdict), (0.0, Verdict.NO_DRIFT))

    def test_too_few_rows(self) -> None:
        few, many = self.column([1.0, 2.0, 3.0, NAN, None]), self.column([1.0] * 30)
        outcome = testing.drift(psi, few, few)
        self.assertEqual(outcome.note, "the reference has 3 usable rows; a verdict needs 30")
        self.assertEqual((outcome.verdict, outcome.statistic, outcome.effect_size), (Verdict.INCONCLUSIVE, 0.0, None))
        outcome = testing.drift(psi, many, few)
        self.assertEqual(outcome.note, "the current sample has 3 usable rows; a verdict needs 30")
        self.assertEqual(testing.drift(psi, few, few, options={"rows-min": 3}).verdict, Verdict.NO_DRIFT)

    def test_edges_are_those_of_the_specification(self) -> None:
        self.assertEqual(psi_module.counts([-1.0, 0.0, -0.0, 0.5, 1.0, math.inf], [0.0, 1.0]), [1, 3, 2])
        constant = testing.drift(psi, self.column([2.0] * 40), self.column([1.0] * 40))
        p, q = [0.5 / 41, 40.5 / 41], [40.5 / 41, 0.5 / 41]
        self.assertAlmostEqual(constant.statistic, sum((b - a) * math.log(b / a) for a, b in zip(p, q)), 13)

    def test_the_logarithm_is_near_that_of_the_library(self) -> None:
        numbers = random.Random(1)
        for _ in range(2000):
            x = numbers.random() * 10.0 ** numbers.randint(-300, 300)
            self.assertTrue(math.isclose(psi_module.ln(x), math.log(x), rel_tol=1e-15, abs_tol=1e-16), x)

    def test_other_kinds_and_bad_options(self) -> None:
        flags = testing.rows({"b": [True, False] * 20})
        self.assertEqual(testing.drift(psi, flags, flags).verdict, Verdict.NO_DRIFT)
        text = testing.rows({"s": ["a"]})
        self.failing("wrong-kind", testing.drift, psi, text, text, column="s")
        two = testing.rows({"a": [1.0], "b": [1.0]})
        self.failing("wrong-columns", testing.drift, psi, two, two)
        for given in ({"bins": 1}, {"bins": 1001}, {"bins": 2.5}, {"threshold": 0}, {"rows-min": 0}, {"rows_min": 5}):
            self.failing("bad-options", testing.drift, psi, flags, flags, options=given)


class ThresholdTest(Example):
    evidence = Evidence(
        Subject(
            "models:/churn/3",
            [
                Metric("f1", 0.8),
                Metric("f1", 0.1, "state=KS"),
                Metric("nan", NAN),
                Metric("big", 1e21),
                Metric("zero", -0.0),
            ],
        )
    )

    def judged(self, *thresholds) -> list[tuple]:
        checks = testing.evaluate(gate, self.evidence, {"thresholds": list(thresholds)})
        return [(check.name, check.outcome, check.observed, check.expected, check.reason) for check in checks]

    def test_bounds(self) -> None:
        self.assertEqual(
            self.judged(
                {"metric": "f1", "min": 0.8},
                {"metric": "f1", "max": 0.79},
                {"metric": "f1", "min": 0.5, "max": 1e-7},
                {"metric": "f1", "slice": "state=KS", "min": 0},
                {"metric": "nan", "max": 1e300},
                {"metric": "big", "min": 1e20},
                {"metric": "zero", "max": -0.0},
            ),
            [
                ("f1", Result.PASS, "0.8", "at least 0.8", ""),
                ("f1", Result.FAIL, "0.8", "at most 0.79", ""),
                ("f1", Result.FAIL, "0.8", "0.5 to 1e-7", ""),
                ("f1 in state=KS", Result.PASS, "0.1", "at least 0", ""),
                ("nan", Result.FAIL, "NaN", "at most 1e+300", ""),
                ("big", Result.PASS, "1e+21", "at least 100000000000000000000", ""),
                ("zero", Result.PASS, "0", "at most 0", ""),
            ],
        )

    def test_what_was_not_measured_fails(self) -> None:
        why = "the metric is not among those of models:/churn/3"
        self.assertEqual(
            self.judged({"metric": "f2", "min": 1}, {"metric": "f1", "slice": "state=NY", "min": 1}),
            [
                ("f2", Result.FAIL, "not measured", "at least 1", why),
                ("f1 in state=NY", Result.FAIL, "not measured", "at least 1", why),
            ],
        )

    def test_bad_options(self) -> None:
        for given in ({}, {"thresholds": []}, {"thresholds": [{"metric": "f1"}]}, {"thresholds": [{"min": 1}]},
                      {"thresholds": [{"metric": "f1", "min": "1"}]},
                      {"thresholds": [{"metric": "f1", "mni": 1}]}):  # fmt: skip
            self.failing("bad-options", testing.evaluate, gate, self.evidence, given)


class FixedWidthTest(Example):
    def setUp(self) -> None:
        testing.reset()

    def read(self, data: bytes, *columns: dict, max_rows: int = 8192, **more) -> list[Rows]:
        testing.lend_object("f.txt", data)
        return testing.read(loader, "f.txt", {"columns": list(columns), **more}, max_rows=max_rows)

    def cell(self, data: bytes, kind: str, **more):
        made = self.read(data + b"\n", {"name": "x", "width": len(data), "kind": kind, **more})
        return made[0]["x"].values()[0]

    def test_records(self) -> None:
        columns = (
            {"name": "i", "width": 3, "kind": "int64"},
            {"name": "f", "width": 5, "kind": "float64"},
            {"name": "b", "width": 5, "kind": "boolean"},
            {"name": "s", "width": 3, "kind": "utf8", "nullable": False},
        )
        lines = " -7 1.5  true é\n", "  8     false   \n", " " * 16 + "\n"
        (rows,) = self.read("".join(lines).encode(), *columns)
        self.assertEqual(
            rows.to_dict(),
            {"i": [-7, 8, None], "f": [1.5, None, None], "b": [True, False, None], "s": ["é", "", ""]},
        )
        self.assertEqual([field.nullable for field in rows.schema], [True, True, True, False])

    def test_partitions_and_turns(self) -> None:
        data = b"".join(b"%2d\n" % i for i in range(25))
        column = {"name": "i", "width": 2, "kind": "int64"}
        turns = self.read(data, column, max_rows=4, **{"partition-rows": 10})
        self.assertEqual([len(turn) for turn in turns], [4, 4, 2, 4, 4, 2, 4, 1])
        self.assertEqual([value for turn in turns for value in turn["i"].values()], list(range(25)))
        plan = testing.plan(loader, "f.txt", {"columns": [column], "partition-rows": 10})
        self.assertEqual([(part.token, part.rows, part.bytes) for part in plan.partitions],
                         [(struct.pack("<QQ", 0, 10), 10, 30), (struct.pack("<QQ", 10, 10), 10, 30),
                          (struct.pack("<QQ", 20, 5), 5, 15)])  # fmt: skip
        data = b"1\n" * 20000
        self.assertEqual(
            [len(turn) for turn in self.read(data, column | {"width": 1}, max_rows=10**6)], [8192, 8192, 3616]
        )
        self.assertEqual(self.read(b"", column), [])

    def test_numbers_are_what_the_specification_reads(self) -> None:
        for text, value in (
            (b"007", 7),
            (b"-0", 0),
            (b" 5 ", 5),
            (b"9223372036854775807", 2**63 - 1),
            (b"-9223372036854775808", -(2**63)),
        ):
            self.assertEqual(self.cell(text, "int64"), value)
        for text, number in (
            (b"1e5", 1e5),
            (b"-0.0", -0.0),
            (b"1e-999", 0.0),
            (b"1.7976931348623157e308", 1.7976931348623157e308),
            (b"5e-324", 5e-324),
            (b"0.1" + b"0" * 508, 0.1),
        ):
            self.assertEqual(struct.pack("<d", self.cell(text, "float64")), struct.pack("<d", number))
        bad = {
            "int64": [b"1_0", b"+1", b"\t1", b"1\x0b", b"0x1", b"1.0", b"9223372036854775808", b"-", b"1 2",
                      "١".encode(), b"0" * 512],
            "float64": [b"nan", b"inf", b"Infinity", b"1_0.5", b".5", b"1.", b"1e999", b"-1e999", b"1E5", b"1e", b"+1",
                        b"0.1" + b"0" * 509],
            "boolean": [b"True", b"1", b"tru"],
            "utf8": [b"\xff", b"\xed\xa0\x80", b"\xc3"],
        }  # fmt: skip
        for kind, texts in bad.items():
            for text in texts:
                with self.subTest(kind=kind, text=text):
                    shown = text.decode(errors="replace").strip(" ")
                    self.failing(
                        "bad-value", self.cell, text, kind, row=0, column="x", message=f"`{shown}` is no {kind}"
                    )

    def test_the_first_bad_cell_of_the_lowest_row_is_told(self) -> None:
        two = (
            {"name": "a", "width": 2, "kind": "int64"},
            {"name": "b", "width": 2, "kind": "float64", "nullable": False},
        )
        self.failing("bad-value", self.read, b" 1 2\n x y\n 3  \n", *two, row=1, column="a")
        self.failing("null-value", self.read, b" 1  \n x y\n", *two, row=0, column="b")
        self.failing("bad-value", self.read, b" 1 2\n x 3\n 3 4x", *two, row=1, column="a")
        self.failing("bad-row", self.read, b" 1 2\n x yz", *two, row=1)
        good = b" 1 2\n" * 10000
        self.failing("bad-value", self.read, good + b" 1 x\n", *two, row=10000, column="b", **{"partition-rows": 9999})

    def test_bad_sources_and_options(self) -> None:
        column = {"name": "x", "width": 2, "kind": "int64"}
        message = "4 bytes are no whole number of records of 3 bytes"
        self.failing("bad-source", self.read, b"12\n3", column, message=message)
        self.failing("not-found", testing.read, loader, "nowhere", {"columns": [column]})
        for columns in ([], [column, column], [column | {"name": ""}], [column | {"width": 0}],
                        [column | {"kind": "binary"}],
                        [{"name": "x", "width": 2}], "x", [column | {"more": 1}]):  # fmt: skip
            testing.lend_object("f.txt", b"12\n")
            self.failing("bad-options", testing.plan, loader, "f.txt", {"columns": columns})
        self.failing("bad-options", self.read, b"12\n", column, **{"partition-rows": 0})
        part = plinth.Partition(b"short")
        self.failing("bad-token", testing.read, loader, "f.txt", {"columns": [column]}, part)
        beyond = plinth.Partition(struct.pack("<QQ", 5, 1))
        self.failing("bad-source", testing.read, loader, "f.txt", {"columns": [column]}, beyond)


class LinearModelTest(Example):
    rows = testing.rows(
        {"s": ["a", "b", "c"], "x": [1.0, None, -0.25], "n": [1, 2, 2**53 + 1], "b": [True, False, True]}
    )

    def predicted(self, terms: dict[str, float], intercept: float = 0.0, **options) -> Rows:
        coefficients = [{"column": column, "value": value} for column, value in terms.items()]
        artifact = json.dumps({"intercept": intercept, "coefficients": coefficients}).encode()
        return testing.predict(model, self.rows, artifact, options)

    def test_sums_of_numbers_of_any_kind(self) -> None:
        made = self.predicted({"n": -1, "b": 0.5}, 0.5)
        self.assertEqual(made.schema, Schema([Field("prediction", Kind.FLOAT64)]))
        self.assertEqual(made["prediction"].values(), [0.0, -1.5, -(2.0**53)])
        self.assertEqual(self.predicted({}, -0.0).to_dict(), {"prediction": [-0.0] * 3})

    def test_a_null_has_no_prediction(self) -> None:
        made = self.predicted({"x": 2, "n": 1}, output="score")
        self.assertEqual(made.schema, Schema([Field("score", Kind.FLOAT64, True)]))
        self.assertEqual(made["score"].values(), [3.0, None, 2.0**53])
        self.assertEqual(struct.pack("<d", made["score"].raw()[1]), bytes(8))

    def test_probabilities(self) -> None:
        made = self.predicted({"x": 4}, link="logistic")["prediction"].values()
        self.assertEqual(made, [0.9820137900379085, None, 0.2689414213699951])
        for x in (1e308, -1e308, math.inf, -math.inf):
            self.assertEqual(model_module.exp(x), math.inf if x > 0 else 0.0)
        self.assertTrue(math.isnan(model_module.exp(NAN)))

    def test_the_exponential_is_near_that_of_the_library(self) -> None:
        numbers = random.Random(1)
        for _ in range(2000):
            x = numbers.choice((1, -1)) * 10.0 ** numbers.uniform(-20, 2.84)
            self.assertTrue(math.isclose(model_module.exp(x), math.exp(x), rel_tol=3e-16, abs_tol=5e-324), x)

    def test_bad_artifacts_columns_and_options(self) -> None:
        start = 'the artifact is no {"intercept": 0.5, "coefficients": [...]}: '
        for artifact, message in (
            (b"{}", "field `coefficients`: it is missing"),
            (b'{"weights": [1]}', "unknown field `weights`"),
            (b'{"coefficients": [], "intercept": null}', "field `intercept`: it is null, and a number is wanted"),
            (b'{"coefficients": [1]}', "field `coefficients[0]`: it is 1, and an object is wanted"),
        ):
            self.failing("bad-artifact", testing.predict, model, self.rows, artifact, message=start + message)
        for artifact in (b"", b"\xff", b"\xef\xbb\xbf{}", b'{"coefficients": [{"column": "x", "value": 1e999}]}'):
            self.failing("bad-artifact", testing.predict, model, self.rows, artifact)
        self.failing("unknown-column", self.predicted, {"x": 1, "z": 1}, column="z")
        wrong = "column `s` is utf8, which is no number"
        self.failing("wrong-kind", self.predicted, {"s": 1}, column="s", message=wrong)
        for options in ({"output": ""}, {"link": "probit"}, {"outptu": "p"}):
            self.failing("bad-options", self.predicted, {}, **options)


if __name__ == "__main__":
    unittest.main()
