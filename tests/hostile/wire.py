"""Bytes on a socket, as no client library would send them, and the answers to them."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from msgspec import Struct

PATIENCE_S = 5.0


class Answer(Struct, frozen=True):
    """One HTTP answer; `is_whole` says whether all of the body that it announced came."""

    status: int
    headers: dict[str, str]
    body: bytes
    is_whole: bool

    @property
    def problem(self) -> dict[str, Any]:
        """The body of an answer that must be a problem."""
        assert self.is_whole, self
        assert self.headers["content-type"] == "application/problem+json", self
        found: dict[str, Any] = json.loads(self.body)
        assert found["status"] == self.status
        assert found["title"] and found["detail"] and found["type"] == f"/problems/{found['code']}"
        return found


class Talk(Struct, frozen=True):
    """What came back: the answers, and whether the server ended the connection (and not our patience)."""

    answers: tuple[Answer, ...]
    is_ended: bool
    seconds: float


def connect(port: int, timeout_s: float = PATIENCE_S) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=timeout_s)


def say(
    port: int, *parts: bytes, is_half_closed: bool = False, pause_s: float = 0.0, patience_s: float = PATIENCE_S
) -> Talk:
    """Send these bytes, close our half if so wished, and listen until the server ends it or patience does."""
    started = time.monotonic()
    with connect(port) as client:
        with suppress(ConnectionError, TimeoutError):
            for part in parts:
                client.sendall(part)
                time.sleep(pause_s)
            if is_half_closed:
                client.shutdown(socket.SHUT_WR)
        received, is_ended = listen(client, patience_s)
    return Talk(read_answers(received), is_ended, time.monotonic() - started)


def listen(client: socket.socket, patience_s: float) -> tuple[bytes, bool]:
    """All that comes until the server ends the connection, or nothing more comes in time."""
    received, deadline = b"", time.monotonic() + patience_s
    while (left := deadline - time.monotonic()) > 0:
        client.settimeout(left)
        try:
            part = client.recv(1 << 20)
        except TimeoutError:
            break
        except ConnectionError:
            return received, True
        if not part:
            return received, True
        received += part
    return received, False


def read_answers(received: bytes) -> tuple[Answer, ...]:
    """The answers in these bytes, one after another; interim ones are left out."""
    found: list[Answer] = []
    while received:
        head, _, rest = received.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        version, status = first.split(" ")[:2]
        assert version == "HTTP/1.1", first
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = int(headers.get("content-length", "0"))
        if status != "100":
            found.append(Answer(int(status), headers, rest[:length], len(rest) >= length))
        received = rest[length:]
    return tuple(found)


def request(method: str, path: str, headers: Iterable[tuple[str, str]] = (), body: bytes | None = None) -> bytes:
    """A whole request, its length told."""
    told = [("Host", "x"), *headers]
    if body is not None:
        told.append(("Content-Length", str(len(body))))
    lines = "".join(f"{name}: {value}\r\n" for name, value in told)
    return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode("latin-1") + (body or b"")
