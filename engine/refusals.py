"""Refusals: the expected ways in which an operation changes nothing."""

from __future__ import annotations

import enum

from msgspec import Struct


class Refusal(enum.StrEnum):
    """Why an operation was refused, in order of precedence; the values are the contract's codes."""

    KEY_REUSED = "idempotency-key-reused"
    UNKNOWN_SKU = "unknown-sku"
    UNKNOWN_HOLD = "unknown-hold"
    SKU_EXISTS = "sku-exists"
    INSUFFICIENT_STOCK = "insufficient-stock"
    COUNT_TOO_LARGE = "count-too-large"
    HOLD_EXPIRED = "hold-expired"
    HOLD_NOT_LIVE = "hold-not-live"
    CUSTOMER_LIMIT_EXCEEDED = "customer-limit-exceeded"


class Shortfall(Struct, frozen=True):
    """A line that failed for want of stock: units asked for and units that anyone may reserve now."""

    sku: str
    requested: int
    available: int


class LimitReached(Struct, frozen=True):
    """A line that would give one customer more units than the SKU's `customer_limit`."""

    sku: str
    requested: int
    customer_limit: int


class Refused(Struct, frozen=True):
    """An operation that changed nothing, and why; the further fields are filled as the refusal needs them."""

    refusal: Refusal
    skus: tuple[str, ...] = ()
    shortfalls: tuple[Shortfall, ...] = ()
    limits: tuple[LimitReached, ...] = ()
    hold_status: str | None = None
