"""Changes of a cart are judged by what was read alone: the trade that comes of them, the price, the deadline."""

from __future__ import annotations

import re
from typing import Any

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from msgspec.structs import replace

from engine.cart_lines import Wanted, add, attach_coupon, set_quantity
from engine.carts import CartLine, CartRecord, Scene, appraise, customer_token, decode_cart, pointer_version, unusable
from engine.catalogue import Catalogue, Product, Variant
from engine.coupons import Coupon
from engine.plans import Plan
from engine.pricing import Rule
from engine.refusals import Refusal, Refused
from engine.settings import Settings
from engine.trade import Known

quickly = hypothesis_settings(deadline=None, database=None, derandomize=True, max_examples=150)

SETTINGS = Settings(cart_hold_ttl_s=60, max_hold_life_s=150)
TEE = Product(id="prod_tee", name="Tee", base_price=1_000, currency="GBP")
VARIANTS = tuple(Variant(id=f"var_{sku}", product_id=TEE.id, sku=sku) for sku in "ABC")
COUPON = Coupon(id="coup_1", code="TENTH", kind="percentage", value=10)
EMPTY = CartRecord(1, "open", "bob", "", 0, 1_000)

rules = st.lists(
    st.builds(
        Rule,
        id=st.uuids().map(str),
        name=st.just("rule"),
        kind=st.just("bulk"),
        percent=st.integers(1, 100),
        min_quantity=st.none() | st.integers(1, 9),
        starts_ms=st.none() | st.integers(0, 300_000),
        variant_id=st.none() | st.sampled_from(["var_A", "var_B"]),
    ),
    max_size=3,
)
changes = st.lists(
    st.tuples(st.sampled_from(["add", "set", "wait"]), st.sampled_from("ABC"), st.integers(0, 9)), max_size=25
)
stores = st.tuples(st.sampled_from(["cart", "checkout"]), st.sampled_from(["locked", "dynamic", "notify"]))


def scene(now_ms: int = 1_000, some: list[Rule] | None = None, **settings: Any) -> Scene:
    catalogue = Catalogue(1, (), (TEE,), VARIANTS, some or (), (COUPON,))
    return Scene(catalogue, replace(SETTINGS, **settings), now_ms)


def wanted(sku: str, quantity: int) -> Wanted:
    return Wanted(next(each for each in VARIANTS if each.sku == sku), TEE, quantity)


def written(plan: Plan[Any]) -> CartRecord:
    """The cart that a plan writes."""
    put = plan.trade.put[0]
    assert (put.kind, re.match(rb"\[\d+,", put.text) is not None) == ("cart", True)
    return decode_cart(put.text)


def check(at: Scene, before: CartRecord, plan: Plan[Any], sku: str) -> CartRecord:
    """What holds of every change of a line."""
    after = written(plan)
    old, new = before.line(sku), after.line(sku)
    assert plan.trade.known == (Known("cart", "c", before.version),)
    assert (after.version, after.expires_ms) == (before.version + 1, at.now_ms + at.settings.cart_life_s * 1000)
    assert plan.trade.ended == ((old.hold,) if old is not None and old.hold else ())
    holds = [(made.token, made.sku, made.quantity, made.customer_id) for made in plan.trade.made]
    is_held = new is not None and at.settings.reserve_on == "cart"
    assert holds == ([(new.hold, sku, new.quantity, "bob")] if is_held and new is not None else [])
    assert [line for line in after.lines if line.sku != sku] == [line for line in before.lines if line.sku != sku]
    assert (after.currency == "") == (after.lines == ())
    if new is not None:
        assert at.now_ms < new.until_ms <= max(at.now_ms + 60_000, old.until_ms if old is not None else 0)
        assert new.until_ms <= new.held_since_ms + 150_000
        assert new.final_price == new.unit_price - new.discount
    assert plan.answer == appraise(at, "c", after)
    assert plan.answer.subtotal == sum(item.total_price for item in plan.answer.items)
    assert all(item.total_price == item.final_price * item.quantity for item in plan.answer.items)
    return after


@given(store=stores, some=rules, done=changes)
@quickly
def test_a_change_touches_one_line_its_hold_and_nothing_else(
    store: tuple[str, str], some: list[Rule], done: list[tuple[str, str, int]]
) -> None:
    now_ms, record = 1_000, EMPTY
    for verb, sku, number in done:
        at = scene(now_ms, some, reserve_on=store[0], price_policy=store[1])
        if verb == "wait":
            now_ms += number * 10_000
        elif verb == "add":
            plan = add(at, "c", record, wanted(sku, number + 1))
            assert isinstance(plan, Plan)
            record = check(at, record, plan, sku)
        elif record.line(sku) is None:
            assert isinstance(set_quantity(at, "c", record, sku, number), Refused)
        else:
            plan = set_quantity(at, "c", record, sku, number)
            assert isinstance(plan, Plan)
            record = check(at, record, plan, sku)
            assert (record.line(sku) is None) == (number == 0)


