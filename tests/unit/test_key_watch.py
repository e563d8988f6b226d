"""The key watch goes on listening, whatever happens to the connection on which it hears."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import asyncpg
import pytest

from api.process import key_watch
from api.process.key_watch import KeyWatch

pytestmark = pytest.mark.anyio


class Authenticator:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.doubts = 0
        self.revoked: list[str] = []

    def doubt(self) -> None:
        self.doubts += 1

    def revoke(self, key_id: str) -> None:
        self.revoked.append(key_id)


@pytest.mark.parametrize(
    "fault",
    [OSError("refused"), TimeoutError(), asyncpg.CannotConnectNowError("starting"), asyncpg.PostgresError("odd"), None],
)
async def test_it_listens_again_after_every_fault_and_doubts_what_it_may_have_missed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fault: Exception | None
) -> None:
    authenticator, heard = Authenticator(), asyncio.Event()
    pauses: list[float] = []
    calls = 0

    async def hear(_: str, listening: Callable[[], None], revoke: Callable[[str], None]) -> None:
        nonlocal calls
        calls += 1
        if calls in (1, 8, 11):
            listening()
            revoke(f"key_{calls}")
        if calls == 11:
            heard.set()
            await asyncio.Event().wait()
        if fault is not None:
            raise fault

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        await sleep(0)

    sleep = asyncio.sleep
    monkeypatch.setattr(key_watch, "hear_revocations", hear)
    monkeypatch.setattr(asyncio, "sleep", pause)
    watcher: Any = authenticator
    task = asyncio.ensure_future(KeyWatch("postgresql://nowhere", watcher).run())
    await asyncio.wait_for(heard.wait(), 5)
    task.cancel()
    assert authenticator.doubts == 3
    assert authenticator.revoked == ["key_1", "key_8", "key_11"]
    assert pauses == [0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 0.05, 0.1, 0.2]
    told = [record.levelname for record in caplog.records if record.name == "holdfast.keys"]
    assert told.count("WARNING") == 2
