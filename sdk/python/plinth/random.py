"""Random numbers: the capability `random`. In the deterministic profile each instance begins with the same seed.

Python's own `random` always gives the same numbers in a plugin: give it a seed from here
(`random.Random(plinth.random.get_u64())`).
"""

from __future__ import annotations

from . import _host


def get_bytes(length: int) -> bytes:
    """So many random bytes."""
    made: bytes = _host.interface("random").get_bytes(length)
    return made


def get_u64() -> int:
    """A random number of 64 bits."""
    made: int = _host.interface("random").get_u64()
    return made
