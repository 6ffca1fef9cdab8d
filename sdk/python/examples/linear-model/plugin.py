"""A model, intercept + sum of coefficient * value, with the coefficients as its artifact."""

import math
from dataclasses import dataclass
from typing import Literal

import plinth


@dataclass
class Options:
    output: str = plinth.option("prediction", "Name of the column of predictions", min_length=1)
    link: Literal["identity", "logistic"] = plinth.option(
        "identity", "What becomes of the sum: itself, or a probability"
    )


@dataclass
class Coefficient:
    column: str
    value: float


@dataclass
class Artifact:
    """What is registered with a model version, as JSON."""

    coefficients: list[Coefficient]
    intercept: float = 0.0


@plinth.item("linear-model", "A linear or logistic model whose coefficients are its artifact")
class LinearModel(plinth.Model):
    options: Options

    def load(self, artifact: bytes) -> None:
        try:
            told = plinth.parse_json(Artifact, artifact)
        except ValueError as error:
            message = f'the artifact is no {{"intercept": 0.5, "coefficients": [...]}}: {error}'
            raise plinth.Problem("bad-artifact", message) from None
        self.intercept = told.intercept
        # Where a column stands, and what its values are multiplied by.
        self.terms: list[tuple[int, float]] = []
        nullable = False
        for coefficient in told.coefficients:
            name = coefficient.column
            index = self.schema.index(name)
            field = self.schema[index]
            if field.kind not in plinth.NUMERIC:
                raise plinth.Problem("wrong-kind", f"column `{name}` is {field.kind}, which is no number", column=name)
            nullable |= field.nullable
            self.terms.append((index, coefficient.value))
        self.made = plinth.Schema([plinth.Field(self.options.output, plinth.Kind.FLOAT64, nullable)])

    def output(self) -> plinth.Schema:
        return self.made

    # Sums are in the order of the artifact, so that the same rows are the same bits on every machine.
    def predict(self, rows: plinth.Rows) -> plinth.Rows:
        sums = [self.intercept] * len(rows)
        known: list[bool] | None = None
        for index, coefficient in self.terms:
            column = rows[index]
            sums = [total + coefficient * value for total, value in zip(sums, column.raw())]
            present = column.present()
            if present is not None:
                known = present if known is None else [all(both) for both in zip(known, present)]
        if self.options.link == "logistic":
            sums = [1 / (1 + exp(-total)) for total in sums]
        if known is None:
            return plinth.Rows.of(self.made, [sums])
        # A row in which a value is null has no prediction.
        return plinth.Rows.of(self.made, [[total if there else None for total, there in zip(sums, known)]])


def exp(x: float) -> float:
    """e to the power x out of + - * and /, as a power of 2 and a series: `math.exp` differs in its last bit between
    platforms."""
    if x != x:  # NaN
        return x
    if x > 709.782712893384:
        return math.inf
    if x < -745.1332191019411:
        return 0.0
    # x = k * ln 2 + r, with ln 2 in two parts, so that what is left has all its bits.
    k = math.floor(x * 1.4426950408889634 + 0.5)
    r = (x - k * 0.693145751953125) - k * 1.4286068203094172e-6
    power = 1.0
    for n in range(13, 0, -1):
        power = 1 + power * r / n
    return math.ldexp(power, k)
