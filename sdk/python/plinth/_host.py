"""Where the modules of the host's interfaces find the host: in a component what was granted, else what a test lent."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from .problem import Problem

GRANTED: dict[str, Any] = {}
"""In a component: the generated module of each interface that it imports."""
LENT: dict[str, Any] = {}
"""On your machine: what plays each interface; `plinth.testing` fills it."""
inside = False
"""Whether this is a component."""

T = TypeVar("T")


def interface(name: str) -> Any:
    """An interface of the host. Raises `RuntimeError` where the manifest does not ask for it."""
    if inside:
        if name not in GRANTED:
            raise RuntimeError(f'this plugin does not ask for `{name}`: add "{name}" to "capabilities" in plugin.json')
        return GRANTED[name]
    if name not in LENT:
        from . import testing  # noqa: F401  It fills LENT.
    return LENT[name]


def numbers(code: str, values: Iterable[Any]) -> Any:
    """A list of numbers for the host: in a component its bytes (see raw_lists.py)."""
    return array(code, values).tobytes() if inside else list(values)


def call(function: Callable[..., T], *arguments: Any) -> T:
    """Calls the host; its problem is raised as a `Problem`."""
    try:
        return function(*arguments)
    except Problem:
        raise
    except Exception as error:
        told: Any = getattr(error, "value", None)
        if not hasattr(told, "retryable"):
            raise
        raise Problem(told.code, told.message, row=told.row, column=told.column, retryable=told.retryable) from None
