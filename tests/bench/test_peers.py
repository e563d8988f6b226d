"""Peers: each does what it stands for, or a comparison with it would say nothing."""

from __future__ import annotations

import http.client
import json
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from urllib.parse import urlsplit

import msgspec
import pytest
import redis
from msgspec import Struct

from api import carts, checkout, hold_batches, holds, orders
from benchmarks.harness.children import Child, listen
from benchmarks.peers import bodies, group_commit
from benchmarks.peers.noop import SOLD_OUT

UNITS = 3
BODY = {"lines": [{"sku": "hot-00000", "quantity": 1}], "customer_id": "ada"}
FILLED = ("--prefix", "hot", "--skus", "1", "--units", str(UNITS))


@contextmanager
def serving(name: str, *options: str) -> Iterator[str]:
    with listen() as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        fd = listener.fileno()
        child = Child([sys.executable, "-m", f"benchmarks.peers.{name}", "--fd", str(fd), *options], fds=(fd,))
    try:
        yield url
    finally:
        child.stop(10)


def ask(url: str, path: str, body: object) -> tuple[int, dict[str, object]]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
    connection.request("POST", f"/api/v1{path}", json.dumps(body), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    said = answer.read()
    connection.close()
    return answer.status, json.loads(said) if said and answer.status < http.client.BAD_REQUEST else {}


@pytest.mark.parametrize("name", ["row_lock", "unit_rows", "per_request_lua"])
def test_a_peer_sells_exactly_what_it_has(name: str, clean_database_url: str, clean_redis_url: str) -> None:
    server = ("--redis-url", clean_redis_url) if name == "per_request_lua" else ("--database-url", clean_database_url)
    with serving(name, *FILLED, *server) as url:
        answers = [ask(url, "/holds", BODY) for _ in range(UNITS + 2)]
        bad, _ = ask(url, "/holds", {"lines": []})
    assert [status for status, _ in answers] == [201] * UNITS + [409] * 2
    ids = {str(body["id"]) for status, body in answers if status == http.client.CREATED}
    assert len(ids) == UNITS
    assert all(found.startswith("hold_") for found in ids)
    assert bad == http.client.BAD_REQUEST


def test_group_commit_answers_once_its_request_is_kept_with_all_that_waited(clean_redis_url: str) -> None:
    with serving("group_commit", "--redis-url", clean_redis_url) as url, redis.Redis.from_url(clean_redis_url) as kept:
        status, _ = ask(url, "/holds", BODY)
        assert kept.get(group_commit.KEY) == json.dumps(BODY).encode()
        kept.config_resetstat()
        kept.client_pause(500, all=False)
        with ThreadPoolExecutor(20) as pool:
            statuses = list(pool.map(lambda _: ask(url, "/holds", BODY)[0], range(20)))
        assert kept.info("commandstats")["cmdstat_set"]["calls"] < len(statuses)
    assert [status, *statuses] == [201] * 21


def test_noop_answers_every_route_that_is_measured() -> None:
    with serving("noop") as url:
        assert ask(url, "/holds", BODY)[0] == 201
        assert ask(url, "/holds", {"lines": [{"sku": f"{SOLD_OUT}-1", "quantity": 1}]})[0] == 409
        assert ask(url, "/holds/hold_1/commit", {"reference": "order-1"})[1]["id"] == "hold_1"
        status, batch = ask(url, "/holds/batch", {"holds": [BODY, BODY]})
        assert (status, len(batch["results"])) == (200, 2)  # type: ignore[arg-type]
        cart_id = ask(url, "/carts", {})[1]["id"]
        assert ask(url, f"/carts/{cart_id}/items", {"sku": "a", "quantity": 2})[1]["id"] == cart_id
        assert ask(url, f"/carts/{cart_id}/checkout", {})[0] == 201
        assert ask(url, "/holds", {"lines": [{"sku": "no spaces", "quantity": 1}]})[0] == 500


@pytest.mark.parametrize(
    ("peers", "ours"),
    [
        (bodies.HoldBody, holds.HoldRequest),
        (bodies.CommitBody, holds.CommitRequest),
        (bodies.BatchBody, hold_batches.BatchRequest),
        (bodies.CartBody, carts.CartRequest),
        (bodies.HoldAnswer, holds.HoldView),
        (bodies.BatchAnswer, hold_batches.BatchResults),
        (bodies.CartAnswer, carts.CartView),
        (bodies.OrderAnswer, orders.OrderView),
        (bodies.Payment, orders.PaymentView),
    ],
)
def test_bodies_and_answers_have_the_fields_of_the_real_ones(peers: type[Struct], ours: type[Struct]) -> None:
    assert names_of(peers) == names_of(ours) - {"not_merged"}


def test_a_checkout_that_is_measured_is_one_that_the_api_takes() -> None:
    assert names_of(bodies.CheckoutBody) <= names_of(checkout.CartCheckout)


def names_of(kind: type[Struct]) -> set[str]:
    return {field.encode_name for field in msgspec.structs.fields(kind)}
