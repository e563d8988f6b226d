"""PostgreSQL as a request sees it: an answer in time, or none, whatever the driver still waits for."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from api.process.database import Database
from engine.errors import Unavailable
from engine.settings import Settings

pytestmark = pytest.mark.anyio


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> Database:
    made = Database(Settings(database_url="postgresql://nowhere/none"))
    monkeypatch.setattr(made, "_pool", object())
    return made


async def test_a_question_that_does_not_end_is_not_waited_for(database: Database) -> None:
    is_free, ended = asyncio.Event(), []

    async def stall(_: Any) -> None:
        try:
            await asyncio.sleep(600)
        finally:
            await is_free.wait()  # as the driver does, which asks a server that does not answer to cancel
            ended.append(True)

    async with asyncio.timeout(30):
        with pytest.raises(Unavailable, match=r"no answer within 0\.05 s"):
            await database.ask(stall, 0.05)
    assert not ended
    is_free.set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert ended == [True]


async def test_who_goes_away_takes_the_question_along(database: Database) -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    async def wait(_: Any) -> None:
        began.set()
        try:
            await asyncio.sleep(600)
        finally:
            ended.set()

    asking = asyncio.create_task(database.ask(wait))
    await began.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    async with asyncio.timeout(30):
        await ended.wait()
