"""Nothing that names a customer or opens a door is in a log, whatever happens and however much is logged."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import httpx
import pytest

from cli.embedded import EmbeddedPostgres
from cli.embedded_server import choose_port
from engine.keys import Keys
from engine.settings import Settings
from persistence import api_keys
from persistence.pool import connect
from tests.access.driving import wait_for
from tests.access.redis_server import ADMIN, AccessRedis
from tests.api.catalogue import made, make_product, make_variant
from tests.api.process import ROOT, Api, running_api
from tests.api.shop import BASE
from tests.jobs.processes import Processes
from tests.own_postgres import own_postgres

MARK = "zqx"
SKU = "LOGGED-MUG"
"""Unmarked: which SKU's books differ is what an operator has to read in a log."""
CUSTOMER = f"{MARK}-customer-7"
KEYS = Keys()
PLACES = {
    "HOLDFAST_REDIS_URL": "redis://127.0.0.1:1/0",
    "HOLDFAST_DATABASE_URL": "postgresql://127.0.0.1:1/holdfast",
    "HOLDFAST_LOG_LEVEL": "debug",
}
SHORT_S = 2.5


@pytest.fixture(scope="module")
def database(place: Path) -> Iterator[EmbeddedPostgres]:
    # As deploy sets it: an error's details, which name rows, stay out of the server's log.
    with own_postgres(log_path=place / "postgres.log", log_error_verbosity="terse") as server:
        yield server


@pytest.fixture(scope="module")
def settings(users: AccessRedis, database: EmbeddedPostgres) -> Settings:
    """Everybody has a password with the mark in it, and everything is logged."""
    parts = urlsplit(database.url)
    url = urlunsplit(parts._replace(netloc=f"{parts.username}:{MARK}-database@{parts.hostname}:{parts.port}"))
    return Settings(
        redis_url=users.url(ADMIN),
        database_url=url,
        log_level="debug",
        access_log=True,
        flush_every_s=1,
        expire_every_s=1,
        reconcile_every_s=1,
        trim_every_s=1,
        redis_retries=0,
        redis_timeout_s=0.5,
    )


@pytest.fixture(scope="module")
def secrets_of(users: AccessRedis) -> list[str]:
    return list(users.passwords.values())


def key(name: str) -> dict[str, str]:
    return {"Idempotency-Key": f"{MARK}-key-{name}"}


def succeed(api: Api) -> str:
    """Everything that carries a name or a code, and is done; returns a cart."""
    product = make_product(api)
    sku = make_variant(api, product["id"], stock_quantity=50)["sku"]
    made(api.client.put(f"{BASE}/stock/{SKU}", json={"on_hand": 1, "customer_limit": 1}))
    made(api.client.post(f"{BASE}/coupons", json={"code": f"{MARK}-COUPON", "kind": "percentage", "value": 5}))
    rule = {"name": "R", "kind": "promo", "promo_code": f"{MARK}-promo", "percent": 5}
    made(api.client.post(f"{BASE}/pricing-rules", json=rule))
    body = {"lines": [{"sku": sku, "quantity": 1}], "customer_id": CUSTOMER}
    hold = made(api.client.post(f"{BASE}/holds", json=body, headers=key("hold")))
    assert made(api.client.post(f"{BASE}/holds", json=body, headers=key("hold"))) == hold
    made(api.client.post(f"{BASE}/holds/{hold['id']}/commit", json={"reference": f"{MARK}-reference"}), 200)
    cart = made(api.client.post(f"{BASE}/carts", json={"customer_id": CUSTOMER}))["id"]
    line = {"sku": sku, "quantity": 1, "promo_code": f"{MARK}-promo", "user_tier": f"{MARK}-tier"}
    made(api.client.post(f"{BASE}/carts/{cart}/items", json=line, headers=key("add")), 200)
    made(api.client.post(f"{BASE}/carts/{cart}/coupon", json={"code": f"{MARK}-COUPON"}), 200)
    pending = {"payment": "pending", "customer_id": CUSTOMER}
    order = made(api.client.post(f"{BASE}/carts/{cart}/checkout", json=pending, headers=key("order")))["id"]
    news = {"status": "succeeded", "transaction_id": f"{MARK}-transaction"}
    made(api.client.post(f"{BASE}/orders/{order}/payment", json=news), 200)
    made(api.client.post(f"{BASE}/orders/{order}/transitions", json={"to": "processing"}), 200)
    made(api.client.get(f"{BASE}/orders", params={"customer_id": CUSTOMER}), 200)
    cart = str(made(api.client.post(f"{BASE}/carts", json={"customer_id": CUSTOMER}))["id"])
    made(api.client.post(f"{BASE}/carts/{cart}/items", json=line), 200)
    return cart


