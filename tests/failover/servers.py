"""A Redis with a replica, and Sentinels that watch over them: real processes on loopback, ended with the test."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import RedisError

from cli.embedded import redis_binary
from cli.embedded_server import LOOPBACK, choose_port
from cli.processes import spawn, wait_until

SERVICE = "holdfast"
DOWN_AFTER_MS = 800
START_TIMEOUT_S = 15.0


class Node:
    """One process of the server's binary, and how it is started again on the same data."""

    def __init__(self, directory: Path, port: int, arguments: Callable[[Node], list[str]], login: str = "") -> None:
        self.directory, self.port = directory, port
        self._arguments = arguments
        self._login = login
        self.process: subprocess.Popen[bytes] | None = None
        directory.mkdir(parents=True)

    @property
    def url(self) -> str:
        return f"redis://{self._login}{LOOPBACK}:{self.port}/0"

    def start(self) -> None:
        self.process = spawn(
            [str(redis_binary()), *self._arguments(self)],
            log_path=self.directory / "log",
            environment=os.environ,
            death_signal=signal.SIGKILL,
            directory=self.directory,
        )

    def send(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def ask(self, *command: str | int) -> Any:
        """One command's answer, on a connection of its own."""
        with Redis.from_url(self.url, decode_responses=True, socket_timeout=2) as client:
            return client.execute_command(*command)

    def told(self, what: str) -> Any:
        """What INFO replication says; nothing while it does not answer, or still reads its file."""
        with suppress(RedisError), Redis.from_url(self.url, decode_responses=True, socket_timeout=2) as client:
            told = client.info("replication", "persistence")
            return None if told["loading"] else told.get(what)
        return None


def _server(node: Node, further: Mapping[str, str]) -> list[str]:
    options = {
        "bind": LOOPBACK,
        "port": str(node.port),
        "dir": str(node.directory),
        "appendonly": "yes",
        "appendfsync": "always",
        "save": "",
        "repl-diskless-sync-delay": "0",
        **further,
    }
    return [part for name, value in options.items() for part in (f"--{name}", value)]


def _sentinel(node: Node) -> list[str]:
    return [str(node.directory / "sentinel.conf"), "--sentinel"]


def _is_sentinel(node: Node) -> bool:
    with suppress(RedisError):
        return bool(node.ask("SENTINEL", "MASTERS"))
    return False


class Replicated:
    """A master, its replica, and the Sentinels; which of the servers is the master changes.

    `login` (`user:password@`) is whom the tests ask as; `options` are further ones of both servers, `watching` further
    lines of the Sentinels' files.
    """

    def __init__(
        self, directory: Path, login: str = "", options: Mapping[str, str] | None = None, watching: Sequence[str] = ()
    ) -> None:
        self.directory = directory
        arguments = partial(_server, further=options or {})
        self.master = Node(directory / "first", choose_port(), arguments, login)
        self.replica = Node(directory / "second", choose_port(), arguments, login)
        self.sentinels: list[Node] = []
        self._watching = watching

    @property
    def url(self) -> str:
        """As HOLDFAST_REDIS_URL names them."""
        nodes = ",".join(f"{LOOPBACK}:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://{nodes}/{SERVICE}"

    def start(self) -> None:
        for node in (self.master, self.replica):
            node.start()
        assert wait_until(lambda: self.replica.told("role") == "master", START_TIMEOUT_S)
        self.replica.ask("REPLICAOF", LOOPBACK, self.master.port)
        assert wait_until(self.is_in_step, START_TIMEOUT_S)

    def is_in_step(self) -> bool:
        """Whether the replica has everything that the master had when it was asked."""
        offset = self.master.told("master_repl_offset")
        is_up: bool = self.replica.told("master_link_status") == "up"
        return is_up and int(self.replica.told("slave_repl_offset")) >= int(offset)

    def watch(self, count: int = 3) -> None:
        """Start Sentinels; skips the test where the server's binary cannot be one."""
        for number in range(count):
            sentinel = Node(self.directory / f"sentinel-{number}", choose_port(), _sentinel)
            (sentinel.directory / "sentinel.conf").write_text(
                f"port {sentinel.port}\nbind {LOOPBACK}\ndir {sentinel.directory}\n"
                f"sentinel monitor {SERVICE} {LOOPBACK} {self.master.port} {count // 2 + 1}\n"
                f"sentinel down-after-milliseconds {SERVICE} {DOWN_AFTER_MS}\n"
                f"sentinel failover-timeout {SERVICE} 4000\n" + "".join(f"{line}\n" for line in self._watching)
            )
            sentinel.start()
            self.sentinels.append(sentinel)
        if not wait_until(lambda: all(map(_is_sentinel, self.sentinels)), START_TIMEOUT_S):
            pytest.skip("the server's binary does not run as a Sentinel here")
        assert wait_until(lambda: all(map(self._knows_all, self.sentinels)), START_TIMEOUT_S)

    def is_master_seen(self) -> bool:
        """Whether no Sentinel takes the master for down: on a busy machine one does for a moment while it restarts."""
        with suppress(RedisError):
            return all("down" not in self._master_as_told(sentinel)["flags"] for sentinel in self.sentinels)
        return False

    def _master_as_told(self, sentinel: Node) -> dict[str, Any]:
        found = sentinel.ask("SENTINEL", "MASTER", SERVICE)
        return found if isinstance(found, dict) else dict(zip(found[::2], found[1::2], strict=True))

    def _knows_all(self, sentinel: Node) -> bool:
        with suppress(RedisError):
            told = self._master_as_told(sentinel)
            return int(told["num-slaves"]) == 1 and int(told["num-other-sentinels"]) == len(self.sentinels) - 1
        return False

    def wait_promoted(self, timeout_s: float) -> float:
        """Wait until the replica is the master; returns the seconds that it took."""
        started = time.monotonic()
        assert wait_until(lambda: self.replica.told("role") == "master", timeout_s)
        return time.monotonic() - started

    def stop(self) -> None:
        for node in (*self.sentinels, self.replica, self.master):
            node.kill()


@contextmanager
def replicated(directory: Path, **told: Any) -> Iterator[Replicated]:
    """A master with its replica in step."""
    servers = Replicated(directory, **told)
    try:
        servers.start()
        yield servers
    finally:
        servers.stop()
