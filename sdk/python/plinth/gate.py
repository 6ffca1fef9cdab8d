"""Quality gates: may this candidate go on?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum

from .items import Item, overrides


class Result(Enum):
    """The result of one check."""

    PASS = 0
    WARN = 1
    """Worth a look; stops nothing."""
    FAIL = 2
    """Stops the candidate."""


@dataclass
class Metric:
    """One measurement. `slice` is `None` for the whole."""

    name: str
    value: float
    slice: str | None = None
    n: int | None = None


@dataclass
class Subject:
    """Something measured: a model version on a data set, or a data set alone."""

    reference: str
    """Its name for a person, such as `models:/churn/3`."""
    metrics: list[Metric] = field(default_factory=list)
    tags: list[tuple[str, str]] = field(default_factory=list)

    def metric(self, name: str, slice: str | None = None) -> Metric | None:
        """A metric of the whole or of a slice; `None` where it was not measured."""
        for each in self.metrics:
            if each.name == name and each.slice == slice:
                return each
        return None


@dataclass
class Evidence:
    """What there is to judge by: who wants to go on, and who is in place (`None` the first time)."""

    candidate: Subject
    baseline: Subject | None = None


@dataclass
class Check:
    """One check and what it saw; all texts are for a person."""

    name: str
    outcome: Result
    observed: str = ""
    expected: str = ""
    reason: str = ""
    """Why it matters or what to do."""


class Gate(Item):
    """A gate. Rows behind the evidence come through `plinth.tables`."""

    point = "gate"

    def evaluate(self, evidence: Evidence) -> Iterable[Check]:
        """Judges. The host treats a problem, an exception and a timeout as a failed check."""
        raise NotImplementedError

    @classmethod
    def check_class(cls) -> None:
        if not overrides(cls, Gate, "evaluate"):
            raise TypeError(f"{cls.__qualname__} has no `evaluate`")
