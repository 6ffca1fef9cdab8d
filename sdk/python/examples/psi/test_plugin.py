"""Tests of the plugin, on your machine: python -m unittest (with the SDK's folder in PYTHONPATH)."""

import unittest

import plugin
from plinth import Verdict, testing


class PsiTest(unittest.TestCase):
    reference = testing.rows({"x": [float(i % 50) for i in range(500)]})

    def test_a_sample_has_not_drifted_from_itself(self) -> None:
        outcome = testing.drift(plugin.Psi, self.reference, self.reference)
        self.assertEqual((outcome.verdict, outcome.statistic), (Verdict.NO_DRIFT, 0.0))

    def test_a_shift_is_drift(self) -> None:
        shifted = testing.rows({"x": [float(i % 50) + 20 for i in range(500)]})
        self.assertEqual(testing.drift(plugin.Psi, self.reference, shifted).verdict, Verdict.DRIFT)
        lenient = testing.drift(plugin.Psi, self.reference, shifted, options={"threshold": 100})
        self.assertEqual(lenient.verdict, Verdict.NO_DRIFT)

    def test_few_rows_conclude_nothing(self) -> None:
        few = testing.rows({"x": [1.0, 2.0, None]})
        outcome = testing.drift(plugin.Psi, self.reference, few)
        self.assertEqual(outcome.verdict, Verdict.INCONCLUSIVE)
        self.assertEqual(outcome.note, "the current sample has 2 usable rows; a verdict needs 30")


if __name__ == "__main__":
    unittest.main()
