"""Rate limits over HTTP, with two processes that share them."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from msgspec.structs import replace

from cli.embedded import EmbeddedRedis
from engine.settings import Settings
from tests.api.keys import bearing, make_key
from tests.api.process import Api, assert_problem, running_api
from tests.api.shop import open_cart, thing

BASE = "/api/v1"
HOLDS = f"{BASE}/holds"
FIELDS = ("RateLimit", "RateLimit-Policy")
KEY_RATE, KEY_BURST = 10, 20
CUSTOMER_RATE, CUSTOMER_BURST = 1, 3
LIMITS = {
    "rate_limit_key": KEY_RATE,
    "rate_limit_key_burst": KEY_BURST,
    "rate_limit_customer": CUSTOMER_RATE,
    "rate_limit_customer_burst": CUSTOMER_BURST,
}


@pytest.fixture(scope="module")
def pair(api: Api, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Api]]:
    """Two processes with limits, beside the one without."""
    settings = replace(api.settings, auth="keys", **LIMITS)
    logs = tmp_path_factory.mktemp("limited")
    with ExitStack() as stack:
        yield [stack.enter_context(running_api(settings, logs / f"api-{number}.log")) for number in range(2)]


@pytest.fixture
def key(api: Api) -> dict[str, str]:
    """A key that nobody used before."""
    return bearing(make_key(api.settings, "operator")[1])


def new_customer() -> str:
    return f"customer-{uuid4().hex}"


def hold_body(sku: str, customer: str | None = None) -> dict[str, Any]:
    return {"lines": [{"sku": sku, "quantity": 1}]} | ({} if customer is None else {"customer_id": customer})


def exhaust(api: Api, key: dict[str, str]) -> httpx.Response:
    """Ask until it is too much; the answer that says so."""
    for _ in range(20 * KEY_BURST):
        answer = api.client.get(f"{BASE}/stock/nowhere", headers=key)
        if answer.status_code == 429:
            return answer
    raise AssertionError("nothing ever was too much")


def exhaust_customer(api: Api, key: dict[str, str], customer: str) -> httpx.Response:
    for _ in range(20 * CUSTOMER_BURST):
        answer = api.client.post(HOLDS, json=hold_body("nowhere", customer), headers=key)
        if answer.status_code == 429:
            return answer
    raise AssertionError("nothing ever was too much")


@pytest.mark.parametrize("path", [HOLDS, f"{HOLDS}/"], ids=["short way", "litestar"])
def test_two_processes_together_let_no_more_through_than_the_limit(
    api: Api, pair: list[Api], key: dict[str, str], path: str
) -> None:
    sku = api.create(1_000)
    started = time.monotonic()

    def ask(number: int) -> int:
        return client.post(f"{pair[number % 2].url}{path}", json=hold_body(sku), headers=key).status_code

    with httpx.Client(timeout=30) as client, ThreadPoolExecutor(16) as crowd:
        statuses = list(crowd.map(ask, range(200)))
    elapsed_s = time.monotonic() - started
    passed = statuses.count(201)
    assert set(statuses) == {201, 429}
    assert KEY_BURST <= passed <= KEY_BURST + KEY_RATE * elapsed_s
    assert api.stock(sku)["reserved"] == passed


@pytest.mark.parametrize("end", ["", "/"], ids=["short way", "litestar"])
def test_every_answer_tells_how_the_limits_stand(api: Api, pair: list[Api], key: dict[str, str], end: str) -> None:
    sku, customer = api.create(5), new_customer()
    limited = pair[0]
    alone = limited.client.post(f"{HOLDS}{end}", json=hold_body(sku), headers=key)
    assert alone.status_code == 201
    assert [alone.headers[name] for name in FIELDS] == ['"key";r=19;t=1', '"key";q=20;w=2']
    both = limited.client.post(f"{HOLDS}{end}", json=hold_body(sku, customer), headers=key)
    assert both.status_code == 201
    assert both.headers["RateLimit-Policy"] == '"key";q=20;w=2, "customer";q=3;w=3'
    assert re.fullmatch(r'"key";r=1[89];t=1, "customer";r=2;t=1', both.headers["RateLimit"])
    assert len(both.headers.get_list("RateLimit")) == 1
    refused = limited.client.post(f"{HOLDS}{end}", json={}, headers=key)
    assert refused.status_code == 400
    assert refused.headers["RateLimit"].startswith('"key";r=1')


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/stock"), ("GET", "/stock/nowhere"), ("POST", "/holds"), ("POST", "/holds/"), ("DELETE", "/holds/x")],
)
def test_what_is_too_much_is_a_problem_that_tells_how_long_to_wait_and_that_wait_is_enough(
    pair: list[Api], key: dict[str, str], method: str, path: str
) -> None:
    exhaust(pair[0], key)
    refused = pair[1].client.request(method, BASE + path, headers=key)
    while refused.status_code != 429:  # while we asked, some of it came back
        refused = pair[1].client.request(method, BASE + path, headers=key)
    assert_problem(refused, 429, "rate-limited")
    wait_s = int(refused.headers["Retry-After"])
    assert 1 <= wait_s <= 2
    assert refused.headers["RateLimit"] == f'"key";r=0;t={wait_s}'
    time.sleep(wait_s)
    assert pair[0].client.request(method, BASE + path, headers=key).status_code != 429


def test_a_customer_who_waits_as_long_as_told_is_let_through(pair: list[Api], key: dict[str, str]) -> None:
    customer = new_customer()
    refused = exhaust_customer(pair[0], key, customer)
    assert_problem(refused, 429, "rate-limited")
    assert customer not in refused.text
    assert refused.headers["Retry-After"] == "1"
    assert refused.headers["RateLimit"].endswith('"customer";r=0;t=1')
    time.sleep(1)
    assert pair[1].client.post(HOLDS, json=hold_body("nowhere", customer), headers=key).status_code == 404


@pytest.mark.parametrize("end", ["", "/"], ids=["short way", "litestar"])
@pytest.mark.parametrize("body", [b"{", b"", b'{"lines": 1}', b" " * 70_000])
def test_a_key_is_judged_before_the_body_is(pair: list[Api], key: dict[str, str], end: str, body: bytes) -> None:
    exhaust(pair[0], key)
    statuses = {
        pair[0]
        .client.post(f"{HOLDS}{end}", content=body, headers={**key, "Content-Type": "application/json"})
        .status_code
        for _ in range(5)
    }
    assert 429 in statuses


def test_a_refused_request_had_no_effect_and_its_retry_is_judged_afresh(
    api: Api, pair: list[Api], key: dict[str, str]
) -> None:
    sku, customer = api.create(10), new_customer()
    exhaust_customer(pair[0], key, customer)
    headers = {**key, "Idempotency-Key": uuid4().hex}
    refused = pair[1].client.post(HOLDS, json=hold_body(sku, customer), headers=headers)
    assert refused.status_code == 429
    assert api.stock(sku)["available"] == 10
    time.sleep(int(refused.headers["Retry-After"]))
    passed = pair[1].client.post(HOLDS, json=hold_body(sku, customer), headers=headers)
    assert passed.status_code == 201
    assert "Idempotent-Replayed" not in passed.headers
    assert api.stock(sku)["available"] == 9


def test_a_customer_is_limited_over_all_keys_and_processes_together(
    api: Api, pair: list[Api], key: dict[str, str]
) -> None:
    sku, customer = api.create(100), new_customer()
    keys = [key, bearing(make_key(api.settings, "storefront")[1])]
    started = time.monotonic()
    statuses = [
        pair[number % 2].client.post(HOLDS, json=hold_body(sku, customer), headers=keys[number // 2 % 2]).status_code
        for number in range(20)
    ]
    passed = statuses.count(201)
    assert CUSTOMER_BURST <= passed <= CUSTOMER_BURST + CUSTOMER_RATE * (time.monotonic() - started)
    assert api.stock(sku)["reserved"] == passed
    others = pair[0].client.post(HOLDS, json=hold_body(sku, new_customer()), headers=keys[1])
    assert others.status_code in (201, 429)
    assert '"customer";r=2' in others.headers["RateLimit"] or others.headers["RateLimit"].startswith('"key";r=0')


Ask = Callable[[httpx.Client, str, str, str], httpx.Response]
BY_CUSTOMER: dict[str, Ask] = {
    "open a cart": lambda c, who, _cart, _sku: c.post(f"{BASE}/carts", json={"customer_id": who}),
    "add to it": lambda c, who, cart, sku: c.post(
        f"{BASE}/carts/{cart}/items", json={"sku": sku, "quantity": 1, "customer_id": who}
    ),
    "set a quantity": lambda c, who, cart, sku: c.put(
        f"{BASE}/carts/{cart}/items/{sku}", json={"quantity": 3, "customer_id": who}
    ),
    "remove a line": lambda c, who, cart, sku: c.delete(
        f"{BASE}/carts/{cart}/items/{sku}", params={"customer_id": who}
    ),
    "use a coupon": lambda c, who, cart, _sku: c.post(
        f"{BASE}/carts/{cart}/coupon", json={"code": "NONE", "customer_id": who}
    ),
    "drop a coupon": lambda c, who, cart, _sku: c.delete(f"{BASE}/carts/{cart}/coupon", params={"customer_id": who}),
    "merge": lambda c, who, cart, _sku: c.post(
        f"{BASE}/carts/{cart}/merge", json={"from_cart_id": "cart_none", "customer_id": who}
    ),
    "check out": lambda c, who, cart, _sku: c.post(
        f"{BASE}/carts/{cart}/checkout", json={"customer_id": who}, headers={"Idempotency-Key": uuid4().hex}
    ),
    "check out by name": lambda c, who, cart, _sku: c.post(
        f"{BASE}/checkout", json={"cart_id": cart, "customer_id": who}, headers={"Idempotency-Key": uuid4().hex}
    ),
}


@pytest.mark.parametrize("act", list(BY_CUSTOMER))
def test_every_change_that_names_a_customer_counts_for_that_customer(api: Api, pair: list[Api], act: str) -> None:
    customer = new_customer()
    sku = thing(api)["sku"]
    cart = open_cart(api, customer)
    api.client.post(f"{BASE}/carts/{cart}/items", json={"sku": sku, "quantity": 2})
    before = api.client.get(f"{BASE}/carts/{cart}").json()
    first, second = (bearing(make_key(api.settings, "storefront")[1]) for _ in range(2))
    exhaust_customer(pair[0], first, customer)
    with httpx.Client(base_url=pair[1].url, headers=second, timeout=20) as client:
        refused = BY_CUSTOMER[act](client, customer, cart, sku)
    assert_problem(refused, 429, "rate-limited")
    assert refused.headers["RateLimit"].endswith('"customer";r=0;t=1')
    assert api.client.get(f"{BASE}/carts/{cart}").json() == before


def test_each_hold_of_a_batch_counts_for_its_customer_and_leaves_the_others_alone(
    api: Api, pair: list[Api], key: dict[str, str]
) -> None:
    sku, ada, bob = api.create(100), new_customer(), new_customer()
    holds = [
        *(hold_body(sku, ada) for _ in range(4)),
        hold_body(sku),
        hold_body(sku, ada),
        hold_body(sku, bob),
        {"lines": []},
    ]
    answer = pair[0].client.post(f"{HOLDS}/batch", json={"holds": holds}, headers=key)
    assert answer.status_code == 200
    results = answer.json()["results"]
    assert [result["status"] for result in results] == [201, 201, 201, 429, 201, 429, 201, 400]
    assert all(result["problem"]["retry_after_s"] >= 1 for result in results if result["status"] == 429)
    assert results[3]["problem"]["code"] == "rate-limited"
    assert results[3]["problem"]["instance"].endswith("#/holds/3")
    assert answer.headers["RateLimit"] == '"key";r=19;t=1, "customer";r=0;t=1'
    assert api.stock(sku)["reserved"] == 5


def test_a_batch_with_a_key_is_let_through_or_refused_as_one(api: Api, pair: list[Api], key: dict[str, str]) -> None:
    sku, ada, bob = api.create(100), new_customer(), new_customer()
    headers = {**key, "Idempotency-Key": uuid4().hex}

    def ask(counts: dict[str, int]) -> httpx.Response:
        holds = [hold_body(sku, customer) for customer, count in counts.items() for _ in range(count)]
        return pair[0].client.post(f"{HOLDS}/batch", json={"holds": holds}, headers=headers)

    exhaust_customer(pair[0], key, ada)
    refused = ask({bob: 3, ada: 2})
    assert_problem(refused, 429, "rate-limited")
    assert api.stock(sku)["reserved"] == 0
    time.sleep(int(refused.headers["Retry-After"]))
    passed = ask({bob: 3, ada: 2})
    assert [result["status"] for result in passed.json()["results"]] == [201] * 5
    assert api.stock(sku)["reserved"] == 5
    assert_problem(ask({new_customer(): CUSTOMER_BURST + 1}), 400, "validation-failed")
    assert api.stock(sku)["reserved"] == 5


def test_a_caller_without_the_right_key_is_charged_nothing(pair: list[Api]) -> None:
    for _ in range(2 * KEY_BURST):
        answer = pair[0].client.get(f"{BASE}/stock")
        assert answer.status_code == 401
        assert not set(FIELDS) & set(answer.headers)


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics", "/docs", "/openapi.json", "/problems/rate-limited"])
def test_what_is_open_is_never_limited(pair: list[Api], key: dict[str, str], path: str) -> None:
    exhaust(pair[0], key)
    for _ in range(2 * KEY_BURST):
        answer = pair[0].client.get(path, headers=key)
        assert answer.status_code in (200, 302)
        assert "RateLimit" not in answer.headers


def limit_calls(api: Api) -> tuple[float, float]:
    """Script calls for limits, and requests that were judged in them."""
    text = api.client.get("/metrics").text
    found = [re.search(rf'holdfast_batch_size_{part}{{verb="limit"}} (\S+)', text) for part in ("count", "sum")]
    calls, requests = (0.0 if match is None else float(match[1]) for match in found)
    return calls, requests


def test_without_limits_nothing_is_asked_and_nothing_told(api: Api) -> None:
    sku = api.create(5)
    for path in (HOLDS, f"{HOLDS}/"):
        answer = api.client.post(path, json=hold_body(sku, new_customer()))
        assert answer.status_code == 201
        assert not {name.lower() for name in FIELDS} & set(answer.headers)
    assert limit_calls(api) == (0, 0)


def test_requests_at_once_are_judged_in_few_calls(api: Api, pair: list[Api]) -> None:
    keys = [bearing(make_key(api.settings, "storefront")[1]) for _ in range(4)]
    sku = api.create(1_000)
    before = limit_calls(pair[0])

    def ask(number: int) -> None:
        client.post(f"{pair[0].url}{HOLDS}", json=hold_body(sku), headers=keys[number % len(keys)])

    limits = httpx.Limits(max_connections=100)
    with httpx.Client(timeout=30, limits=limits) as client, ThreadPoolExecutor(100) as crowd:
        list(crowd.map(ask, range(800)))
    after = limit_calls(pair[0])
    assert after[1] - before[1] == 800
    assert after[0] - before[0] < 800


def test_without_authentication_all_callers_are_limited_as_one(own_settings: Settings, tmp_path: Path) -> None:
    with running_api(replace(own_settings, rate_limit_key=1), tmp_path / "api.log") as api:
        first, second = (api.client.get(f"{BASE}/stock") for _ in range(2))
    assert (first.status_code, second.status_code) == (200, 429)
    assert first.headers["RateLimit-Policy"] == '"key";q=1;w=1'


def test_while_redis_is_away_a_limit_makes_no_answer_fail(
    clean_database_url: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    server = EmbeddedRedis(tmp_path_factory.mktemp("redis"))
    server.start()
    try:
        server.wait_ready()
        settings = Settings(redis_url=server.url, database_url=clean_database_url, auth="off", rate_limit_key=1)
        with running_api(settings, tmp_path / "api.log") as api:
            assert {api.client.get(f"{BASE}/categories").status_code for _ in range(3)} == {200, 429}
            server.stop()
            started = time.monotonic()
            answers = [api.client.get(f"{BASE}/categories") for _ in range(3)]
            assert [answer.status_code for answer in answers] == [200] * 3
            assert time.monotonic() - started < 5
            assert "RateLimit" not in answers[-1].headers
            assert_problem(api.client.post(HOLDS, json=hold_body("nowhere")), 503, "unavailable")
            assert api.client.get("/livez").status_code == 200
    finally:
        server.stop()


def test_every_guarded_route_documents_its_limit(api: Api) -> None:
    document = api.client.get("/openapi.json").json()
    for path, item in document["paths"].items():
        for operation in item.values():
            answer = operation["responses"].get("429")
            assert (answer is not None) == path.startswith("/api/"), path
            if answer is not None:
                assert set(answer["headers"]) == {"Retry-After", *FIELDS}
                assert "rate-limited" in answer["content"]["application/problem+json"]["examples"]
