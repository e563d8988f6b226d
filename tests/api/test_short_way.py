"""The short way and Litestar's way (which a trailing slash takes) answer the same, byte for byte where they can."""

from __future__ import annotations

import re
import socket
import struct
import time
from typing import Any
from uuid import uuid4

import httpx
import pytest
import redis

from tests.api.process import Api
from tests.hostile.wire import connect, listen, read_answers, request

HOLDS = "/api/v1/holds"
JSON = {"Content-Type": "application/json"}
OWN_TO_EACH = re.compile(r"hold_[\w-]{22}|\d{4}-\d\d-\d\dT[\d:.]+Z")
HEADERS = ("content-type", "retry-after", "idempotent-replayed", "allow", "www-authenticate")

GOOD = b'{"lines": [{"sku": "$SKU", "quantity": 1}]}'
REQUESTS: list[tuple[bytes, dict[str, str]]] = [
    (GOOD, JSON),
    (b'{"lines": [{"sku": "$SKU", "quantity": 1}], "customer_id": "ada", "ttl_s": 5}', JSON),
    (b'{"lines": [{"sku": "$SKU", "quantity": 2}, {"sku": "$SKU", "quantity": 3}]}', JSON),
    (b'{"lines": [{"sku": "$SKU", "quantity": 1000}]}', JSON),
    (b'{"lines": [{"sku": "nowhere", "quantity": 1}]}', JSON),
    (b'{"lines": [{"sku": "$SKU", "quantity": "1"}]}', JSON),
    (b'{"lines": [], "more": 1}', JSON),
    (b"{", JSON),
    (b"\xff", JSON),
    (b"", JSON),
    (b"[" * 5_000, JSON),
    (b" " * 70_000, JSON),
    (GOOD, {"Content-Type": "text/plain"}),
    (GOOD, {}),
    (GOOD, {**JSON, "Idempotency-Key": ""}),
    (GOOD, {**JSON, "Idempotency-Key": "k" * 256}),
    (GOOD, {**JSON, "Idempotency-Key": "a\tb"}),
]


def told(answer: httpx.Response) -> tuple[int, str, dict[str, str | None]]:
    """An answer without what must differ: ids, moments and the path."""
    text = OWN_TO_EACH.sub("…", answer.text)
    text = re.sub(r'"instance":"[^"]*"', '"instance":"…"', text)
    return answer.status_code, text, {name: answer.headers.get(name) for name in HEADERS}


@pytest.mark.parametrize(("body", "headers"), REQUESTS)
def test_both_ways_to_reserve_answer_the_same(api: Api, body: bytes, headers: dict[str, str]) -> None:
    sku = api.create(100)
    content = body.replace(b"$SKU", sku.encode())
    short = api.client.post(HOLDS, content=content, headers=headers)
    units = api.stock(sku)["available"]
    long = api.client.post(f"{HOLDS}/", content=content, headers=headers)
    assert told(short) == told(long)
    assert (units < 100) == (short.status_code == 201)


def test_a_key_used_on_one_way_is_replayed_on_the_other(api: Api) -> None:
    sku = api.create(10)
    headers = {"Idempotency-Key": uuid4().hex}
    first = api.client.post(HOLDS, json={"lines": [{"sku": sku, "quantity": 1}]}, headers=headers)
    again = api.client.post(f"{HOLDS}/", json={"lines": [{"sku": sku, "quantity": 1}]}, headers=headers)
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.content == again.content
    assert again.headers["idempotent-replayed"] == "true"


@pytest.mark.parametrize("body", [b"", b"{}", b'{"reference": "order-1"}', b'{"reference": 1}', b'{"more": 1}', b"["])
def test_both_ways_to_commit_answer_the_same(api: Api, body: bytes) -> None:
    sku = api.create(10)
    answers: list[Any] = []
    for end in ("/commit", "/commit/"):
        hold = api.hold(sku)
        path = f"{HOLDS}/{hold['id']}{end}"
        answers += [told(api.client.post(path, content=body, headers=JSON)) for _ in range(2)]
    assert answers[:2] == answers[2:]
    unknown = [told(api.client.post(f"{HOLDS}/hold_nobody{end}", json={})) for end in ("/commit", "/commit/")]
    assert unknown[0] == unknown[1]


@pytest.mark.parametrize("path", [f"{HOLDS}//commit", f"{HOLDS}/a/b/commit", f"{HOLDS}/commit", f"{HOLDS}x"])
def test_what_only_looks_like_the_short_way_is_not_found(api: Api, path: str) -> None:
    assert api.client.post(path, json={}).status_code in (404, 405)


def test_both_ways_count_as_the_same_route(api: Api) -> None:
    sku = api.create(10)
    hold = api.hold(sku)
    api.client.post(f"{HOLDS}/{hold['id']}/commit")
    metrics = api.client.get("/metrics").text
    assert 'route="/api/v1/holds/{hold_id}/commit"' in metrics
    assert f'route="{HOLDS}"' in metrics
    assert 'route="unmatched",status="201"' not in metrics


@pytest.mark.parametrize(
    "headers",
    [
        [("Content-Type", "text/plain"), ("Content-Type", "application/json")],
        [*JSON.items(), ("Idempotency-Key", "one"), ("Idempotency-Key", "other")],
    ],
)
def test_both_ways_refuse_a_header_that_comes_twice_and_differs(api: Api, headers: list[tuple[str, str]]) -> None:
    sku = api.create(5)
    content = GOOD.replace(b"$SKU", sku.encode())
    short, long = (api.client.post(path, content=content, headers=headers) for path in (HOLDS, f"{HOLDS}/"))
    assert short.status_code == 400
    assert told(short) == told(long)
    assert api.stock(sku)["available"] == 5


