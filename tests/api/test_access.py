"""Access: every route with the scope that it takes, and keys that open nothing from the moment they are revoked."""

from __future__ import annotations

import asyncio
import io
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import asyncpg
import msgspec
import pytest
import redis
from litestar import Litestar, get
from litestar.exceptions import ImproperlyConfiguredException
from litestar.routes import HTTPRoute

from api.app import _check_scopes, create_app
from api.serving.hot_routes import _OF_ONE, _PLAIN, find_hot
from engine.settings import Settings
from tests.api.keys import bearing, make_key, revoke_key
from tests.api.process import ROOT, Api, assert_problem, running_api
from tests.own_postgres import own_postgres

OFFLINE = Settings(redis_url="redis://127.0.0.1:1", database_url="postgresql://nobody@127.0.0.1:1/none")
AT_ONCE_S = 0.1

# Every route and the least scope that it takes, written by hand. A new route belongs here.
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


IDS = {"sku": "no-such-sku", "hold_id": "hold_none", "code": "unknown-sku"} | dict.fromkeys(
    ("category_id", "product_id", "variant_id", "rule_id", "coupon_code", "cart_id", "order_id"), "none"
)
HOT = sorted(route.template for route in (*_PLAIN.values(), *_OF_ONE.values()))
ASKED = [(method, path.format(**IDS), scope) for (method, path), scope in ROUTES.items()]
# A trailing slash leads past the short way, to Litestar's route of the same path.
ASKED += [("POST", f"{path.format(**IDS)}/", ROUTES["POST", path]) for path in HOT]


@pytest.fixture(scope="module")
def guarded(api: Api, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Api]]:
    """Two processes that ask for keys."""
    settings = msgspec.structs.replace(api.settings, auth="keys")
    logs = tmp_path_factory.mktemp("guarded")
    with ExitStack() as stack:
        yield [stack.enter_context(running_api(settings, logs / f"api-{number}.log")) for number in range(2)]


@pytest.fixture(scope="module")
def callers(guarded: list[Api]) -> dict[str, dict[str, str]]:
    """The header that each kind of caller sends; the revoked key was an operator's, and was in use."""
    settings = guarded[0].settings
    key, secret = make_key(settings, "operator")
    for api in guarded:
        assert api.client.get("/api/v1/stock", headers=bearing(secret)).status_code == 200
    revoke_key(settings, key.id)
    return {
        "nobody": {},
        "revoked": bearing(secret),
        "storefront": bearing(make_key(settings, "storefront")[1]),
        "operator": {"X-API-Key": make_key(settings, "operator")[1]},
    }


def test_the_table_names_every_route_and_its_scope() -> None:
    found = {
        (method, route.path_format): handler.opt["scope"]
        for route in create_app(OFFLINE).routes
        if isinstance(route, HTTPRoute)
        for method, (handler, _) in route.route_handler_map.items()
        if method != "OPTIONS"
    }
    assert found == ROUTES


def test_the_document_names_every_route_of_the_table_and_its_scope(api: Api) -> None:
    found = {
        (method.upper(), path): "open" if not operation["security"] else operation["description"].rsplit("Key: ", 1)[1]
        for path, item in api.client.get("/openapi.json").json()["paths"].items()
        for method, operation in item.items()
    }
    unlisted = {("GET", path) for path in ("/", "/docs", "/openapi.json")}
    assert {route: scope.rstrip(".") for route, scope in found.items()} == {
        route: scope for route, scope in ROUTES.items() if route not in unlisted
    }


def test_every_hot_route_is_a_route_for_storefronts() -> None:
    """The short way lets every storefront in, so nothing that takes an operator may be served there."""
    for path in HOT:
        assert ROUTES["POST", path] == "storefront"
        assert find_hot(b"POST", path.format(**IDS).encode()) is not None


def test_a_route_that_does_not_say_who_may_use_it_stops_the_start() -> None:
    @get("/open-door")
    async def open_door() -> None: ...

    with pytest.raises(ImproperlyConfiguredException, match="/open-door does not say who may use it"):
        _check_scopes(Litestar([open_door], openapi_config=None))


@pytest.mark.parametrize(("method", "path", "scope"), ASKED)
def test_each_route_lets_in_exactly_whom_the_table_says(
    guarded: list[Api], callers: dict[str, dict[str, str]], method: str, path: str, scope: str
) -> None:
    answers = {who: guarded[0].client.request(method, path, headers=headers) for who, headers in callers.items()}
    if scope == "open":
        assert {answer.status_code for answer in answers.values()} <= {200, 302}
        return
    for who in ("nobody", "revoked"):
        assert_problem(answers[who], 401, "unauthenticated")
        assert answers[who].headers["WWW-Authenticate"] == "Bearer"
    if scope == "operator":
        assert_problem(answers["storefront"], 403, "forbidden")
    else:
        assert answers["storefront"].status_code not in (401, 403, 405, 500)
    assert answers["operator"].status_code not in (401, 403, 405, 500)


def test_the_table_tells_no_two_scopes_apart_that_are_one(
    guarded: list[Api], callers: dict[str, dict[str, str]]
) -> None:
    """HEAD is GET: it takes the same key."""
    for path in ("/api/v1/stock", "/api/v1/stock/x/ledger"):
        head, asked = (
            [guarded[0].client.request(method, path, headers=headers).status_code for headers in callers.values()]
            for method in ("HEAD", "GET")
        )
        assert head == asked


