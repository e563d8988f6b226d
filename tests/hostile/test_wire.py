"""Odd bytes on sockets, thousands of them: never a 500, never a hang, and what is refused changes nothing."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from typing import Any

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis import Redis

from engine.keys import Keys
from tests.api.process import Api
from tests.api.shop import cart_with, check_out, thing
from tests.hostile.books import is_balanced, read_books
from tests.hostile.examples import EXAMPLES, LONG_TIMEOUT_S, cases
from tests.hostile.odd_bytes import bodies, chunked, header_values, idempotency_keys, odd_headers, segments
from tests.hostile.wire import PATIENCE_S, Talk, request, say

pytestmark = pytest.mark.timeout(LONG_TIMEOUT_S if EXAMPLES else 300)
JSON = ("Content-Type", "application/json")
SKU, HOLD, CART, ORDER, PRODUCT = "$SKU", "$HOLD", "$CART", "$ORDER", "$PRODUCT"
LINE = {"sku": SKU, "quantity": 2}
ROUTES: list[tuple[str, str, dict[str, Any]]] = [
    ("POST", "/api/v1/holds", {"lines": [LINE, LINE], "customer_id": "c-1", "ttl_s": 600}),
    ("POST", "/api/v1/holds/", {"lines": [LINE], "customer_id": "c-1", "ttl_s": 600}),
    ("POST", "/api/v1/holds/batch", {"holds": [{"lines": [LINE]}, {"lines": [LINE], "ttl_s": 600}]}),
    ("POST", f"/api/v1/holds/{HOLD}/commit", {"reference": "order-1"}),
    ("POST", f"/api/v1/holds/{HOLD}/extend", {"ttl_s": 700}),
    ("PUT", "/api/v1/stock/NEW-1", {"on_hand": 5, "customer_limit": 2}),
    ("POST", f"/api/v1/stock/{SKU}/adjustments", {"delta": 5, "reason": "found", "reference": "r-1"}),
    ("POST", "/api/v1/carts", {"customer_id": "c-2"}),
    ("POST", f"/api/v1/carts/{CART}/items", {"sku": SKU, "quantity": 2, "user_tier": "GOLD", "promo_code": "X"}),
    ("PUT", f"/api/v1/carts/{CART}/items/{SKU}", {"quantity": 3}),
    ("POST", f"/api/v1/carts/{CART}/coupon", {"code": "NONE"}),
    ("POST", f"/api/v1/carts/{CART}/merge", {"from_cart_id": "cart_none"}),
    ("POST", f"/api/v1/carts/{CART}/checkout", {"customer_id": "c-3", "payment": "pending"}),
    ("POST", "/api/v1/checkout", {"cart_id": CART, "payment": "captured"}),
    ("POST", f"/api/v1/orders/{ORDER}/payment", {"status": "succeeded", "transaction_id": "t-1"}),
    ("POST", f"/api/v1/orders/{ORDER}/transitions", {"to": "processing", "tracking_number": "n-1"}),
    ("POST", "/api/v1/products", {"name": "Mug", "base_price": 1450, "currency": "EUR", "tags": ["a"]}),
    ("POST", "/api/v1/variants", {"product_id": PRODUCT, "sku": "NEW-2", "price_adjustment": -5, "stock_quantity": 4}),
    ("POST", "/api/v1/coupons", {"code": "T", "kind": "percentage", "value": 10, "valid_from": "2026-01-01T00:00:00Z"}),
    ("POST", "/api/v1/pricing-rules", {"name": "R", "kind": "promo", "promo_code": "X", "percent": 10, "priority": 1}),
    ("POST", "/api/v1/categories", {"name": "C", "slug": "c-1", "parent_id": None}),
]  # fmt: skip


class Watched:
    """A system with something of everything, whose books are looked at after every case."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self._keys = Keys()
        self._redis = Redis.from_url(api.settings.require_redis_url(), decode_responses=True)
        self._loop = asyncio.new_event_loop()
        self._database = self._loop.run_until_complete(asyncpg.connect(api.settings.require_database_url()))
        sold = thing(api, stock=1_000_000)
        order = check_out(api, cart_with(api, sold["sku"], 2), payment="pending").json()
        self.names = {
            SKU: sold["sku"],
            PRODUCT: sold["product_id"],
            HOLD: api.hold(sold["sku"], 2, ttl_s=3_600)["id"],
            CART: cart_with(api, sold["sku"], 3),
            ORDER: order["id"],
        }
        self._state = self._look()

    def close(self) -> None:
        self._redis.close()
        self._loop.run_until_complete(self._database.close())
        self._loop.close()

    def fill(self, raw: bytes) -> bytes:
        """The bytes with the names of what exists in them."""
        for name, real in self.names.items():
            raw = raw.replace(name.encode(), real.encode())
        return raw

    def try_out(self, raw: bytes) -> Talk:
        """Send this, see that the answers are sane, and that nothing changed when all of them are refusals."""
        talk = say(self.api.settings.port, raw, is_half_closed=True)
        assert talk.is_ended, f"no end within {PATIENCE_S} s"
        assert talk.seconds < PATIENCE_S
        for answer in talk.answers:
            assert answer.status < 500, answer
            if answer.status >= 400:
                assert answer.problem["code"]
        after = self._look()
        if all(answer.status >= 400 for answer in talk.answers):
            assert after == self._state, talk
        self._state = after
        return talk

    def _look(self) -> tuple[object, ...]:
        """The newest event, the number of records in Redis, and the newest change of the catalogue."""
        seq = self._redis.hget(self._keys.meta, "seq")
        version = self._loop.run_until_complete(self._database.fetchval("SELECT version FROM catalogue_version"))
        return seq, self._redis.dbsize(), version


