"""Requests to hosts that the operator named: the capability `http`. The host makes the request."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from . import _host

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")


@dataclass
class Response:
    """The answer, whatever its status. Redirects are not followed: ask again for the header `location`."""

    status: int
    headers: list[tuple[str, str]] = field(default_factory=list)
    """Names in lower case, and values, in the order they came."""
    body: bytes = b""

    @property
    def text(self) -> str:
        """The body as UTF-8; what is none becomes U+FFFD."""
        return self.body.decode(errors="replace")

    def json(self) -> Any:
        """The body as JSON. Raises `ValueError` where it is none."""
        return json.loads(self.body)

    def header(self, name: str) -> str | None:
        """The first value of a header; `None` where there is none."""
        return next((value for key, value in self.headers if key == name.lower()), None)


def get(url: str, headers: Mapping[str, str] | None = None) -> Response:
    """Asks for a URL. Raises `Problem`: `denied`, `http-timeout`, `http-too-large` and others."""
    return send("GET", url, headers)


def send(method: str, url: str, headers: Mapping[str, str] | None = None, body: bytes = b"") -> Response:
    """Sends a request and waits for the whole answer. Methods but `GET` and `HEAD` are granted by name."""
    if method not in _METHODS:
        raise ValueError(f"`{method}` is none of {', '.join(_METHODS)}")
    host = _host.interface("http")
    pairs = [(str(name), str(value)) for name, value in (headers or {}).items()]
    request = host.Request(host.Method(_METHODS.index(method)), url, pairs, bytes(body))
    answer = _host.call(host.send, request)
    return Response(answer.status, list(answer.headers), answer.body)
