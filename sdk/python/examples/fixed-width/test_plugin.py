"""Tests of the plugin, on your machine: python -m unittest (with the SDK's folder in PYTHONPATH)."""

import unittest

import plugin
from plinth import Problem, testing

OPTIONS = {
    "columns": [{"name": "id", "width": 3, "kind": "int64"}, {"name": "name", "width": 5, "kind": "utf8"}],
}


class FixedWidthTest(unittest.TestCase):
    def setUp(self) -> None:
        testing.reset()
        testing.lend_object("people.txt", b" 17ada  \n  8     \n")

    def test_cells_are_trimmed_and_empty_ones_are_null(self) -> None:
        (rows,) = testing.read(plugin.FixedWidth, "people.txt", OPTIONS)
        self.assertEqual(rows.to_dict(), {"id": [17, 8], "name": ["ada", None]})

    def test_a_bad_cell_is_told_with_its_place(self) -> None:
        testing.lend_object("people.txt", b" 17ada  \n  xbob  \n")
        with self.assertRaises(Problem) as raised:
            testing.read(plugin.FixedWidth, "people.txt", OPTIONS)
        problem = raised.exception
        self.assertEqual((problem.code, problem.row, problem.column), ("bad-value", 1, "id"))

    def test_half_a_record_is_refused(self) -> None:
        testing.lend_object("people.txt", b" 17ada  \n  8")
        with self.assertRaises(Problem) as raised:
            testing.plan(plugin.FixedWidth, "people.txt", OPTIONS)
        self.assertEqual(raised.exception.code, "bad-source")


if __name__ == "__main__":
    unittest.main()
