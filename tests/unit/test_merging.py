"""What a merge keeps is bounded by what there is room for, whatever the two carts are, and it tells what is missing."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from msgspec.structs import replace

from engine.carts import MAX_LINES, CartLine, CartRecord, Scene, decode_cart
from engine.catalogue import Catalogue, Product, ProductStatus, Variant
from engine.holds import MAX_QUANTITY
from engine.merging import Room, Sides, plan_merge, skus_of
from engine.plans import Plan
from engine.settings import Settings

quickly = hypothesis_settings(deadline=None, database=None, derandomize=True, max_examples=300)

NOW_MS = 1_000_000
TEE = Product(id="prod_tee", name="Tee", base_price=1_000, currency="GBP")
GONE = Product(id="prod_gone", name="Gone", base_price=1_000, currency="GBP", status=ProductStatus.DISCONTINUED)
VARIANTS = (
    *(Variant(id=f"var_{sku}", product_id=TEE.id, sku=sku) for sku in "ABC"),
    Variant(id="var_G", product_id=GONE.id, sku="G"),
)
CATALOGUE = Catalogue(1, (), (TEE, GONE), VARIANTS)


def line(sku: str, quantity: int, left_ms: int, side: str) -> CartLine:
    """A line whose hold lives for `left_ms` more, or ran out."""
    times = (NOW_MS - (10_000 if side == "t" else 20_000), NOW_MS + left_ms)
    return CartLine(sku, f"var_{sku}", quantity, f"{side}-{sku}", *times, 1_000, 0, 1_000, ())


def cart(lines: dict[str, tuple[int, int]], side: str, customer: str, currency: str = "GBP") -> CartRecord:
    made = tuple(line(sku, quantity, left_ms, side) for sku, (quantity, left_ms) in lines.items())
    return CartRecord(3, "open", customer, currency if made else "", 0, 0, made, order="earlier")


def listed(record: CartRecord) -> CartRecord:
    """The cart of a store that claims stock at the checkout."""
    return replace(record, lines=tuple(replace(each, hold="") for each in record.lines))


quantities = st.integers(1, 9) | st.integers(MAX_QUANTITY - 3, MAX_QUANTITY)
lefts = st.sampled_from([-5_000, 0, 1, 30_000, 60_000])
lines = st.dictionaries(st.sampled_from("ABCG"), st.tuples(quantities, lefts), max_size=4)
units = st.integers(0, 12) | st.integers(0, 2 * MAX_QUANTITY)
rooms = st.dictionaries(st.sampled_from("ABCG"), st.tuples(units, st.none() | st.integers(-3, 12)), min_size=3)


def plan(
    target: CartRecord, source: CartRecord, room: dict[str, tuple[int, int | None]], **settings: Any
) -> tuple[Scene, Plan[Any], dict[str, CartLine]]:
    scene = Scene(CATALOGUE, Settings(**settings), NOW_MS)
    sides = Sides("t", target, "s", source)
    merged = plan_merge(scene, sides, {sku: Room(*each) for sku, each in room.items()})
    after = decode_cart(merged.trade.put[0].text)
    return scene, merged, {each.sku: each for each in after.lines}


@given(into=lines, given_=lines, room=rooms, customer=st.sampled_from(["bob", ""]))
@quickly
def test_a_merge_claims_no_more_than_there_is_room_for(
    into: dict[str, tuple[int, int]],
    given_: dict[str, tuple[int, int]],
    room: dict[str, tuple[int, int | None]],
    customer: str,
) -> None:
    target, source = cart(into, "t", customer), cart(given_, "s", "")
    scene, merged, after = plan(target, source, room)
    ended = set(merged.trade.ended)
    assert len(ended) == len(merged.trade.ended)
    for made in merged.trade.made:
        both = [each for each in (*target.lines, *source.lines) if each.sku == made.sku]
        own = sum(each.quantity for each in both if each.hold in ended and scene.is_held(each))
        available, customer_left = room[made.sku]
        old = target.line(made.sku)
        own_of_customer = old.quantity if old is not None and scene.is_held(old) else 0
        assert made.quantity <= min(MAX_QUANTITY, available + own)
        assert customer_left is None or made.quantity <= own_of_customer + max(0, customer_left)
        assert (made.sku, made.quantity, made.token) == (made.sku, after[made.sku].quantity, after[made.sku].hold)
        assert made.customer_id == (customer or None)
    assert {each.hold for each in source.lines} <= ended
    untouched = [each for each in target.lines if each.hold not in ended]
    assert all(after[each.sku] == each for each in untouched)
    assert len(merged.trade.made) + len(untouched) == len(after) <= MAX_LINES


@given(into=lines, given_=lines, room=rooms)
@quickly
def test_a_merge_tells_just_the_lines_of_which_not_all_was_kept(
    into: dict[str, tuple[int, int]], given_: dict[str, tuple[int, int]], room: dict[str, tuple[int, int | None]]
) -> None:
    target, source = cart(into, "t", "bob"), cart(given_, "s", "")
    scene, merged, after = plan(target, source, room)
    told = {each.sku: each for each in merged.answer.not_merged}
    for each in source.lines:
        old = target.line(each.sku)
        wanted = each.quantity + (0 if old is None else old.quantity)
        has = after[each.sku].quantity if each.sku in after else 0
        is_whole = has == wanted and scene.is_held(after[each.sku])
        assert is_whole == (each.sku not in told)
        if each.sku in told:
            assert told[each.sku].requested == each.quantity
            assert 0 <= told[each.sku].kept <= each.quantity
            assert told[each.sku].reason
            if old is not None and scene.is_held(old):
                assert (has, told[each.sku].kept) == (max(has, old.quantity), has - old.quantity)
    assert told.keys() <= {each.sku for each in source.lines}
    currency = decode_cart(merged.trade.put[0].text).currency
    assert (currency == "") == (not after)


@pytest.mark.parametrize(
    ("own", "guests", "price", "is_changed"),
    [
        (None, (5, 100), 100, False),
        ((2, 100), (3, 100), 100, False),
        ((1, 100), (500, 1_000), 1_000, True),
        ((1, 1_000), (5, 100), 1_000, True),
        ((1, 1_000), (5, 1_000), 1_000, False),
    ],
    ids=["moved as it is", "both locked at one price", "own was in the sale", "guest's was in the sale", "unchanged"],
)
def test_a_price_shown_counts_for_the_units_that_it_was_shown_for_and_no_others(
    own: tuple[int, int] | None, guests: tuple[int, int], price: int, *, is_changed: bool
) -> None:
    def of(shown: tuple[int, int] | None, side: str, customer: str) -> CartRecord:
        record = cart({} if shown is None else {"A": (shown[0], 60_000)}, side, customer)
        return replace(record, lines=tuple(replace(each, final_price=(shown or (0, 0))[1]) for each in record.lines))

    _, merged, after = plan(of(own, "t", "bob"), of(guests, "s", ""), {"A": (1_000, None)})
    quantity = guests[0] + (0 if own is None else own[0])
    assert (after["A"].quantity, after["A"].final_price, after["A"].price_changed) == (quantity, price, is_changed)
    assert merged.answer.total == quantity * price


@given(into=lines, given_=lines)
@quickly
def test_with_room_for_all_nothing_that_is_sold_is_lost_and_the_longer_life_counts(
    into: dict[str, tuple[int, int]], given_: dict[str, tuple[int, int]]
) -> None:
    target, source = cart(into, "t", "bob"), cart(given_, "s", "")
    room: dict[str, tuple[int, int | None]] = dict.fromkeys("ABCG", (3 * MAX_QUANTITY, None))
    scene, merged, after = plan(target, source, room)
    for sku in {*into, *given_} - {"G"}:
        both = [each for each in (target.line(sku), source.line(sku)) if each is not None]
        assert after[sku].quantity == min(MAX_QUANTITY, sum(each.quantity for each in both))
        if source.line(sku) is None:
            continue
        live = [each for each in both if scene.is_held(each)]
        assert after[sku].until_ms == max((each.until_ms for each in live), default=NOW_MS + 900_000)
        if after[sku] not in target.lines:
            assert after[sku].held_since_ms == min((each.held_since_ms for each in live), default=NOW_MS)
    told = {each.sku for each in merged.answer.not_merged} - {"G"}
    assert all(after[sku].quantity == MAX_QUANTITY for sku in told)


@given(into=lines, given_=lines)
@quickly
def test_lists_are_summed_without_holds(into: dict[str, tuple[int, int]], given_: dict[str, tuple[int, int]]) -> None:
    target, source = listed(cart(into, "t", "bob")), listed(cart(given_, "s", ""))
    _, merged, after = plan(target, source, {}, reserve_on="checkout")
    assert (merged.trade.made, merged.trade.ended) == ((), ())
    for sku in set(given_) - {"G"}:
        both = [each.quantity for each in (target.line(sku), source.line(sku)) if each is not None]
        assert (after[sku].quantity, after[sku].hold) == (min(MAX_QUANTITY, sum(both)), "")


def test_the_source_is_closed_and_both_must_be_as_they_were_read() -> None:
    target, source = cart({"A": (1, 60_000)}, "t", "bob"), cart({"B": (2, 60_000)}, "s", "")
    _, merged, _ = plan(target, source, {"B": (5, None)})
    assert [(known.token, known.version) for known in merged.trade.known] == [("t", 3), ("s", 3)]
    puts = {put.token: put for put in merged.trade.put if put.kind == "cart"}
    assert [decode_cart(puts[token].text).status for token in ("t", "s")] == ["open", "merged"]
    assert decode_cart(puts["t"].text).order == ""
    assert list(skus_of(Sides("t", target, "s", source))) == ["B"]


def test_a_sku_without_stock_is_told_and_leaves_what_was_there() -> None:
    target, source = cart({"A": (2, -1)}, "t", "bob"), cart({"A": (1, 60_000), "B": (1, 60_000)}, "s", "")
    _, merged, after = plan(target, source, {})
    assert after == {"A": target.lines[0]}
    assert [(each.sku, each.kept, each.reason) for each in merged.answer.not_merged] == [
        ("A", 0, "insufficient-stock"),
        ("B", 0, "insufficient-stock"),
    ]
