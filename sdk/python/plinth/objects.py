"""Bytes of sources, within the prefixes that the operator granted: the capability `objects`."""

from __future__ import annotations

from typing import Any

from . import _host

_PAGE = 1000
"""So many URIs are asked for at a time; the host gives fewer where its limit is lower."""


class Object:
    """An open source; it does not change while it is open. It closes itself when it is no longer used."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle

    def size(self) -> int:
        """Size in bytes."""
        size: int = self._handle.size()
        return size

    def read(self, offset: int = 0, length: int | None = None) -> bytes:
        """Reads `length` bytes from `offset`, fewer only at the end; without a length, to the end."""
        if length is None:
            length = max(self.size() - offset, 0)
        data: bytes = _host.call(self._handle.read, offset, length)
        return data


def open(uri: str) -> Object:
    """Opens a source by the URI that the plugin was given, or one below it."""
    return Object(_host.call(_host.interface("objects").open, uri))


def list_objects(prefix: str) -> list[str]:
    """The URIs below a prefix, sorted."""
    uris: list[str] = []
    while page := _host.call(_host.interface("objects").list_objects, prefix, uris[-1] if uris else None, _PAGE):
        uris += page
    return uris
