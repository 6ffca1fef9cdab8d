"""Tests of the plugin, on your machine: python -m unittest (with the SDK's folder in PYTHONPATH)."""

import unittest

import plugin
from plinth import Problem, testing


class StandardScaleTest(unittest.TestCase):
    rows = testing.rows({"x": [1.0, 3.0, None], "name": ["a", "b", "c"]})

    def test_values_are_centred_and_scaled(self) -> None:
        state = testing.fit(plugin.StandardScale, self.rows)
        made = testing.apply(plugin.StandardScale, state, self.rows)
        self.assertEqual(made.to_dict(), {"x": [-1.0, 1.0, None], "name": ["a", "b", "c"]})

    def test_two_parts_are_learned_as_one(self) -> None:
        parts = self.rows.slice(0, 1), self.rows.slice(1, 3)
        self.assertEqual(testing.fit(plugin.StandardScale, *parts), testing.fit(plugin.StandardScale, self.rows))

    def test_text_is_refused(self) -> None:
        with self.assertRaises(Problem) as raised:
            testing.fit(plugin.StandardScale, self.rows, options={"columns": ["name"]})
        self.assertEqual(raised.exception.code, "wrong-kind")


if __name__ == "__main__":
    unittest.main()
