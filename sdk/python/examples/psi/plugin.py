"""The population stability index over quantile bins of the reference."""

import math
from bisect import bisect_right
from dataclasses import dataclass

import plinth


@dataclass
class Options:
    bins: int = plinth.option(10, "How many bins", minimum=2, maximum=1000)
    threshold: float = plinth.option(0.1, "An index from here on is drift", above=0)
    rows_min: int = plinth.option(30, "Rows that a verdict needs on each side", minimum=1, name="rows-min")


@plinth.item("psi", "Population stability index over quantile bins of the reference")
class Psi(plinth.DriftTest):
    options: Options
    effect = "the index itself"

    def test(self, reference: plinth.Rows, current: plinth.Rows) -> plinth.Outcome:
        ours, theirs = usable(reference), usable(current)
        outcome = plinth.Outcome(0.0, self.options.threshold, plinth.Verdict.INCONCLUSIVE, len(ours), len(theirs))
        for name, values in (("reference", ours), ("current sample", theirs)):
            if len(values) < self.options.rows_min:
                outcome.note = f"the {name} has {len(values)} usable rows; a verdict needs {self.options.rows_min}"
                return outcome
        outcome.statistic = outcome.effect_size = index_of(ours, theirs, self.options.bins)
        drifts = outcome.statistic >= outcome.threshold
        outcome.verdict = plinth.Verdict.DRIFT if drifts else plinth.Verdict.NO_DRIFT
        return outcome


def usable(rows: plinth.Rows) -> list[float]:
    """The values that count: not null, not NaN."""
    return [x for x in rows[0].numbers() if x is not None and x == x]


def index_of(reference: list[float], current: list[float], bins: int) -> float:
    """The index of two samples, over so many bins or fewer."""
    reference = sorted(reference)
    edges: list[float] = []
    for i in range(1, bins):
        edge = reference[i * len(reference) // bins]
        if not edges or edges[-1] != edge:
            edges.append(edge)
    ours, theirs = counts(reference, edges), counts(current, edges)
    # Half a row more in every bin keeps the index finite where one side has none.
    extra = 0.5 if 0 in ours + theirs else 0.0
    n = len(reference) + extra * len(ours)
    m = len(current) + extra * len(theirs)
    total = 0.0
    for r, c in zip(ours, theirs):
        p, q = (r + extra) / n, (c + extra) / m
        total += (q - p) * ln(q / p)
    return total


def counts(values: list[float], edges: list[float]) -> list[int]:
    """How many values are in each bin, which is the number of edges that are not above a value."""
    found = [0] * (len(edges) + 1)
    for x in values:
        found[bisect_right(edges, x)] += 1
    return found


def ln(x: float) -> float:
    """The natural logarithm out of + - * and /: `math.log` differs in its last bit between platforms."""
    f, e = math.frexp(x)
    if f < 0.7071067811865476:
        f, e = f * 2, e - 1
    s = (f - 1) / (f + 1)
    z = s * s
    t = 1 / 23
    for k in range(21, 0, -2):
        t = t * z + 1 / k
    return 2 * s * t + e * 0.6931471805599453
