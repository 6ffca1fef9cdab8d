"""A gate: metrics of the candidate within bounds."""

from dataclasses import dataclass

import plinth


@dataclass
class Threshold:
    metric: str
    min: float | None = None
    max: float | None = None
    slice: str | None = None

    def expected(self) -> str:
        least = None if self.min is None else plinth.number_text(self.min)
        most = None if self.max is None else plinth.number_text(self.max)
        if most is None:
            return f"at least {least}"
        return f"at most {most}" if least is None else f"{least} to {most}"

    def holds(self, value: float) -> bool:
        # NaN is within no bounds: it compares false with everything.
        return (self.min is None or value >= self.min) and (self.max is None or value <= self.max)


@dataclass
class Options:
    thresholds: list[Threshold] = plinth.option(min_items=1)


@plinth.item("threshold", "Metrics of the candidate within bounds")
class ThresholdGate(plinth.Gate):
    options: Options

    def evaluate(self, evidence: plinth.Evidence) -> list[plinth.Check]:
        return [self.check(rule, evidence.candidate) for rule in self.options.thresholds]

    def check(self, rule: Threshold, candidate: plinth.Subject) -> plinth.Check:
        if rule.min is None and rule.max is None:
            raise plinth.Problem("bad-options", f"the threshold of `{rule.metric}` has no bound: give min, max or both")
        name = rule.metric if rule.slice is None else f"{rule.metric} in {rule.slice}"
        metric = candidate.metric(rule.metric, rule.slice)
        if metric is None:
            return plinth.Check(
                name,
                plinth.Result.FAIL,
                observed="not measured",
                expected=rule.expected(),
                reason=f"the metric is not among those of {candidate.reference}",
            )
        outcome = plinth.Result.PASS if rule.holds(metric.value) else plinth.Result.FAIL
        return plinth.Check(name, outcome, plinth.number_text(metric.value), rule.expected())