@pytest.fixture(scope="module")
def watched(api: Api) -> Iterator[Watched]:
    found = Watched(api)
    yield found
    found.close()


@st.composite
def _requests(draw: st.DrawFn) -> tuple[str, str, bytes]:
    method, path, good = draw(st.sampled_from(ROUTES))
    return method, path, draw(bodies(good))


def _key(draw: st.DataObject) -> tuple[str, str]:
    """A key that no other case has, so that none of them is answered by an earlier one's memory."""
    return "Idempotency-Key", str(draw.draw(st.uuids()))


@cases(few=100)
@given(asked=_requests(), data=st.data())
def test_odd_bodies(watched: Watched, asked: tuple[str, str, bytes], data: st.DataObject) -> None:
    method, path, body = asked
    raw = request(method, watched.fill(path.encode()).decode(), [JSON, _key(data)], watched.fill(body))
    assert watched.try_out(raw).answers


@cases(few=150)
@given(asked=st.sampled_from(ROUTES), extra=odd_headers, is_empty=st.booleans())
def test_odd_headers(
    watched: Watched, asked: tuple[str, str, dict[str, Any]], extra: list[tuple[str, bytes]], *, is_empty: bool
) -> None:
    method, path, _ = asked
    told = [(name, value.decode("latin-1")) for name, value in extra]
    body = b"" if is_empty else b'{"quantity": 0, "delta": 0, "lines": []}'
    watched.try_out(request(method, watched.fill(path.encode()).decode(), [JSON, *told], body))


METHODS = ("GET", "PUT", "POST", "DELETE", "OPTIONS", "PATCH", "TRACE", "PROPFIND", "QUERY")
STARTS = (
    "",
    "api",
    "api/v1",
    *(f"api/v1/{noun}" for noun in ("holds", "stock", "carts", "orders", "coupons", "items")),
)


