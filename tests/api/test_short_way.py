"""The short way and Litestar's way (which a trailing slash takes) answer the same, byte for byte where they can."""

from __future__ import annotations

import re
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.api.process import Api

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
