"""Tests of the plugin, on your machine: python -m unittest (with the SDK's folder in PYTHONPATH)."""

import unittest

import plugin
from plinth import Problem, testing

ARTIFACT = b'{"intercept": 0.5, "coefficients": [{"column": "x", "value": 2}, {"column": "n", "value": -1}]}'


class LinearModelTest(unittest.TestCase):
    rows = testing.rows({"name": ["a", "b", "c"], "x": [1.0, None, -0.25], "n": [1, 2, 0]})

    def test_a_row_is_predicted_unless_a_value_is_null(self) -> None:
        made = testing.predict(plugin.LinearModel, self.rows, ARTIFACT)
        self.assertEqual(made.to_dict(), {"prediction": [1.5, None, 0.0]})

    def test_options_name_the_column_and_make_probabilities(self) -> None:
        options = {"output": "p", "link": "logistic"}
        made = testing.predict(plugin.LinearModel, self.rows, ARTIFACT, options)
        self.assertEqual(made["p"].values()[2], 0.5)

    def test_what_is_no_artifact_is_refused(self) -> None:
        for garbage in (b"", b"{}", b"\xff", b'{"coefficients": [], "bias": 1}'):
            with self.assertRaises(Problem) as raised:
                testing.predict(plugin.LinearModel, self.rows, garbage)
            self.assertEqual(raised.exception.code, "bad-artifact")


if __name__ == "__main__":
    unittest.main()
