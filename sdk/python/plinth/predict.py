"""Models that are components: registered, asked and served like any other, and sandboxed."""

from __future__ import annotations

from .items import Item, overrides
from .rows import Rows
from .schema import Schema


class Model(Item):
    """A kind of model. The host makes one object for each model that it loads, or several of the same. What can be done
    once belongs into `load`: `predict` is called for each request.
    """

    point = "predict"
    schema: Schema
    """The columns of the rows to come, set before `load`."""

    def load(self, artifact: bytes) -> None:
        """Loads a model version, with `self.schema` and `self.options`. `artifact` is what was registered with it, and
        empty where the plugin is all there is. Raise `Problem` where it is none of yours, or wants other columns.
        """

    def output(self) -> Schema:
        """The schema of what `predict` returns, such as `prediction` or a column of probabilities for each class; known
        once `load` is done.
        """
        raise NotImplementedError

    def predict(self, rows: Rows) -> Rows:
        """Predicts; one row out for each row in, in order. Pure: same artifact, same rows, same bytes."""
        raise NotImplementedError

    @classmethod
    def check_class(cls) -> None:
        for method in ("output", "predict"):
            if not overrides(cls, Model, method):
                raise TypeError(f"{cls.__qualname__} has no `{method}`")
