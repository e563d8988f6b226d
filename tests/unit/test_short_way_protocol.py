"""Hot requests of one connection, without a server: in whose task they run, and what becomes of them at its end."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from api.serving.hot_routes import find_hot
from api.serving.short_way import HotRequest, ShortWay, ShortWayProtocol
from engine.errands import Errand

pytestmark = pytest.mark.anyio

HOT = b"POST /api/v1/holds HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}"
OTHER = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Transport:
    """One that is written to, and closed."""

    def __init__(self) -> None:
        self.written = b""
        self.is_closed = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 1) if name in ("peername", "sockname") else default

    def write(self, data: bytes) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        self.is_closed = True

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


class Way:
    """Takes what is hot, and answers at once; `ends` is how many answers it takes until one ends the connection."""

    def __init__(self, ends: int = 100) -> None:
        self.tasks: list[asyncio.Task[Any] | None] = []
        self.ends = ends

    def take(self, protocol: ShortWayProtocol) -> HotRequest | None:
        found = find_hot(protocol.parser.get_method(), protocol.url)
        return found and HotRequest(protocol, *found, protocol.headers, dict(protocol.headers), keep_alive=True)

    async def serve(self, request: HotRequest) -> None:
        self.tasks.append(asyncio.current_task())
        request.response_complete = True
        if len(self.tasks) == self.ends:
            request.protocol.transport.close()
        request.protocol.on_response_complete()


async def app(_: Any, __: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


def connected(way: Any) -> ShortWayProtocol:
    config = uvicorn.Config(app, lifespan="off", log_config=None, access_log=False)
    protocol = ShortWayProtocol(way, config=config, server_state=ServerState(), app_state={})
    protocol.connection_made(Transport())  # type: ignore[arg-type]
    return protocol


async def test_a_hot_request_behind_another_does_not_run_in_that_ones_task() -> None:
    way = Way()
    protocol = connected(way)
    protocol.data_received(OTHER + HOT + OTHER + HOT)
    await asyncio.sleep(0.05)
    assert way.tasks == [None, None]
    assert protocol.transport.written.count(b"HTTP/1.1 200") == 2  # type: ignore[attr-defined]


@pytest.mark.parametrize("behind", [HOT, OTHER])
async def test_nothing_is_done_behind_an_answer_that_ends_its_connection(behind: bytes) -> None:
    way = Way(ends=1)
    protocol = connected(way)
    protocol.data_received(HOT + behind + HOT)
    await asyncio.sleep(0.05)
    assert len(way.tasks) == 1
    assert protocol.transport.written == b""  # type: ignore[attr-defined]


async def test_a_request_that_breaks_off_without_an_answer_ends_its_connection() -> None:
    def recognize(*_: Any) -> None:
        raise asyncio.CancelledError

    resources = SimpleNamespace(authenticator=SimpleNamespace(recognize=recognize))
    observer = SimpleNamespace(request_id=lambda _: b"1", record=lambda *_: None)
    way = ShortWay(resources, observer)  # type: ignore[arg-type]
    protocol = connected(way)
    protocol.on_message_begin()
    found = find_hot(b"POST", b"/api/v1/holds")
    assert found
    Errand(way.serve(HotRequest(protocol, *found, [], {}, keep_alive=True))).step()
    assert protocol.transport.is_closing()
