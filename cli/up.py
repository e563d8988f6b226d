"""`holdfast up`: the whole system on this machine, until Ctrl-C."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import signal
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import FrameType
from urllib.parse import urlsplit

import click
import msgspec

from cli.embedded_server import EmbeddedServer
from cli.runtime import Runtime, lock_data_dir, remove_runtime, write_runtime
from cli.stack import (
    RANKS,
    check_exposure,
    end_leftovers,
    listen,
    pids_of,
    process_specs,
    server_spec,
    servers,
)
from cli.supervisor import LogBound, Supervisor
from engine.errors import HoldfastError
from engine.settings import Settings, read_settings

PROBE_TIMEOUT_S = 2.0
WAITING_NEWS_EVERY_S = 15.0
MAX_ENDINGS_AT_START = 6
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StartError(HoldfastError):
    """A process does not stay alive, so the system cannot become ready."""


class Stopped(Exception):
    """Ctrl-C or a signal ended the wait."""


@click.command("up")
@click.option(
    "--demo/--no-demo", default=True, help="Load a small demo catalogue into an empty system.  [default: demo]"
)
def command(*, demo: bool) -> None:
    """Run everything on this machine: Redis, PostgreSQL, API, RQ workers and scheduler.

    The servers are embedded unless HOLDFAST_REDIS_URL or HOLDFAST_DATABASE_URL names others. All data is kept in
    HOLDFAST_DATA_DIR. What dies is started again. Ctrl-C stops everything in order, a second one at once.
    """
    settings = settings_for_up(os.environ)
    check_exposure(settings)
    data_dir = Path(settings.data_dir)
    lock = lock_data_dir(data_dir)
    try:
        end_leftovers(data_dir)
        with listen(settings) as listener:
            System(settings, listener, demo=demo).run()
    finally:
        os.close(lock)


def settings_for_up(environment: Mapping[str, str]) -> Settings:
    """The settings, without keys unless HOLDFAST_AUTH says otherwise, and with the data directory's full path."""
    given = {name: value for name, value in environment.items() if value}
    settings = read_settings({"HOLDFAST_AUTH": "off", **given})
    return msgspec.structs.replace(settings, data_dir=str(Path(settings.data_dir).expanduser().resolve()))


