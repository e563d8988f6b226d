"""What the tests of the catalogue say to a process: things made with sensible fields, and lists walked to their end."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import httpx

from tests.api.process import Api

LONG = "x" * 10_240
CONTROLS = ["a\x00b", "\x1b[31m", "\x7f", "\x85"]
NOT_TEXTS: list[Any] = [1, 1.5, True, [], {}, LONG, *CONTROLS]
NOT_INTEGERS: list[Any] = [1.0, 1.5, "1", "", True, None, [], {}]


def name(prefix: str) -> str:
    """A name that nothing else has."""
    return f"{prefix}-{uuid4().hex[:10]}"


def made(response: httpx.Response, status: int = 201) -> dict[str, Any]:
    """The body of an answer that must have this status."""
    assert response.status_code == status, response.text
    found: dict[str, Any] = response.json()
    return found


def make_category(api: Api, **fields: Any) -> dict[str, Any]:
    body = {"name": "Candles", "slug": name("slug"), **fields}
    return made(api.client.post("/api/v1/categories", json=body))


def make_product(api: Api, **fields: Any) -> dict[str, Any]:
    body = {"name": "Mug", "base_price": 1450, "currency": "EUR", **fields}
    return made(api.client.post("/api/v1/products", json=body))


def make_variant(api: Api, product_id: str | None = None, **fields: Any) -> dict[str, Any]:
    body = {
        "product_id": product_id or make_product(api)["id"],
        "sku": name("SKU"),
        "attributes": {"size": "M"},
        "price_adjustment": 0,
        "stock_quantity": 10,
        **fields,
    }
    return made(api.client.post("/api/v1/variants", json=body))


def walk(api: Api, path: str, limit: int = 50, **parameters: Any) -> list[dict[str, Any]]:
    """Every item of a list, page by page."""
    found: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        asked = {"limit": limit, **parameters} | ({} if cursor is None else {"cursor": cursor})
        answer = made(api.client.get(path, params=asked), 200)
        assert len(answer["items"]) <= limit
        found += answer["items"]
        cursor = answer["next_cursor"]
        if cursor is None:
            return found
