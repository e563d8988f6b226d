"""The log is read whatever is in it: what fits becomes events, what does not becomes Poison, and nothing raises."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings

from engine.carts import CartRecord
from engine.events import (
    BODIES,
    Adjusted,
    Body,
    CartChanged,
    Committed,
    Entry,
    Event,
    Expired,
    Extended,
    Kind,
    OrderChanged,
    Poison,
    Released,
    Reserved,
    Returned,
    read_entry,
    read_event,
)
from engine.orders import OrderItem, OrderRecord, OrderStatus, Payment, PaymentStatus, Step

quickly = hypothesis_settings(deadline=None, database=None, derandomize=True, max_examples=150)
LINES = (("A", 2), ("B", 1))
ORDER = OrderRecord(
    version=1,
    status=OrderStatus.CREATED,
    customer="bob",
    cart_token="c",
    fingerprint="f",
    currency="EUR",
    created_ms=1_000,
    updated_ms=1_000,
    subtotal=500,
    discount=0,
    total=500,
    coupon_id="",
    coupon="",
    is_coupon_counted=False,
    payment=Payment(PaymentStatus.SUCCEEDED, PaymentStatus.SUCCEEDED, 0),
    stock="sold",
    holds=(),
    items=(OrderItem("A", "var_1", "prod_1", "Mug", 1, 500, 0, 500, 500, ()),),
    timeline=(Step(OrderStatus.CREATED, 1_000),),
)
GOOD: dict[Kind, Body] = {
    "reserve": Reserved("t", "bob", 1_000, 61_000, "f", LINES),
    "commit": Committed("t", "order-7", LINES),
    "release": Released("t", LINES),
    "expire": Expired("t", LINES),
    "extend": Extended("t", 99_000),
    "adjust": Adjusted("A", -3, "broken", "", 0, 5),
    "return": Returned("ord_1", "canceled", "bob", LINES),
    "cart": CartChanged("t", CartRecord(1, "open", "bob", "EUR", 1_000, 2_000)),
    "order": OrderChanged("t", ORDER),
}


def test_an_entry_of_trades_tells_the_kind_of_each_of_its_events() -> None:
    told: list[tuple[str, object]] = [
        ("commit", GOOD["commit"]),
        ("order", GOOD["order"]),
        ("reserve", 7),
        ("what", []),
    ]
    entry = read_entry("1-4", fields_of("trade", *told))
    first, second, third, fourth = entry.events
    assert first == Event(1, 1, 1_700_000_000_000, "commit", GOOD["commit"])
    assert second == Event(1, 2, 1_700_000_000_000, "order", GOOD["order"])
    assert isinstance(third, Poison)
    assert (third.kind, third.seq) == ("reserve", 3)
    assert isinstance(fourth, Poison)


def test_an_entry_of_good_events_of_every_kind_is_read_as_each_would_be_alone() -> None:
    entry = read_entry("1-9", fields_of("trade", *GOOD.items()))
    assert entry.events == tuple(Event(1, seq, 1_700_000_000_000, kind, GOOD[kind]) for seq, kind in enumerate(GOOD, 1))


def test_an_entry_that_tells_more_of_an_event_than_its_kind_and_its_body_is_poison_as_a_whole() -> None:
    poison = poison_of(read_entry("1-2", fields_of("trade", ("commit", GOOD["commit"]), ("cart", GOOD["cart"], 1))))
    assert poison.kind == "entry"


def fields_of(kind: str, *payloads: object, **changed: str) -> dict[str, str]:
    """A stream entry's fields as prelude.lua writes them."""
    events = msgspec.json.encode(payloads).decode()
    return {"kind": kind, "at": "1700000000000", "n": str(len(payloads)), "events": events, **changed}


def poison_of(entry: Entry) -> Poison:
    (only,) = entry.events
    assert isinstance(only, Poison)
    return only


def test_every_kind_of_event_has_an_example_here() -> None:
    assert GOOD.keys() == BODIES.keys()


@pytest.mark.parametrize("kind", GOOD)
def test_a_good_entry_is_read_event_by_event_with_their_places(kind: Kind) -> None:
    entry = read_entry("3-12", fields_of(kind, GOOD[kind], GOOD[kind]))
    assert (entry.epoch, entry.first_seq, entry.last_seq, entry.memories) == (3, 11, 12, ())
    assert entry.events == tuple(Event(3, seq, 1_700_000_000_000, kind, GOOD[kind]) for seq in (11, 12))


def test_the_memories_of_an_entry_travel_with_it() -> None:
    entry = read_entry("1-1", fields_of("adjust", GOOD["adjust"], memories='[["token","[1,2]"]]'))
    assert entry.memories == (("token", "[1,2]"),)


