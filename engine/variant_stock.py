"""What the catalogue asks of stock: a variant's first count, a count put right, and the end of one that never sold."""

from __future__ import annotations

from engine.errors import Unavailable
from engine.idempotency import fresh_token
from engine.refusals import Refusal, Refused
from engine.shard import Shard
from engine.stock import Adjust, StockAnswer, StockLevel

CREATED = "created"
COUNTED = "counted"
DELETED = "deleted"
MAX_ATTEMPTS = 5


async def establish(shard: Shard, sku: str, on_hand: int | None) -> StockLevel | Refused:
    """Give a new variant its stock. Stock that is there already is adopted, and counted where `on_hand` tells.

    Refused where units inside live holds make it more than that. Raises Unavailable.
    """
    created = await _adjust(shard, sku, on_hand or 0, CREATED, create=True)
    if not (isinstance(created, Refused) and created.refusal is Refusal.SKU_EXISTS):
        return created
    if on_hand is not None:
        return await count(shard, sku, on_hand)
    return await shard.stock(sku) or created


async def count(shard: Shard, sku: str, on_hand: int) -> StockLevel | Refused:
    """Set what physically exists and is not sold, by an adjustment of the difference to what it was a moment ago.

    Units sold meanwhile are not put back. Refused where it would go below what is reserved. Raises Unavailable.
    """
    level = await shard.stock(sku)
    if level is None:
        return await _adjust(shard, sku, on_hand, COUNTED, create=True)
    if level.on_hand == on_hand:
        return level
    return await _adjust(shard, sku, on_hand - level.on_hand, COUNTED)


async def write_off_unsold(shard: Shard, sku: str) -> bool:
    """Write off all that is left of a SKU; False, with nothing changed, when any of it was ever sold or is reserved.

    After True nothing of it can be reserved any more. Raises Unavailable.
    """
    for attempt in range(MAX_ATTEMPTS):
        level = await shard.stock(sku)
        if level is not None and level.reserved > 0 and attempt == 0:
            await shard.expire_due()
            level = await shard.stock(sku)
        if level is None:
            return True
        if level.sold > 0 or level.reserved > 0:
            return False
        if level.available == 0:
            return True
        await _adjust(shard, sku, -level.available, DELETED)
    raise Unavailable("the stock changes too quickly to be written off")


async def _adjust(shard: Shard, sku: str, delta: int, reason: str, *, create: bool = False) -> StockLevel | Refused:
    request = Adjust(token=fresh_token(), fingerprint="", sku=sku, delta=delta, reason=reason, create=create)
    answer = await shard.adjust(request)
    return answer.level if isinstance(answer, StockAnswer) else answer
