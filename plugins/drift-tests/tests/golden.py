"""Makes golden.json beside this file: what SciPy and NumPy say about pairs of samples.

Needs scipy. Numbers in a case are given in full, or by a formula for large ones: value i of n is
((i * step) % 10007 / 10007) ** 2 + shift, which the Rust test computes bit for bit alike.
"""

import json
import math
import pathlib
import random

import numpy as np
from scipy import stats
from scipy.spatial.distance import jensenshannon

random.seed(20261123)
cases = []


def formula(n, step, shift):
    return [((i * step) % 10007 / 10007) * ((i * step) % 10007 / 10007) + shift for i in range(n)]


def present(values):
    return [v for v in values if v is not None]


def shares(reference, current, bins=10, values_max=20):
    """Counts per value, or per quantile bin of the reference where there are many values."""
    values = sorted(set(reference) | set(current))
    if isinstance(values[0], str) or len(values) <= values_max:
        return [(reference.count(v), current.count(v)) for v in values]
    edges = np.unique(np.quantile(reference, np.arange(1, bins) / bins))
    r = np.bincount(np.searchsorted(edges, reference, side="left"), minlength=len(edges) + 1)
    c = np.bincount(np.searchsorted(edges, current, side="left"), minlength=len(edges) + 1)
    return [(int(a), int(b)) for a, b in zip(r, c) if a or b]


def psi(counts):
    r, c = (np.array(side, dtype=float) for side in zip(*counts))
    if (r == 0).any() or (c == 0).any():
        r, c = r + 0.5, c + 0.5
    r, c = r / r.sum(), c / c.sum()
    return float(((c - r) * np.log(c / r)).sum())


def case(name, reference, current, kind, given=None):
    r, c = present(reference), present(current)
    entry = {"name": name, "kind": kind, "n_reference": len(r), "n_current": len(c)}
    entry |= given or {"reference": reference, "current": current}
    counts = shares(r, c)
    entry["psi"] = psi(counts)
    p, q = (np.array(side, dtype=float) for side in zip(*counts))
    entry["jensen_shannon"] = float(jensenshannon(p, q, base=2))
    if kind != "utf8":
        method = "exact" if len(r) * len(c) <= 4_000_000 else "asymp"
        ks = stats.ks_2samp(r, c, method=method)
        entry["ks"] = {"method": method, "statistic": float(ks.statistic), "p_value": float(ks.pvalue)}
        entry["wasserstein"] = float(stats.wasserstein_distance(r, c) / np.std(r))
        iqr = np.quantile(r, 0.75) - np.quantile(r, 0.25)
        entry["wasserstein_iqr"] = float(stats.wasserstein_distance(r, c) / iqr)
    values = sorted(set(r) | set(c))
    table = np.array([[r.count(v) for v in values], [c.count(v) for v in values]]) if len(values) <= 50 else None
    if table is not None:
        chi = stats.chi2_contingency(table, correction=False)
        # Where an expected count is below 5 we pool and SciPy does not.
        if chi.expected_freq.min() >= 5:
            p, q = table[0] / table[0].sum(), table[1] / table[1].sum()
            entry["chi_square"] = {
                "statistic": float(chi.statistic),
                "p_value": float(chi.pvalue),
                "effect": math.sqrt(float(((p - q) ** 2 / (p + q)).sum()) / 2),
            }
    cases.append(entry)


def normal(n, mean=0.0, deviation=1.0):
    return [round(random.gauss(mean, deviation), 6) for _ in range(n)]


case("same distribution", normal(200), normal(180), "float64")
case("small shift", normal(300), normal(300, 0.3), "float64")
case("wider", normal(250, 5, 1), normal(400, 5, 2), "float64")
case("tiny samples", normal(12), normal(10, 1), "float64")
case("far apart", normal(60), normal(50, 100), "float64")
case("with nulls", [v if i % 7 else None for i, v in enumerate(normal(140))], normal(120, 0.5), "float64")
case("whole numbers", [random.randrange(12) for _ in range(400)], [random.randrange(2, 12) for _ in range(350)], "int64")
case("heavy at zero", [max(0.0, v) for v in normal(300)], [max(0.0, v) for v in normal(200, 0.4)], "float64")
case("dice", [random.randrange(6) for _ in range(600)], [min(random.randrange(6), random.randrange(6)) for _ in range(300)], "int64")
case("text alike", random.choices("abcd", [5, 3, 2, 1], k=500), random.choices("abcd", [5, 3, 2, 1], k=200), "utf8")
case("text shifted", random.choices("abcd", [5, 3, 2, 1], k=500), random.choices("abcd", [1, 2, 3, 5], k=400), "utf8")
case("text with a new value", random.choices("abc", k=300), random.choices("abcd", k=300), "utf8")
case(
    "large", formula(6000, 31, 0.0), formula(5000, 57, 0.0005), "float64",
    {"formula": {"reference": [6000, 31, 0.0], "current": [5000, 57, 0.0005]}},
)
case(
    "large and apart", formula(6000, 31, 0.0), formula(5000, 57, 0.03), "float64",
    {"formula": {"reference": [6000, 31, 0.0], "current": [5000, 57, 0.03]}},
)

path = pathlib.Path(__file__).with_name("golden.json")
path.write_text(json.dumps(cases, indent=None, separators=(",", ":")).replace('},{"name"', '},\n{"name"') + "\n")
print(len(cases), "cases,", path.stat().st_size, "bytes")