class System:
    """One run of `up`, from the first server to the last line."""

    def __init__(self, settings: Settings, listener: socket.socket, *, demo: bool) -> None:
        self._settings = settings
        self._listener = listener
        self._demo = demo
        self._data_dir = Path(settings.data_dir)
        self._logs = self._data_dir / "logs"
        self._log_bound = LogBound(self._logs)
        self._signals = 0
        self._has_servers = self._is_ready = False
        self._supervisor = Supervisor(report=click.echo, changed=self._write_runtime)

    def run(self) -> None:
        """Start everything, serve until a signal, stop everything."""
        self._logs.mkdir(parents=True, exist_ok=True)
        earlier = {stop_signal: signal.getsignal(stop_signal) for stop_signal in STOP_SIGNALS}
        for stop_signal in STOP_SIGNALS:
            if stop_signal != signal.SIGHUP or earlier[stop_signal] != signal.SIG_IGN:  # else it was started by nohup
                signal.signal(stop_signal, self._on_signal)
        try:
            with suppress(Stopped):
                self._start()
                while True:
                    self._turn()
        finally:
            self._stop()
            for stop_signal, handler in earlier.items():
                signal.signal(stop_signal, handler)

    def _start(self) -> None:
        began = time.monotonic()
        click.echo(f"Holdfast keeps its data in {self._data_dir} and its logs in {self._logs}")
        embedded = servers(self._settings, click.echo)
        for server in embedded:
            self._supervisor.add(server_spec(server))
        self._await_servers(embedded)
        urls = {server.name: server.url for server in embedded}
        self._settings = self._settings.with_urls(
            self._settings.redis_url or urls["redis"], self._settings.database_url or urls["postgres"]
        )
        self._has_servers = True
        self._write_runtime()
        self._migrate()
        for spec in process_specs(self._settings, self._listener):
            self._supervisor.add(spec)
        if self._demo:
            self._load_demo()
        self._await_ready()
        self._is_ready = True
        self._write_runtime()
        self._greet(time.monotonic() - began)

    def _await_servers(self, embedded: list[EmbeddedServer]) -> None:
        while not all(server.is_ready() for server in embedded):
            self._turn_at_start()

    def _migrate(self) -> None:
        from persistence.migrate import migrate  # noqa: PLC0415 - its libraries load while the servers start

        for name in asyncio.run(migrate(self._settings.require_database_url())):
            click.echo(f"applied {name}")

    def _load_demo(self) -> None:
        from cli.demo import load_demo  # noqa: PLC0415 - as above

        if created := asyncio.run(load_demo(self._settings)):
            click.echo(f"loaded a demo catalogue of {created} SKUs into the empty system")

    def _await_ready(self) -> None:
        news_at = time.monotonic() + WAITING_NEWS_EVERY_S
        while (answer := self._probe("/readyz"))[0] != http.client.OK:
            self._turn_at_start()
            if time.monotonic() >= news_at:
                news_at += WAITING_NEWS_EVERY_S
                click.echo(f"still waiting for {self._api_url}/readyz ({_reasons(*answer)}); see {self._logs}")

    def _turn_at_start(self) -> None:
        self._turn()
        for name, endings in self._supervisor.endings().items():
            if endings >= MAX_ENDINGS_AT_START:
                raise StartError(f"{name} ended {endings} times and cannot start; see {self._logs / name}.log")

    def _turn(self) -> None:
        self._supervisor.turn()
        self._log_bound.enforce()
        if self._signals:
            raise Stopped

    def _on_signal(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - Python's signature
        self._signals += 1
        if self._signals > 1:
            self._supervisor.hurry()

    def _stop(self) -> None:
        if self._supervisor.pids():
            click.echo("Stopping " + ", ".join(sorted(self._supervisor.pids(), key=_rank)) + " (Ctrl-C again: at once)")
        self._has_servers = self._is_ready = False
        self._listener.close()
        self._supervisor.stop()
        remove_runtime(self._data_dir)
        click.echo("Stopped")

    def _write_runtime(self) -> None:
        if not self._has_servers:
            return
        write_runtime(
            self._data_dir,
            Runtime(
                api_url=self._api_url,
                redis_url=self._settings.require_redis_url(),
                database_url=self._settings.require_database_url(),
                pids=pids_of(self._supervisor.pids()),
            ),
            is_ready=self._is_ready,
        )

    @property
    def _api_url(self) -> str:
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self._settings.host, self._settings.host)  # noqa: S104 - read, not bound
        return f"http://[{host}]:{self._settings.port}" if ":" in host else f"http://{host}:{self._settings.port}"

    def _probe(self, path: str) -> tuple[int, bytes]:
        """Status and body of a GET; (0, b"") where nobody answers."""
        parts = urlsplit(self._api_url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=PROBE_TIMEOUT_S)
        with suppress(OSError, http.client.HTTPException):
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read()
        connection.close()
        return 0, b""

    def _greet(self, took_s: float) -> None:
        url = self._api_url
        key = " -H 'Authorization: Bearer KEY'" if self._settings.auth == "keys" else ""
        body = json.dumps({"lines": [{"sku": self._some_sku(), "quantity": 1}]})
        click.echo(
            f"Ready after {took_s:.1f} s\n"
            f"  API      {url}/api/v1\n"
            f"  Docs     {url}/docs\n"
            f"  Metrics  {url}/metrics\n"
            "Reserve something:\n"
            f"  curl -s {url}/api/v1/holds{key} -H 'Content-Type: application/json' -d '{body}'"
        )
        if key:
            click.echo("KEY is what `holdfast keys create` prints")

    def _some_sku(self) -> str:
        """A SKU that can be reserved, where the API tells without a key."""
        status, body = self._probe("/api/v1/stock?limit=50")
        if status == http.client.OK:
            for item in json.loads(body).get("items", []):
                if item.get("available", 0) > 0:
                    return str(item["sku"])
        return "SKU"


def _reasons(status: int, body: bytes) -> str:
    """Why a system is not ready, as its API tells it."""
    with suppress(msgspec.DecodeError, AttributeError):
        components = msgspec.json.decode(body).get("components", {}).values()
        if told := [str(component["detail"]) for component in components if component.get("detail")]:
            return "; ".join(told)
    return str(status or "no answer")


def _rank(name: str) -> tuple[int, str]:
    return RANKS[name.partition("-")[0]], name
