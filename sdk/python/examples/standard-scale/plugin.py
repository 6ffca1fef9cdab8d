"""Standard scaling: (value - mean) / deviation, with the mean and the deviation of the training rows."""

import struct
from dataclasses import dataclass

import plinth

# How numbers are kept, little-endian: what was learned of one column, and how to scale it.
MOMENTS = struct.Struct("<ddd")  # how many, their mean, the sum of their squared differences from it
SCALING = struct.Struct("<Idd")  # where the column stands, mean, deviation


@dataclass
class Options:
    columns: list[str] | None = plinth.option(None, "Float64 columns to scale; without it all of them are")


@plinth.item("standard-scale", "Centres numbers on their mean and scales them by their standard deviation")
class StandardScale(plinth.Transform):
    options: Options

    # To learn: start, then update with all rows, then end_pass. The host may split the rows over several fits.

    def start(self) -> None:
        self.columns = plinth.float64_columns(self.schema, self.options.columns)
        self.moments = [(0.0, 0.0, 0.0) for _ in self.columns]

    def update(self, rows: plinth.Rows) -> None:
        for i, index in enumerate(self.columns):
            n, mean, m2 = self.moments[i]
            for x in rows[index].values():
                if x is None or x != x:  # null or NaN
                    continue
                n += 1
                apart = x - mean
                mean += apart / n
                m2 += apart * (x - mean)
            self.moments[i] = (n, mean, m2)

    def partial(self) -> bytes:
        return b"".join(MOMENTS.pack(*moments) for moments in self.moments)

    def merge(self, partial: bytes) -> None:
        if len(partial) != MOMENTS.size * len(self.columns):
            raise plinth.Problem("bad-partial", f"{len(partial)} bytes are no partial of {len(self.columns)} columns")
        for i, (b_n, b_mean, b_m2) in enumerate(MOMENTS.iter_unpack(partial)):
            n, mean, m2 = self.moments[i]
            if b_n == 0:
                continue
            both = n + b_n
            apart = b_mean - mean
            m2 += b_m2 + apart * apart * plinth.divide(n * b_n, both)
            mean += apart * plinth.divide(b_n, both)
            self.moments[i] = (both, mean, m2)

    def end_pass(self) -> bytes:
        state = b""
        for index, (n, mean, m2) in zip(self.columns, self.moments):
            deviation = plinth.sqrt(m2 / n) if n > 0 else 0.0
            state += SCALING.pack(index, mean, deviation if deviation != 0 else 1.0)
        return state

    # To use what was learned.

    def load(self, state: bytes) -> None:
        if len(state) % SCALING.size:
            raise plinth.Problem("bad-state", f"{len(state)} bytes are no state")
        self.scalings = list(SCALING.iter_unpack(state))
        for index, _, _ in self.scalings:
            if index >= len(self.schema) or self.schema[index].kind is not plinth.Kind.FLOAT64:
                raise plinth.Problem("bad-state", "the state was fitted on other columns")

    def apply(self, rows: plinth.Rows) -> plinth.Rows:
        for index, mean, deviation in self.scalings:
            column = rows[index]
            if deviation != 0:
                column.write_raw([(x - mean) / deviation for x in column.raw()])
            else:  # no state of ours, but other languages give infinity or NaN then, and so does this
                column.write_raw([plinth.divide(x - mean, deviation) for x in column.raw()])
        return rows
