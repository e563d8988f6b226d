"""Stock over HTTP."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from engine.keys import Keys
from persistence.flush import drain_once
from persistence.pool import connect
from tests.api.process import Api, assert_problem


def _key() -> dict[str, str]:
    return {"Idempotency-Key": uuid4().hex}


def test_put_creates_a_sku_and_answers_its_counts(api: Api) -> None:
    response = api.client.put("/api/v1/stock/NEW-1", json={"on_hand": 7, "customer_limit": 2})
    assert response.status_code == 201
    expected = {"sku": "NEW-1", "on_hand": 7, "available": 7, "reserved": 0, "sold": 0, "customer_limit": 2}
    assert response.json() == expected
    assert api.stock("NEW-1") == expected


def test_a_sku_may_begin_with_nothing(api: Api) -> None:
    assert api.stock(api.create(0))["on_hand"] == 0


def test_a_sku_is_created_once(api: Api) -> None:
    sku = api.create(3)
    assert_problem(api.client.put(f"/api/v1/stock/{sku}", json={"on_hand": 9}), 409, "sku-exists")
    assert api.stock(sku)["on_hand"] == 3


def test_a_keyed_creation_is_replayed_rather_than_refused(api: Api) -> None:
    sku, headers = f"K-{uuid4().hex[:8]}", _key()
    first = api.client.put(f"/api/v1/stock/{sku}", json={"on_hand": 3}, headers=headers)
    again = api.client.put(f"/api/v1/stock/{sku}", json={"on_hand": 3}, headers=headers)
    assert (first.status_code, again.status_code, first.json()) == (201, 201, again.json())
    assert again.headers["Idempotent-Replayed"] == "true"


def test_an_adjustment_answers_the_stock_after_it(api: Api) -> None:
    sku = api.create(5)
    url = f"/api/v1/stock/{sku}/adjustments"
    body = {"delta": 4, "reason": "delivery", "reference": "DN-1"}
    response = api.client.post(url, json=body, headers=_key())
    assert (response.status_code, response.json()["on_hand"]) == (200, 9)
    response = api.client.post(url, json={"delta": -9, "reason": "écrit en perte"}, headers=_key())
    assert response.json()["available"] == 0


def test_an_adjustment_never_takes_what_is_not_available(api: Api) -> None:
    sku = api.create(5)
    api.hold(sku, 3)
    response = api.client.post(f"/api/v1/stock/{sku}/adjustments", json={"delta": -3, "reason": "loss"}, headers=_key())
    found = assert_problem(response, 409, "insufficient-stock")
    assert found["lines"] == [{"sku": sku, "requested": 3, "available": 2}]
    assert api.stock(sku)["available"] == 2


def test_an_adjustment_needs_a_key_and_happens_once_for_it(api: Api) -> None:
    sku, headers = api.create(5), _key()
    url = f"/api/v1/stock/{sku}/adjustments"
    body = {"delta": 1, "reason": "found"}
    assert_problem(api.client.post(url, json=body), 400, "idempotency-key-required")
    answers = [api.client.post(url, json=body, headers=headers) for _ in range(3)]
    assert [answer.headers.get("Idempotent-Replayed") for answer in answers] == [None, "true", "true"]
    assert {answer.text for answer in answers} == {answers[0].text}
    other = api.client.post(url, json={"delta": 2, "reason": "found"}, headers=headers)
    assert_problem(other, 422, "idempotency-key-reused")
    assert api.stock(sku)["on_hand"] == 6


def test_stock_beyond_what_can_be_counted_is_refused(api: Api) -> None:
    sku = api.create(1_000_000_000)
    url = f"/api/v1/stock/{sku}/adjustments"
    grown = [api.client.post(url, json={"delta": 10**9, "reason": "x"}, headers=_key()) for _ in range(3)]
    assert {answer.status_code for answer in grown} == {200}


def test_counts_that_add_up_beyond_what_one_call_may_tell_are_within_the_schema(api: Api) -> None:
    sku = api.create(1_000_000_000)
    path = f"/api/v1/stock/{sku}/adjustments"
    assert api.client.post(path, json={"delta": 1, "reason": "more"}, headers=_key()).status_code == 200
    assert api.stock(sku)["on_hand"] == 1_000_000_001
    shown = api.client.get("/openapi.json").json()["components"]["schemas"]["StockView"]["properties"]
    assert not any("maximum" in shown[field] for field in ("on_hand", "available", "reserved", "sold"))


@pytest.mark.parametrize("sku", ["nobody-made-this", "not%20a%20sku", "x" * 65, "a,b", "%00"])
@pytest.mark.parametrize("suffix", ["", "/ledger"])
def test_reading_an_unknown_sku_is_404_however_odd_it_is(api: Api, sku: str, suffix: str) -> None:
    assert_problem(api.client.get(f"/api/v1/stock/{sku}{suffix}"), 404, "unknown-sku")


@pytest.mark.parametrize("escaped", ["%2F", "%2f"])
def test_an_escaped_slash_is_part_of_a_name_and_leads_to_no_other_route(api: Api, escaped: str) -> None:
    sku = api.create(3)
    assert api.client.get(f"/api/v1/stock/{sku}/ledger").status_code == 200
    assert_problem(api.client.get(f"/api/v1/stock/{sku}{escaped}ledger"), 404, "unknown-sku")
    assert_problem(api.client.get(f"/api/v1/stock/{escaped}"), 404, "unknown-sku")
    assert_problem(api.client.get(f"/api/v1{escaped}stock/{sku}"), 404, "not-found")
    assert api.client.get(f"/api/v1/stock/{sku[:-1]}%{ord(sku[-1]):02X}").json()["sku"] == sku


def test_adjusting_an_unknown_sku_is_404(api: Api) -> None:
    body = {"delta": 1, "reason": "x"}
    assert_problem(api.client.post("/api/v1/stock/no-one/adjustments", json=body, headers=_key()), 404, "unknown-sku")


def test_the_list_walks_every_sku_in_order_once(api: Api) -> None:
    made = {api.create(1) for _ in range(7)}
    seen: list[str] = []
    cursor: str | None = None
    while True:
        parameters = {"limit": "3"} | ({} if cursor is None else {"cursor": cursor})
        page = api.client.get("/api/v1/stock", params=parameters).json()
        assert len(page["items"]) <= 3
        seen += [item["sku"] for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == sorted(set(seen))
    assert made <= set(seen)


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"limit": "0"}, "limit"),
        ({"limit": "501"}, "limit"),
        ({"limit": "-1"}, "limit"),
        ({"limit": "many"}, "limit"),
        ({"limit": "1.5"}, "limit"),
        ({"cursor": "*"}, "cursor"),
        ({"cursor": "YWI"}, None),
        ({"cursor": "YSBi"}, "cursor"),
        ({"cursor": "/w"}, "cursor"),
        ({"cursor": "A" * 300}, "cursor"),
    ],
)
def test_a_page_that_cannot_be_is_refused_by_its_field(api: Api, parameters: dict[str, str], field: str | None) -> None:
    response = api.client.get("/api/v1/stock", params=parameters)
    if field is None:
        assert response.status_code == 200
    else:
        assert assert_problem(response, 400, "validation-failed")["errors"][0]["field"] == field


async def _flush(redis_url: str, database_url: str) -> None:
    redis, pool = Redis.from_url(redis_url, decode_responses=True), await connect(database_url, 2)
    async with pool.acquire() as connection:
        while (await drain_once(connection, redis, Keys(), 5_000)).events:
            pass
    await redis.aclose()
    await pool.close()


def test_the_ledger_tells_every_movement_newest_first(api: Api, api_redis_url: str, api_database_url: str) -> None:
    sku = api.create(10)
    hold = api.hold(sku, 4)
    api.client.post(f"/api/v1/holds/{hold['id']}/commit", json={"reference": "order-1"})
    asyncio.run(_flush(api_redis_url, api_database_url))
    first = api.client.get(f"/api/v1/stock/{sku}/ledger", params={"limit": 2}).json()
    rest = api.client.get(f"/api/v1/stock/{sku}/ledger", params={"cursor": first["next_cursor"]}).json()
    rows = first["items"] + rest["items"]
    assert [row["kind"] for row in rows] == ["commit", "reserve", "adjust"]
    deltas = [(row["delta_available"], row["delta_reserved"], row["delta_sold"]) for row in rows]
    assert deltas == [(0, -4, 4), (-4, 4, 0), (10, 0, 0)]
    assert rows[0]["reference"] == "order-1"
    assert rows[0]["at"].endswith("Z")
    assert rest["next_cursor"] is None
    bad = api.client.get(f"/api/v1/stock/{sku}/ledger", params={"cursor": "YWJj"})
    assert_problem(bad, 400, "validation-failed")


def test_a_sku_that_is_not_flushed_yet_has_an_empty_ledger(api: Api) -> None:
    response = api.client.get(f"/api/v1/stock/{api.create(1)}/ledger")
    assert (response.status_code, response.json()) == (200, {"items": [], "next_cursor": None})
