"""Plinth plugins in Python.

A plugin offers named items for an extension point. Write a class made from `Transform`, `Loader`, `Gate`, `DriftTest`
or `Model` and put `@plinth.item("its-name", "what it does")` above it. A transform that changes one number at a time is
a function below `@plinth.map_columns("its-name")`. Test it with `plinth.testing`, build it with `build.py`.
"""

from . import clock, config, http, kv, log, nn, objects, random, secrets, tables
from .drift import DriftTest, Outcome, Verdict
from .gate import Check, Evidence, Gate, Metric, Result, Subject
from .ieee import divide, number_text, sqrt
from .items import item
from .loader import Loader, Partition, Plan
from .options import option, parse_json
from .predict import Model
from .problem import Problem
from .rows import Column, Rows
from .schema import NUMERIC, Field, Kind, Schema
from .transform import Transform, float64_columns, map_columns

__all__ = [
    "NUMERIC", "Check", "Column", "DriftTest", "Evidence", "Field", "Gate", "Kind", "Loader", "Metric", "Model",
    "Outcome", "Partition", "Plan", "Problem", "Result", "Rows", "Schema", "Subject", "Transform", "Verdict", "clock",
    "config", "divide", "float64_columns", "http", "item", "kv", "log", "map_columns", "nn", "number_text", "objects",
    "option", "parse_json", "random", "secrets", "sqrt", "tables",
]  # fmt: skip
