"""Clients that are slow, silent or too many: the others are served meanwhile, and what they took is given back."""

from __future__ import annotations

import json
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx
import msgspec
import psutil
import pytest

from api.serving.turning_away import MAX_TURNED_AWAY
from engine.settings import Settings
from tests.api.process import Api, running_api
from tests.hostile.examples import EXAMPLES
from tests.hostile.wire import connect, listen, read_answers, request, say

HEAD_S = 1
REQUEST_S = 2
SLACK_S = 3.0  # the sweep's second, and a busy machine
ALIVE = request("GET", "/livez")
IDLE = 10_000 if EXAMPLES else 3_000
OWN_FILES = 500
MIB = 1 << 20


@pytest.fixture(scope="module")
def hasty(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A process with little patience."""
    settings = msgspec.structs.replace(settings, head_timeout_s=HEAD_S, request_timeout_s=REQUEST_S)
    with running_api(settings, tmp_path_factory.mktemp("hasty") / "api.log") as running:
        yield running


@contextmanager
def _crowd(port: int, count: int, first: bytes = b"") -> Iterator[list[socket.socket]]:
    """So many connections, each of which said this much."""
    with ExitStack() as stack:
        found = []
        for _ in range(count):
            client = stack.enter_context(connect(port, 10))
            if first:
                client.sendall(first)
            found.append(client)
        yield found


@contextmanager
def _trickle(clients: list[socket.socket], every_s: float = 0.1) -> Iterator[None]:
    """Each of them sends one more byte now and then, as long as it can."""
    stop = threading.Event()

    def send() -> None:
        while not stop.wait(every_s):
            for client in clients:
                with suppress(OSError):
                    client.send(b"a")

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _slowest(api: Api, seconds: float) -> float:
    """The longest that an ordinary shopper waits during this time: stock is read, held and given back."""
    sku, slowest, deadline = api.create(100), 0.0, time.monotonic() + seconds
    with httpx.Client(base_url=api.url, timeout=20) as client:
        while time.monotonic() < deadline:
            started = time.monotonic()
            hold = client.post("/api/v1/holds", json={"lines": [{"sku": sku, "quantity": 1}]})
            assert hold.status_code == 201, hold.text
            assert client.delete(f"/api/v1/holds/{hold.json()['id']}").status_code == 200
            assert client.get(f"/api/v1/stock/{sku}").status_code == 200
            slowest = max(slowest, time.monotonic() - started)
    return slowest


def _eventually(holds: Callable[[], bool], within_s: float = 10.0) -> bool:
    deadline = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def _ended_after(client: socket.socket, within_s: float) -> tuple[list[int], float]:
    """The statuses that came before the server ended the connection, and when it did."""
    started = time.monotonic()
    received, is_ended = listen(client, within_s)
    assert is_ended, f"still open after {within_s} s: {received!r}"
    return [answer.status for answer in read_answers(received)], time.monotonic() - started


def test_a_head_that_comes_byte_by_byte_is_ended_in_time(hasty: Api) -> None:
    with _crowd(hasty.settings.port, 1, b"GET /livez HTTP/1.1\r\nX: ") as clients, _trickle(clients):
        statuses, seconds = _ended_after(clients[0], HEAD_S + SLACK_S)
    assert statuses == [408]
    assert seconds > HEAD_S / 2


def test_bodies_that_do_not_come_are_ended_in_time_and_hold_nothing(hasty: Api) -> None:
    sku = hasty.create(1)
    body = json.dumps({"lines": [{"sku": sku, "quantity": 1}]}).encode() + b" " * 200
    kind = [("Content-Type", "application/json")]
    parts = [request("POST", path, kind, body)[:-200] for path in ("/api/v1/holds", "/api/v1/holds/")]
    with ExitStack() as stack:
        silent, trickling = (
            [stack.enter_context(_crowd(hasty.settings.port, 1, part))[0] for part in parts] for _ in range(2)
        )
        stack.enter_context(_trickle(trickling, 0.2))
        for client in (*silent, *trickling):
            received, is_ended = listen(client, REQUEST_S + SLACK_S)
            assert is_ended
            answer = read_answers(received)[0]
            assert answer.status == 408
            assert answer.problem["code"] == "request-timeout"
    assert hasty.stock(sku)["available"] == 1


def test_a_connection_that_says_nothing_is_ended_without_a_word(hasty: Api) -> None:
    with _crowd(hasty.settings.port, 1) as clients:
        assert _ended_after(clients[0], HEAD_S + SLACK_S)[0] == []


def test_a_connection_that_speaks_within_its_time_is_never_ended_before(hasty: Api) -> None:
    for tenth in range(1, 8):
        with _crowd(hasty.settings.port, 1) as clients:
            time.sleep(HEAD_S * tenth / 10)
            clients[0].sendall(ALIVE)
            assert clients[0].recv(1 << 16).startswith(b"HTTP/1.1 200 ")


def test_a_connection_is_kept_for_a_next_request_longer_than_a_head_may_take(hasty: Api) -> None:
    with _crowd(hasty.settings.port, 1, ALIVE) as clients:
        time.sleep(HEAD_S + 1.5)
        clients[0].sendall(ALIVE)
        received, is_ended = listen(clients[0], 1)
    assert not is_ended
    assert [answer.status for answer in read_answers(received)] == [200, 200]


def test_a_client_that_halts_within_each_head_but_not_for_long_is_served_on_one_connection(hasty: Api) -> None:
    received = b""
    with connect(hasty.settings.port) as client:
        for _ in range(9):
            client.sendall(ALIVE[:20])
            time.sleep(HEAD_S * 0.4)
            client.sendall(ALIVE[20:])
            while not received.endswith(b"}"):
                received += client.recv(1 << 16)
            assert received.startswith(b"HTTP/1.1 200 ")
            received = b""


def test_an_answer_that_nobody_reads_is_not_kept_for_ever(hasty: Api) -> None:
    ends = 'holdfast_connection_ends_total{reason="answer-not-read"}'
    pages = 30
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        client.connect(("127.0.0.1", hasty.settings.port))
        before = _metric(hasty, ends)
        client.sendall(request("GET", "/docs") * pages)
        assert _eventually(lambda: _metric(hasty, ends) > before, 30)
        received, is_ended = listen(client, 5)
    assert is_ended
    assert len(received) < pages * len(hasty.client.get("/docs").content)


def _metric(api: Api, name: str) -> float:
    with httpx.Client(base_url=api.url, timeout=20) as client:
        lines = client.get("/metrics").text.splitlines()
    return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name} ")), 0.0)


def test_slow_heads_and_half_sent_bodies_by_the_hundred_leave_the_others_served(hasty: Api) -> None:
    port = hasty.settings.port
    half = request("POST", "/api/v1/holds", [("Content-Type", "application/json")], b" " * 5_000)[:200]
    with (
        _crowd(port, 300, b"GET /livez HTTP/1.1\r\nX: ") as heads,
        _crowd(port, 300, half) as bodies,
        _trickle(heads + bodies),
    ):
        assert _slowest(hasty, 2) < 2
        assert _slowest(hasty, REQUEST_S) < 2
    assert _eventually(lambda: _metric(hasty, "holdfast_connections") < 10)


def test_a_flood_of_heads_leaves_the_others_served(hasty: Api) -> None:
    floods = (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 1_000, b"GET / HTTP/1.1\r\nX: " + b"a" * 200_000)
    stop = threading.Event()
    refused: list[int] = []

    def flood() -> None:
        while not stop.is_set():
            for head in floods:
                refused.extend(answer.status for answer in say(hasty.settings.port, head + b"\r\n\r\n").answers)

    threads = [threading.Thread(target=flood) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        assert _slowest(hasty, 3) < 2
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert set(refused) == {431}


@pytest.fixture
def room() -> Iterator[int]:
    """For how many connections this process and the next have file descriptors: IDLE where the system lets them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = IDLE + OWN_FILES
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted if hard < 0 else min(max(soft, wanted), hard), hard))
    yield min(IDLE, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - OWN_FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_thousands_of_idle_connections_leave_the_others_served_and_are_let_go(
    settings: Settings, room: int, tmp_path: Path
) -> None:
    """As many as the file descriptors allow, up to 10,000; a third silent, a third with half a head, a third served."""
    assert room > 500
    settings = msgspec.structs.replace(settings, head_timeout_s=60)
    with running_api(settings, tmp_path / "api.log") as api:
        process, third, port = psutil.Process(api.process.pid), room // 3, api.settings.port
        memory: list[int] = []
        files = process.num_fds()
        for _ in range(2):
            with _crowd(port, third), _crowd(port, third, b"GET / HTTP/1.1\r\nX: "), _crowd(port, third, ALIVE):
                assert _eventually(lambda: process.num_fds() >= files + 3 * third - 10)
                assert _slowest(api, 3) < 3
                memory.append(process.memory_info().rss)
            assert _eventually(lambda: process.num_fds() < files + 10)
        assert memory[1] < memory[0] + 16 * MIB
        assert memory[0] < 600 * MIB


@pytest.fixture(scope="module")
def small(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A process that takes forty connections."""
    settings = msgspec.structs.replace(settings, max_connections=40, head_timeout_s=60)
    with running_api(settings, tmp_path_factory.mktemp("small") / "api.log") as running:
        running.client.close()
        yield running


def _assert_turned_away(response: httpx.Response) -> None:
    assert response.status_code == 503
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["retry-after"] == "2"
    assert response.json()["code"] == "unavailable"


def test_one_connection_too_many_is_told_to_come_back_and_finds_a_place_soon(small: Api) -> None:
    with _crowd(small.settings.port, 40):
        with httpx.Client(base_url=small.url, timeout=10) as client:
            refused = client.get("/livez")
            _assert_turned_away(refused)
        time.sleep(5)  # of a crowd, those who say nothing are ended soon
        with httpx.Client(base_url=small.url, timeout=10) as client:
            assert client.get("/livez").status_code == 200


def test_those_turned_away_are_bounded_too(small: Api) -> None:
    process = psutil.Process(small.process.pid)
    assert _eventually(lambda: _metric(small, "holdfast_connections") <= 1)
    files = process.num_fds()
    with _crowd(small.settings.port, 400):
        time.sleep(0.5)
        assert files + 30 < process.num_fds() < files + 40 + MAX_TURNED_AWAY + 10
