"""The wire: a whole HTTP/1.1 answer as one piece of bytes, for what is answered past ASGI."""

from __future__ import annotations

from collections.abc import Iterable

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

CLOSING = (b"connection", b"close")


def whole_answer(status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> bytes:
    """Status line, headers and body; whoever calls answers for Content-Length and for what the headers may hold."""
    parts = [STATUS_LINE[status]]
    for name, value in headers:
        parts += (name, b": ", value, b"\r\n")
    parts += (b"\r\n", body)
    return b"".join(parts)
