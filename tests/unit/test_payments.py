"""Whatever news of a payment comes and in whatever order, an order's states hold: checked on the pure judgements."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from msgspec.structs import replace

from engine.carts import CartLine, CartRecord, Scene, decode_cart
from engine.catalogue import Catalogue
from engine.orders import (
    TERMINAL,
    TRANSITIONS,
    KnownOrder,
    Order,
    OrderItem,
    OrderRecord,
    OrderStatus,
    Payment,
    PaymentStatus,
    Step,
)
from engine.payments import plan_lapse, plan_payment, plan_transition
from engine.plans import Plan
from engine.refusals import Refusal, Refused
from engine.settings import Settings

quickly = hypothesis_settings(deadline=None, database=None, derandomize=True, max_examples=400)

BEGUN_MS, WINDOW_MS = 1_000_000, 120_000
CART = CartRecord(
    2, "paying", "bob", "GBP", 0, 0, (CartLine("A", "var_a", 2, "h", 0, 9, 900, 0, 900, ()),), "TENTH", "o"
)
WAITING = OrderRecord(
    version=1,
    status=OrderStatus.CREATED,
    customer="bob",
    cart_token="c",
    fingerprint="f",
    currency="GBP",
    created_ms=BEGUN_MS,
    updated_ms=BEGUN_MS,
    subtotal=1_800,
    discount=180,
    total=1_620,
    coupon_id="coup_1",
    coupon="TENTH",
    is_coupon_counted=True,
    payment=Payment(PaymentStatus.PENDING, PaymentStatus.PENDING, BEGUN_MS + WINDOW_MS),
    stock="held",
    holds=("h",),
    items=(OrderItem("A", "var_a", "prod_a", "Tee", 2, 900, 0, 900, 1_800, ()),),
    timeline=(Step(OrderStatus.CREATED, BEGUN_MS),),
)

news = st.sampled_from([status for status in PaymentStatus if status is not PaymentStatus.PENDING])
acts = st.lists(
    st.one_of(
        st.tuples(st.just("pay"), news),
        st.tuples(st.just("move"), st.sampled_from(OrderStatus)),
        st.tuples(st.just("wait"), st.sampled_from([1_000, 60_000, WINDOW_MS])),
        st.tuples(st.just("lapse"), st.none()),
    ),
    max_size=14,
)
fates = st.lists(st.integers(0, 2), min_size=14, max_size=14)
"""How many of an act's plans are refused before one happens."""


def scene(now_ms: int) -> Scene:
    return Scene(Catalogue(), Settings(), now_ms)


def known(record: OrderRecord) -> KnownOrder:
    return KnownOrder(Order("o", record), record.version)


def judged(act: tuple[str, Any], now_ms: int, record: OrderRecord, cart: CartRecord | None) -> Any:
    verb, what = act
    match verb:
        case "pay":
            return plan_payment(scene(now_ms), known(record), cart, what, "tx")
        case "move":
            return plan_transition(scene(now_ms), known(record), cart, what, "")
        case _:
            return plan_lapse(scene(now_ms), known(record), cart)


def check_trade(plan: Plan[Any], before: OrderRecord, after: OrderRecord) -> int:
    """What a plan does to units and coupons is what its order says; returns the units that it sells."""
    trade = plan.trade
    assert trade.known[0].version == before.version
    assert after.version == before.version + 1
    assert after.timeline[: len(before.timeline)] == before.timeline
    assert (after.items, after.total) == (before.items, before.total)
    sold = 2 * len(trade.sold) + sum(made.quantity for made in trade.made if made.is_sold)
    back = sum(returned.quantity for returned in trade.returned)
    assert sold - back == 2 * ((after.stock == "sold") - (before.stock == "sold"))
    assert {*trade.sold, *trade.ended} == (set(before.holds) if not after.is_waiting else set())
    counts = {counted.customer_id: counted.by for counted in trade.counted}
    by = after.is_coupon_counted - before.is_coupon_counted
    assert counts == ({None: by, "bob": by} if by else {})
    assert (trade.window == ("o", 0)) == (before.is_waiting and not after.is_waiting) or trade.window == ("o", 0)
    return sold - back


