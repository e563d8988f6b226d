"""What both embedded servers have in common: a directory, a remembered port, a start that survives any crash."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

import psutil

from cli.processes import end, wait_until
from engine.errors import HoldfastError

LOOPBACK = "127.0.0.1"
PORTS = range(15_000, 30_000)  # below every system's ephemeral ports, so that no client's socket can sit on them
PORT_ATTEMPTS = 200
STOP_TIMEOUT_S = 30.0


class EmbeddedError(HoldfastError):
    """An embedded server cannot run here; the message is one line for the operator."""


def choose_port(preferred: int | None = None) -> int:
    """`preferred` if it is free, otherwise one that is."""
    candidates = random.sample(PORTS, PORT_ATTEMPTS)
    for port in candidates if preferred is None else [preferred, *candidates]:
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((LOOPBACK, port))
            return port
    raise EmbeddedError(f"no free port found on {LOOPBACK} from {PORTS.start} to {PORTS.stop}")


class EmbeddedServer(ABC):
    """One server process and its directory. `start` may be called again whenever the process has ended."""

    name: ClassVar[str]
    stop_signal: ClassVar[signal.Signals]

    def __init__(
        self, data_dir: Path, *, log_path: Path | None = None, options: Mapping[str, str] | None = None
    ) -> None:
        self.data_dir = data_dir.resolve()
        self.log_path = log_path or self.data_dir / "server.log"
        self.options = {} if options is None else dict(options)
        self.process: subprocess.Popen[bytes] | None = None
        self._port: int | None = None

    @property
    def port(self) -> int:
        if self._port is None:
            raise EmbeddedError(f"the embedded {self.name} was not started")
        return self._port

    @property
    @abstractmethod
    def url(self) -> str: ...

    @property
    @abstractmethod
    def pid_path(self) -> Path: ...

    @abstractmethod
    def is_ready(self) -> bool:
        """Whether this very process, and no other on its port, answers."""

    @abstractmethod
    def _prepare(self) -> None: ...

    @abstractmethod
    def _spawn(self) -> subprocess.Popen[bytes]: ...

    def start(self) -> subprocess.Popen[bytes]:
        """Start the server in the foreground, after ending whatever still runs on this data; does not wait for it.

        The first start of this object picks the port: that of the last time if it is free. Later ones keep it.
        """
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        self._end_orphan()
        self._prepare()
        if self._port is None:
            self._port = self._remembered_port()
        self.process = self._spawn()
        return self.process

    def wait_ready(self, timeout_s: float = 30.0) -> None:
        """Return once the server answers. Raises EmbeddedError if it ended or was not ready in time."""
        if not wait_until(lambda: self.is_ready() or self._ended(), timeout_s) or self._ended():
            raise EmbeddedError(f"the embedded {self.name} did not start; see {self.log_path}")

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """Stop it in order, and kill it by its own pid past `timeout_s`. Stopping a stopped server does nothing."""
        if self.process is not None:
            end(self.process, self.stop_signal, timeout_s)

    def _ended(self) -> bool:
        return self.process is None or self.process.poll() is not None

    def _remembered_port(self) -> int:
        path = self.data_dir / "port"
        with suppress(OSError, ValueError):
            known = int(path.read_text())
            if choose_port(known) == known:
                return known
        port = choose_port()
        path.write_text(f"{port}\n")
        return port

    def _end_orphan(self) -> None:
        pid = read_pid(self.pid_path)
        if pid is None or not self._owns(pid):
            return
        for stop_signal in (self.stop_signal, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.kill(pid, stop_signal)
            if wait_until(lambda: not self._owns(pid), STOP_TIMEOUT_S):
                return
        raise EmbeddedError(f"a {self.name} of an earlier run (pid {pid}) cannot be stopped")

    def _owns(self, pid: int) -> bool:
        """Whether `pid` is a live server on this very data, not a stranger that was given its number."""
        try:
            process = psutil.Process(pid)
            return process.status() != psutil.STATUS_ZOMBIE and str(self._owned_dir) in process.cmdline()
        except psutil.Error:
            return False

    @property
    def _owned_dir(self) -> Path:
        return self.data_dir


def read_pid(path: Path) -> int | None:
    """The number on the first line of a pid file, if there is one."""
    with suppress(OSError, ValueError, IndexError):
        pid = int(path.read_text().splitlines()[0])
        return pid if pid > 1 else None
    return None


def is_dead(pid: int | None) -> bool:
    """Whether no process has this number; a file without a number tells nothing."""
    return pid is not None and not psutil.pid_exists(pid)
