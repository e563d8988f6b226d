"""Every fault by name, with what it needs and what it may cost."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from msgspec import Struct

from tests.faults import clock_faults, disk_faults, log_faults, network_faults, process_faults, redis_faults
from tests.faults.stage import Stage

Inject = Callable[[Stage], Awaitable[None]]


class Fault(Struct, frozen=True):
    """A fault: `inject` returns when it is over, and time to ready counts from there.

    `site` is where it can happen: `up` with its own servers, or behind proxies on servers of the run's own, which may
    have small `disks`. `is_quick`: it belongs to the short run.
    """

    name: str
    inject: Inject
    site: str = "up"
    is_quick: bool = False


UP = (
    Fault("API killed", process_faults.kill_api),
    Fault("flush worker killed", process_faults.kill_flush_worker),
    Fault("flush job killed in its work", process_faults.kill_flush_job),
    Fault("flush worker killed as it takes a job", process_faults.kill_worker_as_it_takes_a_job),
    Fault("flush killed between COMMIT and trim", log_faults.kill_between_commit_and_trim, is_quick=True),
    Fault("housekeeping killed", process_faults.kill_housekeeping),
    Fault("scheduler killed", process_faults.kill_scheduler),
    Fault("Redis killed", process_faults.kill_redis, is_quick=True),
    Fault("PostgreSQL killed", process_faults.kill_postgres),
    Fault("two of these at once", process_faults.two_at_once),
    Fault("everything killed at once", process_faults.kill_everything, is_quick=True),
    Fault("supervisor killed", process_faults.kill_supervisor),
    Fault("zombie API woken in a later epoch", process_faults.wake_zombie_api),
    Fault("API stopped, then woken", process_faults.stop_api),
    Fault("flush stopped, then woken", process_faults.stop_flush),
    Fault("zombie drainer woken beside another", process_faults.wake_zombie_drainer),
    Fault("Redis stopped, then woken", process_faults.stop_redis),
    Fault("PostgreSQL stopped, then woken", process_faults.stop_postgres),
    Fault("Redis wiped", redis_faults.wipe),
    Fault("Redis wiped under load", redis_faults.wipe_under_load, is_quick=True),
    Fault("Redis wiped while PostgreSQL is down", log_faults.wipe_without_postgres),
    Fault("Redis put back some seconds", redis_faults.restore_older_file),
    Fault("Redis' file cut", redis_faults.cut_file, is_quick=True),
    Fault("Redis' file cut under load", redis_faults.cut_file_under_load),
    Fault("Redis' scripts forgotten", redis_faults.forget_scripts),
    Fault("Redis' connections killed", redis_faults.kill_connections),
    Fault("Redis' memory full", redis_faults.fill_memory),
    Fault("PostgreSQL down until the high-water mark", log_faults.lose_postgres_for_long),
    Fault("poison in the log", log_faults.poison, is_quick=True),
    Fault("a batch applied twice", log_faults.repeat_batch),
    Fault("a gap in the log", log_faults.gap),
)

NETWORK = tuple(
    Fault(f"{role} and {server}: {weather.value}", network_faults.bad_weather(server, role, weather), "proxies")
    for server in network_faults.SERVERS
    for role in network_faults.ROLES
    for weather in network_faults.LASTS_S
)

DISKS = (
    Fault("disk full for Redis' file", disk_faults.fill("redis"), "disks"),
    Fault("disk full for PostgreSQL", disk_faults.fill("postgres"), "disks"),
)

CLOCK = (Fault("Redis' clock steps by minutes", clock_faults.step_clock, "proxies"),)

ALL = (*UP, *NETWORK, *DISKS, *CLOCK)
