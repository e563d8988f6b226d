"""Coupons: what a code takes off an order, as a pure function of the coupon, the lines and the time.

How often one was used is counted elsewhere, under its id: a code that is made again after its deletion has a new one.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from fractions import Fraction
from typing import Literal

from msgspec import Struct

COUPON_PREFIX = "coup_"
MAX_CODE_LENGTH = 64
MAX_APPLICABLE_PRODUCTS = 500
MAX_USES = 1_000_000_000
WHOLE_PERCENT = 100

CouponKind = Literal["percentage", "fixed_amount"]


class Coupon(Struct, frozen=True, kw_only=True):
    """A code that takes `value` off an order: percent of a `percentage`, minor units of a `fixed_amount`.

    `applicable_products` are ids, None for every product. Times are ms since 1970, `starts_ms` included and `ends_ms`
    not. `position` orders by creation, `version` is the catalogue's when the coupon last changed.
    """

    id: str
    code: str
    kind: CouponKind
    value: int
    min_order_value: int | None = None
    usage_limit: int | None = None
    per_customer_limit: int | None = None
    applicable_products: tuple[str, ...] | None = None
    starts_ms: int | None = None
    ends_ms: int | None = None
    position: int = 0
    version: int = 0
    created_ms: int = 0
    updated_ms: int = 0


class CouponLine(Struct, frozen=True):
    """A line of an order: its product, and its price for all units after the rules, in minor units."""

    product_id: str
    total_price: int


class Objection(enum.StrEnum):
    """Why a coupon takes nothing off an order; of several that hold, the first."""

    NOT_YET_VALID = "not-yet-valid"
    NO_LONGER_VALID = "no-longer-valid"
    MINIMUM_NOT_REACHED = "minimum-not-reached"
    NOTHING_APPLICABLE = "nothing-applicable"


def code_key(code: str) -> str:
    """What all spellings of a code share: only ASCII letters, which are all that a code has, know upper and lower."""
    return code.lower() if code.isascii() else code


def discount_of(coupon: Coupon, lines: Sequence[CouponLine], at_ms: int) -> int | Objection:
    """What the coupon takes off these lines at this time, in minor units.

    Between nothing and what the applicable lines sum to. A percentage is of that sum, rounded once, half to even. The
    minimum is compared to the sum of all lines.
    """
    if coupon.starts_ms is not None and at_ms < coupon.starts_ms:
        return Objection.NOT_YET_VALID
    if coupon.ends_ms is not None and at_ms >= coupon.ends_ms:
        return Objection.NO_LONGER_VALID
    if coupon.min_order_value is not None and sum(line.total_price for line in lines) < coupon.min_order_value:
        return Objection.MINIMUM_NOT_REACHED
    wanted = coupon.applicable_products
    applicable = [line.total_price for line in lines if wanted is None or line.product_id in wanted]
    if not applicable:
        return Objection.NOTHING_APPLICABLE
    base = sum(applicable)
    if coupon.kind == "percentage":
        return round(Fraction(base * coupon.value, WHOLE_PERCENT))  # a Fraction rounds half to even
    return min(coupon.value, base)
