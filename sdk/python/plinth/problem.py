"""Why a call could not be done."""

from __future__ import annotations

from collections.abc import Iterable


LONGEST = 200
"""Characters of a name that is compared with others: that takes as long as both multiplied."""


class Problem(Exception):
    """Raise it to end a call with a reason that its caller reads: `raise Problem("bad-value", "`x` is no int", row=7)`.

    `code` is stable and in kebab-case, `message` is for a person and names the offending value. `row` counts from 0,
    within the rows of the call or within the source. `retryable` says that the same call may go well later.
    """

    def __init__(
        self, code: str, message: str, *, row: int | None = None, column: str | None = None, retryable: bool = False
    ) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.row = row
        self.column = column
        self.retryable = retryable

    def __str__(self) -> str:
        where = f" (column `{self.column}`)" if self.column is not None else ""
        return f"{self.code}: {self.message}{where}" + (f" (row {self.row})" if self.row is not None else "")


def nearest(name: str, names: Iterable[str]) -> str:
    """ ", did you mean `X`?" for the nearest of some names, or nothing where none is near."""
    if len(name) > LONGEST:
        return ""
    found = min(names, key=lambda each: _distance(name, each), default=None)
    return f", did you mean `{found}`?" if found and _distance(name, found) <= max(len(name), 3) // 3 else ""


def _distance(start: str, end: str) -> int:
    """Edits from one name to another."""
    row = list(range(len(end) + 1))
    for i, a in enumerate(start):
        diagonal, row[0] = row[0], i + 1
        for j, b in enumerate(end):
            best = min(diagonal + (a != b), row[j] + 1, row[j + 1] + 1)
            diagonal, row[j + 1] = row[j + 1], best
    return row[-1]
