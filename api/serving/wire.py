"""The wire: a whole HTTP/1.1 answer as one piece of bytes, for what is answered past ASGI."""

from __future__ import annotations

from collections.abc import Iterable

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

CLOSING = (b"connection", b"close")


def head_lines(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Headers as they stand in a head; whoever calls answers for what they may hold."""
    return b"".join([b"%b: %b\r\n" % header for header in headers])


def whole_answer(status: int, lines: bytes, body: bytes) -> bytes:
    """Status line, the lines of the headers, and body; whoever calls answers for Content-Length."""
    return b"%b%b\r\n%b" % (STATUS_LINE[status], lines, body)
