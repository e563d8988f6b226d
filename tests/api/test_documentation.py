"""The OpenAPI document and its page."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import jsonschema
import pytest
from openapi_spec_validator import validate

from tests.api.process import Api, assert_problem

CONTRACT = {
    "/api/v1/stock": {"get": 200},
    "/api/v1/stock/{sku}": {"get": 200, "put": 201},
    "/api/v1/stock/{sku}/adjustments": {"post": 200},
    "/api/v1/stock/{sku}/ledger": {"get": 200},
    "/api/v1/holds": {"post": 201},
    "/api/v1/holds/batch": {"post": 200},
    "/api/v1/holds/{hold_id}": {"get": 200, "delete": 200},
    "/api/v1/holds/{hold_id}/commit": {"post": 200},
    "/api/v1/holds/{hold_id}/extend": {"post": 200},
    "/api/v1/pricing-rules": {"get": 200, "post": 201},
    "/api/v1/pricing-rules/{rule_id}": {"get": 200, "put": 200, "delete": 204},
    "/api/v1/products/{product_id}/price": {"get": 200},
    "/api/v1/coupons": {"get": 200, "post": 201},
    "/api/v1/coupons/{coupon_code}": {"get": 200, "put": 200, "delete": 204},
    "/api/v1/categories": {"get": 200, "post": 201},
    "/api/v1/categories/{category_id}": {"get": 200, "put": 200, "delete": 204},
    "/api/v1/products": {"get": 200, "post": 201},
    "/api/v1/products/{product_id}": {"get": 200, "put": 200, "delete": 204},
    "/api/v1/variants": {"get": 200, "post": 201},
    "/api/v1/variants/{variant_id}": {"get": 200, "put": 200, "delete": 204},
    "/api/v1/items": {"get": 200},
    "/api/v1/carts": {"post": 201},
    "/api/v1/carts/{cart_id}": {"get": 200},
    "/api/v1/carts/{cart_id}/items": {"post": 200},
    "/api/v1/carts/{cart_id}/items/{sku}": {"put": 200, "delete": 200},
    "/api/v1/carts/{cart_id}/coupon": {"post": 200, "delete": 200},
    "/api/v1/carts/{cart_id}/merge": {"post": 200},
    "/api/v1/carts/{cart_id}/checkout": {"post": 201},
    "/api/v1/checkout": {"post": 201},
    "/api/v1/orders": {"get": 200},
    "/api/v1/orders/{order_id}": {"get": 200},
    "/api/v1/orders/{order_id}/payment": {"post": 200},
    "/api/v1/orders/{order_id}/transitions": {"post": 200},
    "/livez": {"get": 200},
    "/readyz": {"get": 200},
    "/metrics": {"get": 200},
}


@pytest.fixture(scope="module")
def document(api: Api) -> dict[str, Any]:
    response = api.client.get("/openapi.json")
    assert response.headers["content-type"].startswith("application/json")
    found: dict[str, Any] = response.json()
    return found


def _resolve(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    return {**schema, "components": document["components"]}


def test_the_document_is_valid_openapi_3_1(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    validate(document)


def test_every_call_of_the_contract_is_documented_with_its_status(document: dict[str, Any]) -> None:
    for path, methods in CONTRACT.items():
        for method, status in methods.items():
            assert str(status) in document["paths"][path][method]["responses"]


def test_every_route_has_examples_that_fit_their_schemas(document: dict[str, Any]) -> None:
    for path, item in document["paths"].items():
        for operation in item.values():
            bodies = [operation.get("requestBody", {}), *operation["responses"].values()]
            for content in (c for body in bodies for kind, c in body.get("content", {}).items() if "json" in kind):
                examples = [example["value"] for example in content.get("examples", {}).values()]
                for example in examples or [content["example"]]:
                    jsonschema.validate(example, _resolve(document, content["schema"]))
            assert all("example" in p for p in operation["parameters"] if p["in"] != "query"), path


def test_every_guarded_route_names_its_security_and_its_problems(document: dict[str, Any]) -> None:
    for path, item in document["paths"].items():
        for operation in item.values():
            if path.startswith("/api/"):
                assert operation["security"] == [{"bearer": []}, {"apiKey": []}]
                assert {"400", "401", "403", "500", "503"} <= set(operation["responses"])
            else:
                assert operation["security"] == []


def test_the_documented_bodies_are_the_checked_ones(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    assert schemas["HoldRequest"]["additionalProperties"] is False
    assert schemas["HoldRequest"]["properties"]["lines"]["maxItems"] == 100
    assert schemas["HoldLine"]["properties"]["quantity"] == {
        "type": "integer", "minimum": 1, "maximum": 10_000, "description": "Units", "examples": [6],
    }  # fmt: skip
    assert schemas["BatchRequest"]["properties"]["holds"]["items"] == {"$ref": "#/components/schemas/HoldRequest"}


def test_an_answer_without_a_body_is_documented_without_one(document: dict[str, Any]) -> None:
    empty = [
        o["responses"]["204"] for item in document["paths"].values() for o in item.values() if "204" in o["responses"]
    ]
    assert empty and not any("content" in response for response in empty)


def test_parameters_are_documented_as_they_are_checked(document: dict[str, Any]) -> None:
    found = {
        (path, parameter["name"]): parameter["schema"]
        for path, item in document["paths"].items()
        for operation in item.values()
        for parameter in operation["parameters"]
    }
    assert found["/api/v1/items", "min_value"]["minimum"] == 0
    assert found["/api/v1/products/{product_id}/price", "at"]["format"] == "date-time"
    key = found["/api/v1/checkout", "Idempotency-Key"]["pattern"]
    assert re.search(key, "an order 17") and not any(re.search(key, odd) for odd in ("é", '""', "a\tb", " a"))
    assert not any("oneOf" in schema for schema in found.values())  # a parameter is there or not, and never null
    assert document["components"]["schemas"]["AdjustmentRequest"]["properties"]["delta"]["not"] == {"const": 0}


def test_real_answers_fit_their_schemas(api: Api, document: dict[str, Any]) -> None:
    sku = api.create(3, customer_limit=2)
    hold = api.hold(sku)
    answers = {
        "HoldView": hold,
        "StockView": api.stock(sku),
        "StockPageView": api.client.get("/api/v1/stock").json(),
        "LedgerPage": api.client.get(f"/api/v1/stock/{sku}/ledger").json(),
        "Readiness": api.client.get("/readyz").json(),
        "Problem": api.client.get("/api/v1/holds/none").json(),
    }
    for name, answer in answers.items():
        jsonschema.validate(answer, _resolve(document, {"$ref": f"#/components/schemas/{name}"}))


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        self.found += [value or "" for name, value in attrs if name in ("src", "href", "action", "srcset", "data")]


@pytest.mark.parametrize("path", ["/docs", "/"])
def test_the_page_loads_nothing_from_elsewhere(api: Api, path: str) -> None:
    response = api.client.get(path)
    assert response.headers["content-type"].startswith("text/html")
    links = _Links()
    links.feed(response.text)
    assert all(link.startswith(("#", "/openapi.json", "data:,")) for link in links.found), links.found
    assert not re.search(r"@import|url\(|import\s*\(|//cdn|<iframe|<img", response.text)
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "connect-src 'self'" in policy


def test_the_page_shows_every_route_with_a_curl(api: Api, document: dict[str, Any]) -> None:
    page = api.client.get("/docs").text
    for path, item in document["paths"].items():
        for operation in item.values():
            assert f'id="{operation["operationId"]}"' in page
        assert path in page
    assert page.count("curl -X") == sum(len(item) for item in document["paths"].values())


def test_the_type_of_a_problem_leads_to_its_explanation(api: Api) -> None:
    kind = api.client.get("/api/v1/holds/none").json()["type"]
    response = api.client.get(kind)
    assert (response.status_code, response.headers["location"]) == (302, "/docs#problem-unknown-hold")
    assert 'id="problem-unknown-hold"' in api.client.get("/docs").text
    assert_problem(api.client.get("/problems/none-such"), 404, "not-found")
