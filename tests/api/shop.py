"""What the tests of carts and orders say to a process: a thing to buy, a cart to put it in, an order of that."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import httpx

from tests.api.catalogue import made, make_product, make_variant, name
from tests.api.process import Api

BASE = "/api/v1"


def key() -> dict[str, str]:
    """An idempotency key that nobody used before."""
    return {"Idempotency-Key": uuid4().hex}


def thing(api: Api, price: int = 1_000, stock: int = 10, **fields: Any) -> dict[str, Any]:
    """A variant to buy, with its product's id."""
    return make_variant(api, make_product(api, base_price=price, **fields)["id"], stock_quantity=stock)


def limit_customer(api: Api, stock: int, customer_limit: int, price: int = 1_000) -> dict[str, Any]:
    """A variant of which one customer may not have more than so many."""
    sku = name("SKU")
    made(api.client.put(f"{BASE}/stock/{sku}", json={"on_hand": stock, "customer_limit": customer_limit}))
    return make_variant(api, make_product(api, base_price=price)["id"], sku=sku, stock_quantity=stock)


def open_cart(api: Api, customer_id: str | None = None) -> str:
    body = {} if customer_id is None else {"customer_id": customer_id}
    response = api.client.post(f"{BASE}/carts", json=body)
    assert response.status_code in (200, 201), response.text
    return str(response.json()["id"])


def add(api: Api, cart: str, sku: str, quantity: int = 1, **fields: Any) -> httpx.Response:
    return api.client.post(f"{BASE}/carts/{cart}/items", json={"sku": sku, "quantity": quantity, **fields})


def cart_with(api: Api, sku: str, quantity: int = 1, customer_id: str | None = None, **fields: Any) -> str:
    """A cart with one line."""
    cart = open_cart(api, customer_id)
    made(add(api, cart, sku, quantity, **fields), 200)
    return cart


def show(api: Api, cart: str) -> dict[str, Any]:
    return made(api.client.get(f"{BASE}/carts/{cart}"), 200)


def check_out(api: Api, cart: str, headers: dict[str, str] | None = None, **fields: Any) -> httpx.Response:
    return api.client.post(f"{BASE}/carts/{cart}/checkout", json=fields, headers=headers or key())


def pay(api: Api, order: str, status: str, **fields: Any) -> dict[str, Any]:
    return made(api.client.post(f"{BASE}/orders/{order}/payment", json={"status": status, **fields}), 200)


def move(api: Api, order: str, to: str, **fields: Any) -> httpx.Response:
    return api.client.post(f"{BASE}/orders/{order}/transitions", json={"to": to, **fields})


def counts(api: Api, sku: str) -> tuple[int, int, int]:
    """Available, reserved and sold units."""
    level = api.stock(sku)
    return level["available"], level["reserved"], level["sold"]


def make_coupon(api: Api, **fields: Any) -> str:
    code = f"C{uuid4().hex[:10].upper()}"
    made(api.client.post(f"{BASE}/coupons", json={"code": code, "kind": "percentage", "value": 10, **fields}))
    return code


def use_coupon(api: Api, cart: str, code: str) -> httpx.Response:
    return api.client.post(f"{BASE}/carts/{cart}/coupon", json={"code": code})
