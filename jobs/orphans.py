"""Orphans: holds that nobody can end by themselves any more, since Redis lost their record or their deadline.

They are ended by what PostgreSQL proves, and by nothing else.
"""

from __future__ import annotations

from msgspec import Struct

from engine.expiring import is_bundle
from engine.holds import Hold, HoldStatus
from engine.shard import Shard
from jobs.resources import Resources
from persistence import holds, quarantine
from persistence.audit import wait_until_applied

ORPHAN_GRACE_S = 30.0
MAX_ORPHANS = 500
MAX_ROUNDS = 200


class Suspects(Struct, frozen=True):
    """Tokens of holds that have no record in Redis, and of those that have one and should have ended long ago."""

    lost: list[str]
    overdue: list[str]


async def end_orphans(resources: Resources, wait_s: float) -> tuple[int, int]:
    """End holds that Redis cannot end; returns how many, and how many orphans PostgreSQL cannot prove.

    Proven is a hold past its deadline that PostgreSQL, having applied every event and set none aside, knows as held,
    while Redis has no record of it: whatever ends a hold leaves its record behind for the retention time. One that
    PostgreSQL knows as ended holds nothing: its record was forgotten before anybody swept. Raises Unavailable when the
    flush does not keep up within `wait_s`.
    """
    ended = unproven = 0
    for _ in range(MAX_ROUNDS):
        suspects = await _suspects(resources)
        # Only now: what ended a suspect, if anything did, happened before it was found without its record.
        backlog = await resources.shard.backlog()
        await wait_until_applied(resources.pool, resources.keys, backlog.epoch, backlog.seq, wait_s)
        if await quarantine.count(resources.pool):
            return ended, 0
        ended += await resources.shard.expire_overdue(suspects.overdue)
        known = await holds.find_many(resources.pool, suspects.lost)
        left = [token for token in suspects.lost if not _holds_nothing(token, known.get(token))]
        over = set(suspects.lost).difference(left)
        await resources.shard.forget_orphans(list(over))
        given_back, unproven = await _give_back(resources.shard, {token: known.get(token) for token in left})
        ended += given_back
        if len(suspects.lost) < MAX_ORPHANS or not (over or given_back):
            break
    return ended, unproven


async def _suspects(resources: Resources) -> Suspects:
    lost = dict.fromkeys(await resources.shard.orphans(MAX_ORPHANS))
    overdue = []
    for hold in await holds.overdue(resources.pool, ORPHAN_GRACE_S, MAX_ORPHANS):
        if hold.token in lost:
            continue
        if await resources.shard.adopt_orphan(hold.token):
            lost[hold.token] = None
        else:
            overdue.append(hold.token)
    return Suspects(list(lost), overdue)


def _holds_nothing(token: str, known: Hold | None) -> bool:
    """Whether it ended before; a worker of an older version took bundles for holds, of which each has its record."""
    return is_bundle(token) if known is None else known.status is not HoldStatus.HELD


async def _give_back(shard: Shard, left: dict[str, Hold | None]) -> tuple[int, int]:
    """End those of these live holds whose time is over; returns how many, and how many of all nobody can prove."""
    now_ms, _ = await shard.texts()
    ended = unproven = 0
    for token, hold in left.items():
        if hold is not None and hold.expires_ms > now_ms:
            continue  # it was extended
        if hold is not None and await shard.expire_orphan(token, hold.customer_id, _lines(hold)):
            ended += 1
        else:
            unproven += 1
    return ended, unproven


def _lines(hold: Hold) -> list[tuple[str, int]]:
    return [(line.sku, line.quantity) for line in hold.lines]
