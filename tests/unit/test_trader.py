"""Turns: one act at a time under one name, and nothing is left of a name once nobody acts under it."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from engine.shard import Shard
from engine.trader import Trader

pytestmark = pytest.mark.anyio


@pytest.fixture
def trader() -> Trader:
    return Trader(cast("Shard", None))


async def act(trader: Trader, name: str, told: list[str], who: str) -> None:
    async with trader.turn(name):
        told.append(f"{who} begins")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        told.append(f"{who} ends")


async def test_acts_under_one_name_follow_each_other_in_order(trader: Trader) -> None:
    told: list[str] = []
    await asyncio.gather(*(act(trader, "cart", told, who) for who in ("one", "two", "three")))
    assert told == [f"{who} {what}" for who in ("one", "two", "three") for what in ("begins", "ends")]


async def test_acts_under_other_names_do_not_wait(trader: Trader) -> None:
    told: list[str] = []
    await asyncio.gather(act(trader, "cart", told, "one"), act(trader, "order", told, "two"))
    assert told[:2] == ["one begins", "two begins"]


async def test_an_act_that_fails_ends_its_turn(trader: Trader) -> None:
    with pytest.raises(ValueError, match="it failed"):
        async with trader.turn("cart"):
            raise ValueError("it failed")
    async with asyncio.timeout(1), trader.turn("cart"):
        pass


async def test_who_stops_waiting_for_a_turn_harms_nobody(trader: Trader) -> None:
    told: list[str] = []
    acts = [asyncio.create_task(act(trader, "cart", told, who)) for who in ("one", "two", "three")]
    await asyncio.sleep(0)
    acts[1].cancel()
    await asyncio.gather(*acts, return_exceptions=True)
    assert told == ["one begins", "one ends", "three begins", "three ends"]
    assert acts[1].cancelled()
    assert trader._turns == {}


async def test_who_goes_away_just_as_the_turn_begins_passes_it_on(trader: Trader) -> None:
    told: list[str] = []
    acts: list[asyncio.Task[None]] = []

    async def first() -> None:
        async with trader.turn("cart"):
            acts.extend(asyncio.create_task(act(trader, "cart", told, who)) for who in ("two", "three"))
            await asyncio.sleep(0)
        acts[0].cancel()  # its turn has begun, but it does not know yet

    async with asyncio.timeout(1):
        await first()
        await asyncio.gather(*acts, return_exceptions=True)
    assert told == ["three begins", "three ends"]
    assert trader._turns == {}


async def test_a_name_is_forgotten_with_its_last_turn(trader: Trader) -> None:
    async with trader.turn("cart"):
        assert trader._turns.keys() == {"cart"}
    assert trader._turns == {}
