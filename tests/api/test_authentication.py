"""API keys: who may call what, route by route."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from uuid import uuid4

import httpx
import msgspec
import pytest
from litestar import Litestar, get
from litestar.exceptions import ImproperlyConfiguredException
from litestar.routes import HTTPRoute

from api.app import _check_scopes, create_app
from api.authentication import Authenticator
from api.errors import ProblemRaised
from engine.errors import Unavailable
from engine.settings import Settings
from persistence import api_keys
from persistence.api_keys import ApiKey, Scope
from persistence.pool import connect
from tests.api.process import ROOT, Api, assert_problem, running_api

OFFLINE = Settings(redis_url="redis://127.0.0.1:1", database_url="postgresql://nobody@127.0.0.1:1/none")

# Every route and the least scope that it takes. A new route belongs here.
ROUTES = {
    ("GET", "/api/v1/stock"): "storefront",
    ("GET", "/api/v1/stock/{sku}"): "storefront",
    ("PUT", "/api/v1/stock/{sku}"): "operator",
    ("POST", "/api/v1/stock/{sku}/adjustments"): "operator",
    ("GET", "/api/v1/stock/{sku}/ledger"): "operator",
    ("POST", "/api/v1/holds"): "storefront",
    ("POST", "/api/v1/holds/batch"): "storefront",
    ("GET", "/api/v1/holds/{hold_id}"): "storefront",
    ("DELETE", "/api/v1/holds/{hold_id}"): "storefront",
    ("POST", "/api/v1/holds/{hold_id}/commit"): "storefront",
    ("POST", "/api/v1/holds/{hold_id}/extend"): "storefront",
    ("GET", "/api/v1/pricing-rules"): "operator",
    ("POST", "/api/v1/pricing-rules"): "operator",
    ("GET", "/api/v1/pricing-rules/{rule_id}"): "operator",
    ("PUT", "/api/v1/pricing-rules/{rule_id}"): "operator",
    ("DELETE", "/api/v1/pricing-rules/{rule_id}"): "operator",
    ("GET", "/api/v1/products/{product_id}/price"): "storefront",
    ("GET", "/api/v1/coupons"): "operator",
    ("POST", "/api/v1/coupons"): "operator",
    ("GET", "/api/v1/coupons/{coupon_code}"): "operator",
    ("PUT", "/api/v1/coupons/{coupon_code}"): "operator",
    ("DELETE", "/api/v1/coupons/{coupon_code}"): "operator",
    ("GET", "/api/v1/categories"): "storefront",
    ("POST", "/api/v1/categories"): "operator",
    ("GET", "/api/v1/categories/{category_id}"): "storefront",
    ("PUT", "/api/v1/categories/{category_id}"): "operator",
    ("DELETE", "/api/v1/categories/{category_id}"): "operator",
    ("GET", "/api/v1/products"): "storefront",
    ("POST", "/api/v1/products"): "operator",
    ("GET", "/api/v1/products/{product_id}"): "storefront",
    ("PUT", "/api/v1/products/{product_id}"): "operator",
    ("DELETE", "/api/v1/products/{product_id}"): "operator",
    ("GET", "/api/v1/variants"): "storefront",
    ("POST", "/api/v1/variants"): "operator",
    ("GET", "/api/v1/variants/{variant_id}"): "storefront",
    ("PUT", "/api/v1/variants/{variant_id}"): "operator",
    ("DELETE", "/api/v1/variants/{variant_id}"): "operator",
    ("GET", "/api/v1/items"): "storefront",
    ("POST", "/api/v1/carts"): "storefront",
    ("GET", "/api/v1/carts/{cart_id}"): "storefront",
    ("POST", "/api/v1/carts/{cart_id}/coupon"): "storefront",
    ("DELETE", "/api/v1/carts/{cart_id}/coupon"): "storefront",
    ("POST", "/api/v1/carts/{cart_id}/merge"): "storefront",
    ("POST", "/api/v1/carts/{cart_id}/items"): "storefront",
    ("PUT", "/api/v1/carts/{cart_id}/items/{sku}"): "storefront",
    ("DELETE", "/api/v1/carts/{cart_id}/items/{sku}"): "storefront",
    ("POST", "/api/v1/carts/{cart_id}/checkout"): "storefront",
    ("POST", "/api/v1/checkout"): "storefront",
    ("GET", "/api/v1/orders"): "storefront",
    ("GET", "/api/v1/orders/{order_id}"): "storefront",
    ("POST", "/api/v1/orders/{order_id}/payment"): "storefront",
    ("POST", "/api/v1/orders/{order_id}/transitions"): "operator",
    ("GET", "/livez"): "open",
    ("GET", "/readyz"): "open",
    ("GET", "/metrics"): "open",
    ("GET", "/problems/{code}"): "open",
    ("GET", "/openapi.json"): "open",
    ("GET", "/docs"): "open",
    ("GET", "/"): "open",
}


def _request(path: str) -> str:
    names = dict.fromkeys(
        ("category_id", "product_id", "variant_id", "rule_id", "coupon_code", "cart_id", "order_id"), "none"
    )
    return path.format(sku="no-such-sku", hold_id="hold_none", code="unknown-sku", **names)


@pytest.fixture(scope="module")
def guarded(api: Api, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A process that asks for keys."""
    settings = msgspec.structs.replace(api.settings, auth="keys")
    with running_api(settings, tmp_path_factory.mktemp("guarded") / "api.log") as running:
        yield running


