"""A peer under measurement: its process, on a free port, with the servers of a Holdfast but data of its own."""

from __future__ import annotations

import asyncio
import http.client
import sys
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import redis

from benchmarks.harness.children import Child, listen
from benchmarks.harness.cpu import Roles
from benchmarks.harness.holdfast import Holdfast
from benchmarks.queries import read_queries

READY_S = 120.0
STOP_S = 20.0
DATABASE = "peers"
REDIS_NUMBER = "/1"
MODULES = "benchmarks.peers"
NEEDS = {
    "noop": (),
    "group_commit": ("redis",),
    "row_lock": ("database", "stock"),
    "unit_rows": ("database", "stock"),
    "per_request_lua": ("redis", "stock"),
}


class Peer:
    """A running peer, filled with as many `units` of each of `skus` SKUs named `<group>-<five digits>`."""

    def __init__(self, name: str, beside: Holdfast, group: str = "none", skus: int = 1, units: int = 1) -> None:
        self.name = name
        self.headers = beside.headers
        self._beside = beside
        self._uses_redis = "redis" in NEEDS[name]
        options: list[str] = []
        if "stock" in NEEDS[name]:
            options += ["--prefix", group, "--skus", str(skus), "--units", str(units)]
        if "database" in NEEDS[name]:
            options += ["--database-url", asyncio.run(_database_of_peers(beside.runtime.database_url))]
        if self._uses_redis:
            options += ["--redis-url", self._redis_url]
        with listen() as listener:
            self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            fd = listener.fileno()
            self._child = Child([sys.executable, "-m", f"{MODULES}.{name}", "--fd", str(fd), *options], fds=(fd,))
        try:
            self._child.wait_for(self._answers, READY_S)
        except BaseException:
            self.remove()
            raise

    def roles(self) -> Roles:
        shared = self._beside.roles()
        return {"api": [self._child.pid], "redis": shared["redis"], "postgres": shared["postgres"]}

    def settle(self) -> float:
        """Nothing is left to do for it once it has answered, but for what the other one may still flush."""
        return self._beside.settle()

    def remove(self) -> None:
        """End it, and delete what it left in Redis; what is in PostgreSQL goes with the database."""
        self._child.stop(STOP_S)
        if self._uses_redis:
            with redis.Redis.from_url(self._redis_url) as client:
                client.flushdb(asynchronous=True)

    @property
    def _redis_url(self) -> str:
        return urlunsplit(urlsplit(self._beside.runtime.redis_url)._replace(path=REDIS_NUMBER))

    def _answers(self) -> bool:
        parts = urlsplit(self.url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=READY_S)
        try:
            connection.request("GET", "/api/v1/ready")
            return connection.getresponse().status > 0
        except OSError:
            return False
        finally:
            connection.close()


async def _database_of_peers(database_url: str) -> str:
    """The URL of the peers' own database on the same server, which is made if it is not there."""
    sql = read_queries(Path(__file__).with_name("peer.sql"))
    connection = await asyncpg.connect(database_url)
    try:
        if not await connection.fetchval(sql["has_database"], DATABASE):
            await connection.execute(sql["make_database"])
    finally:
        await connection.close()
    return urlunsplit(urlsplit(database_url)._replace(path=f"/{DATABASE}"))
