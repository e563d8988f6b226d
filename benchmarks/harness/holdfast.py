"""Holdfast under measurement: an `up` of its own in a directory of its own, with the settings of production."""

from __future__ import annotations

import http.client
import json
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import psutil
import redis
from msgspec import Struct

from benchmarks.harness.children import PROJECT_DIR, Child, HarnessError, environment, family, free_port
from benchmarks.harness.cpu import Roles
from benchmarks.harness.event_log import Sample, watch
from benchmarks.harness.operator import Operator
from benchmarks.harness.promises import Books, read_stored
from benchmarks.load.plan import CHOICE, Plan, Step
from benchmarks.load.run import run

PRODUCTION = {"HOLDFAST_AUTH": "keys", "HOLDFAST_ACCESS_LOG": "false", "HOLDFAST_WORKERS": "1"}
"""AOF `always`, validation and metrics are never off."""
READY_S = 120.0
STOP_S = 90.0
FLUSHED_S = 120.0
SETTLE_POLL_S = 0.05
COMMAND_S = 900.0


class Pids(Struct, frozen=True):
    """The processes of a running `up`."""

    supervisor: int
    api: list[int]
    redis: int
    postgres: int
    worker: list[int]
    scheduler: int


class Runtime(Struct, frozen=True):
    """What a running `up` says of itself."""

    api_url: str
    redis_url: str
    database_url: str
    pids: Pids


