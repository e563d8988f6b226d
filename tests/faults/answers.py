"""Answers as the API sends them, read for those parts that a history keeps."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from tests.faults.history import Answer, Lines, Money

_decode = msgspec.json.Decoder(dict[str, Any]).decode


def read_answer(status: int, content: bytes) -> Answer:
    """Read the answer to any operation; a body that is no JSON object tells nothing."""
    try:
        body = _decode(content)
    except msgspec.DecodeError:
        return Answer(status=status)
    items = body.get("items") or body.get("lines") or []
    payment = body.get("payment")
    return Answer(
        status=status,
        code=body.get("code", ""),
        id=body.get("id", ""),
        state=payment["status"] if payment else body.get("status", "") if status < 400 else "",
        hold_status=body.get("hold_status", ""),
        customer=body.get("customer_id") or "",
        lines=tuple((item["sku"], item["quantity"]) for item in items if "quantity" in item),
        created_s=seconds_of(body.get("created_at")),
        expires_s=seconds_of(body.get("expires_at")) if not body.get("items") else _earliest(items),
        money=money_of(body) if "total" in body and "cart_id" in body else None,
    )


def _earliest(items: list[dict[str, Any]]) -> float:
    """When the first of a cart's lines may give its units back."""
    return min((seconds_of(item.get("reserved_until")) for item in items), default=0.0)


def money_of(order: Mapping[str, Any]) -> Money:
    lines = tuple((item["sku"], item["total_price"]) for item in order["items"])
    return Money(order["subtotal"], order["discount"], order["total"], order["currency"], lines)


def units_of(body: Mapping[str, Any]) -> Lines:
    return tuple((item["sku"], item["quantity"]) for item in body["items"])


def seconds_of(moment: str | None) -> float:
    """An RFC 3339 moment as seconds since 1970; 0 for none."""
    return datetime.fromisoformat(moment).timestamp() if moment else 0.0
