"""Prices: what a file's decimal prices are in pennies."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal

CURRENCY = "GBP"
_PENNY = Decimal("0.01")


def pennies(price: Decimal) -> int:
    """The price of one unit in pennies; what lies between two of them is rounded once, half to even."""
    return int(price.quantize(_PENNY, ROUND_HALF_EVEN) * 100)


def is_rounded(price: Decimal) -> bool:
    """Whether the price is none of whole pennies."""
    return price != price.quantize(_PENNY, ROUND_HALF_EVEN)


def amount_text(amount: int) -> str:
    """An amount of pennies as people read it."""
    return f"{amount // 100:,}.{amount % 100:02} {CURRENCY}"
