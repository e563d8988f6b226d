"""A checkout is judged by cart, catalogue and clock alone: why there is no order, or what it does to the holds."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from msgspec.structs import replace

from engine.carts import CartLine, CartRecord, Scene, appraise, decode_cart
from engine.catalogue import Catalogue, Product, ProductStatus, Row, Variant
from engine.checkout import CheckoutRequest, given_back, plan_checkout
from engine.coupons import Coupon
from engine.orders import OrderStatus, decode_order
from engine.plans import Plan
from engine.pricing import Rule
from engine.refusals import PriceChange, Refusal, Refused
from engine.settings import Settings
from engine.trade import Counted, Known

quickly = hypothesis_settings(deadline=None, database=None, derandomize=True, max_examples=200)

NOW_MS = 1_000_000
TEE = Product(id="prod_tee", name="Tee", base_price=1_000, currency="GBP")
VARIANTS = tuple(Variant(id=f"var_{sku}", product_id=TEE.id, sku=sku) for sku in "ABC")
COUPON = Coupon(
    id="coup_1", code="TENTH", kind="percentage", value=10, usage_limit=9, per_customer_limit=2, min_order_value=2_000
)
CATALOGUE = Catalogue(1, (), (TEE,), VARIANTS, (), (COUPON,))
CAPTURED = CheckoutRequest(("o", "o-before", "o-after"), "f", None, is_pending=False)
PENDING = replace(CAPTURED, is_pending=True)
HALF = Rule(id="r", name="Half", kind="seasonal", percent=50)


def line(sku: str, quantity: int = 1, *, hold: bool = True, left_ms: int = 60_000, price: int = 1_000) -> CartLine:
    times = (NOW_MS - 10_000, NOW_MS + left_ms)
    return CartLine(sku, f"var_{sku}", quantity, f"h-{sku}" if hold else "", *times, price, 0, price, ())


def cart(*lines: CartLine, **changes: Any) -> CartRecord:
    return replace(CartRecord(3, "open", "bob", "GBP" if lines else "", 0, 0, lines), **changes)


def scene(*rows: Row, gone: tuple[str, ...] = (), **settings: Any) -> Scene:
    return Scene(CATALOGUE.changed(2, rows, gone), Settings(**settings), NOW_MS)


def order_of(at: Scene, record: CartRecord, request: CheckoutRequest) -> Plan[Any]:
    plan = plan_checkout(at, "c", record, request)
    assert isinstance(plan, Plan), plan
    return plan


def test_of_several_reasons_the_first_is_told() -> None:
    """Empty, expired, discontinued, another price, a coupon that does not fit: in this order."""
    record = cart(line("A", left_ms=0), line("B", price=700), coupon="TENTH")
    told: list[Refused] = []
    for lines, rows in (
        ((), (replace(VARIANTS[1], retired=True),)),
        (record.lines, (replace(VARIANTS[1], retired=True),)),
        (record.lines[1:], (replace(VARIANTS[1], retired=True),)),
        (record.lines[1:], ()),
        ((line("B"),), ()),
    ):
        refused = plan_checkout(scene(*rows, price_policy="notify"), "c", replace(record, lines=lines), CAPTURED)
        assert isinstance(refused, Refused)
        told.append(refused)
    assert told == [
        Refused(Refusal.CART_EMPTY),
        Refused(Refusal.HOLD_EXPIRED, skus=("A",)),
        Refused(Refusal.PRODUCT_DISCONTINUED, skus=("B",)),
        Refused(Refusal.PRICE_CHANGED, prices=(PriceChange("B", 700, 1_000),)),
        Refused(Refusal.COUPON_NOT_APPLICABLE, reason="minimum-not-reached"),
    ]


@pytest.mark.parametrize("price_policy", ["locked", "notify", "dynamic"])
def test_what_is_sold_for_another_currency_by_now_keeps_its_price_and_is_not_ordered(price_policy: str) -> None:
    at = scene(replace(TEE, base_price=2_000, currency="EUR"), price_policy=price_policy)
    record = cart(line("A"), line("B"))
    assert [item.final_price for item in appraise(at, "c", record).items] == [1_000, 1_000]
    refused = plan_checkout(at, "c", record, CAPTURED)
    assert refused == Refused(Refusal.CURRENCY_MISMATCH, skus=("A", "B"), reason="GBP")


@given(
    lines=st.dictionaries(st.sampled_from("ABC"), st.tuples(st.integers(1, 9), st.booleans()), min_size=1),
    customer=st.sampled_from(["bob", ""]),
    named=st.sampled_from([None, "bob"]),
    is_pending=st.booleans(),
    has_coupon=st.booleans(),
)
@quickly
def test_every_line_is_claimed_once_as_it_is_held_or_anew(
    lines: dict[str, tuple[int, bool]],
    customer: str,
    named: str | None,
    is_pending: bool,  # noqa: FBT001
    has_coupon: bool,  # noqa: FBT001
) -> None:
    at = scene(replace(COUPON, min_order_value=None))
    made_of = tuple(line(sku, quantity, hold=hold) for sku, (quantity, hold) in lines.items())
    record = cart(*made_of, customer=customer, coupon="TENTH" if has_coupon else "")
    request = replace(CAPTURED, customer_id=named, is_pending=is_pending)
    plan = order_of(at, record, request)
    trade, order = plan.trade, decode_order(plan.trade.put[0].text)
    owner = customer or named or ""
    anew = {made.sku: made for made in trade.made}
    for each in made_of:
        is_kept = each.hold in trade.sold
        assert is_kept == (each.hold != "" and not is_pending and owner == customer)
        assert (each.sku in anew) != is_kept
        assert (each.hold in trade.ended) == (each.hold != "" and not is_kept)
        if not is_kept:
            made = anew[each.sku]
            assert (made.quantity, made.customer_id or "", made.is_sold) == (each.quantity, owner, not is_pending)
            assert not is_pending or made.expires_ms == order.payment.until_ms
    assert order.holds == (tuple(made.token for made in trade.made) if is_pending else ())
    assert (order.customer, order.is_waiting, order.status) == (owner, is_pending, OrderStatus.CREATED)
    assert [(item.sku, item.quantity) for item in order.items] == [(each.sku, each.quantity) for each in made_of]
    assert order.subtotal == sum(item.total_price for item in order.items)
    assert order.total == order.subtotal - order.discount
    assert order.is_coupon_counted == has_coupon == (trade.counted != ())
    closed = decode_cart(trade.put[1].text)
    assert (closed.status, closed.order) == ("paying" if is_pending else "ordered", "o")
    assert trade.window == (("o", NOW_MS + 120_000) if is_pending else None)
    assert plan.answer.record == order


def test_a_checkout_is_judged_by_its_cart_and_by_there_being_no_order_under_its_key() -> None:
    trade = order_of(scene(), cart(line("A")), CAPTURED).trade
    assert trade.known == (
        Known("cart", "c", 3),
        *(Known("order", token, 0) for token in ("o", "o-before", "o-after")),
    )
    assert trade.reference == "ord_o"


def test_the_limits_of_a_coupon_go_with_its_count() -> None:
    plan = order_of(scene(), cart(line("A", 2), coupon="tenth"), PENDING)
    assert plan.trade.counted == (Counted("coup_1", 1, 9), Counted("coup_1", 1, 2, "bob"))
    record = plan.answer.record
    assert (record.coupon_id, record.coupon, record.discount, record.total) == ("coup_1", "TENTH", 200, 1_800)


@pytest.mark.parametrize(
    ("policy", "left_ms", "expected"),
    [
        ("locked", 1, 1_000),
        ("locked", 0, None),
        ("dynamic", 1, 500),
        ("dynamic", 0, 500),
        ("notify", 1, None),
        ("notify", 0, None),
    ],
)
def test_a_changed_price_is_honoured_taken_or_refused_as_the_store_says(
    policy: str, left_ms: int, expected: int | None
) -> None:
    plan = plan_checkout(scene(HALF, price_policy=policy), "c", cart(line("A", hold=False, left_ms=left_ms)), CAPTURED)
    if expected is None:
        assert plan == Refused(Refusal.PRICE_CHANGED, prices=(PriceChange("A", 1_000, 500),))
    else:
        assert isinstance(plan, Plan)
        assert plan.answer.record.total == expected


@pytest.mark.parametrize("status", [ProductStatus.DRAFT, ProductStatus.DISCONTINUED])
def test_only_an_active_product_is_sold(status: ProductStatus) -> None:
    refused = plan_checkout(scene(replace(TEE, status=status)), "c", cart(line("A")), CAPTURED)
    assert refused == Refused(Refusal.PRODUCT_DISCONTINUED, skus=("A",))
    assert plan_checkout(scene(gone=("prod_tee",)), "c", cart(line("A")), CAPTURED) == refused


def test_a_cart_that_is_given_back_is_intact_but_holds_nothing() -> None:
    record = cart(line("A", 2), line("B"), status="paying", coupon="TENTH", order="o")
    back = given_back(scene(), record)
    assert (back.version, back.status, back.coupon, back.order) == (4, "open", "TENTH", "o")
    assert [(each.sku, each.quantity, each.final_price) for each in back.lines] == [("A", 2, 1_000), ("B", 1, 1_000)]
    assert {(each.hold, each.until_ms) for each in back.lines} == {("", 0)}
    assert back.expires_ms == NOW_MS + 30 * 86_400_000
