"""Holds over HTTP: the contract's table."""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from uuid import uuid4

import httpx
import pytest

from tests.api.process import Api, assert_problem

RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def _body(sku: str, quantity: int = 1) -> dict[str, list[dict[str, object]]]:
    return {"lines": [{"sku": sku, "quantity": quantity}]}


def _life_s(hold: dict[str, str]) -> float:
    created, expires = (datetime.fromisoformat(hold[name]) for name in ("created_at", "expires_at"))
    return (expires - created).total_seconds()


def test_a_hold_takes_units_out_of_what_is_available(api: Api) -> None:
    sku = api.create(10)
    hold = api.hold(sku, 3, customer_id="customer-1")
    assert hold["id"].startswith("hold_")
    assert (hold["status"], hold["customer_id"]) == ("held", "customer-1")
    assert hold["lines"] == [{"sku": sku, "quantity": 3}]
    assert RFC_3339.fullmatch(hold["created_at"])
    assert _life_s(hold) == 600
    assert api.stock(sku) == {
        "sku": sku, "on_hand": 10, "available": 7, "reserved": 3, "sold": 0, "customer_limit": None,
    }  # fmt: skip
    assert api.client.get(f"/api/v1/holds/{hold['id']}").json() == hold


def test_a_hold_is_all_or_nothing(api: Api) -> None:
    plenty, scarce, none = api.create(10), api.create(1), api.create(0)
    lines = [{"sku": sku, "quantity": 2} for sku in (plenty, scarce, none)]
    found = assert_problem(api.client.post("/api/v1/holds", json={"lines": lines}), 409, "insufficient-stock")
    assert found["lines"] == [
        {"sku": scarce, "requested": 2, "available": 1},
        {"sku": none, "requested": 2, "available": 0},
    ]
    assert api.stock(plenty)["reserved"] == 0


def test_an_unknown_sku_among_known_ones_reserves_nothing(api: Api) -> None:
    sku = api.create(10)
    lines = [{"sku": sku, "quantity": 1}, {"sku": "nobody-made-this", "quantity": 1}]
    found = assert_problem(api.client.post("/api/v1/holds", json={"lines": lines}), 404, "unknown-sku")
    assert "nobody-made-this" in found["detail"]
    assert api.stock(sku)["available"] == 10


def test_the_same_sku_twice_is_summed(api: Api) -> None:
    sku = api.create(10)
    lines = [{"sku": sku, "quantity": 2}, {"sku": sku, "quantity": 5}]
    response = api.client.post("/api/v1/holds", json={"lines": lines})
    assert response.json()["lines"] == [{"sku": sku, "quantity": 7}]


def test_a_hundred_lines_are_one_hold(api: Api) -> None:
    skus = [api.create(1) for _ in range(100)]
    lines = [{"sku": sku, "quantity": 1} for sku in skus]
    assert api.client.post("/api/v1/holds", json={"lines": lines}).status_code == 201


def test_a_customer_gets_no_more_than_the_limit_held_and_sold_together(api: Api) -> None:
    sku = api.create(10, customer_limit=3)
    first = api.hold(sku, 2, customer_id="greedy")
    api.client.post(f"/api/v1/holds/{first['id']}/commit")
    response = api.client.post("/api/v1/holds", json={**_body(sku, 2), "customer_id": "greedy"})
    found = assert_problem(response, 409, "customer-limit-exceeded")
    assert found["lines"] == [{"sku": sku, "requested": 2, "customer_limit": 3}]
    assert api.hold(sku, 3, customer_id="other")["status"] == "held"


def test_a_commit_sells_and_its_retry_answers_the_same(api: Api) -> None:
    sku = api.create(10)
    hold = api.hold(sku, 3)
    url = f"/api/v1/holds/{hold['id']}/commit"
    first, again = api.client.post(url, json={"reference": "order-7"}), api.client.post(url)
    assert (first.status_code, again.status_code) == (200, 200)
    assert first.json() == again.json() == {**hold, "status": "committed"}
    assert [api.stock(sku)[name] for name in ("available", "reserved", "sold")] == [7, 0, 3]


def test_a_release_gives_back_and_its_retry_answers_the_same(api: Api) -> None:
    sku = api.create(10)
    hold = api.hold(sku, 3)
    answers = [api.client.delete(f"/api/v1/holds/{hold['id']}") for _ in range(2)]
    assert [answer.json() for answer in answers] == [{**hold, "status": "released"}] * 2
    assert api.stock(sku)["available"] == 10


def test_an_extension_counts_from_now_and_never_shortens(api: Api) -> None:
    hold = api.hold(api.create(1), ttl_s=60)
    url = f"/api/v1/holds/{hold['id']}/extend"
    longer = api.client.post(url, json={"ttl_s": 600}).json()
    assert _life_s(longer) == pytest.approx(600, abs=5)
    assert api.client.post(url, json={"ttl_s": 1}).json()["expires_at"] == longer["expires_at"]
    assert _life_s(api.client.post(url, json={"ttl_s": 86_400}).json()) == 3_600


