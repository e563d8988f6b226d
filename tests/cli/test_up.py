"""`holdfast up` as an operator meets it: real processes, real servers, killed for real."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from cli.embedded_server import LOOPBACK, choose_port

READY_S = 60


class Up:
    """A `holdfast up` of the test's own."""

    def __init__(self, data_dir: Path, **variables: str) -> None:
        self.data_dir = data_dir
        self.port = choose_port()
        kept = {name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")}
        self.environment = {
            **kept,
            "HOLDFAST_DATA_DIR": str(data_dir),
            "HOLDFAST_PORT": str(self.port),
            "HOLDFAST_DRAIN_TIMEOUT_S": "2",
            **variables,
        }
        self.process: subprocess.Popen[bytes] | None = None
        self.output = data_dir / "output"

    def start(self) -> None:
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "cli.main", "up"], env=self.environment, stdout=output, stderr=output
            )
        self.wait_for(self.runtime_is_there)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "cli.main", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=READY_S,
            check=False,
        )

    def stop(self, stop_signal: signal.Signals = signal.SIGINT) -> int:
        assert self.process is not None
        self.process.send_signal(stop_signal)
        return self.process.wait(READY_S)

    def runtime_is_there(self) -> bool:
        runtime = self.data_dir / "runtime.json"
        return runtime.exists() and self.pids()["supervisor"] == (self.process.pid if self.process else None)

    def runtime(self) -> dict[str, Any]:
        return dict(json.loads((self.data_dir / "runtime.json").read_text()))

    def pids(self) -> dict[str, Any]:
        return dict(self.runtime()["pids"])

    def get(self, path: str) -> tuple[int, Any]:
        return self.request("GET", path)

    def request(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        parts = urlsplit(f"http://{LOOPBACK}:{self.port}{path}")
        connection = http.client.HTTPConnection(LOOPBACK, self.port, timeout=10)
        try:
            target = f"{parts.path}?{parts.query}" if parts.query else parts.path
            content = None if body is None else json.dumps(body)
            connection.request(method, target, content, {"Content-Type": "application/json"})
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()

    def wait_for(self, condition: Callable[[], bool], timeout_s: float = READY_S) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            ended = self.process is None or self.process.poll() is not None
            assert not ended, self.output.read_text()
            assert time.monotonic() < deadline, self.output.read_text()
            time.sleep(0.02)

    def end(self) -> None:
        """Leave nothing behind, whatever the test did."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            time.sleep(0.1)
            self.process.terminate()  # the second signal: at once
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(30)
            self.process.kill()
            self.process.wait()


@pytest.fixture
def up(data_dir: Path) -> Iterator[Up]:
    up = Up(data_dir)
    yield up
    up.end()


def test_a_system_serves_its_demo_alone_on_its_data_and_stops_in_order_on_ctrl_c(up: Up) -> None:
    up.start()
    status, stock = up.get("/api/v1/stock")
    assert status == 200
    assert stock["items"], "the demo was loaded"
    pids = up.pids()
    assert set(pids) == {"supervisor", "api", "redis", "postgres", "worker", "scheduler"}
    assert len(pids["api"]) == 1
    assert len(pids["worker"]) == 2
    second = up.run("up")
    assert second.returncode == 1
    assert_one_line(second.stderr, "another `holdfast up` is running")
    migrated = up.run("migrate", "--json")
    assert (migrated.returncode, json.loads(migrated.stdout)) == (0, {"applied": []})
    assert up.stop() == 0
    assert not (up.data_dir / "runtime.json").exists()
    said = up.output.read_text()
    assert "/api/v1/holds" in said
    assert "was killed" not in said
    assert said.endswith("Stopped\n")


def test_everything_killed_at_once_continues_with_its_data_and_its_ports(up: Up) -> None:
    up.start()
    sku = up.get("/api/v1/stock?limit=1")[1]["items"][0]["sku"]
    assert up.request("POST", "/api/v1/holds", {"lines": [{"sku": sku, "quantity": 2}]})[0] == 201
    before, stock = up.runtime(), up.get(f"/api/v1/stock/{sku}")[1]
    assert stock["reserved"] == 2
    for pid in flat(up.pids()):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    assert up.process is not None
    up.process.wait()
    up.start()
    after = up.runtime()
    assert (after["redis_url"], after["database_url"]) == (before["redis_url"], before["database_url"])
    assert up.get(f"/api/v1/stock/{sku}")[1] == stock


def test_what_dies_is_replaced_and_a_supervisor_that_dies_leaves_nothing_behind(up: Up) -> None:
    up.start()
    first = up.runtime()
    pids = first["pids"]
    for victim in (pids["api"][0], pids["redis"], pids["postgres"], pids["worker"][0], pids["scheduler"]):
        os.kill(victim, signal.SIGKILL)

    def replaced() -> bool:
        now = up.pids()
        old = set(flat(pids)) - {pids["supervisor"]}
        return len(flat(now)) == len(flat(pids)) and len(old & set(flat(now))) <= 1

    up.wait_for(replaced)
    up.wait_for(lambda: up.get("/readyz")[0] == 200)
    second = up.runtime()
    assert {**second, "pids": None} == {**first, "pids": None}, "the same ports"
    assert all(is_alive(pid) for pid in flat(second["pids"]))

    assert up.process is not None
    up.process.kill()
    up.process.wait()
    up.start()
    assert up.runtime()["redis_url"] == first["redis_url"]
    assert [pid for pid in flat(second["pids"]) if is_alive(pid)] == []


def test_a_port_that_is_taken_is_one_line(up: Up) -> None:
    with socket.create_server((LOOPBACK, up.port)):
        refused = up.run("up")
    assert refused.returncode == 2
    assert_one_line(refused.stderr, f"port {up.port} on {LOOPBACK} cannot be used")


def test_without_keys_nobody_but_this_machine_is_served(data_dir: Path) -> None:
    refused = Up(data_dir, HOLDFAST_HOST="0.0.0.0").run("up")  # noqa: S104 - refused, never bound
    assert refused.returncode == 2
    assert_one_line(refused.stderr, "HOLDFAST_AUTH=keys")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("HOLDFAST_PORT", "http"),
        ("HOLDFAST_WORKERS", "0"),
        ("HOLDFAST_REDIS_URL", "localhost:6379"),
        ("HOLDFAST_AUTH", "maybe"),
        ("HOLDFAST_NONSENSE", "1"),
    ],
)
def test_a_setting_that_cannot_be_used_is_one_line_that_names_it(data_dir: Path, variable: str, value: str) -> None:
    refused = Up(data_dir, **{variable: value}).run("up")
    assert refused.returncode == 2
    assert_one_line(refused.stderr, variable)


def test_a_database_that_cannot_be_reached_is_one_line(data_dir: Path) -> None:
    url = f"postgresql://nobody@{LOOPBACK}:{choose_port()}/nothing"
    refused = Up(data_dir, HOLDFAST_DATABASE_URL=url).run("migrate")
    assert refused.returncode == 1
    assert_one_line(refused.stderr, "holdfast: ")


@pytest.mark.parametrize("url", ["redis://shop:s3cr3t@{}/0", "redis+sentinel://{}/main?sentinel_password=s3cr3t"])
def test_a_redis_that_cannot_be_reached_is_named_with_its_variable_but_not_its_password(
    data_dir: Path, url: str
) -> None:
    place = f"{LOOPBACK}:{choose_port()}"
    system = Up(
        data_dir, HOLDFAST_REDIS_URL=url.format(place), HOLDFAST_DATABASE_URL=f"postgresql://nobody@{place}/nothing"
    )
    refused = system.run("reconcile")
    assert refused.returncode == 1
    assert_one_line(refused.stderr, "HOLDFAST_REDIS_URL")
    assert len(refused.stderr) < 300
    assert "s3cr3t" not in refused.stderr


@pytest.mark.parametrize("command", [("quarantine", "list"), ("keys", "list"), ("migrate",)])
def test_what_needs_only_postgresql_asks_for_no_redis(
    data_dir: Path, clean_database_url: str, command: tuple[str, ...]
) -> None:
    done = Up(data_dir, HOLDFAST_DATABASE_URL=clean_database_url).run(*command)
    assert done.returncode == 0, done.stderr


def test_a_command_without_a_system_says_what_to_do(data_dir: Path) -> None:
    refused = Up(data_dir).run("migrate")
    assert refused.returncode == 2
    assert_one_line(refused.stderr, "no ready `holdfast up` was found")


def assert_one_line(text: str, part: str) -> None:
    assert text.count("\n") == 1, text
    assert part in text


def flat(pids: dict[str, Any]) -> list[int]:
    """All pids of a runtime.json."""
    return [pid for value in pids.values() for pid in (value if isinstance(value, list) else [value]) if pid]


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"  # nobody may be there to reap it
