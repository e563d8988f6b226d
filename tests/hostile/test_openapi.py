"""Schemathesis over the OpenAPI document, with every check on, against a process with real things to sell in it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from engine.settings import Settings
from persistence import api_keys
from persistence.pool import connect
from tests.api.process import ROOT, Api, running_api
from tests.api.shop import add, cart_with, check_out, limit_customer, make_coupon, open_cart, thing
from tests.hostile.books import is_balanced
from tests.hostile.examples import EXAMPLES, LONG_TIMEOUT_S

LINKED = ("carts", "holds", "orders", "products", "variants", "coupons", "skus")
BINDINGS = {
    "path.cart_id": "carts",
    "path.hold_id": "holds",
    "path.order_id": "orders",
    "path.product_id": "products",
    "path.variant_id": "variants",
    "path.coupon_code": "coupons",
    "path.sku": "skus",
    "body.code": "coupons",
    "body.cart_id": "carts",
    "body.from_cart_id": "carts",
    "body.sku": "skus",
    "body.lines[*].sku": "skus",
    "body.holds[*].lines[*].sku": "skus",
    "body.product_id": "products",
    "query.product_id": "products",
    "query.variant_id": "variants",
}
"""Where half of the requests name something that exists."""


@pytest.fixture(scope="module")
def guarded(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A process that asks for keys."""
    settings = msgspec.structs.replace(settings, auth="keys")
    with running_api(settings, tmp_path_factory.mktemp("guarded") / "api.log") as running:
        yield running


@pytest.fixture(scope="module")
def secret(guarded: Api) -> str:
    """An operator's key."""

    async def make() -> str:
        pool = await connect(guarded.settings.require_database_url(), 1)
        try:
            return (await api_keys.create(pool, "Schemathesis", "operator"))[1]
        finally:
            await pool.close()

    return asyncio.run(make())


def _fill(api: Api) -> dict[str, list[str]]:
    """A few of everything, by what they are."""
    sold = [thing(api, price, stock=100_000) for price in (0, 1_450, 99_999)]
    limited = limit_customer(api, stock=50, customer_limit=2)
    skus = [variant["sku"] for variant in (*sold, limited)]
    carts = [open_cart(api), open_cart(api, "customer-17850"), *(cart_with(api, sku, 2) for sku in skus)]
    orders: list[str] = []
    for payment in ("captured", "pending", "captured"):
        cart = cart_with(api, skus[0], 3, customer_id=f"payer-{payment}-{len(orders)}")
        assert add(api, cart, skus[1]).status_code == 200
        orders.append(check_out(api, cart, payment=payment).json()["id"])
    return {
        "carts": carts,
        "holds": [api.hold(sku, 2, ttl_s=86_400)["id"] for sku in skus],
        "orders": orders,
        "products": [variant["product_id"] for variant in sold],
        "variants": [variant["id"] for variant in sold],
        "coupons": [make_coupon(api) for _ in range(3)],
        "skus": skus,
    }


LEFT_OUT = r"^/(?!api/v1/holds|readyz)"
"""Paths whose systematic cases, which take Schemathesis long to think up, are left to the long run."""


def _write_settings(path: Path, secret: str, known: dict[str, list[str]]) -> None:
    lines = [
        'hooks = "tests.hostile.beyond_the_schema"',
        "continue-on-failure = true",
        "request-timeout = 5.0",
        # what else a request that fits its schema may meet: an end, another state, a key that was used
        "[checks.positive_data_acceptance]",
        'expected-statuses = ["2xx", "302", "403", "404", "409", "410", "412", "422"]',
        "[checks.not_a_server_error]",
        'expected-statuses = ["2xx", "302", "4xx"]',
        "[auth.openapi.bearer]",
        f'bearer = "{secret}"',
    ]
    for name in LINKED:
        lines += [f"[dictionaries.{name}]", f"values = {json.dumps(known[name])}"]
    lines += ["[parameters]"]
    lines += [f'"{at}" = {{ dictionary = "{name}", probability = 0.5 }}' for at, name in BINDINGS.items()]
    if not EXAMPLES:
        lines += ["[[operations]]", f"include-path-regex = '{LEFT_OUT}'", "phases.coverage.enabled = false"]
    path.write_text("\n".join(lines))


def _run(url: str, settings_path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "schemathesis.cli", "--no-color", "--config-file", str(settings_path)]
    return subprocess.run(
        [*command, "run", f"{url}/openapi.json", "--checks", "all", *options],
        cwd=settings_path.parent,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=LONG_TIMEOUT_S,
        check=False,
    )


@pytest.mark.timeout(LONG_TIMEOUT_S if EXAMPLES else 300)
def test_the_process_does_what_its_document_says_whatever_it_is_asked(
    api: Api, guarded: Api, secret: str, tmp_path: Path
) -> None:
    _write_settings(tmp_path / "schemathesis.toml", secret, _fill(api))
    options = ("--max-examples", str(EXAMPLES)) if EXAMPLES else ("--max-examples", "3", "--generation-deterministic")
    found = _run(guarded.url, tmp_path / "schemathesis.toml", *options)
    assert found.returncode == 0, found.stdout + found.stderr
    cases = re.search(r"(\d+) generated", found.stdout)
    assert cases is not None
    assert int(cases[1]) > 500, found.stdout
    assert is_balanced(guarded.settings)