class Holdfast:
    """One system. It is started when it is first needed; `remove` ends it and deletes its data."""

    name = "holdfast"

    def __init__(self, settings: Mapping[str, str] | None = None, within: Path | None = None) -> None:
        self.data_dir = Path(tempfile.mkdtemp(prefix="holdfast-bench-", dir=within))
        self._settings = {
            **PRODUCTION,
            **(settings or {}),
            "HOLDFAST_DATA_DIR": str(self.data_dir),
            "HOLDFAST_PORT": str(free_port()),
        }
        self._child: Child | None = None
        self._runtime: Runtime | None = None
        self.books = Books()
        self.bytes_a_hold = 0.0
        """What a live hold takes in Redis, where it was measured while this system was filled."""
        self.storefront_key = self.operator_key = ""

    # Its life

    def start(self) -> float:
        """Start `up`, on the data that is there; returns the seconds until it was ready. Raises HarnessError."""
        began = time.monotonic()
        child = self._child = Child([sys.executable, "-m", "cli.main", "up", "--no-demo"], self._settings)
        child.wait_for(self._is_ready, READY_S)
        took_s = time.monotonic() - began
        self._runtime = msgspec.json.decode(self._runtime_path.read_bytes(), type=Runtime)
        if not self.operator_key:
            self.operator_key = self._make_key("operator")
            self.storefront_key = self._make_key("storefront")
        return took_s

    def wait_ready(self) -> None:
        """Return once `/readyz` says so. Raises HarnessError."""
        if self._child is None:
            raise HarnessError("the system was not started")
        self._child.wait_for(self._is_ready, READY_S)

    def stop(self) -> None:
        """End it in order; its data stays."""
        if self._child is not None:
            self._child.stop(STOP_S)
            self._child = None

    def remove(self) -> None:
        """End it, and delete its data."""
        self.stop()
        shutil.rmtree(self.data_dir, ignore_errors=True)

    def command(self, *arguments: str) -> dict[str, Any]:
        """Run `holdfast …` on it; the JSON that it prints. Raises HarnessError when it fails."""
        done = subprocess.run(
            [sys.executable, "-m", "cli.main", *arguments, "--json"],
            cwd=PROJECT_DIR,
            env=environment(self._settings),
            capture_output=True,
            check=False,
            timeout=COMMAND_S,
        )
        if done.returncode:
            raise HarnessError(f"holdfast {' '.join(arguments)}: {done.stderr.decode(errors='replace')[-1_000:]}")
        return dict(json.loads(done.stdout))

    @property
    def _runtime_path(self) -> Path:
        return self.data_dir / "runtime.json"

    def _is_ready(self) -> bool:
        if not self._runtime_path.exists():
            return False
        connection = http.client.HTTPConnection("127.0.0.1", int(self._settings["HOLDFAST_PORT"]), timeout=2)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == http.client.OK
        except OSError:
            return False
        finally:
            connection.close()

    def _make_key(self, scope: str) -> str:
        return str(self.command("keys", "create", "--scope", scope, "--name", "benchmark")["secret"])

    # What a load needs to know

    @property
    def runtime(self) -> Runtime:
        if self._runtime is None:
            raise HarnessError("the system was not started")
        return self._runtime

    @property
    def url(self) -> str:
        return self.runtime.api_url

    @property
    def port(self) -> int:
        return urlsplit(self.url).port or 80

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.storefront_key}"}

    @property
    def operator(self) -> Operator:
        return Operator(self.url, self.operator_key)

    def roles(self) -> Roles:
        pids = self.runtime.pids
        return {
            "api": pids.api,
            "redis": [pids.redis],
            "postgres": [pids.postgres],
            "worker": [*pids.worker, pids.scheduler],
        }

    def redis_info(self) -> dict[str, Any]:
        """What Redis' INFO says."""
        with redis.Redis.from_url(self.runtime.redis_url, decode_responses=True) as client:
            return dict(client.info())

    # Stock and log

    def receive(self, group: str, skus: Sequence[str], units: int) -> None:
        """Make SKUs with so many units each, and wait until PostgreSQL has them. Raises HarnessError."""
        step = Step("stock", f"/api/v1/stock/{CHOICE}", f'{{"on_hand":{units}}}', prefix="", method="PUT")
        plan = Plan(
            url=self.url,
            steps=(step,),
            prefix=fresh_prefix(),
            headers={"Authorization": f"Bearer {self.operator_key}"},
            choices=tuple(skus),
            limit=len(skus),
        )
        outcome = run(plan)
        if outcome.done != len(skus):
            raise HarnessError(f"of {len(skus)} SKUs only {outcome.done} were made: {outcome.statuses}")
        self.books.receive(group, dict.fromkeys(skus, units))
        self.settle()

    def receive_once(self, group: str, skus: Sequence[str], units: int) -> None:
        """The same, unless the group is there already."""
        if group not in self.books.groups:
            self.receive(group, skus, units)

    def watch(self, go_on: Any, every_s: float = SETTLE_POLL_S) -> list[Sample]:
        """Samples of the event log for as long as `go_on` says so of the last one."""
        return watch(self.runtime.redis_url, self.runtime.database_url, go_on, every_s)

    def settle(self, timeout_s: float = FLUSHED_S) -> float:
        """Wait until PostgreSQL has applied every event; returns the seconds it took. Raises HarnessError."""
        deadline = time.monotonic() + timeout_s
        samples = self.watch(lambda last: last.applied < last.made and time.monotonic() < deadline)
        if samples[-1].applied < samples[-1].made:
            left = samples[-1].made - samples[-1].applied
            raise HarnessError(f"{left} events were not in PostgreSQL after {timeout_s:.0f} s")
        return samples[-1].at_s - samples[0].at_s

    @contextmanager
    def without_workers(self) -> Iterator[None]:
        """Hold the workers still, and whatever they forked; they go on afterwards."""
        held: list[psutil.Process] = []
        try:
            for pid in self.runtime.pids.worker:
                for process in family(pid):
                    process.suspend()
                    held.append(process)
            yield
        finally:
            for process in held:
                if process.is_running():
                    process.resume()

    def broken_promises(self) -> list[str]:
        """Every promise that does not hold, once the log is drained."""
        try:
            self.settle()
        except HarnessError as error:
            return [str(error)]
        return self.books.judge(self.operator.counts(), read_stored(self.runtime.database_url))


def fresh_prefix() -> str:
    """What begins the idempotency keys of one load, as none before."""
    return secrets.token_hex(5)
