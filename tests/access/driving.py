"""Everything that a deployment does, done once: each route that writes, each job, each command, and what mends."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
import msgspec

from engine.keys import Keys
from engine.settings import Settings
from tests.access.database import role_url
from tests.access.redis_server import ADMIN, AccessRedis
from tests.api.catalogue import made, make_category, make_product, make_variant, name, walk
from tests.api.process import ROOT, Api
from tests.api.shop import (
    BASE,
    add,
    cart_with,
    check_out,
    key,
    limit_customer,
    make_coupon,
    move,
    open_cart,
    pay,
    show,
    thing,
    use_coupon,
)
from tests.jobs.processes import Job, Processes

PATIENCE_S = 40.0
KEYS = Keys()


class Deployment(msgspec.Struct, dict=True):
    """Each process with its own user and role."""

    redis: AccessRedis
    superuser_url: str
    settings: Settings
    directory: Path
    jobs: list[Processes] = []

    def settings_of(self, user: str, role: str | None = None) -> Settings:
        """What a process of this user is started with."""
        return self.settings.with_urls(self.redis.url(user), role_url(self.superuser_url, role or user))

    def processes_of(self, user: str, role: str) -> Processes:
        """Job processes with this user."""
        started = Processes(self.settings_of(user, role), self.directory)
        self.jobs.append(started)
        return started

    def command(self, *arguments: str, status: int = 0) -> str:
        """The `holdfast` command with the operator's user and role; what it printed."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")}
        done = subprocess.run(
            [sys.executable, "-m", "cli.main", *arguments],
            cwd=ROOT,
            env={**environment, **self.settings_of("operator").to_environment()},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == status, (arguments, done.stdout, done.stderr)
        return done.stdout

    def query(self, statement: str, *arguments: object) -> Any:
        """One value, as the superuser."""

        async def ask() -> Any:
            connection = await asyncpg.connect(self.superuser_url)
            try:
                return await connection.fetchval(statement, *arguments)
            finally:
                await connection.close()

        return asyncio.run(ask())

    def wait_query(self, statement: str, *arguments: object, wanted: object = True) -> None:
        """Wait until the database says so."""
        wait_for(lambda: self.query(statement, *arguments) == wanted, statement)

    def log_in(self, api: Api) -> None:
        """Give the API's client a key, made as an operator makes it."""
        secret = json.loads(self.command("keys", "create", "--scope", "operator", "--name", "t", "--json"))["secret"]
        api.client.headers["Authorization"] = f"Bearer {secret}"


def wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.1)


def change_catalogue(api: Api) -> None:
    """Make, change, list and delete one of each kind."""
    category = make_category(api)
    product = make_product(api, category_id=category["id"])
    variant = make_variant(api, product["id"])
    changed = {"product_id": product["id"], "sku": variant["sku"], "price_adjustment": 5}
    made(api.client.put(f"{BASE}/variants/{variant['id']}", json=changed), 200)
    body = {"name": "Mug", "base_price": 900, "currency": "EUR"}
    made(api.client.put(f"{BASE}/products/{product['id']}", json=body), 200)
    made(api.client.put(f"{BASE}/categories/{category['id']}", json={"name": "C", "slug": name("slug")}), 200)
    rule = {"name": "R", "kind": "bulk", "min_quantity": 5, "percent": 10}
    first = api.client.post(f"{BASE}/pricing-rules", json=rule, headers=(again := key()))
    assert api.client.post(f"{BASE}/pricing-rules", json=rule, headers=again).json() == made(first)
    rule_id = first.json()["id"]
    made(api.client.put(f"{BASE}/pricing-rules/{rule_id}", json={**rule, "percent": 20}), 200)
    code = make_coupon(api)
    made(api.client.get(f"{BASE}/coupons/{code}"), 200)
    made(api.client.put(f"{BASE}/coupons/{code}", json={"code": code, "kind": "percentage", "value": 20}), 200)
    for path in ("categories", "products", "variants", "pricing-rules", "coupons", "items", "stock", "orders"):
        walk(api, f"{BASE}/{path}")
    made(api.client.get(f"{BASE}/products/{product['id']}/price", params={"variant_id": variant["id"]}), 200)
    made(api.client.post(f"{BASE}/stock/{variant['sku']}/adjustments", json=adjustment(-10), headers=key()), 200)
    for path in (
        f"variants/{variant['id']}",
        f"products/{product['id']}",
        f"categories/{category['id']}",
        f"pricing-rules/{rule_id}",
        f"coupons/{code}",
    ):
        gone = api.client.delete(f"{BASE}/{path}")
        assert gone.is_success, gone.text


def adjustment(delta: int) -> dict[str, Any]:
    return {"delta": delta, "reason": "count"}


def hold_and_settle(api: Api) -> str:
    """A hold of each ending, and one that runs out; returns its id."""
    sku, now = api.create(50), key()
    body = {"lines": [{"sku": sku, "quantity": 1}], "customer_id": "c-1"}
    first = api.client.post(f"{BASE}/holds", json=body, headers=now)
    assert api.client.post(f"{BASE}/holds", json=body, headers=now).json() == made(first)
    made(api.client.post(f"{BASE}/holds/{first.json()['id']}/extend", json={"ttl_s": 900}, headers=key()), 200)
    made(api.client.post(f"{BASE}/holds/{first.json()['id']}/commit", json={"reference": "r"}, headers=key()), 200)
    made(api.client.delete(f"{BASE}/holds/{api.hold(sku)['id']}"), 200)
    made(api.client.post(f"{BASE}/holds/batch", json={"holds": [body, body]}), 200)
    made(api.client.post(f"{BASE}/stock/{sku}/adjustments", json=adjustment(-1), headers=key()), 200)
    limited = api.create(1, customer_limit=1)
    ending = api.hold(limited, customer_id="c-2", ttl_s=1)["id"]
    refused = api.client.post(f"{BASE}/holds", json={"lines": [{"sku": limited, "quantity": 2}]})
    assert refused.status_code == 409, refused.text
    made(api.client.get(f"{BASE}/stock/{sku}/ledger"), 200)
    return str(ending)


