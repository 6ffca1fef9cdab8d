"""Writes data/types.parquet (one column of each type, three rows, the second null; zstd) and data/codecs_*.parquet.
planes.parquet is flights_planes.parquet, the planes table of the R package nycflights13, first 50 rows."""

import datetime as dt
import decimal
import pathlib
import sys

import pyarrow as pa
import pyarrow.parquet as pq

here = pathlib.Path(__file__).parent / "data"
utc = dt.timezone.utc
when = [dt.datetime(1969, 12, 31, 23, 59, 59, 999999, utc), None, dt.datetime(2024, 2, 29, 12, 0, 0, 1, utc)]
table = pa.table(
    {
        "flag": pa.array([True, None, False]),
        "i8": pa.array([-8, None, 8], pa.int8()),
        "u16": pa.array([16, None, 65535], pa.uint16()),
        "u64": pa.array([1, None, 2**63 - 1], pa.uint64()),
        "i64": pa.array([-(2**63), None, 64], pa.int64()),
        "f32": pa.array([0.5, None, 1.5], pa.float32()),
        "f64": pa.array([0.1, None, float("nan")], pa.float64()),
        "dec": pa.array([decimal.Decimal("12.34"), None, decimal.Decimal("-0.01")], pa.decimal128(9, 2)),
        "ms": pa.array([t and t.replace(microsecond=t.microsecond // 1000 * 1000) for t in when], pa.timestamp("ms", "UTC")),
        "us": pa.array(when, pa.timestamp("us", "UTC")),
        "ns": pa.array(when, pa.timestamp("ns")),
        "day": pa.array([dt.date(1970, 1, 2), None, dt.date(1969, 12, 31)]),
        "text": pa.array(["é", None, ""], pa.large_string()),
        "dict": pa.array(["a", None, "b"]).dictionary_encode(),
        "raw": pa.array([b"\xff", None, b"ab"]),
    }
)
pq.write_table(table, here / "types.parquet", compression="zstd")
numbers = pa.table({"n": list(range(3000)), "t": [f"text {i % 17}" for i in range(3000)]})
for codec in ["none", "snappy", "gzip", "lz4", "zstd", "brotli"]:
    pq.write_table(numbers, here / f"codec_{codec}.parquet", compression=codec, row_group_size=1000, use_dictionary=["t"])
pq.write_table(pa.table({"id": [1], "list": [[1, 2]]}), here / "nested.parquet")
pq.write_table(pq.read_table(sys.argv[1]).slice(0, 50), here / "planes.parquet")
