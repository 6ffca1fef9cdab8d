"""Time: the capability `clock`. In the deterministic profile the wall clock stands still."""

from __future__ import annotations

from . import _host


def now_us() -> int:
    """Microseconds since 1970-01-01T00:00:00Z."""
    now: int = _host.interface("clock").now_us()
    return now


def monotonic_ns() -> int:
    """Nanoseconds since some moment; never falls."""
    now: int = _host.interface("clock").monotonic_ns()
    return now
