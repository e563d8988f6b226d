"""Reconcile: end orphaned holds, prove that every unit is accounted for, and on request mend what is not."""

from __future__ import annotations

import asyncio
import logging

import msgspec
from msgspec import Struct
from redis.exceptions import RedisError

from engine.connection import reason_of
from engine.errors import Unavailable
from engine.settings import Settings, read_settings
from jobs.orphans import end_orphans
from jobs.resources import Resources, open_resources
from persistence import fence
from persistence.audit import Audit, audit, record, set_levels_from_ledger, was_costly_lately
from persistence.pool import FAULTS

AUDIT_WAIT_S = 30.0
JOB_WAIT_S = 3.0
"""The job waits no longer for the flush: what else is on its queue must run, most of all when the flush is behind."""

REST = 20
"""Times as long as an audit took, the job leaves the books alone after it: a large ledger is not read all the time."""

log = logging.getLogger(__name__)


class Reconciled(Struct, frozen=True):
    """What was mended, and the audit afterwards."""

    orphans_ended: int
    orphans_unproven: int
    levels_mended: int
    rebuilt: bool
    audit: Audit


def reconcile() -> None:
    """The job: mends what is provably an orphan and reports the rest.

    Where the books cannot be compared now, what was found last stays for the metrics, and its time tells its age.
    """
    try:
        result = asyncio.run(_look(read_settings()))
    except Unavailable as error:
        log.warning("the books were not compared: %s", error.reason)
        return
    except FAULTS as error:
        log.warning("the books were not compared: PostgreSQL is unavailable: %r", error)
        return
    except RedisError as error:
        log.warning("the books were not compared: Redis is unavailable: %s", reason_of(error))
        return
    if result is not None and (not result.audit.is_clean or result.orphans_unproven):
        log.error("the books do not balance: %s", msgspec.json.encode(result).decode())


async def _look(settings: Settings) -> Reconciled | None:
    """End orphans, and audit, unless the last audit took so long that it is too soon for another one."""
    async with open_resources(settings) as resources:
        ended, unproven = await end_orphans(resources, JOB_WAIT_S)
        if await was_costly_lately(resources.pool, resources.keys.shard, REST):
            return None
        found = await _audit(resources, unproven, JOB_WAIT_S)
        return Reconciled(ended, unproven, 0, rebuilt=False, audit=found)


async def run(settings: Settings, *, fix: bool, wait_s: float = AUDIT_WAIT_S) -> Reconciled:
    """End orphans, audit, and with `fix` set PostgreSQL's counts to its ledger and rebuild Redis from them.

    Redis is not rebuilt while events are set aside, since perhaps only Redis has what they changed, but counts that
    contradict the ledger are set to it: an event may be set aside because of them. What each audit finds is recorded,
    where the metrics find it. Raises Unavailable when one of the two is out of reach, or the flush does not keep up
    within `wait_s`, and one of FAULTS when PostgreSQL goes away meanwhile.
    """
    async with open_resources(settings) as resources:
        ended, unproven = await end_orphans(resources, wait_s)
        found = await _audit(resources, unproven, wait_s)
        if found.is_clean or not fix:
            return Reconciled(ended, unproven, 0, rebuilt=False, audit=found)
        mended = await set_levels_from_ledger(resources.pool, resources.keys.shard)
        if found.quarantined:
            found = await _audit(resources, unproven, wait_s)
            return Reconciled(ended, unproven, mended, rebuilt=False, audit=found)
        await fence.rebuild(settings, resources.pool, resources.keys)
    async with open_resources(settings) as resources:
        found = await _audit(resources, unproven, wait_s)
        return Reconciled(ended, unproven, mended, rebuilt=True, audit=found)


async def _audit(resources: Resources, orphans_unproven: int, wait_s: float) -> Audit:
    """What an audit finds, which is also left for the metrics."""
    found = await audit(resources.redis, resources.pool, resources.keys, wait_s)
    await record(resources.pool, resources.keys.shard, found, orphans_unproven)
    return found