def shop(api: Api) -> tuple[str, str]:
    """Carts of every kind and orders through their lives; returns a paid order and one whose payment never comes."""
    bought, limited, code = thing(api), limit_customer(api, 10, 5), make_coupon(api, usage_limit=5)
    cart = cart_with(api, bought["sku"], 2, name("customer"))
    made(add(api, cart, limited["sku"], 2), 200)
    made(use_coupon(api, cart, code), 200)
    made(api.client.put(f"{BASE}/carts/{cart}/items/{bought['sku']}", json={"quantity": 1}), 200)
    made(api.client.post(f"{BASE}/carts/{cart}/merge", json={"from_cart_id": cart_with(api, bought["sku"])}), 200)
    made(api.client.delete(f"{BASE}/carts/{cart}/items/{limited['sku']}"), 200)
    made(add(api, cart, limited["sku"]), 200)
    show(api, cart)
    order = made(check_out(api, cart))["id"]
    for step in ("processing", "shipped", "returned"):
        made(move(api, order, step), 200)
    paid = made(check_out(api, cart_with(api, bought["sku"]), payment="pending"))["id"]
    pay(api, paid, "processing")
    pay(api, paid, "succeeded", transaction_id="t")
    failed = made(check_out(api, cart_with(api, bought["sku"]), payment="pending"))["id"]
    pay(api, failed, "failed")
    late = made(check_out(api, cart_with(api, bought["sku"], customer_id=name("c")), payment="pending"))["id"]
    made(api.client.get(f"{BASE}/orders/{paid}"), 200)
    made(api.client.get(f"{BASE}/orders", params={"status": "created"}), 200)
    open_cart(api, name("c"))
    return paid, late


def lose_record(deployment: Deployment, hold: str, *, deadline_too: bool) -> None:
    """What a fault of Redis might do to a live hold; PostgreSQL says that its time was over long ago."""
    deployment.wait_query("SELECT count(*) FROM holds WHERE id = $1", hold, wanted=1)
    token = hold.removeprefix("hold_")
    with deployment.redis.client(ADMIN) as admin:
        admin.delete(KEYS.hold(token))
        if deadline_too:
            admin.zrem(KEYS.deadlines, token)
    deployment.query("UPDATE holds SET expires_at = now() - interval '1 hour' WHERE id = $1", hold)


def poison(deployment: Deployment, seq: int) -> None:
    """An event that PostgreSQL cannot apply, in the place `seq` of the log."""
    with deployment.redis.client(ADMIN) as admin:
        epoch = admin.hget(KEYS.meta, "epoch")
        members: dict[Any, Any] = {"kind": "adjust", "at": "1000", "n": "1", "events": '[["A","many","","",0,0]]'}
        admin.xadd(KEYS.events, members, id=f"{epoch}-{seq}")
        admin.hset(KEYS.meta, "seq", seq)


def next_seq(deployment: Deployment) -> tuple[int, int]:
    """The epoch, and the place of the next event in its log."""
    with deployment.redis.client(ADMIN) as admin:
        epoch, seq = admin.hmget(KEYS.meta, "epoch", "seq")
    return int(epoch), int(seq) + 1


def command_everything(deployment: Deployment, api: Api) -> None:
    """The operator's commands, on a system at rest but for the flush."""
    lose_record(deployment, api.hold(api.create(3))["id"], deadline_too=True)
    wiped = deployment.directory / "catalogue.csv"
    for quantity in (3, 5):
        wiped.write_text(f"sku,name,price,quantity,currency\nIMPORTED,Mug,2.50,{quantity},EUR\n")
        deployment.command("import", str(wiped))
    assert "IMPORTED" in json.dumps(walk(api, f"{BASE}/stock"))
    deployment.command("keys", "list")
    made_key = json.loads(deployment.command("keys", "create", "--scope", "storefront", "--name", "x", "--json"))
    deployment.command("keys", "revoke", made_key["key"]["id"])
    assert json.loads(deployment.command("reconcile", "--json"))["orphans_ended"] == 1
    epoch, seq = next_seq(deployment)
    poison(deployment, seq)
    deployment.wait_query("SELECT count(*) FROM flush_quarantine", wanted=1)
    deployment.command("quarantine", "list")
    mended = deployment.directory / "mended.json"
    mended.write_text(json.dumps(["IMPORTED", 0, "mended", "", 0, 0]))
    deployment.command("quarantine", "replay", f"{epoch}-{seq}", "--payload", str(mended))
    deployment.query(
        "UPDATE stock_levels SET available = available - 1, received = received - 1 WHERE sku = 'IMPORTED'"
    )
    assert not json.loads(deployment.command("reconcile", "--json", status=1))["balanced"]
    assert json.loads(deployment.command("reconcile", "--fix", "--json"))["rebuilt"]
    api.wait_ready()
    deployment.command("rebuild")
    api.wait_ready()


def workers_of(deployment: Deployment) -> tuple[Job, Job, Job]:
    """A flush worker, a housekeeping worker and the scheduler."""
    working, timing = deployment.processes_of("worker", "worker"), deployment.processes_of("scheduler", "api")
    return working.worker("flush"), working.worker("housekeeping"), timing.scheduler(HOLDFAST_DATABASE_URL="")