def _make_key(api: Api, scope: Scope) -> tuple[ApiKey, str]:
    async def make() -> tuple[ApiKey, str]:
        pool = await connect(api.settings.require_database_url(), 1)
        try:
            return await api_keys.create(pool, f"test {scope}", scope)
        finally:
            await pool.close()

    return asyncio.run(make())


@pytest.fixture(scope="module")
def secrets(guarded: Api) -> dict[str, str]:
    return {scope: _make_key(guarded, scope)[1] for scope in ("storefront", "operator")}


def test_the_table_names_every_route_and_its_scope() -> None:
    found = {
        (method, route.path_format): handler.opt["scope"]
        for route in create_app(OFFLINE).routes
        if isinstance(route, HTTPRoute)
        for method, (handler, _) in route.route_handler_map.items()
        if method != "OPTIONS"
    }
    assert found == ROUTES


def test_a_route_that_does_not_say_who_may_use_it_stops_the_start() -> None:
    @get("/open-door")
    async def open_door() -> None: ...

    with pytest.raises(ImproperlyConfiguredException, match="/open-door does not say who may use it"):
        _check_scopes(Litestar([open_door], openapi_config=None))


@pytest.mark.parametrize(("method", "path"), list(ROUTES))
def test_each_route_lets_in_exactly_whom_the_table_says(
    guarded: Api, secrets: dict[str, str], method: str, path: str
) -> None:
    scope = ROUTES[method, path]
    answers = {
        who: guarded.client.request(method, _request(path), headers=headers)
        for who, headers in {
            "nobody": {},
            "storefront": {"Authorization": f"Bearer {secrets['storefront']}"},
            "operator": {"X-API-Key": secrets["operator"]},
        }.items()
    }
    if scope == "open":
        assert {answer.status_code for answer in answers.values()} <= {200, 302}
        return
    assert_problem(answers["nobody"], 401, "unauthenticated")
    assert answers["nobody"].headers["WWW-Authenticate"] == "Bearer"
    if scope == "operator":
        assert_problem(answers["storefront"], 403, "forbidden")
    else:
        assert answers["storefront"].status_code not in (401, 403)
    assert answers["operator"].status_code not in (401, 403)


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer nonsense"},
        {"Authorization": "Basic aGY6eA=="},
        {"Authorization": "Bearer hf_" + "A" * 43},
        {"X-API-Key": "hf_" + "A" * 43},
        {"X-API-Key": "hf_" + "A" * 5_000},
        {"X-API-Key": "hf_" + "\xff" * 43},
        {"X-API-Key": "' OR 1=1 --"},
    ],
)
def test_what_is_no_key_opens_nothing(guarded: Api, headers: dict[str, str]) -> None:
    raw = {name: value.encode("latin-1") for name, value in headers.items()}
    assert_problem(guarded.client.get("/api/v1/stock", headers=raw), 401, "unauthenticated")  # type: ignore[arg-type]


def test_two_different_keys_at_once_open_nothing(guarded: Api, secrets: dict[str, str]) -> None:
    headers = {"Authorization": f"Bearer {secrets['storefront']}", "X-API-Key": secrets["operator"]}
    assert_problem(guarded.client.get("/api/v1/stock", headers=headers), 401, "unauthenticated")


def test_options_needs_no_key(guarded: Api) -> None:
    assert guarded.client.options("/api/v1/holds").status_code == 204


def test_a_revoked_key_opens_nothing_within_five_seconds(guarded: Api) -> None:
    key, secret = _make_key(guarded, "storefront")
    headers = {"X-API-Key": secret}
    assert guarded.client.get("/api/v1/stock", headers=headers).status_code == 200
    environment = {**os.environ, "HOLDFAST_DATABASE_URL": guarded.settings.require_database_url()}
    subprocess.run([sys.executable, "-m", "cli.main", "keys", "revoke", key.id], cwd=ROOT, env=environment, check=True)
    deadline = time.monotonic() + 5
    while guarded.client.get("/api/v1/stock", headers=headers).status_code == 200:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert_problem(guarded.client.get("/api/v1/stock", headers=headers), 401, "unauthenticated")


