"""The wire: one kept connection, and just enough HTTP/1.1 to know where an answer ends and what it says."""

from __future__ import annotations

import socket

READ_BYTES = 65_536
"""Less than malloc takes from the system by itself (128 KiB): beyond it every answer costs three more system calls."""
CONNECT_TIMEOUT_S = 10.0
STATUS = slice(9, 12)
"""Where the status stands in the first line of an answer."""
_HEAD_END = b"\r\n\r\n"
_LENGTH = b"content-length: "
_ID = b'"id":"'


def status_of(answer: bytes) -> int:
    """The status of a whole answer."""
    return int(answer[STATUS])


def id_of(answer: bytes) -> str:
    """The first id in an answer; "" where there is none."""
    start = answer.find(_ID) + len(_ID)
    return "" if start < len(_ID) else answer[start : answer.find(b'"', start)].decode()


class Connection:
    """A blocking connection with at most one request under way: which step it is of, and when it was due."""

    __slots__ = ("_left", "_receive", "due_s", "send", "socket", "step")

    def __init__(self, host: str, port: int) -> None:
        self.socket = socket.create_connection((host, port), CONNECT_TIMEOUT_S)
        self.socket.settimeout(None)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.send = self.socket.sendall
        self._receive = self.socket.recv
        self.step = 0
        self.due_s = 0.0
        self._left = b""

    def fileno(self) -> int:
        return self.socket.fileno()

    def receive(self) -> bytes | None:
        """What came, if it is a whole answer by now. Raises ConnectionError when the server hung up."""
        data = self._receive(READ_BYTES)
        if not data:
            raise ConnectionResetError("the server closed the connection")
        if self._left:
            data = self._left + data
        head_end = data.find(_HEAD_END)
        if head_end < 0 or len(data) < head_end + len(_HEAD_END) + _length(data, head_end):
            self._left = data
            return None
        self._left = b""
        return data

    def close(self) -> None:
        self.socket.close()


def _length(data: bytes, head_end: int) -> int:
    start = data.find(_LENGTH, 0, head_end)
    if start < 0:
        start = data[:head_end].lower().find(_LENGTH)
        if start < 0:
            raise ConnectionError("an answer without Content-Length")
    start += len(_LENGTH)
    return int(data[start : data.find(b"\r", start)])
