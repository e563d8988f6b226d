"""The system does all of its work with the users of deploy/redis and the roles of deploy/postgres."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.errors import Unavailable
from engine.fence import Fence
from engine.settings import Settings
from persistence.fence import verify
from persistence.pool import connect
from tests.access.driving import (
    KEYS,
    Deployment,
    change_catalogue,
    command_everything,
    hold_and_settle,
    lose_record,
    shop,
    wait_for,
    workers_of,
)
from tests.access.redis_server import ADMIN, AccessRedis, granted_commands
from tests.api.process import Api, running_api

DENIAL = re.compile(
    r"^.*(?:NOPERM|permission denied|has no permissions|No permissions).*$", re.IGNORECASE | re.MULTILINE
)
# The API may not mend a Redis that was wiped, tries, and says that it waits.
EXPECTED = "Redis cannot be verified: Redis waits for a worker to mend it: permission denied for table flush_offsets"
# Else PostgreSQL knows nothing of a shard yet, and a worker has to set it up.
BEGUN = "INSERT INTO flush_offsets (shard, epoch, seq) VALUES (0, 1, 0) ON CONFLICT (shard) DO NOTHING"
# What no test brings about for certain: a name that is taken, a look at the server by hand, a race for a watched key,
# a replica.
RARE = {"ping", "hexists", "persist", "unwatch", "publish", "wait"}


@pytest.fixture(scope="module")
def deployment(users: AccessRedis, roles_url: str, place: Path) -> Iterator[Deployment]:
    settings = Settings(
        flush_every_s=1,
        expire_every_s=1,
        reconcile_every_s=1,
        trim_every_s=1,
        payment_window_s=2,
        cart_hold_ttl_s=60,
        log_level="debug",
    )
    made = Deployment(users, roles_url, settings, place)
    yield made
    for started in made.jobs:
        started.kill_all()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_nothing_that_the_system_does_is_denied_and_nothing_is_granted_for_nothing(
    deployment: Deployment, place: Path
) -> None:
    flush, housekeeping, scheduler = workers_of(deployment)
    deployment.wait_query("SELECT count(*) FROM flush_offsets", wanted=1)  # else the API asks for what a worker does
    with running_api(deployment.settings_of("api"), place / "api.log") as api:
        deployment.log_in(api)
        change_catalogue(api)
        ending = hold_and_settle(api)
        paid, late = shop(api)
        await_the_jobs(deployment, api, ending, paid, late)
        closings = fence_closings(api)
        with deployment.redis.client(ADMIN) as admin:
            admin.flushall()
        wait_for(lambda: fence_closings(api) > closings, "the API to notice the wipe")
        api.wait_ready()
        # A flush that broke off at the wipe waits for the timetable's next nudge.
        held = api.hold(api.create(3))["id"]
        deployment.wait_query("SELECT count(*) FROM holds WHERE id = $1", held, wanted=1)
        housekeeping.end()
        command_everything(deployment, api)
        scheduler.end()  # not before: a flush that made room comes back at the timetable's nudge
        flush.end()
    assert deployment.redis.denials() == []
    for log in sorted(place.glob("*.log")):
        assert [line for line in DENIAL.findall(log.read_text()) if EXPECTED not in line] == [], log.name
    unused = set().union(*granted_commands().values()) - deployment.redis.commands_called() - RARE
    assert not unused


def fence_closings(api: Api) -> float:
    """How often the API lost its trust in Redis: a worker may have mended it before anyone saw a 503."""
    found = re.search(r"^holdfast_fence_closings_total (\S+)", api.client.get("/metrics").text, re.MULTILINE)
    assert found is not None
    return float(found[1])


def await_the_jobs(deployment: Deployment, api: Api, ending: str, paid: str, late: str) -> None:
    """Wait for what the timetable does: holds and payment windows that end, and holds whose record was lost."""
    lose_record(deployment, api.hold(api.create(3))["id"], deadline_too=True)
    lose_record(deployment, api.hold(api.create(3), ttl_s=1)["id"], deadline_too=False)
    deployment.wait_query("SELECT status FROM holds WHERE id = $1", ending, wanted="expired")
    deployment.wait_query("SELECT status FROM orders WHERE id = $1", late, wanted="canceled")
    deployment.wait_query("SELECT payment_status FROM orders WHERE id = $1", paid, wanted="succeeded")
    deployment.wait_query("SELECT count(*) FROM holds WHERE status = 'held' AND expires_at < now()", wanted=0)
    deployment.wait_query("SELECT count(*) FROM audits", wanted=1)


@pytest.mark.slow
def test_an_api_without_a_worker_leaves_a_wiped_redis_as_it_is_and_says_so(deployment: Deployment, place: Path) -> None:
    with deployment.redis.client(ADMIN) as admin:
        admin.flushall()
        deployment.query(BEGUN)
        with running_api(deployment.settings_of("api"), place / "alone.log", is_ready=False) as api:
            api.wait_status(503)
            waiting = {"status": "down", "detail": "Redis waits for a worker to mend it"}
            wait_for(lambda: api.client.get("/readyz").json()["components"]["fence"] == waiting, str(waiting))
            assert admin.dbsize() == 0
            worker = deployment.processes_of("worker", "worker").worker("flush")
            api.wait_ready()
            worker.end()


class Listening(Fence):
    """A fence that keeps what it is told about the work on it."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []

    def explain(self, reason: str) -> None:
        self.told.append(reason)
        super().explain(reason)


@pytest.mark.parametrize(
    ("found", "applied", "what"),
    [
        pytest.param({}, 5, "mend it", id="empty"),
        pytest.param({"epoch": 1, "seq": 4, "flushed": 4}, 5, "mend it", id="behind"),
        pytest.param({}, None, "set it up", id="both-empty"),
        pytest.param({"epoch": 1, "seq": 4, "flushed": 0}, None, "set it up", id="nothing-flushed"),
    ],
)
def test_a_process_that_may_not_mend_says_for_whom_it_waits_and_never_that_it_mends(
    deployment: Deployment, found: dict[str, int], applied: int | None, what: str
) -> None:
    deployment.query("DELETE FROM flush_offsets")
    if applied is not None:
        deployment.query("INSERT INTO flush_offsets (shard, epoch, seq) VALUES (0, 1, $1)", applied)
    with deployment.redis.client(ADMIN) as admin:
        admin.flushall()
        if found:
            admin.hset(KEYS.meta, mapping=found)
    fence = Listening()
    reason = asyncio.run(why_not(deployment.settings_of("api"), fence))
    assert reason == f"Redis waits for a worker to {what}: permission denied for table flush_offsets"
    assert fence.told == []


@pytest.mark.parametrize("what", ["SELECT ON flush_offsets", "SELECT ON installation"])
def test_a_role_that_lacks_what_it_needs_to_compare_waits_for_no_worker(deployment: Deployment, what: str) -> None:
    deployment.query(BEGUN)
    deployment.query(f"REVOKE {what} FROM holdfast_api")
    try:
        reason = asyncio.run(why_not(deployment.settings_of("api"), Fence()))
    finally:
        deployment.query(f"GRANT {what} TO holdfast_api")
    assert reason.startswith("PostgreSQL is unavailable: permission denied for table ")


async def why_not(settings: Settings, fence: Fence) -> str:
    """Why a verification with these users leaves the fence closed."""
    pool = await connect(settings.require_database_url(), 2)
    try:
        with pytest.raises(Unavailable) as raised:
            await verify(settings, pool, fence)
    finally:
        pool.terminate()
    assert not fence.is_open
    return raised.value.reason
