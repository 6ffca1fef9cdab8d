"""Secrets that the operator named: the capability `secrets`. The host strikes them out of the log."""

from __future__ import annotations

from . import _host


def get(name: str) -> str:
    """The value of a granted secret. Raises `Problem` `denied` where it was not granted."""
    value: str = _host.call(_host.interface("secrets").get, name)
    return value