@cases(few=150)
@given(
    method=st.sampled_from(METHODS),
    start=st.sampled_from(STARTS),
    parts=st.lists(segments, max_size=3),
    query=st.lists(st.tuples(st.sampled_from(("limit", "cursor", "at", "customer_id", "in_stock", "")), segments)),
)
def test_odd_paths(watched: Watched, method: str, start: str, parts: list[str], query: list[tuple[str, str]]) -> None:
    asked = "&".join(f"{name}={value}" for name, value in query[:4])
    target = "/" + "/".join([start, *parts]) + (f"?{asked}" if asked else "")
    watched.try_out(request(method, target, [JSON], b"{}" if method in ("PUT", "POST") else None))


@cases(few=100)
@given(data=st.data(), path=st.sampled_from(("/api/v1/holds", "/api/v1/holds/", "/api/v1/holds/batch")))
def test_odd_chunks(watched: Watched, data: st.DataObject, path: str) -> None:
    body = watched.fill(b'{"lines": [{"sku": "$SKU", "quantity": 1}]}')
    head = request("POST", path, [JSON, ("Transfer-Encoding", "chunked")])
    watched.try_out(head + data.draw(chunked(body)))


@cases(few=100)
@given(
    length=st.sampled_from(("0", "1", "42", "43", "44", "65537", "-1", "+43", "0x2b", "43, 43", "4 3", "", "9" * 30))
)
def test_wrong_lengths(watched: Watched, length: str) -> None:
    body = watched.fill(b'{"lines": [{"sku": "$SKU", "quantity": 1}]}')
    watched.try_out(request("POST", "/api/v1/holds", [JSON, ("Content-Length", length)]) + body)


@cases(few=150)
@given(data=st.data())
def test_bytes_that_are_barely_http(watched: Watched, data: st.DataObject) -> None:
    whole = request("POST", "/api/v1/holds", [JSON, _key(data)], b'{"lines": [{"sku": "none", "quantity": 1}]}')
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(whole) - 1))
        whole = whole[:at] + data.draw(st.binary(max_size=6)) + whole[at + data.draw(st.integers(0, 3)) :]
    watched.try_out(data.draw(st.sampled_from((whole, whole * 3))))


@cases(few=100)
@given(raw=st.binary(max_size=2_000))
def test_bytes_that_are_no_http(watched: Watched, raw: bytes) -> None:
    watched.try_out(raw)


@cases(few=100)
@given(key=idempotency_keys, is_quoted=st.booleans())
def test_odd_idempotency_keys_are_refused_or_honoured(watched: Watched, key: bytes, *, is_quoted: bool) -> None:
    told = [JSON, ("Idempotency-Key", (b'"%s"' % key if is_quoted else key).decode("latin-1"))]
    body = watched.fill(b'{"lines": [{"sku": "$SKU", "quantity": 1}]}')
    first, second = (watched.try_out(request("POST", "/api/v1/holds", told, body)).answers[0] for _ in range(2))
    assert first.status == second.status
    if first.status == 201:
        assert second.body == first.body
        assert second.headers["idempotent-replayed"] == "true"


@cases(few=100)
@given(value=header_values)
def test_odd_request_ids_are_never_echoed_unless_they_are_sane(watched: Watched, value: bytes) -> None:
    for answer in watched.try_out(request("GET", "/livez", [("X-Request-Id", value.decode("latin-1"))])).answers:
        told = answer.headers.get("x-request-id", "a")
        assert re.fullmatch(r"[A-Za-z0-9._-]{1,64}", told)


def test_a_batch_with_a_key_and_a_hold_in_it_that_is_no_text_is_judged_hold_by_hold(watched: Watched) -> None:
    body = watched.fill(b'{"holds": [{"lines": [{"\x80ku": "$SKU", "quantity": 1}]}]}')
    raw = request("POST", "/api/v1/holds/batch", [JSON, ("Idempotency-Key", "no-text")], body)
    assert [answer.status for answer in watched.try_out(raw).answers] in ([200], [400])


def test_the_books_are_in_order_after_all_that(watched: Watched) -> None:
    books = read_books(watched.api.settings.require_redis_url())
    assert books.stock
    assert is_balanced(watched.api.settings)
