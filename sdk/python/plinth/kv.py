"""A small store of the plugin's own, with a quota: the capability `kv`.

It outlives instances and the process. For what may be lost at a price, such as a cache: results must not depend on it.
"""

from __future__ import annotations

from collections.abc import Iterator

from . import _host


def get(key: str) -> bytes | None:
    """The value of a key; `None` where there is none."""
    value: bytes | None = _host.call(_host.interface("kv").get, key)
    return value


def set(key: str, value: bytes) -> None:
    """Sets a key, whole or not at all. Raises `Problem` `kv-quota` over the quota; the old value stays then."""
    _host.call(_host.interface("kv").set, key, bytes(value))


def swap(key: str, expected: bytes | None, value: bytes) -> bool:
    """Sets a key if its value is still `expected`, or if it is not there for `None`, and says whether it did.

    Instances run at the same time: to count, read a value, swap it, and begin again where another was faster.
    """
    given = None if expected is None else bytes(expected)
    swapped: bool = _host.call(_host.interface("kv").swap, key, given, bytes(value))
    return swapped


def delete(key: str) -> None:
    """Removes a key; one that is not there is no problem."""
    _host.call(_host.interface("kv").delete, key)


def list_keys(prefix: str = "", after: str | None = None, max: int = 1000) -> list[str]:
    """At most `max` keys that begin with `prefix`, sorted, of those after `after`."""
    return _host.call(_host.interface("kv").list_keys, prefix, after, max)


def keys(prefix: str = "") -> Iterator[str]:
    """All keys that begin with `prefix`, sorted."""
    page = list_keys(prefix)
    while page:
        yield from page
        page = list_keys(prefix, page[-1])