def test_what_was_sold_can_neither_be_released_nor_extended(api: Api) -> None:
    hold = api.hold(api.create(1))
    url = f"/api/v1/holds/{hold['id']}"
    api.client.post(f"{url}/commit")
    for response in (api.client.delete(url), api.client.post(f"{url}/extend", json={"ttl_s": 5})):
        assert assert_problem(response, 409, "hold-not-live")["hold_status"] == "committed"


def test_what_was_released_cannot_be_sold(api: Api) -> None:
    sku = api.create(1)
    hold = api.hold(sku)
    api.client.delete(f"/api/v1/holds/{hold['id']}")
    response = api.client.post(f"/api/v1/holds/{hold['id']}/commit")
    assert assert_problem(response, 409, "hold-not-live")["hold_status"] == "released"
    assert api.stock(sku)["sold"] == 0


def test_an_expired_hold_never_sells_and_never_stands_in_the_way(api: Api) -> None:
    sku = api.create(1)
    hold = api.hold(sku, ttl_s=1)
    url = f"/api/v1/holds/{hold['id']}"
    time.sleep(1.1)
    assert api.client.get(url).json()["status"] == "expired"
    assert_problem(api.client.post(f"{url}/commit"), 410, "hold-expired")
    assert api.hold(sku)["status"] == "held"
    for response in (
        api.client.post(f"{url}/commit"),
        api.client.delete(url),
        api.client.post(f"{url}/extend", json={"ttl_s": 5}),
    ):
        assert_problem(response, 410, "hold-expired")
    assert api.stock(sku)["sold"] == 0


@pytest.mark.parametrize(
    "hold_id", ["hold_AAAAAAAAAAAAAAAAAAAAAA", "nonsense", "hold_", "hold_%00", "hold_" + "x" * 99]
)
def test_an_unknown_hold_is_404_whatever_is_done_to_it(api: Api, hold_id: str) -> None:
    url = f"/api/v1/holds/{hold_id}"
    for response in (
        api.client.get(url),
        api.client.delete(url),
        api.client.post(f"{url}/commit"),
        api.client.post(f"{url}/extend", json={"ttl_s": 5}),
    ):
        assert_problem(response, 404, "unknown-hold")


def test_of_200_buyers_of_50_units_50_buy(api: Api) -> None:
    sku = api.create(50)

    def buy(_: int) -> httpx.Response:
        response = client.post(f"{api.url}/api/v1/holds", json=_body(sku))
        if response.status_code == 201:
            client.post(f"{api.url}/api/v1/holds/{response.json()['id']}/commit")
        return response

    with httpx.Client(timeout=30) as client, ThreadPoolExecutor(50) as crowd:
        answers = list(crowd.map(buy, range(200)))
    assert sorted(answer.status_code for answer in answers) == [201] * 50 + [409] * 150
    for answer in answers:
        if answer.status_code == 409:
            assert assert_problem(answer, 409, "insufficient-stock")["lines"] == [
                {"sku": sku, "requested": 1, "available": 0}
            ]
    assert [api.stock(sku)[name] for name in ("available", "reserved", "sold", "on_hand")] == [0, 0, 50, 0]


def test_a_client_that_leaves_in_the_middle_harms_nobody(api: Api) -> None:
    sku = api.create(100)

    def leave(_: int) -> None:
        with httpx.Client(timeout=0.001) as client, suppress(httpx.TransportError):
            client.post(f"{api.url}/api/v1/holds", json=_body(sku))

    def stay(_: int) -> int:
        return client.post(f"{api.url}/api/v1/holds", json=_body(sku)).status_code

    with httpx.Client(timeout=30) as client, ThreadPoolExecutor(20) as crowd:
        left = crowd.map(leave, range(20))
        stayed = list(crowd.map(stay, range(20)))
        list(left)
    assert stayed == [201] * 20
    stock = api.stock(sku)
    assert stock["available"] + stock["reserved"] == 100
    assert 20 <= stock["reserved"] <= 40


def test_head_is_get_without_a_body(api: Api) -> None:
    response = api.client.head(f"/api/v1/stock/{api.create(1)}")
    assert (response.status_code, response.content) == (200, b"")
    assert int(response.headers["content-length"]) > 0


def test_a_request_id_is_echoed_when_it_is_sane(api: Api) -> None:
    sane = uuid4().hex
    assert api.client.get("/livez", headers={"X-Request-Id": sane}).headers["X-Request-Id"] == sane
    for odd in ("a b", "x" * 65, "evil;id", ""):
        answered = api.client.get("/livez", headers={"X-Request-Id": odd}).headers["X-Request-Id"]
        assert re.fullmatch(r"[0-9a-f]{12}-[0-9a-f]+", answered)
