"""Child processes of the harness: started in a session of their own, and ended by their pid."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

PROJECT_DIR = Path(__file__).resolve().parents[2]
LOOPBACK = "127.0.0.1"
BACKLOG = 4_096
POLL_S = 0.02
TAIL_BYTES = 2_000


class HarnessError(Exception):
    """A measurement cannot be made; the message says why, in one line or with the end of a log."""


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Ours without what would steer Holdfast, and these."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")}
    return {**kept, "PYTHONUNBUFFERED": "1", **settings}


class Child:
    """A process with its output in a log."""

    def __init__(
        self, command: Sequence[str], settings: Mapping[str, str] | None = None, fds: Sequence[int] = ()
    ) -> None:
        self._name = " ".join(command)[:200]
        with tempfile.NamedTemporaryFile(prefix="holdfast-bench-", suffix=".log", delete=False) as log:
            self._log = Path(log.name)
            self._process = subprocess.Popen(
                command,
                cwd=PROJECT_DIR,
                env=environment(settings or {}),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=fds,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_for(self, condition: Callable[[], bool], timeout_s: float) -> None:
        """Return once it holds. Raises HarnessError when the process ended, or time is over."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            if self._process.poll() is not None or time.monotonic() > deadline:
                said = self._log.read_bytes()[-TAIL_BYTES:].decode(errors="replace")
                raise HarnessError(f"{self._name} did not become ready:\n{said}")
            time.sleep(POLL_S)

    def stop(self, timeout_s: float) -> None:
        """Ask it to end; past `timeout_s` it is killed, with its descendants."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                for process in family(self._process.pid):
                    with suppress(psutil.Error):
                        process.kill()
                self._process.wait()
        self._log.unlink(missing_ok=True)


def family(pid: int) -> list[psutil.Process]:
    """A process and its descendants, as far as they live."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.Error:
        return []


def listen() -> socket.socket:
    """A listening socket on a free port of the loopback."""
    listener = socket.create_server((LOOPBACK, 0), backlog=BACKLOG)
    listener.set_inheritable(True)
    return listener


def free_port() -> int:
    """A port that is free just now."""
    with listen() as listener:
        return int(listener.getsockname()[1])
