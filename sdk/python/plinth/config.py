"""The plugin's own settings, given by the operator. Every plugin has this; where nothing was given it is empty."""

from __future__ import annotations

from . import _host


def get(key: str, default: str | None = None) -> str | None:
    """The value of one setting: a text as it was written, anything else as JSON."""
    value: str | None = _host.interface("config").get(key)
    return default if value is None else value


def get_all() -> dict[str, str]:
    """All settings, sorted by key."""
    return dict(_host.interface("config").get_all())