@pytest.mark.parametrize("name", ["body_limit_bytes", "batch_body_limit_bytes"])
def test_both_ways_have_the_same_limit_of_a_body_to_the_byte(api: Api, name: str) -> None:
    sku = api.create(5)
    hold = GOOD.replace(b"$SKU", sku.encode())
    path, content = (HOLDS, hold) if name == "body_limit_bytes" else (f"{HOLDS}/batch", b'{"holds": [%s]}' % hold)
    limit = getattr(api.settings, name)
    for size, is_taken in ((limit, True), (limit + 1, False)):
        answers = [
            api.client.post(f"{path}{end}", content=content.ljust(size), headers=JSON).status_code for end in ("", "/")
        ]
        assert answers == ([201, 201] if is_taken and path == HOLDS else [200, 200] if is_taken else [413, 413])


def test_a_client_that_asks_before_it_sends_its_body_is_answered_on_both_ways(api: Api) -> None:
    body = GOOD.replace(b"$SKU", api.create(5).encode())
    for path in (HOLDS, f"{HOLDS}/"):
        asked = request("POST", path, [*JSON.items(), ("Expect", "100-continue"), ("Connection", "close")], body)
        with connect(api.settings.port) as client:
            client.sendall(asked[: -len(body)])
            assert client.recv(1 << 16).startswith(b"HTTP/1.1 100 ")
            client.sendall(body)
            received, is_ended = listen(client, 5)
        assert is_ended
        (answer,) = read_answers(received)
        assert (answer.status, answer.headers["connection"]) == (201, "close")


def test_an_answer_that_ends_its_connection_says_so_once_on_both_ways(api: Api) -> None:
    body = GOOD.replace(b"$SKU", api.create(5).encode())
    for path in (HOLDS, f"{HOLDS}/"):
        with connect(api.settings.port) as client:
            client.sendall(request("POST", path, [*JSON.items(), ("Connection", "close")], body))
            received, is_ended = listen(client, 5)
        assert is_ended
        assert received.lower().count(b"\r\nconnection: close\r\n") == 1


@pytest.mark.parametrize("name", ["Connection", "Proxy-Connection"])
def test_a_client_of_http_1_0_is_answered_and_hung_up_on_on_both_ways(api: Api, name: str) -> None:
    body = GOOD.replace(b"$SKU", api.create(5).encode())
    for path in (HOLDS, f"{HOLDS}/"):
        asked = request("POST", path, [*JSON.items(), (name, "keep-alive")], body)
        with connect(api.settings.port) as client:
            client.sendall(asked.replace(b"HTTP/1.1", b"HTTP/1.0"))
            received, is_ended = listen(client, 2)
        assert is_ended
        assert [answer.status for answer in read_answers(received)] == [201]


@pytest.mark.parametrize("at_once", [True, False])
def test_requests_of_one_connection_are_answered_in_their_order(api: Api, *, at_once: bool) -> None:
    body = GOOD.replace(b"$SKU", api.create(5).encode())
    slow, quick = request("POST", HOLDS, JSON.items(), body), request("POST", HOLDS, JSON.items(), b"{")
    with redis.Redis.from_url(api.settings.require_redis_url()) as held_up, connect(api.settings.port) as client:
        held_up.client_pause(300)
        last = request("GET", "/livez", [("Connection", "close")])
        if at_once:
            client.sendall(slow + quick + last)
        else:
            client.sendall(slow + quick[:-1])
            time.sleep(0.1)
            client.sendall(quick[-1:] + last)
        received, _ = listen(client, 5)
    assert [answer.status for answer in read_answers(received)] == [201, 400, 200]


def test_answers_carry_the_time_of_their_making(api: Api) -> None:
    first = api.client.post(HOLDS, content=b"{").headers["date"]
    deadline = time.monotonic() + 5
    while api.client.post(HOLDS, content=b"{").headers["date"] == first:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_an_id_may_be_escaped(api: Api) -> None:
    hold = api.hold(api.create(5))["id"]
    assert api.client.post(f"{HOLDS}/%{ord(hold[0]):x}{hold[1:]}/commit").status_code == 200


def test_a_body_in_chunks_has_the_same_limit_on_both_ways(api: Api) -> None:
    sku = api.create(5)
    body = GOOD.replace(b"$SKU", sku.encode())
    for content, status in ((body, 201), (body.ljust(api.settings.body_limit_bytes + 1), 413)):
        for path in (HOLDS, f"{HOLDS}/"):
            answer = api.client.post(path, content=iter([content]), headers=JSON)
            assert answer.status_code == status
    assert api.stock(sku)["reserved"] == 2


def test_a_client_that_left_before_its_answer_is_counted_as_gone(api: Api) -> None:
    gone = f'holdfast_http_requests_total{{method="POST",route="{HOLDS}",status="499"}}'
    body = GOOD.replace(b"$SKU", api.create(5).encode())
    with redis.Redis.from_url(api.settings.require_redis_url()) as client:
        client.client_pause(300)
        with connect(api.settings.port) as shopper:
            shopper.sendall(request("POST", HOLDS, JSON.items(), body))
            time.sleep(0.1)
            # Not only its half is closed: it resets the connection.
            shopper.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    deadline = time.monotonic() + 5
    while gone not in api.client.get("/metrics").text:
        assert time.monotonic() < deadline
        time.sleep(0.1)