@given(done=acts, fate=fates, has_cart=st.booleans())
@quickly
def test_in_every_history_of_an_order_its_units_and_its_coupon_are_accounted_for(
    done: list[tuple[str, Any]],
    fate: list[int],
    has_cart: bool,  # noqa: FBT001
) -> None:
    now_ms, record, sold = BEGUN_MS, WAITING, 0
    cart: CartRecord | None = CART if has_cart else None
    for act, refusals in zip(done, fate, strict=False):
        if act[0] == "wait":
            now_ms += act[1]
            continue
        plan = judged(act, now_ms, record, cart)
        if plan is None or isinstance(plan, Refused):
            continue
        for _ in range(refusals):
            plan = plan.otherwise or plan
        after = plan.answer.record
        sold += check_trade(plan, record, after)
        for put in plan.trade.put:
            cart = decode_cart(put.text) if put.kind == "cart" else cart
        is_paid, was_paid = (each.payment.status is PaymentStatus.SUCCEEDED for each in (after, record))
        assert is_paid or not was_paid
        if after.status is not record.status:
            is_revived = after.status is OrderStatus.CREATED and after.timeline[-1].reason == "paid late"
            to_refund = after.status is OrderStatus.REFUND_DUE and is_paid and not was_paid
            assert is_revived or to_refund or after.status in TRANSITIONS[record.status]
        assert cart is None or (cart.status == "paying") == after.is_waiting
        record = after
    assert sold == (2 if record.stock == "sold" else 0)
    assert record.payment.status is not PaymentStatus.SUCCEEDED or record.stock != "none" or record.refund_reason


@given(status=news, was=st.sampled_from(OrderStatus))
@quickly
def test_no_news_changes_an_order_that_is_paid(status: PaymentStatus, was: OrderStatus) -> None:
    paid = replace(
        WAITING, status=was, stock="sold", holds=(), payment=replace(WAITING.payment, status=PaymentStatus.SUCCEEDED)
    )
    assert plan_payment(scene(BEGUN_MS), known(paid), CART, status, "other") is None


@given(was=st.sampled_from(sorted(TERMINAL)), to=st.sampled_from(OrderStatus))
@quickly
def test_an_order_that_is_over_goes_nowhere(was: OrderStatus, to: OrderStatus) -> None:
    refused = plan_transition(scene(BEGUN_MS), known(replace(WAITING, status=was)), None, to, "")
    assert isinstance(refused, Refused)
    assert refused.refusal is Refusal.TRANSITION_NOT_ALLOWED


@given(now_ms=st.integers(BEGUN_MS, BEGUN_MS + 2 * WINDOW_MS))
@quickly
def test_a_window_is_over_at_its_end_and_not_before(now_ms: int) -> None:
    plan = plan_lapse(scene(now_ms), known(WAITING), CART)
    assert (plan is not None) == (now_ms >= BEGUN_MS + WINDOW_MS)
    assert plan is None or plan.answer.record.payment.status is PaymentStatus.CANCELED


def test_a_cart_that_is_paid_as_another_order_is_neither_closed_nor_given_back() -> None:
    others = replace(CART, order="another")
    canceled = replace(
        WAITING,
        status=OrderStatus.CANCELED,
        stock="none",
        holds=(),
        timeline=(*WAITING.timeline, Step(OrderStatus.CANCELED, BEGUN_MS, "the payment window was over")),
    )
    for record in (WAITING, canceled):
        for cart in (others, replace(others, status="open", order=""), replace(others, status="ordered")):
            plan = plan_payment(scene(BEGUN_MS), known(record), cart, PaymentStatus.SUCCEEDED, "")
            while plan is not None:
                assert [put.kind for put in plan.trade.put] == ["order"]
                plan = plan.otherwise


def test_a_transaction_id_is_kept_until_another_is_told() -> None:
    first = plan_payment(scene(BEGUN_MS), known(WAITING), CART, PaymentStatus.PROCESSING, "tx-1")
    assert first is not None
    noted = first.answer.record
    assert plan_payment(scene(BEGUN_MS), known(noted), CART, PaymentStatus.PROCESSING, "") is None
    then = plan_payment(scene(BEGUN_MS), known(noted), CART, PaymentStatus.SUCCEEDED, "")
    assert then is not None
    assert then.answer.record.payment.transaction_id == "tx-1"
