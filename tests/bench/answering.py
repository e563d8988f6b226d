"""A small HTTP server for tests of load clients: it answers at once, except while it is told to stall."""

from __future__ import annotations

import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count

Judge = Callable[[int, bytes], tuple[int, str]]
"""What the request with this number is answered: status and body."""


class Answering(socketserver.ThreadingTCPServer):
    """One thread a connection; `stall` holds all of them up."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 512

    def __init__(self, judge: Judge) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.judge = judge
        self.numbers = count(1)
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.hangs_up_after: int | None = None
        """The number of the request whose answer is the last one on its connection."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def stall(self, after_s: float, for_s: float) -> threading.Thread:
        """Answer nothing for a while, some time from now."""

        def hold_up() -> None:
            time.sleep(after_s)
            self.may_answer.clear()
            time.sleep(for_s)
            self.may_answer.set()

        thread = threading.Thread(target=hold_up)
        thread.start()
        return thread


class _Handler(socketserver.StreamRequestHandler):
    disable_nagle_algorithm = True
    server: Answering

    def handle(self) -> None:
        while line := self.rfile.readline():
            length = 0
            while (header := self.rfile.readline()) not in (b"\r\n", b""):
                name, _, value = header.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
            self.rfile.read(length)
            self.server.may_answer.wait()
            number = next(self.server.numbers)
            status, body = self.server.judge(number, line)
            head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
            self.wfile.write(head.encode() + body.encode())
            if number == self.server.hangs_up_after:
                return


def granted(number: int, _line: bytes) -> tuple[int, str]:
    return 201, f'{{"id":"hold_{number}","status":"held"}}'


@contextmanager
def answering(judge: Judge = granted) -> Iterator[Answering]:
    with Answering(judge) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.may_answer.set()
            server.shutdown()
            thread.join()
