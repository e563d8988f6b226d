"""A small HTTP/1.1 client: kept connections and httptools, so that a benchmark measures the server and not itself."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from urllib.parse import urlsplit

import httptools
from msgspec import Struct

READ_BYTES = 65_536
MAX_BODY_BYTES = 64 * 1024 * 1024
TIMEOUT_S = 30.0

FAULTS = (OSError, TimeoutError, httptools.HttpParserError)
"""What an exchange without an answer raises; whether the server did what was asked is then unknown."""


class Answer(Struct, frozen=True):
    """A status and a body."""

    status: int
    content: bytes


class _Reading:
    """Collects one answer while httptools parses it."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.size_bytes = 0
        self.is_complete = False
        self.is_kept = False
        self.parser = httptools.HttpResponseParser(self)

    def on_body(self, part: bytes) -> None:
        self.size_bytes += len(part)
        self.parts.append(part)

    def on_message_complete(self) -> None:
        self.is_complete = True
        self.is_kept = self.parser.should_keep_alive()  # known only until the parser expects the next answer


class Connections:
    """Connections to one server, kept for the next request; as many as requests are under way at once.

    Raises ValueError for what is no URL.
    """

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is not the URL of an API, such as http://127.0.0.1:8000")
        self._host, self._tls = parts.hostname, ssl.create_default_context() if parts.scheme == "https" else None
        self._port = parts.port or (443 if self._tls else 80)
        self._path = parts.path.rstrip("/")
        self._headers = {"Host": parts.netloc.rpartition("@")[2], **headers}
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def ask(self, method: str, path: str, headers: Mapping[str, str], body: bytes | None) -> Answer:
        """Send one request and read its answer. Raises one of FAULTS; never asks twice by itself."""
        async with asyncio.timeout(TIMEOUT_S):
            reader, writer = self._idle.pop() if self._idle else await self._connect()
            try:
                writer.write(self._request(method, path, headers, body))
                answer, is_kept = await _read(reader)
            except BaseException:
                writer.close()
                raise
        if is_kept:
            self._idle.append((reader, writer))
        else:
            writer.close()
        return answer

    async def close(self) -> None:
        """Close what is kept."""
        for _, writer in self._idle:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for _, writer in self._idle), return_exceptions=True)
        self._idle.clear()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(self._host, self._port, ssl=self._tls)

    def _request(self, method: str, path: str, headers: Mapping[str, str], body: bytes | None) -> bytes:
        lines = [f"{method} {self._path}{path} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in (*self._headers.items(), *headers.items())]
        if body is not None:
            lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        return "\r\n".join([*lines, "", ""]).encode() + (body or b"")


async def _read(reader: asyncio.StreamReader) -> tuple[Answer, bool]:
    reading = _Reading()
    while not reading.is_complete:
        data = await reader.read(READ_BYTES)
        if not data:
            raise ConnectionResetError("the server closed the connection")
        reading.parser.feed_data(data)
        if reading.size_bytes > MAX_BODY_BYTES:
            raise ConnectionError(f"an answer of more than {MAX_BODY_BYTES:,} bytes")
    return Answer(reading.parser.get_status_code(), b"".join(reading.parts)), reading.is_kept
