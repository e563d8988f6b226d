"""Whatever stands in the log, reading it ends in events and poison, never in an error that would stop the flush."""

from __future__ import annotations

import json
from random import Random
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.events import BODIES, MIXED, Entry, Event, Kind, Poison, read_entry, read_event
from tests.hostile.examples import EXAMPLES, LONG_TIMEOUT_S, cases
from tests.hostile.odd_bytes import NESTS, NUMBERS, RAW, TEXTS, VALUE
from tests.system import System

pytestmark = pytest.mark.timeout(LONG_TIMEOUT_S if EXAMPLES else 300)
KINDS: tuple[str, ...] = (*get_args(Kind), MIXED, "", "x")
LINES: list[Any] = [["A", 1], ["B", 2]]
GOOD: list[Any] = [
    ["t", "c", 1, 2, "f", LINES],
    ["t", "r", LINES],
    ["t", LINES],
    ["t", 7],
    ["A", 5, "found", "r", 1, 2],
    ["r", "canceled", "c", LINES],
    ["t", {"version": 1, "lines": LINES}],
    ["adjust", ["A", 5, "found", "r", 1, 2]],
]
A_SEED = st.integers(0, 2**32)
OF_A_SEED = 100


def _payload(random: Random) -> bytes:
    """An event's JSON after up to three mishaps, or any bytes at all."""
    if random.random() < 0.1:
        return random.randbytes(random.randrange(60))
    raw = json.dumps(random.choice(GOOD)).encode()
    for _ in range(random.randrange(4)):
        at = random.randrange(len(raw) + 1)
        match random.randrange(5):
            case 0:
                raw = raw[:at]
            case 1:
                raw = raw[:at] + random.choice(RAW) + raw[at:]
            case 2:
                raw = raw[:at] + random.randbytes(1) + raw[at + 1 :]
            case _:
                raw = _with_odd_value(random, raw)
    return raw


def _with_odd_value(random: Random, raw: bytes) -> bytes:
    places = list(VALUE.finditer(raw))
    if not places:
        return raw
    place, odd = random.choice(places), random.choice((*NUMBERS, *TEXTS, *NESTS[:1]))
    return raw[: place.start()] + odd.encode("utf-8", "surrogatepass") + raw[place.end() :]


def _text(raw: bytes) -> str:
    """As a client of Redis gives it to us that does not break off at what is no UTF-8."""
    return raw.decode(errors="backslashreplace")


def _fields(random: Random) -> dict[str, str]:
    """A stream entry, some of it odd, some of it missing."""
    payloads = [_text(_payload(random)) for _ in range(random.randrange(1, 3))]
    numbers = (*NUMBERS, "1", "2", "1700000000000", " 1", "253402300800000", "9" * 5_000)
    whole = {
        "kind": random.choice(KINDS),
        "at": "1700000000000" if random.random() < 0.7 else random.choice(numbers),
        "n": str(len(payloads)) if random.random() < 0.7 else random.choice(numbers),
        "events": f"[{','.join(payloads)}]",
        "memories": '[["a", "b"]]' if random.random() < 0.7 else _text(_payload(random)),
        "x\x00": "y",
    }
    return {name: value for name, value in whole.items() if random.random() < 0.95}


@cases(few=100)
@given(seed=A_SEED)
def test_any_bytes_are_an_event_or_poison(seed: int) -> None:
    random = Random(seed)
    for _ in range(OF_A_SEED):
        found = read_event(1, 2, 3, random.choice(KINDS), _payload(random))
        if isinstance(found, Event):
            assert isinstance(found.body, BODIES[found.kind])
        else:
            assert found.reason
            msgspec.json.encode(found)


@cases(few=100)
@given(seed=A_SEED)
def test_any_entry_is_events_and_poison_in_their_places(seed: int) -> None:
    random = Random(seed)
    for _ in range(OF_A_SEED):
        found = read_entry("3-17", _fields(random))
        assert isinstance(found, Entry)
        assert found.events
        assert all(isinstance(event, Event | Poison) for event in found.events)
        first = 17 if found.first_seq is None else found.first_seq
        assert [event.seq for event in found.events] == list(range(first, 18))


@cases(few=100)
@given(payload=st.binary(max_size=100), kind=st.sampled_from(KINDS) | st.text(max_size=8))
def test_bytes_of_no_plan_are_an_event_or_poison(payload: bytes, kind: str) -> None:
    assert isinstance(read_event(1, 2, 3, kind, payload), Event | Poison)


@pytest.mark.anyio
async def test_a_log_full_of_odd_entries_is_drained_to_its_end(system: System) -> None:
    """What can be read is applied, or set aside where PostgreSQL cannot take it; nothing stops the flush."""
    await system.create("A", 5)
    await system.flush()
    random = Random(5)
    epoch, seq = (int(part or 0) for part in await system.raw.hmget(system.keys.meta, ["epoch", "seq"]))
    for number in range(seq + 1, seq + 301):
        whole = {
            "kind": random.choice(KINDS),
            "at": "1700000000000",
            "n": "1",
            "events": f"[{_text(_payload(random))}]",
        }
        await system.raw.xadd(system.keys.events, whole, id=f"{epoch}-{number}")  # type: ignore[arg-type]
    await system.raw.hset(system.keys.meta, "seq", str(seq + 300))
    await system.flush()
    async with system.pool.acquire() as connection:
        assert await connection.fetchval("SELECT seq FROM flush_offsets") == seq + 300
        assert await connection.fetchval("SELECT count(*) FROM flush_quarantine") > 100