def be_refused(api: Api, cart: str) -> None:
    """What is wrong with a request, of each kind."""
    one = {"lines": [{"sku": SKU, "quantity": 1}], "customer_id": CUSTOMER}
    many = {"lines": [{"sku": SKU, "quantity": 9}], "customer_id": CUSTOMER}
    posts: list[tuple[str, Any, dict[str, str], int]] = [
        ("holds", many, {}, 409),
        ("holds", {**one, "customer_id": f"{MARK}-" + "c" * 1_000}, {}, 400),
        ("holds", {**one, "customer_id": f"{MARK}-\x00"}, {}, 400),
        ("holds", {**one, f"{MARK}-field": CUSTOMER}, {}, 400),
        ("holds", {**one, "ttl_s": f"{MARK}-ttl"}, {}, 400),
        ("holds", one, {"Idempotency-Key": f"{MARK}-" + "k" * 300}, 400),
        ("holds", one, key("hold"), 422),
        ("holds/batch", {"holds": [one, many]}, key("batch"), 200),
        (f"carts/{cart}/checkout", {"customer_id": f"{MARK}-other"}, key("other"), 403),
        (f"carts/{cart}/coupon", {"code": f"{MARK}-NONE"}, {}, 404),
        (f"carts/{MARK}-cart/items", {"sku": SKU, "quantity": 1}, {}, 404),
        ("coupons", {"code": f"{MARK}-COUPON", "kind": "percentage", "value": 5}, {}, 409),
        ("coupons", {"code": f"{MARK} no", "kind": "percentage", "value": 5}, {}, 400),
        (f"{MARK}-route", one, {}, 404),
    ]
    for path, body, headers, status in posts:
        answer = api.client.post(f"{BASE}/{path}", json=body, headers=headers)
        assert answer.status_code == status, (path, answer.text)
    for content in (f'{{"customer_id": "{CUSTOMER}"', f"{CUSTOMER}" * 20_000, b"\xff" + CUSTOMER.encode()):
        assert api.client.post(f"{BASE}/holds", content=content).status_code in (400, 413)
    for path in (f"holds/{MARK}", f"orders?customer_id={CUSTOMER}%00", f"items?min_value={MARK}", f"stock/{MARK}-none"):
        assert api.client.get(f"{BASE}/{path}").status_code in (400, 404), path
    for headers in ({"Authorization": f"Bearer hf_{MARK}{'s' * 40}"}, {"X-API-Key": f"{MARK}-key"}):
        with httpx.Client(base_url=api.url, headers=headers) as stranger:
            assert stranger.get(f"{BASE}/stock", params={"limit": 1}).status_code == 401
            assert stranger.request(f"{MARK.upper()}", "/").status_code in (400, 404, 405)


def break_records(api: Api, users: AccessRedis, settings: Settings, cart: str) -> None:
    """Faults of ours: a record that cannot be read, a row that PostgreSQL refuses."""
    with users.client(ADMIN) as admin:
        token = cart.removeprefix("cart_")
        for broken in (f'{{"{CUSTOMER}": ', f'[1, "{CUSTOMER}", "{CUSTOMER}"]', f"{CUSTOMER}"):
            admin.set(KEYS.cart(token), broken)
            assert api.client.get(f"{BASE}/carts/{cart}").status_code == 500
        admin.delete(KEYS.cart(token))
    ask(settings, f"ALTER TABLE coupons ADD CONSTRAINT refused CHECK (code <> '{MARK}-REFUSED')")
    body = {"code": f"{MARK}-REFUSED", "kind": "percentage", "value": 5}
    assert api.client.post(f"{BASE}/coupons", json=body).status_code in (500, 503)


def break_the_flush(api: Api, settings: Settings, place: Path) -> None:
    """An event that PostgreSQL refuses, and then no place to set it aside."""
    ask(settings, f"ALTER TABLE holds ADD CONSTRAINT refused CHECK (customer_id <> '{CUSTOMER}') NOT VALID")
    ask(settings, "ALTER TABLE flush_quarantine ADD CONSTRAINT refused CHECK (false)")
    body = {"lines": [{"sku": api.create(1), "quantity": 1}], "customer_id": CUSTOMER}
    made(api.client.post(f"{BASE}/holds", json=body))
    wait_for(lambda: any("CheckViolation" in log.read_text() for log in place.glob("*worker-flush.log")), "it failed")
    ask(settings, "ALTER TABLE flush_quarantine DROP CONSTRAINT refused")
    wait_for(lambda: any("set aside" in log.read_text() for log in place.glob("*worker-flush.log")), "it was set aside")


