"""The API and the flush worker as processes of their own, for what loads a system from the outside."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx

from engine.settings import Settings

ROOT = Path(__file__).parents[2]
READY_S = 60.0
STOP_S = 30.0


class Running:
    """The API and the flush worker as processes of their own, without keys."""

    def __init__(self, settings: Settings, logs: Path) -> None:
        self.settings = settings
        self.url = f"http://{settings.host}:{settings.port}"
        self._logs = logs
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, *command: str) -> None:
        with (self._logs / f"{command[0]}.log").open("ab") as log:
            self._processes[command[0]] = subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=ROOT,
                env=os.environ | self.settings.to_environment(),
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def start_api(self) -> None:
        """Return once it is ready."""
        self.start("api")
        deadline = time.monotonic() + READY_S
        while self.get("/readyz") is None:
            if time.monotonic() > deadline or self._processes["api"].poll() is not None:
                raise AssertionError((self._logs / "api.log").read_text())
            time.sleep(0.1)

    def start_worker(self) -> None:
        self.start("jobs.worker", "flush")

    def kill(self, name: str) -> None:
        process = self._processes.pop(name)
        process.kill()
        process.wait()

    def get(self, path: str) -> dict[str, Any] | None:
        """The answer, if there is a good one."""
        try:
            answer = httpx.get(self.url + path, trust_env=False)
        except httpx.TransportError:
            return None
        return dict(answer.json()) if answer.status_code == httpx.codes.OK else None

    def sold(self) -> int:
        page = self.get("/api/v1/stock") or {"items": []}
        return sum(row["sold"] for row in page["items"])

    def stop(self) -> None:
        for process in self._processes.values():
            process.send_signal(signal.SIGTERM)
        for process in self._processes.values():
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