@pytest.mark.parametrize("kind", GOOD)
def test_one_event_that_does_not_fit_its_kind_is_poison_and_its_neighbours_are_not(kind: Kind) -> None:
    good = GOOD[kind]
    wrong: list[object] = [[], {}, None, 7, ["t"]]
    for bad in wrong:
        entry = read_entry("1-9", fields_of(kind, good, bad, good))
        first, middle, last = entry.events
        assert isinstance(first, Event) and isinstance(last, Event)
        assert isinstance(middle, Poison)
        assert (entry.first_seq, first.seq, middle.seq, last.seq) == (7, 7, 8, 9)


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        ("reserve", ["t", "bob", 1_000, 61_000, "f", [["A"]]]),
        ("reserve", ["t", "bob", 1_000, 61_000, "f", [["A", "2"]]]),
        ("reserve", ["t", "bob", 1_000, 61_000, "f", [["A", 1], ["B", 0]]]),
        ("reserve", ["t", "bob", 1_000, 61_000, "f", [["A", 2_147_483_648]]]),
        ("reserve", ["t", None, 1_000, 61_000, "f", []]),
        ("reserve", ["t", "bob", 1_000.5, 61_000, "f", []]),
        ("adjust", ["A", "many", "", "", 0, 0]),
        ("adjust", ["A", 1, "", "", 2, 0]),
        ("extend", ["t", "soon"]),
    ],
)
def test_a_field_of_the_wrong_type_is_poison_with_its_payload_and_a_reason(kind: str, payload: object) -> None:
    poison = poison_of(read_entry("2-5", fields_of(kind, payload)))
    assert (poison.epoch, poison.seq, poison.kind) == (2, 5, kind)
    assert msgspec.json.decode(poison.payload) == payload
    assert poison.reason


def test_events_of_a_kind_that_nobody_knows_are_poison_one_by_one() -> None:
    entry = read_entry("1-4", fields_of("refund", ["x"], ["y"]))
    assert entry.first_seq == 3
    assert [event.reason for event in entry.events if isinstance(event, Poison)] == ["no event is of kind 'refund'"] * 2


@pytest.mark.parametrize("missing", ["kind", "at", "n", "events"])
def test_an_entry_without_one_of_its_fields_is_poison_as_a_whole(missing: str) -> None:
    fields = fields_of("adjust", GOOD["adjust"])
    del fields[missing]
    entry = read_entry("1-4", fields)
    poison = poison_of(entry)
    assert (entry.first_seq, entry.last_seq, poison.kind, poison.seq) == (None, 4, "entry", 4)
    assert msgspec.json.decode(poison.payload) == fields
    assert missing in poison.reason


@pytest.mark.parametrize(
    "changed",
    [
        {"n": "2"},
        {"n": "0", "events": "[]"},
        {"n": "0"},
        {"n": "-1"},
        {"n": "one"},
        {"n": ""},
        {"at": "yesterday"},
        {"events": ""},
        {"events": "{}"},
        {"events": '[["A",1,"","",0,0]'},
        {"events": '[["A",1,"","",0,0]]]'},
        {"events": "null"},
        {"memories": "{}"},
        {"memories": '[["token"]]'},
        {"memories": '[["token",[1]]]'},
        {"memories": "["},
    ],
)
def test_an_entry_that_is_truncated_miscounted_or_garbled_is_poison_as_a_whole(changed: dict[str, str]) -> None:
    entry = read_entry("1-4", fields_of("adjust", GOOD["adjust"], **changed))
    assert entry.first_seq is None
    assert poison_of(entry).kind == "entry"


values = st.text(max_size=30) | st.sampled_from(["adjust", "1", "0", "[]", "[[]]", '[["A"]]', "1" * 50, "null"])


@given(
    epoch=st.integers(0, 10**6),
    seq=st.integers(0, 10**9),
    fields=st.dictionaries(st.sampled_from(["kind", "at", "n", "events", "memories", "junk"]), values),
)
@example(epoch=1, seq=1, fields={"kind": "adjust", "at": "9" * 5_000, "n": "1", "events": "[1]"})
@example(epoch=1, seq=1, fields={"kind": "adjust", "at": "1", "n": "1", "events": "[" * 5_000})
@quickly
def test_no_garbage_raises_and_each_entry_ends_where_its_id_says(epoch: int, seq: int, fields: dict[str, str]) -> None:
    entry = read_entry(f"{epoch}-{seq}", fields)
    assert (entry.epoch, entry.last_seq) == (epoch, seq)
    assert entry.events
    assert entry.first_seq is None or seq - entry.first_seq + 1 == len(entry.events)


@given(kind=st.sampled_from([*GOOD, "else"]), payload=st.binary(max_size=40))
@quickly
def test_no_payload_raises(kind: str, payload: bytes) -> None:
    event: Any = read_event(1, 2, 3, kind, payload)
    assert isinstance(event, Event | Poison)
    assert (event.epoch, event.seq, event.at_ms, event.kind) == (1, 2, 3, kind)