def lose_the_servers(api: Api, servers: Sequence[EmbeddedPostgres | AccessRedis], secrets_of: list[str]) -> None:
    """PostgreSQL away, then Redis too."""
    body = {"lines": [{"sku": SKU, "quantity": 1}], "customer_id": CUSTOMER}
    for server in servers:
        server.stop()
        for _ in range(3):
            assert api.client.post(f"{BASE}/holds", json=body, headers=key("down")).status_code in (409, 503)
            api.client.get(f"{BASE}/orders", params={"customer_id": CUSTOMER})
            told = api.client.get("/readyz").text + api.client.get("/metrics").text
            assert not any(each in told for each in (MARK, *secrets_of))
    api.wait_status(503)


def output_of(module: tuple[str, ...], variables: dict[str, str]) -> str:
    """What a process says that is given these variables, until it ends or is ended."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")}
    process = subprocess.Popen(
        [sys.executable, "-m", *module],
        cwd=ROOT,
        env={**kept, "HOLDFAST_PORT": str(choose_port()), **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        return process.communicate(timeout=SHORT_S)[0]
    except subprocess.TimeoutExpired:
        process.terminate()
        return process.communicate(timeout=20)[0]


def make_key(settings: Settings) -> str:
    """The secret of a fresh operator key."""

    async def run() -> str:
        pool = await connect(settings.require_database_url(), 1)
        try:
            return (await api_keys.create(pool, "tests", "operator"))[1]
        finally:
            await pool.close()

    return asyncio.run(run())


def ask(settings: Settings, *statements: str) -> None:
    async def run() -> None:
        connection = await asyncpg.connect(settings.require_database_url())
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(run())


def assert_unmarked(place: Path, secrets_of: list[str]) -> None:
    """No log, of whichever process, has a mark or a password."""
    logs = sorted(place.glob("*.log"))
    assert len(logs) >= 3
    marks = (MARK, *secrets_of)
    leaks = [
        (log.name, line)
        for log in logs
        for line in log.read_text(errors="replace").splitlines()
        if any(mark in line or mark in line.lower() for mark in marks)
    ]
    assert leaks == []


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_no_log_names_a_customer_a_code_a_key_or_a_password(
    users: AccessRedis, database: EmbeddedPostgres, settings: Settings, place: Path, secrets_of: list[str]
) -> None:
    processes = Processes(settings, place)
    try:
        for start in (
            partial(processes.worker, "flush"),
            partial(processes.worker, "housekeeping"),
            processes.scheduler,
        ):
            start()
        with running_api(settings, place / "api.log") as api:
            secrets_of.append(make_key(settings))
            api.client.headers["Authorization"] = f"Bearer {secrets_of[-1]}"
            cart = succeed(api)
            be_refused(api, cart)
            break_records(api, users, settings, cart)
            break_the_flush(api, settings, place)
            lose_the_servers(api, [database, users], secrets_of)
    finally:
        processes.kill_all()
    assert_unmarked(place, secrets_of)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("HOLDFAST_REDIS_URL", f"redis://api:{MARK}-wrong@127.0.0.1:1/0"),
        ("HOLDFAST_REDIS_URL", f"redis://api:{MARK}/wrong@127.0.0.1:1/0"),
        ("HOLDFAST_REDIS_URL", f"http://api:{MARK}@127.0.0.1:1/0"),
        ("HOLDFAST_REDIS_URL", f"redis://api:{MARK}@127.0.0.1:1/0?socket_timeout=x"),
        ("HOLDFAST_DATABASE_URL", f"postgresql://api:{MARK}@127.0.0.1:1/holdfast?sslmode=x"),
        ("HOLDFAST_DATABASE_URL", f"postgresql://api:{MARK}#@127.0.0.1:1/holdfast"),
        ("HOLDFAST_DATABASE_URL", f"postgresql://api:{MARK}@127.0.0.1:1/holdfast"),
        ("HOLDFAST_DATABASE_URL", f"mysql://api:{MARK}@127.0.0.1:1/holdfast"),
        ("HOLDFAST_REDIS_PASSWORD", MARK),
    ],
)
@pytest.mark.parametrize(
    "module",
    [("api",), ("jobs.worker", "flush"), ("jobs.scheduler",), ("cli.main", "reconcile")],
)
def test_a_process_that_cannot_start_says_why_without_the_password(
    module: tuple[str, ...], variable: str, value: str
) -> None:
    text = output_of(module, {**PLACES, variable: value})
    assert MARK not in text
