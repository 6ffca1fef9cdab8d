"""Messages for the operator. Every plugin has this; `print` writes here too, at level info."""

from __future__ import annotations

from . import _host


def trace(message: object) -> None:
    """For the plugin's author, very verbose."""
    write(0, message)


def debug(message: object) -> None:
    """For the plugin's author."""
    write(1, message)


def info(message: object) -> None:
    """For the operator."""
    write(2, message)


def warn(message: object) -> None:
    """Something is odd; the call goes on."""
    write(3, message)


def error(message: object) -> None:
    """Something failed."""
    write(4, message)


def write(level: int, message: object) -> None:
    """One message at a level from 0 (trace) to 4 (error)."""
    host = _host.interface("log")
    # What is no text, such as half of a surrogate pair, could not cross the boundary.
    host.log(host.Level(level), str(message).encode(errors="replace").decode())