# Revocation


def wait_refused(apis: list[Api], headers: dict[str, str], path: str = "/api/v1/stock") -> float:
    """Seconds until every process refuses the key."""
    started = time.monotonic()
    while any(api.client.get(path, headers=headers).status_code != 401 for api in apis):
        assert time.monotonic() < started + 10
    return time.monotonic() - started


def use(apis: list[Api], headers: dict[str, str]) -> None:
    """Have the key remembered by every process, on both ways."""
    for api in apis:
        assert api.client.get("/api/v1/stock", headers=headers).status_code == 200
        assert api.client.post("/api/v1/holds", json={}, headers=headers).status_code == 400


def test_a_key_opens_nothing_any_more_when_the_command_that_revokes_it_returns(guarded: list[Api]) -> None:
    settings = guarded[0].settings
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")}
    environment["HOLDFAST_DATABASE_URL"] = settings.require_database_url()
    for _ in range(3):
        key, secret = make_key(settings, "storefront")
        use(guarded, bearing(secret))
        command = [sys.executable, "-m", "cli.main", "keys", "revoke", key.id]
        subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
        assert wait_refused(guarded, bearing(secret)) < AT_ONCE_S
        for api in guarded:
            assert_problem(api.client.post("/api/v1/holds", json={}, headers=bearing(secret)), 401, "unauthenticated")


def test_one_keys_end_is_no_other_keys_end(guarded: list[Api]) -> None:
    settings = guarded[0].settings
    (ended, ended_secret), (_, other_secret) = (make_key(settings, "storefront") for _ in range(2))
    use(guarded, bearing(ended_secret))
    use(guarded, bearing(other_secret))
    revoke_key(settings, ended.id)
    wait_refused(guarded, bearing(ended_secret))
    use(guarded, bearing(other_secret))


def test_a_key_revoked_while_nobody_listened_is_refused_once_somebody_does(guarded: list[Api]) -> None:
    settings = guarded[0].settings
    key, secret = make_key(settings, "storefront")

    async def revoke_unheard() -> None:
        connection = await asyncpg.connect(settings.require_database_url())
        try:
            await connection.execute("UPDATE api_keys SET revoked_at = now() WHERE id = $1", key.id)
            ended = await connection.fetch(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = 'holdfast keys' AND datname = current_database()"
            )
            assert len(ended) == len(guarded)
        finally:
            await connection.close()

    use(guarded, bearing(secret))
    asyncio.run(revoke_unheard())
    assert wait_refused(guarded, bearing(secret)) < 1.5  # half of what a key is trusted for without asking
    other, other_secret = make_key(settings, "storefront")
    use(guarded, bearing(other_secret))
    revoke_key(settings, other.id)
    assert wait_refused(guarded, bearing(other_secret)) < AT_ONCE_S


def test_a_revoked_key_stays_refused_and_a_good_one_stays_good_while_postgresql_is_away(
    clean_redis_url: str, tmp_path: Path
) -> None:
    with own_postgres() as postgres, ExitStack() as stack:
        settings = Settings(redis_url=clean_redis_url, database_url=postgres.url, auth="keys")
        apis = [stack.enter_context(running_api(settings, tmp_path / f"api-{number}.log")) for number in range(2)]
        (ended, ended_secret), (_, good_secret) = (make_key(settings, "storefront") for _ in range(2))
        use(apis, bearing(ended_secret))
        use(apis, bearing(good_secret))
        revoke_key(settings, ended.id)
        wait_refused(apis, bearing(ended_secret))  # else PostgreSQL may stop before its listeners are told
        postgres.stop()
        deadline = time.monotonic() + 4  # longer than a key is remembered without asking
        while time.monotonic() < deadline:
            for api in apis:
                assert api.client.get("/api/v1/stock", headers=bearing(ended_secret)).status_code == 401
                assert api.client.post("/api/v1/holds", json={}, headers=bearing(ended_secret)).status_code == 401
            time.sleep(0.2)
        use(apis, bearing(good_secret))


def test_a_secret_is_stored_nowhere(api: Api, guarded: list[Api]) -> None:
    settings = api.settings
    _, secret = make_key(settings, "storefront")
    sku = api.create(1)
    body = {"lines": [{"sku": sku, "quantity": 1}]}
    headers = bearing(secret) | {"Idempotency-Key": "some-key"}
    assert guarded[0].client.post("/api/v1/holds", json=body, headers=headers).status_code == 201

    async def tables_with(text: str) -> list[str]:
        connection = await asyncpg.connect(settings.require_database_url())
        try:
            tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
            found = []
            for (table,) in tables:
                rows = io.BytesIO()
                await connection.copy_from_table(table, output=rows)
                if text.encode() in rows.getvalue():
                    found.append(str(table))
            return found
        finally:
            await connection.close()

    assert asyncio.run(tables_with("test storefront")) == ["api_keys"]
    assert asyncio.run(tables_with(secret)) == []
    with redis.Redis.from_url(settings.require_redis_url()) as client:
        for key in client.scan_iter():
            assert secret.encode() not in key
            assert secret.encode() not in (client.dump(key) or b"")
    assert secret not in guarded[0].log_path.read_text()