def test_one_callers_idempotency_keys_are_not_anothers(guarded: Api, secrets: dict[str, str]) -> None:
    operator = {"X-API-Key": secrets["operator"]}
    sku, key = f"S-{uuid4().hex[:8]}", uuid4().hex
    guarded.client.put(f"/api/v1/stock/{sku}", json={"on_hand": 5}, headers=operator)
    body = {"lines": [{"sku": sku, "quantity": 1}]}
    answers = [
        guarded.client.post("/api/v1/holds", json=body, headers={"X-API-Key": secret, "Idempotency-Key": key})
        for secret in secrets.values()
    ]
    assert len({answer.json()["id"] for answer in answers}) == 2


def test_no_secret_nor_customer_nor_body_is_in_the_log(guarded: Api, secrets: dict[str, str]) -> None:
    headers = {"X-API-Key": secrets["operator"], "X-Request-Id": "seen-in-the-log"}
    body = {"lines": [{"sku": "who-knows", "quantity": 1}], "customer_id": "customer-of-note"}
    guarded.client.post("/api/v1/holds?token=query-of-note", json=body, headers=headers)
    log = guarded.log_path.read_text()
    lines = [json.loads(line) for line in log.splitlines()]
    line = next(line for line in lines if line.get("request_id") == "seen-in-the-log")
    assert (line["method"], line["route"], line["status"]) == ("POST", "/api/v1/holds", 404)
    assert line["duration_ms"] > 0
    for secret in (*secrets.values(), "customer-of-note", "who-knows", "query-of-note"):
        assert secret not in log


class Clockwork:
    """A clock, and a database of keys that may be down."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.is_down = False
        self.asked = 0
        self.key: ApiKey | None = ApiKey("key_1", "n", "storefront", None, None)  # type: ignore[arg-type]

    async def find(self, _: bytes) -> ApiKey | None:
        self.asked += 1
        await asyncio.sleep(0)
        if self.is_down:
            raise Unavailable("down")
        return self.key

    async def admit(self, authenticator: Authenticator) -> str:
        headers = [(b"x-api-key", b"hf_" + b"A" * 43)]
        return (await authenticator.admit(headers, "storefront")).client


@pytest.fixture
def clockwork() -> Clockwork:
    return Clockwork()


@pytest.fixture
def authenticator(clockwork: Clockwork) -> Authenticator:
    return Authenticator("keys", clockwork.find, lambda: clockwork.now)


@pytest.mark.anyio
async def test_a_crowd_with_one_key_asks_the_database_once(clockwork: Clockwork, authenticator: Authenticator) -> None:
    assert set(await asyncio.gather(*(clockwork.admit(authenticator) for _ in range(100)))) == {"key_1"}
    assert clockwork.asked == 1


@pytest.mark.anyio
async def test_a_known_key_is_trusted_five_minutes_without_a_database_and_no_longer(
    clockwork: Clockwork, authenticator: Authenticator
) -> None:
    await clockwork.admit(authenticator)
    clockwork.is_down = True
    for _ in range(29):
        clockwork.now += 10
        assert await clockwork.admit(authenticator) == "key_1"
        await asyncio.sleep(0.001)
    clockwork.now += 20
    with pytest.raises(Unavailable):
        await clockwork.admit(authenticator)
    clockwork.is_down = False
    assert await clockwork.admit(authenticator) == "key_1"


@pytest.mark.anyio
async def test_an_unknown_key_is_remembered_as_such_for_seconds(
    clockwork: Clockwork, authenticator: Authenticator
) -> None:
    clockwork.key = None
    for _ in range(5):
        with pytest.raises(ProblemRaised):
            await clockwork.admit(authenticator)
    assert clockwork.asked == 1


@pytest.mark.anyio
async def test_one_who_stops_waiting_does_not_end_the_others_question(
    clockwork: Clockwork, authenticator: Authenticator
) -> None:
    impatient = asyncio.create_task(clockwork.admit(authenticator))
    patient = asyncio.create_task(clockwork.admit(authenticator))
    await asyncio.sleep(0)
    impatient.cancel()
    assert await patient == "key_1"


def test_without_authentication_everybody_is_the_operator(api: Api) -> None:
    response = httpx.get(f"{api.url}/api/v1/stock/{api.create(1)}/ledger", timeout=10)
    assert response.status_code == 200
