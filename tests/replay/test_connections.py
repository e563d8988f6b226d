"""The benchmarks' HTTP client: connections are kept, any framing is read, and a lost answer is a fault."""

from __future__ import annotations

import asyncio

import pytest

from benchmarks.connections import FAULTS, Answer, Connections

PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n"
CLOSING = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class Server:
    """Answers the requests of all its connections with these bytes, in order; None hangs up instead."""

    def __init__(self, *answers: bytes | None) -> None:
        self.connections = 0
        self.asked: list[bytes] = []
        self.ended = asyncio.Semaphore(0)
        self._answers = iter(answers)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                self.asked.append(await reader.readuntil(b"\r\n\r\n"))
                answer = next(self._answers)
                if answer is None:
                    break
                writer.write(answer[:20])
                await writer.drain()
                await asyncio.sleep(0)
                writer.write(answer[20:])
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()
            self.ended.release()


def talk(server: Server, requests: int) -> list[Answer | str]:
    """What so many requests, one after the other, come to."""

    async def run() -> list[Answer | str]:
        listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
        port = listening.sockets[0].getsockname()[1]
        connections = Connections(f"http://127.0.0.1:{port}/base", {"X-Key": "secret"})
        found: list[Answer | str] = []
        for _ in range(requests):
            try:
                found.append(await connections.ask("GET", "/path?a=b", {"Idempotency-Key": "k"}, None))
            except FAULTS as error:
                found.append(type(error).__name__)
        await connections.close()
        for _ in range(server.connections):
            await server.ended.acquire()
        listening.close()
        await listening.wait_closed()
        return found

    return asyncio.run(run())


def test_one_connection_serves_one_request_after_the_other_whatever_the_framing() -> None:
    server = Server(PLAIN, CHUNKED, PLAIN)
    assert talk(server, 3) == [Answer(200, b"ok"), Answer(201, b"abcd"), Answer(200, b"ok")]
    assert server.connections == 1


def test_a_request_has_the_base_path_the_host_and_all_headers() -> None:
    server = Server(PLAIN)
    talk(server, 1)
    line, *headers = server.asked[0].decode().rstrip().split("\r\n")
    assert line == "GET /base/path?a=b HTTP/1.1"
    assert {header.split(":")[0] for header in headers} == {"Host", "X-Key", "Idempotency-Key"}


def test_a_connection_that_the_server_ends_is_not_used_again() -> None:
    server = Server(CLOSING, PLAIN)
    assert talk(server, 2) == [Answer(503, b""), Answer(200, b"ok")]
    assert server.connections == 2


def test_a_lost_or_garbled_answer_is_a_fault_and_the_next_request_starts_afresh() -> None:
    first, second, third = talk(Server(None, b"what is this, then, an answer?\r\n\r\n", PLAIN), 3)
    assert first == "ConnectionResetError"
    assert isinstance(second, str)
    assert third == Answer(200, b"ok")


@pytest.mark.parametrize("url", ["", "localhost:8000", "redis://127.0.0.1", "http://", "http://host:port"])
def test_what_is_no_url_of_an_api_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"URL|[Pp]ort"):
        Connections(url, {})
