"""Tests of the plugin, on your machine: python -m unittest (with the SDK's folder in PYTHONPATH)."""

import unittest

import plugin
from plinth import Evidence, Metric, Problem, Result, Subject, testing


class ThresholdGateTest(unittest.TestCase):
    evidence = Evidence(Subject("models:/churn/3", [Metric("f1", 0.8)]))

    def outcomes(self, *thresholds: dict[str, object]) -> list[Result]:
        checks = testing.evaluate(plugin.ThresholdGate, self.evidence, {"thresholds": list(thresholds)})
        return [check.outcome for check in checks]

    def test_bounds_are_within(self) -> None:
        self.assertEqual(self.outcomes({"metric": "f1", "min": 0.8}, {"metric": "f1", "max": 0.8}), [Result.PASS] * 2)
        self.assertEqual(self.outcomes({"metric": "f1", "min": 0.81}), [Result.FAIL])

    def test_what_was_not_measured_fails(self) -> None:
        self.assertEqual(self.outcomes({"metric": "recall", "min": 0}), [Result.FAIL])

    def test_a_rule_without_a_bound_is_refused(self) -> None:
        with self.assertRaises(Problem) as raised:
            self.outcomes({"metric": "f1"})
        self.assertEqual(raised.exception.code, "bad-options")


if __name__ == "__main__":
    unittest.main()
