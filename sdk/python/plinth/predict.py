"""Models that are components: sandboxed, and served like any other."""

from __future__ import annotations

from .items import Item, overrides
from .rows import Rows
from .schema import Schema


class Model(Item):
    """A kind of model. The host makes one object for each model that it loads, or several of the same."""

    point = "predict"
    schema: Schema
    """The columns of the rows to come, set before `load`."""

    def load(self, artifact: bytes) -> None:
        """Loads a model version, with `self.schema` and `self.options`; `artifact` is empty where the plugin is all."""

    def output(self) -> Schema:
        """The schema of what `predict` returns, such as `prediction` or a column of probabilities for each class."""
        raise NotImplementedError

    def predict(self, rows: Rows) -> Rows:
        """Predicts; one row out for each row in, in order."""
        raise NotImplementedError

    @classmethod
    def check_class(cls) -> None:
        for method in ("output", "predict"):
            if not overrides(cls, Model, method):
                raise TypeError(f"{cls.__qualname__} has no `{method}`")
