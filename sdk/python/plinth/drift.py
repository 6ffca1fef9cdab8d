"""Drift tests: has the current sample left the reference?"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from .items import Item, overrides
from .problem import Problem
from .rows import Rows
from .schema import NUMERIC, Kind, Schema


class Verdict(Enum):
    """What a test concluded."""

    NO_DRIFT = 0
    DRIFT = 1
    INCONCLUSIVE = 2
    """Too few rows, or nothing that can be compared."""


@dataclass
class Outcome:
    """The result of one test."""

    statistic: float
    """The test's statistic, on its own scale."""
    threshold: float
    """What the statistic, or the p-value where there is one, was compared with."""
    verdict: Verdict
    n_reference: int
    """Rows of the reference that counted: not null, not NaN."""
    n_current: int
    """Rows of the current sample that counted."""
    p_value: float | None = None
    """Probability of such a statistic without drift, for tests that have one."""
    effect_size: float | None = None
    """Size of the difference on a scale that does not grow with the rows; the test's `effect` names it."""
    note: str | None = None
    """Anything a person should know, such as why it is inconclusive."""


class DriftTest(Item):
    """A drift test."""

    point = "drift"
    kinds: tuple[Kind, ...] = NUMERIC
    """Kinds of columns that it can compare."""
    multivariate: bool = False
    """Whether it takes several columns at once; else it gets exactly one."""
    effect: str | None = None
    """What its effect size measures, such as `largest gap between the distributions, 0 to 1`."""

    def test(self, reference: Rows, current: Rows) -> Outcome:
        """Compares two samples of one schema. Too few rows are an inconclusive outcome, not a problem."""
        raise NotImplementedError

    @classmethod
    def check_class(cls) -> None:
        if not overrides(cls, DriftTest, "test"):
            raise TypeError(f"{cls.__qualname__} has no `test`")

    @classmethod
    def check_schema(cls, schema: Schema) -> None:
        """Raises `Problem` `wrong-columns` or `wrong-kind` for what the test does not compare."""
        if len(schema) == 0 or (len(schema) != 1 and not cls.multivariate):
            raise Problem("wrong-columns", f"`{cls.item_name}` compares one column, {len(schema)} were given")
        for field in schema:
            if field.kind not in cls.kinds:
                why = f"`{cls.item_name}` does not compare {field.kind} columns such as `{field.name}`"
                raise Problem("wrong-kind", why, column=field.name)
