"""Rows and columns."""

import math
import struct
import unittest

from . import SDK  # noqa: F401  It puts the SDK on the path.

import plinth
from plinth import Field, Kind, Problem, Rows, Schema, testing

ALL = Schema(
    [
        Field("b", Kind.BOOLEAN, True),
        Field("i", Kind.INT64, True),
        Field("t", Kind.TIMESTAMP_US),
        Field("f", Kind.FLOAT32),
        Field("x", Kind.FLOAT64, True),
        Field("s", Kind.UTF8, True),
        Field("y", Kind.BINARY, True),
        Field("c", Kind.BOOLEAN),
        Field("z", Kind.FLOAT64),
    ]
)
VALUES = {
    "b": [True, None, False],
    "i": [2**63 - 1, -(2**63), None],
    "t": [1, 2, 3],
    "f": [0.5, math.inf, -0.0],
    "x": [None, 5e-324, -0.0],
    "s": ["é", None, ""],
    "y": [b"\xff\x00", b"", None],
    "c": [False, True, True],
    "z": [1.0, 2.0, 3.0],
}


class RowsTest(unittest.TestCase):
    def failing(self, code: str, message: str, call, *arguments, row=None, column=None) -> None:
        with self.assertRaises(Problem) as raised:
            call(*arguments)
        problem = raised.exception
        self.assertEqual((code, message), (problem.code, problem.message))
        self.assertEqual((row, column), (problem.row, problem.column))

    def test_a_block_keeps_each_column_where_the_contract_says(self) -> None:
        rows = Rows.of(ALL, VALUES)
        self.assertEqual(rows.to_dict(), VALUES)
        self.assertEqual(rows.f64s.tolist(), [0.0, 5e-324, -0.0, 1.0, 2.0, 3.0])
        self.assertEqual(rows.s64s.tolist(), [2**63 - 1, -(2**63), 0, 1, 2, 3])
        self.assertEqual(rows.bits, bytes([0b001, 0b110]))
        self.assertEqual(rows.offsets.tolist(), [0, 2, 2, 2, 2, 4, 4, 4])
        self.assertEqual(rows.bytes, b"\xc3\xa9\xff\x00")
        self.assertEqual(rows.validity, bytes([0b101, 0b011, 0b110, 0b101, 0b011]))

    def test_without_nulls_there_is_no_validity(self) -> None:
        rows = testing.rows({"x": [1.0, 2.0]})
        self.assertEqual(Rows.of(Schema([Field("x", Kind.FLOAT64, True)]), [[1.0, 2.0]]).validity, b"")
        self.assertIsNone(rows["x"].present())

    def test_bitmaps_of_any_length(self) -> None:
        for length in (0, 1, 7, 8, 9, 16, 17, 1000):
            values = [None if i % 3 == 0 else i % 2 == 0 for i in range(length)]
            rows = Rows.of(Schema([Field("b", Kind.BOOLEAN, True)]), [values])
            self.assertEqual(rows["b"].values(), values)
            self.assertEqual(len(rows.bits), (length + 7) // 8)

    def test_what_is_written_shows(self) -> None:
        rows = Rows.of(ALL, VALUES)
        rows["x"].write([1.5, None, math.inf])
        rows["s"].write(["a", "b", "✓"])
        rows["c"].write([True, True, False])
        rows[8].write_raw([7.0, 8, 9.0])
        wanted = VALUES | {
            "x": [1.5, None, math.inf],
            "s": ["a", "b", "✓"],
            "c": [True, True, False],
            "z": [7.0, 8, 9.0],
        }
        self.assertEqual(rows.to_dict(), wanted)
        self.assertEqual(rows.f64s[:3].tolist(), [1.5, 0.0, math.inf])

    def test_writing_raw_leaves_nulls(self) -> None:
        rows = testing.rows({"x": [1.0, None, -0.0], "i": [None, 2, 3]})
        rows["x"].write_raw([2.0, 2.0, 2.0])
        rows["i"].write_raw([5, 6, 7])
        self.assertEqual(rows.to_dict(), {"x": [2.0, None, 2.0], "i": [None, 6, 7]})
        self.assertEqual((rows.f64s.tolist(), rows.s64s.tolist()), ([2.0, 0.0, 2.0], [0, 6, 7]))
        self.assertEqual(struct.pack("<d", rows.f64s[1]), bytes(8))

    def test_what_a_column_cannot_hold_is_told_with_its_row(self) -> None:
        schema = Schema([Field("i", Kind.INT64, True), Field("s", Kind.UTF8), Field("b", Kind.BOOLEAN)])
        good: list = [[1, 2], ["a", "b"], [True, False]]
        for at, values, row, message in (
            (0, [1, 2.5], 1, "column `i` is int64, and 2.5 is not"),
            (0, [2**63, 1], 0, f"column `i` is int64, and {2**63} is not"),
            (1, ["a", b"b"], 1, "column `s` is utf8, and b'b' is not"),
            (1, [3, "b"], 0, "column `s` is utf8, and 3 is not"),
            (1, ["a", "\ud800"], 1, "column `s` is utf8, and '\\ud800' is not"),
            (1, ["a", None], 1, "column `s` is not nullable and has a null"),
            (2, [True, 1], 1, "column `b` is boolean, and 1 is not"),
        ):
            columns = [*good[:at], values, *good[at + 1 :]]
            self.failing("bad-output", message, Rows.of, schema, columns, row=row, column=schema[at].name)
        self.failing("bad-output", "column `s` has 1 values, and others 2", Rows.of, schema,
                     [[1, 2], ["a"], [True, False]], column="s")  # fmt: skip
        self.failing("bad-output", "column `s` was not written", Rows.of, schema, [[1]], column="s")
        self.failing("bad-output", "column `b` was not written", Rows.of, schema, {"i": [1], "s": ["a"]}, column="b")
        self.failing("unknown-column", "unknown column `t`, did you mean `i`?", Rows.of, schema, {"t": [1]}, column="t")
        rows = testing.rows({"x": [1.0, 2.0]})
        self.failing("bad-output", "column `x` is float64, and 'a' is not", rows["x"].write_raw, [1.0, "a"], row=1,
                     column="x")  # fmt: skip
        self.failing("bad-output", "1 values for 2 rows", rows["x"].write_raw, [1.0], column="x")

    def test_numbers_of_any_kind(self) -> None:
        rows = Rows.of(ALL, VALUES)
        self.assertEqual(rows["b"].numbers(), [1.0, None, 0.0])
        self.assertEqual(rows["i"].numbers(), [2.0**63, -(2.0**63), None])
        self.assertEqual(rows["x"].numbers(), [None, 5e-324, -0.0])
        self.failing("wrong-kind", "column `s` is utf8, not a number", rows["s"].numbers, column="s")

    def test_float32_is_rounded(self) -> None:
        rows = Rows.of(Schema([Field("f", Kind.FLOAT32)]), [[0.1]])
        self.assertEqual(rows["f"].values(), [0.10000000149011612])

    def test_an_unknown_column_is_told_with_the_nearest(self) -> None:
        rows = testing.rows({"price": [1.0], "name": ["a"]})
        self.failing("unknown-column", "unknown column `prise`, did you mean `price`?", rows.__getitem__, "prise",
                     column="prise")  # fmt: skip

    def test_records_and_slices(self) -> None:
        rows = testing.rows({"x": [1.0, None], "s": ["a", "b"]})
        self.assertEqual(list(rows.records()), [{"x": 1.0, "s": "a"}, {"x": None, "s": "b"}])
        self.assertEqual(rows.slice(1, 2).to_dict(), {"x": [None], "s": ["b"]})

    def test_kinds_follow_from_values(self) -> None:
        columns = {"a": [True, None], "b": [1, 2], "c": [1, 2.5], "d": ["x", ""], "e": [b"x", None], "f": [0, 1]}
        rows = testing.rows(columns, {"f": "timestamp-us"})
        self.assertEqual(
            [str(f.kind) for f in rows.schema], ["boolean", "int64", "float64", "utf8", "binary", "timestamp-us"]
        )
        with self.assertRaisesRegex(TypeError, "kind of column `x`"):
            testing.rows({"x": [None]})


class NumbersTest(unittest.TestCase):
    def test_numbers_in_texts_are_those_of_javascript(self) -> None:
        for value, text in (
            (0.1, "0.1"), (3, "3"), (-0.0, "0"), (1e21, "1e+21"), (1e20, "100000000000000000000"), (1e-7, "1e-7"),
            (1e-6, "0.000001"), (1.5e21, "1.5e+21"), (123456.789, "123456.789"), (-2.5e-9, "-2.5e-9"),
            (5e-324, "5e-324"), (1.7976931348623157e308, "1.7976931348623157e+308"), (0.1 + 0.2, "0.30000000000000004"),
            (math.inf, "Infinity"), (-math.inf, "-Infinity"), (math.nan, "NaN"),
            (1234567890123456789012.0, "1.2345678901234568e+21"),
        ):  # fmt: skip
            self.assertEqual(plinth.number_text(value), text)

    def test_arithmetic_never_raises(self) -> None:
        self.assertEqual(plinth.divide(1.0, 0.0), math.inf)
        self.assertEqual(plinth.divide(1.0, -0.0), -math.inf)
        self.assertEqual(plinth.divide(-math.inf, 0.0), -math.inf)
        self.assertTrue(math.isnan(plinth.divide(0.0, 0.0)))
        self.assertTrue(math.isnan(plinth.divide(math.nan, 0.0)))
        self.assertEqual(plinth.divide(1.0, 4.0), 0.25)
        self.assertTrue(math.isnan(plinth.sqrt(-1.0)))
        self.assertEqual((plinth.sqrt(4.0), plinth.sqrt(math.inf)), (2.0, math.inf))


if __name__ == "__main__":
    unittest.main()
