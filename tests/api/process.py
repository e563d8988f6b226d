"""An API process of a test's own, and what a test says to it."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import msgspec

from cli.embedded_server import choose_port
from engine.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0
_numbers = itertools.count(1)


class Api:
    """One running `python -m api`."""

    def __init__(self, process: subprocess.Popen[bytes], settings: Settings, log_path: Path) -> None:
        self.process = process
        self.settings = settings
        self.url = f"http://{settings.host}:{settings.port}"
        self.log_path = log_path
        self.client = httpx.Client(base_url=self.url, timeout=20)

    def wait_ready(self, timeout_s: float = READY_TIMEOUT_S) -> None:
        self.wait_status(200, timeout_s)

    def wait_status(self, status: int, timeout_s: float = READY_TIMEOUT_S) -> None:
        """Wait until readyz answers this."""
        deadline = time.monotonic() + timeout_s
        last = "nothing"
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log_path.read_text()
            try:
                response = self.client.get("/readyz")
            except httpx.TransportError as error:
                last = repr(error)
            else:
                if response.status_code == status:
                    return
                last = response.text
            time.sleep(0.05)
        raise AssertionError(f"readyz never answered {status}: {last}\n{self.log_path.read_text()}")

    def stop(self) -> int:
        """SIGTERM; answers the exit status."""
        self.client.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise

    def create(self, on_hand: int, **members: Any) -> str:
        """A new SKU with this count."""
        sku = f"T-{next(_numbers)}-{uuid4().hex[:6]}"
        response = self.client.put(f"/api/v1/stock/{sku}", json={"on_hand": on_hand, **members})
        assert response.status_code == 201, response.text
        return sku

    def stock(self, sku: str) -> dict[str, Any]:
        response = self.client.get(f"/api/v1/stock/{sku}")
        assert response.status_code == 200, response.text
        found: dict[str, Any] = response.json()
        return found

    def hold(self, sku: str, quantity: int = 1, **members: Any) -> dict[str, Any]:
        """A hold that must succeed."""
        body = {"lines": [{"sku": sku, "quantity": quantity}], **members}
        response = self.client.post("/api/v1/holds", json=body)
        assert response.status_code == 201, response.text
        found: dict[str, Any] = response.json()
        return found


@contextmanager
def running_api(settings: Settings, log_path: Path, *, is_ready: bool = True) -> Iterator[Api]:
    """A process that serves on a port of its own; it must leave with status 0 unless the test ended it."""
    settings = msgspec.structs.replace(settings, port=choose_port())
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "api"],
            cwd=ROOT,
            env={**_clean_environment(), **settings.to_environment()},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    api = Api(process, settings, log_path)
    try:
        if is_ready:
            api.wait_ready()
        yield api
    finally:
        was_running = process.poll() is None
        status = api.stop()
    assert not was_running or status == 0, log_path.read_text()


def _clean_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")}


def assert_problem(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The answer is a problem of this status and code, complete as RFC 9457 and the contract want it."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    found: dict[str, Any] = response.json()
    assert found["code"] == code
    assert found["status"] == status
    assert found["type"] == f"/problems/{code}"
    assert found["title"]
    assert found["detail"]
    assert found["instance"].startswith("/")
    if code == "validation-failed":
        assert found["errors"]
        assert all(set(error) == {"field", "message"} for error in found["errors"])
    return found