@given(some=rules, later=rules, quantity=st.integers(1, 9), wait_ms=st.integers(0, 120_000))
@quickly
def test_a_locked_price_counts_while_the_hold_lives_and_todays_afterwards(
    some: list[Rule], later: list[Rule], quantity: int, wait_ms: int
) -> None:
    plan = add(scene(1_000, some), "c", EMPTY, wanted("A", quantity))
    assert isinstance(plan, Plan)
    record = written(plan)
    (line,) = record.lines
    at = scene(1_000 + wait_ms, later)
    (item,) = appraise(at, "c", record).items
    today = at.price_today(line)
    assert today is not None
    expected = line.final_price if wait_ms < 60_000 else today.final_price
    assert (item.final_price, item.price_changed) == (expected, expected != line.final_price)
    assert item.status == ("held" if wait_ms < 60_000 else "expired")


@given(first=st.integers(2, 9), fewer=st.integers(1, 8), later=rules, wait_ms=st.integers(0, 59_999))
@quickly
def test_fewer_units_keep_their_deadline_and_their_price_unless_the_number_changes_it(
    first: int, fewer: int, later: list[Rule], wait_ms: int
) -> None:
    if fewer >= first:
        return
    plan = add(scene(1_000), "c", EMPTY, wanted("A", first))
    assert isinstance(plan, Plan)
    at = scene(1_000 + wait_ms, later)
    lowered = set_quantity(at, "c", written(plan), "A", fewer)
    assert isinstance(lowered, Plan)
    (old,), (new,) = written(plan).lines, written(lowered).lines
    assert (new.until_ms, new.held_since_ms) == (old.until_ms, old.held_since_ms)
    before, today = at.price_today(old), at.price_today(new)
    assert before is not None and today is not None
    number_changes_it = before.final_price != today.final_price
    assert new.final_price == (today.final_price if number_changes_it else old.final_price)


@pytest.mark.parametrize(
    ("status", "customer", "named", "expected"),
    [
        ("open", "bob", None, None),
        ("open", "bob", "bob", None),
        ("open", "", "eve", None),
        ("open", "bob", "eve", Refusal.FOREIGN_CART),
        ("ordered", "bob", "eve", Refusal.FOREIGN_CART),
        ("paying", "bob", "bob", Refusal.PAYMENT_PENDING),
        ("ordered", "bob", "bob", Refusal.CART_ORDERED),
        ("merged", "", None, Refusal.CART_MERGED),
    ],
)
def test_a_cart_is_changed_while_it_is_open_by_whom_it_belongs_to(
    status: Any, customer: str, named: str | None, expected: Refusal | None
) -> None:
    refused = unusable(replace(EMPTY, status=status, customer=customer, order="o"), named)
    assert (refused and refused.refusal) == expected


def test_a_coupon_changes_nothing_but_the_coupon() -> None:
    plan = add(scene(), "c", EMPTY, wanted("A", 2))
    assert isinstance(plan, Plan)
    record = written(plan)
    chosen = attach_coupon(scene(), "c", record, "tenth")
    assert isinstance(chosen, Plan)
    assert (chosen.trade.ended, chosen.trade.made, chosen.trade.counted) == ((), (), ())
    assert written(chosen) == replace(
        record, version=3, coupon="TENTH", nonce=written(chosen).nonce, shown_discount=200
    )
    assert (chosen.answer.discount, chosen.answer.total) == (200, 1_800)


def test_what_the_catalogue_has_no_more_keeps_the_price_that_it_had() -> None:
    plan = add(scene(), "c", EMPTY, wanted("A", 2))
    assert isinstance(plan, Plan)
    at = Scene(Catalogue(), SETTINGS, 99_000)
    (item,) = appraise(at, "c", written(plan)).items
    assert (item.final_price, item.status) == (1_000, "expired")


texts = st.text(max_size=20)
lines = st.builds(
    CartLine,
    sku=texts,
    variant_id=texts,
    quantity=st.integers(1, 10_000),
    hold=texts,
    held_since_ms=st.integers(0, 2**43),
    until_ms=st.integers(0, 2**43),
    unit_price=st.integers(0, 10**13),
    discount=st.integers(0, 10**13),
    final_price=st.integers(0, 10**13),
    applied_rules=st.just(()),
    user_tier=st.none() | texts,
    promo_code=st.none() | texts,
    price_changed=st.booleans(),
)


@given(
    record=st.builds(
        CartRecord,
        version=st.integers(1, 2**40),
        status=st.sampled_from(["open", "paying", "ordered", "merged"]),
        customer=texts,
        currency=texts,
        created_ms=st.integers(0, 2**43),
        expires_ms=st.integers(0, 2**43),
        lines=st.lists(lines, max_size=3).map(tuple),
        coupon=texts,
        order=texts,
    )
)
@quickly
def test_a_cart_is_read_as_it_was_written_and_its_text_begins_with_its_version(record: CartRecord) -> None:
    text = msgspec.json.encode(record)
    assert decode_cart(text) == record
    assert text.startswith(b"[%d," % record.version)


@given(first=st.text(max_size=200), second=st.text(max_size=200))
@quickly
def test_any_customer_has_a_name_for_keys_of_bounded_length_and_each_their_own(first: str, second: str) -> None:
    name = customer_token(first)
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name)
    assert (name == customer_token(second)) == (first == second)


@given(token=st.text(max_size=64))
@quickly
def test_the_version_of_a_pointer_is_a_number_that_lua_counts_exactly(token: str) -> None:
    assert 0 < pointer_version(token) < 2**53
