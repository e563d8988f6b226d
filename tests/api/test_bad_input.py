"""Bad input, one by one: the contract's status and code, nothing changed, never a 500."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest

from api.messages.texts import RULES
from tests.api.process import Api, assert_problem

SKU = "$SKU"
LINE = {"sku": SKU, "quantity": 1}
LONG = "x" * 10_240
NOT_COUNTS = [0, -1, 10_001, 10**30, 1.0, 1.5, 1e3, "1", "", True, None, [], {}]
NOT_TEXTS = [1, 1.5, True, [], {}, LONG, "a\x00b", "line\nbreak", "\x1b[31m", "\x7f", "\x85"]


@pytest.fixture(scope="module")
def sku(api: Api) -> str:
    return api.create(10)


def _fill(value: Any, sku: str) -> Any:
    return json.loads(json.dumps(value).replace(SKU, sku))


def _assert_untouched(api: Api, sku: str) -> None:
    stock = api.stock(sku)
    assert [stock[name] for name in ("on_hand", "available", "reserved", "sold")] == [10, 10, 0, 0]


BAD_COUNTS: list[Any] = [-1, 10**9 + 1, 10**30, 1.0, "5", True, None, []]
BAD_TTLS: list[Any] = [0, -1, 86_401, 10**30, 1.0, "600", True, None, []]
BAD_HOLDS: list[tuple[Any, str]] = [
    ({}, "lines"),
    ({"lines": None}, "lines"),
    ({"lines": []}, "lines"),
    ({"lines": {}}, "lines"),
    ({"lines": "A"}, "lines"),
    ({"lines": [LINE] * 101}, "lines"),
    ({"lines": [{**LINE, "quantity": 6_000}] * 2}, "lines"),
    ({"lines": [None]}, "lines[0]"),
    ({"lines": [LINE, 5]}, "lines[1]"),
    ({"lines": [{"sku": SKU}]}, "lines[0].quantity"),
    ({"lines": [{"quantity": 1}]}, "lines[0].sku"),
    ({"lines": [{**LINE, "price": 1}]}, "lines[0].price"),
    ({"lines": [LINE], "unknown": 1}, "unknown"),
    *(({"lines": [{**LINE, "quantity": count}]}, "lines[0].quantity") for count in NOT_COUNTS),
    *(
        ({"lines": [{**LINE, "sku": text}]}, "lines[0].sku")
        for text in (*NOT_TEXTS, None, "", "x" * 65, "a b", "é", "a/b", "A\n", "A|B")
    ),
    *(({"lines": [LINE], "customer_id": text}, "customer_id") for text in (*NOT_TEXTS, "", "x" * 129, "c\n")),
    *(({"lines": [LINE], "ttl_s": ttl}, "ttl_s") for ttl in BAD_TTLS),
    ([], ""),
    (None, ""),
    ("text", ""),
    (17, ""),
]


@pytest.mark.parametrize(("body", "field"), BAD_HOLDS, ids=[repr(body)[:60] for body, _ in BAD_HOLDS])
def test_a_hold_that_is_not_valid_names_its_field_and_reserves_nothing(
    api: Api, sku: str, body: Any, field: str
) -> None:
    response = api.client.post("/api/v1/holds", json=_fill(body, sku))
    assert assert_problem(response, 400, "validation-failed")["errors"][0]["field"] == field
    _assert_untouched(api, sku)


@pytest.mark.parametrize(
    ("method", "path", "body", "field", "message"),
    [
        ("POST", "/checkout", {"cart_id": "c", "payment": "maybe"}, "payment", "'maybe' is none of captured, pending"),
        ("POST", "/checkout", {"cart_id": "c", "payment": "x" * 99}, "payment", f"'{'x' * 60}…' is none of captured, "),
        ("POST", "/pricing-rules", {"kind": "gift"}, "kind", "'gift' is none of bulk, buy_x_get_y, promo, sale_price"),
        ("POST", "/products", {"status": ""}, "status", "'' is none of active, draft, discontinued"),
        ("GET", "/orders?status=lost", None, "status", "'lost' is none of created, processing, shipped, "),
        ("POST", "/holds", {"lines": [{"sku": "a b"}]}, "lines[0].sku", "must be 1 to 64 of A-Z a-z 0-9 . _ : -"),
        ("POST", "/categories", {"name": " "}, "name", "must have something besides spaces, and no control"),
        ("POST", "/categories", {"name": "Tea", "slug": "Tea"}, "slug", "must be of a-z 0-9 -"),
        ("POST", "/coupons", {"code": "10 %"}, "code", "must be of A-Z a-z 0-9 _ -"),
        ("POST", "/products", {"currency": "eur"}, "currency", "must be three capital letters, such as EUR"),
        ("POST", "/variants", {"attributes": {"a\n": "b"}}, "attributes", "must have no control characters and no"),
        ("GET", "/orders?customer_id=a%00", None, "customer_id", "must have no control characters and no line breaks"),
    ],
)
def test_what_a_field_may_be_is_said_in_words(
    api: Api, method: str, path: str, body: Any, field: str, message: str
) -> None:
    response = api.client.request(method, f"/api/v1{path}", json=body, headers={"Idempotency-Key": uuid4().hex})
    (error,) = assert_problem(response, 400, "validation-failed")["errors"]
    assert error["field"] == field
    assert error["message"].startswith(message)


def test_every_pattern_of_the_document_has_its_words(api: Api) -> None:
    texts = [
        schema["pattern"]
        for kind in api.client.get("/openapi.json").json()["components"]["schemas"].values()
        for schema in _schemas_in(kind)
        if "pattern" in schema
    ]
    assert texts
    assert set(texts) <= RULES.keys()


def _schemas_in(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _schemas_in(part)


MALFORMED = [
    b"",
    b" ",
    b"{",
    b"nul",
    b"{'lines': []}",
    b'{"lines":[{"sku":"A","quantity":NaN}]}',
    b'{"lines":[{"sku":"A","quantity":Infinity}]}',
    b'{"lines":[{"sku":"A","quantity":01}]}',
    b'{"lines":[{"sku":"A","quantity":1}]} {}',
    b'{"lines":[{"sku":"A","quantity":1},]}',
    b'{"lines":[{"sku":"\xff","quantity":1}]}',
    b'{"lines":[{"sku":"A","quantity":1}],"customer_id":"\xed\xa0\x80"}',
    b'{"lines":[{"sku":"A","quantity":1}],"customer_id":"\\ud800"}',
    b'{"lines":[{"sku":"A","quantity":1}],"customer_id":"raw\ncontrol"}',
    b"\xef\xbb\xbf{}",
    b"\x00",
    b"\x1f\x8b\x08",
    b"[" * 60_000,
    b'{"a":' * 10_000,
    b'{"lines":' + b"[" * 60_000,
]


@pytest.mark.parametrize("path", ["/api/v1/holds", "/api/v1/holds/batch", "/api/v1/holds/hold_x/extend"])
@pytest.mark.parametrize("body", MALFORMED, ids=[repr(body[:40]) for body in MALFORMED])
def test_what_is_no_json_is_refused(api: Api, path: str, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    assert_problem(api.client.post(path, content=body, headers=headers), 400, "validation-failed")


@pytest.mark.parametrize("body", [b'{"holds":' + b"[" * 500_000, b'{"holds":[' + b'{"a":' * 100_000])
def test_a_batch_nested_beyond_reason_is_refused(api: Api, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    assert_problem(api.client.post("/api/v1/holds/batch", content=body, headers=headers), 400, "validation-failed")


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/xml", "x", ""],
)
def test_a_content_type_other_than_json_is_refused(api: Api, sku: str, content_type: str) -> None:
    body = json.dumps({"lines": [{"sku": sku, "quantity": 1}]})
    response = api.client.post("/api/v1/holds", content=body, headers={"Content-Type": content_type})
    assert_problem(response, 400, "validation-failed")
    _assert_untouched(api, sku)


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "APPLICATION/JSON", "application/ld+json"])
def test_json_may_call_itself_json_in_every_way(api: Api, content_type: str) -> None:
    body = json.dumps({"lines": [{"sku": api.create(1), "quantity": 1}]})
    response = api.client.post("/api/v1/holds", content=body, headers={"Content-Type": content_type})
    assert response.status_code == 201


BAD_STOCK: list[tuple[Any, str]] = [
    ({}, "on_hand"),
    *(({"on_hand": count}, "on_hand") for count in BAD_COUNTS),
    *(({"on_hand": 1, "customer_limit": limit}, "customer_limit") for limit in (0, -1, 1.0, "1", True, 10**30)),
    ({"on_hand": 1, "sku": "A"}, "sku"),
]


@pytest.mark.parametrize(("body", "field"), BAD_STOCK)
def test_stock_that_is_not_valid_is_not_created(api: Api, body: Any, field: str) -> None:
    name = f"BAD-{uuid4().hex[:8]}"
    response = api.client.put(f"/api/v1/stock/{name}", json=body)
    assert assert_problem(response, 400, "validation-failed")["errors"][0]["field"] == field
    assert_problem(api.client.get(f"/api/v1/stock/{name}"), 404, "unknown-sku")


@pytest.mark.parametrize("name", ["a%20b", "x" * 65, "%C3%A9", "a%7Cb", "a%0A", "%00", "a,b"])
def test_a_name_that_is_no_sku_is_not_created(api: Api, name: str) -> None:
    response = api.client.put(f"/api/v1/stock/{name}", json={"on_hand": 1})
    assert assert_problem(response, 400, "validation-failed")["errors"][0]["field"] == "sku"


BAD_ADJUSTMENTS: list[tuple[Any, str]] = [
    ({"reason": "x"}, "delta"),
    ({"delta": 1}, "reason"),
    *(({"delta": d, "reason": "x"}, "delta") for d in (0, 10**9 + 1, -(10**9) - 1, 10**30, 1.0, "1", True, None)),
    *(({"delta": 1, "reason": text}, "reason") for text in (*NOT_TEXTS, None, "", "x" * 201)),
    *(({"delta": 1, "reason": "x", "reference": text}, "reference") for text in (*NOT_TEXTS, "x" * 201)),
    ({"delta": 1, "reason": "x", "sku": "A"}, "sku"),
]


@pytest.mark.parametrize(("body", "field"), BAD_ADJUSTMENTS, ids=[repr(body)[:60] for body, _ in BAD_ADJUSTMENTS])
def test_an_adjustment_that_is_not_valid_changes_nothing(api: Api, sku: str, body: Any, field: str) -> None:
    headers = {"Idempotency-Key": uuid4().hex}
    response = api.client.post(f"/api/v1/stock/{sku}/adjustments", json=body, headers=headers)
    assert assert_problem(response, 400, "validation-failed")["errors"][0]["field"] == field
    _assert_untouched(api, sku)


@pytest.mark.parametrize("reference", [*NOT_TEXTS, "x" * 201, "ord_3q2-7wEAAAAAAAAAAAAAAA-51b2"])
def test_a_commit_whose_reference_is_not_valid_sells_nothing(api: Api, reference: Any) -> None:
    hold = api.hold(api.create(1))
    response = api.client.post(f"/api/v1/holds/{hold['id']}/commit", json={"reference": reference})
    assert_problem(response, 400, "validation-failed")
    assert api.client.get(f"/api/v1/holds/{hold['id']}").json()["status"] == "held"


def test_a_commit_may_refer_to_an_order_of_another_shop(api: Api) -> None:
    hold = api.hold(api.create(1))
    response = api.client.post(f"/api/v1/holds/{hold['id']}/commit", json={"reference": "ord_1"})
    assert response.status_code == 200


@pytest.mark.parametrize(
    "body", [{}, {"ttl_s": 0}, {"ttl_s": 86_401}, {"ttl_s": "9"}, {"ttl_s": 1.0}, {"ttl_s": 5, "x": 1}]
)
def test_an_extension_that_is_not_valid_extends_nothing(api: Api, body: Any) -> None:
    hold = api.hold(api.create(1))
    assert_problem(api.client.post(f"/api/v1/holds/{hold['id']}/extend", json=body), 400, "validation-failed")
    assert api.client.get(f"/api/v1/holds/{hold['id']}").json() == hold


# Bodies beyond the limit


@pytest.mark.parametrize(("path", "limit_bytes"), [("/api/v1/holds", 64 * 1024), ("/api/v1/holds/batch", 1024 * 1024)])
@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_body_at_the_limit_is_read_and_one_beyond_it_is_not(
    api: Api, path: str, limit_bytes: int, *, is_chunked: bool
) -> None:
    headers = {"Content-Type": "application/json"}

    def send(size: int) -> httpx.Response:
        body = b"{" + b" " * (size - 1)
        parts = (body[i : i + 8_192] for i in range(0, size, 8_192))
        return api.client.post(path, content=parts if is_chunked else body, headers=headers)

    assert_problem(send(limit_bytes), 400, "validation-failed")
    assert_problem(send(limit_bytes + 1), 413, "body-too-large")


def test_of_an_endless_body_no_more_than_a_bounded_part_is_read(api: Api) -> None:
    with socket.create_connection(("127.0.0.1", api.settings.port), timeout=10) as client:
        client.sendall(
            b"POST /api/v1/holds HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        sent, answer = 0, b""
        client.settimeout(0.01)
        while sent < 50 * 1024 * 1024 and not answer:
            try:
                sent += client.send(b"10000\r\n" + b" " * 0x10000 + b"\r\n")
                answer = client.recv(65_536)
            except TimeoutError:
                continue
            except ConnectionError:
                break
        assert sent < 20 * 1024 * 1024
        assert not answer or b" 413 " in answer.split(b"\r\n")[0]


def test_a_body_announced_as_huge_is_refused_before_it_is_sent(api: Api) -> None:
    with socket.create_connection(("127.0.0.1", api.settings.port), timeout=10) as client:
        client.sendall(
            b"POST /api/v1/holds HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Content-Length: 99999999999\r\n\r\n"
        )
        assert client.recv(65_536).startswith(b"HTTP/1.1 413 ")


# Query parameters


def test_every_route_that_is_not_open_refuses_a_parameter_that_it_does_not_document(api: Api) -> None:
    document = api.client.get("/openapi.json").json()
    judged = 0
    for template, operations in document["paths"].items():
        path = re.sub(r"\{\w+\}", "x", template)
        for method, operation in operations.items():
            response = api.client.request(method, path, params={"misspelled": "1"})
            if not path.startswith("/api/v1/"):
                assert response.status_code != 400, path
                continue
            known = sorted(found["name"] for found in operation.get("parameters", ()) if found["in"] == "query")
            message = f"no such parameter here; known: {', '.join(known) or 'none'}"
            found = assert_problem(response, 400, "validation-failed")
            assert found["errors"] == [{"field": "misspelled", "message": message}], (method, template)
            judged += 1
    assert judged > 50


def test_a_parameter_that_is_not_known_reserves_nothing(api: Api, sku: str) -> None:
    body = {"lines": [{"sku": sku, "quantity": 1}]}
    assert_problem(api.client.post("/api/v1/holds?ttl_s=5", json=body), 400, "validation-failed")
    _assert_untouched(api, sku)


# Paths, methods and headers


@pytest.mark.parametrize(
    "path", ["/nothing", "/api/v1", "/api/v2/stock", "/api/v1/holds/a/b/c", "/%00", "/%ff", "/schema"]
)
def test_a_path_that_leads_nowhere_is_404(api: Api, path: str) -> None:
    assert_problem(api.client.get(path), 404, "not-found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/api/v1/stock", "GET"),
        ("PATCH", "/api/v1/stock/A", "PUT"),
        ("POST", "/api/v1/stock/A", "GET"),
        ("GET", "/api/v1/holds", "POST"),
        ("PUT", "/api/v1/holds/hold_x", "DELETE"),
        ("GET", "/api/v1/holds/hold_x/commit", "POST"),
        ("GET", "/api/v1/holds/batch", "POST"),
        ("POST", "/readyz", "GET"),
        ("HEAD", "/api/v1/holds", "POST"),
        ("TRACE", "/livez", "GET"),
    ],
)
def test_a_method_that_a_path_does_not_have_is_405_and_says_which_it_has(
    api: Api, method: str, path: str, allowed: str
) -> None:
    response = api.client.request(method, path)
    assert allowed in response.headers["Allow"].split(", ")
    if method == "HEAD":
        assert response.status_code == 405
    else:
        assert_problem(response, 405, "method-not-allowed")


def test_options_says_which_methods_a_path_has(api: Api) -> None:
    response = api.client.options("/api/v1/stock/A")
    assert response.status_code == 204
    assert response.headers["Allow"] == "GET, HEAD, OPTIONS, PUT"


@pytest.mark.parametrize(
    "raw",
    [
        b"GET /api/v1/stock/%zz HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /api/v1/stock?limit=%zz&cursor=%00 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /api/v1/stock?=&&&;;limit HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /" + b"a" * 30_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /api/v1/stock HTTP/1.1\r\nHost: ;;;\r\n\r\n",
        b"GET /api/v1/stock HTTP/1.1\r\nHost: x\r\nCookie: " + b"\xff" * 100 + b"\r\n\r\n",
        b"GET /api/v1/stock HTTP/1.1\r\nHost: x\r\nAccept: \xff\xfe;q=\r\n\r\n",
        b"GET /api/v1/stock HTTP/1.1\r\nHost: x\r\nContent-Type: \xff;;;=\r\n\r\n",
        b"POST /api/v1/holds HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /api/v1/holds HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Type: ;\r\n\r\n{}",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"BREW /livez HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
def test_junk_on_the_wire_is_never_our_fault(api: Api, raw: bytes) -> None:
    with socket.create_connection(("127.0.0.1", api.settings.port), timeout=5) as client:
        client.sendall(raw)
        client.settimeout(1)
        try:
            answer = client.recv(65_536)
        except (TimeoutError, ConnectionError):
            answer = b""
    assert not answer.startswith(b"HTTP/1.1 5")
    assert api.client.get("/livez").status_code == 200
