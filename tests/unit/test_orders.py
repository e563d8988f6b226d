"""Orders as records: what may follow what, how long they are kept, what a replay of their checkout answers."""

from __future__ import annotations

import hypothesis.strategies as st
import msgspec
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from msgspec.structs import replace

from engine.coupons import Coupon
from engine.orders import (
    LIVE_KEPT_MS,
    SETTLED,
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
    counted,
    decode_order,
    kept_ms,
    moved,
    put_order,
)
from engine.settings import Settings
from engine.trade import Counted, Known

quickly = hypothesis_settings(deadline=None, database=None, derandomize=True)

ITEM = OrderItem("A", "var_a", "prod_a", "Täe", 2, 1_000, 100, 900, 1_800, ())
COUPON = Coupon(id="coup_1", code="TEN", kind="percentage", value=10, usage_limit=10, per_customer_limit=2)
ORDER = OrderRecord(
    version=1,
    status=OrderStatus.CREATED,
    customer="bob",
    cart_token="c",
    fingerprint="f",
    currency="GBP",
    created_ms=1_000,
    updated_ms=1_000,
    subtotal=1_800,
    discount=180,
    total=1_620,
    coupon_id="coup_1",
    coupon="TENTH",
    is_coupon_counted=True,
    payment=Payment(PaymentStatus.PENDING, PaymentStatus.PENDING, 121_000),
    stock="held",
    holds=("h",),
    items=(ITEM,),
    timeline=(Step(OrderStatus.CREATED, 1_000),),
)


def test_no_order_leaves_a_status_that_is_terminal_and_each_other_leads_to_one() -> None:
    assert not TERMINAL & TRANSITIONS.keys()
    assert TERMINAL | TRANSITIONS.keys() == set(OrderStatus)
    for status in OrderStatus:
        reached, waiting = set(), [status]
        while waiting:
            at = waiting.pop()
            reached.add(at)
            waiting += [to for to in TRANSITIONS.get(at, ()) if to not in reached]
        assert reached & TERMINAL, status


def test_a_payment_is_settled_by_just_three_statuses() -> None:
    assert {str(status) for status in SETTLED} == {"succeeded", "failed", "canceled"}


@given(status=st.sampled_from(OrderStatus), retention_s=st.integers(1, 2_592_000))
@quickly
def test_what_may_still_change_is_kept_longer_than_what_is_over(status: OrderStatus, retention_s: int) -> None:
    settings = Settings(retention_s=retention_s)
    kept = kept_ms(replace(ORDER, status=status), settings)
    assert kept == retention_s * 1000 + (0 if status in TERMINAL else LIVE_KEPT_MS)
    assert put_order("o", replace(ORDER, status=status), settings).keep_ms == kept


@given(
    version=st.integers(1, 2**40),
    texts=st.tuples(*[st.text(max_size=20)] * 4),
    status=st.sampled_from(OrderStatus),
    steps=st.lists(st.tuples(st.sampled_from(OrderStatus), st.integers(0, 2**43), st.text(max_size=9)), max_size=4),
)
@quickly
def test_an_order_is_read_as_it_was_written_and_its_text_begins_with_its_version(
    version: int, texts: tuple[str, ...], status: OrderStatus, steps: list[tuple[OrderStatus, int, str]]
) -> None:
    timeline = tuple(Step(*step) for step in steps)
    customer, tracking, reason, name = texts
    record = replace(
        ORDER,
        version=version,
        status=status,
        customer=customer,
        tracking_number=tracking,
        refund_reason=reason,
        timeline=timeline,
        items=(replace(ITEM, name=name),),
    )
    put = put_order("o", record, Settings())
    assert decode_order(put.text) == record
    assert put.text.startswith(b"[%d," % version)
    assert msgspec.json.decode(msgspec.json.encode(Order("o", record)), type=Order) == Order("o", record)


def test_each_move_is_a_version_with_its_time_and_reason() -> None:
    once = moved(ORDER, OrderStatus.CANCELED, 5_000, "why", stock="none", holds=())
    assert (once.version, once.status, once.updated_ms, once.stock) == (2, OrderStatus.CANCELED, 5_000, "none")
    assert once.timeline == (*ORDER.timeline, Step(OrderStatus.CANCELED, 5_000, "why"))


def test_the_replay_of_a_checkout_shows_the_order_as_it_was_first() -> None:
    paid = replace(ORDER.payment, status=PaymentStatus.SUCCEEDED, transaction_id="tx-1")
    later = moved(replace(ORDER, payment=paid), OrderStatus.PROCESSING, 5_000)
    later = moved(later, OrderStatus.REFUND_DUE, 9_000, tracking_number="T", refund_reason="R")
    first = later.as_first_answered()
    assert first == ORDER
    captured = replace(ORDER, payment=Payment(PaymentStatus.SUCCEEDED, PaymentStatus.SUCCEEDED, 0))
    assert moved(captured, OrderStatus.CANCELED, 5_000).as_first_answered() == captured


def test_a_coupon_is_counted_for_all_and_for_its_customer() -> None:
    assert counted(ORDER, 1, COUPON) == (Counted("coup_1", 1, 10), Counted("coup_1", 1, 2, "bob"))
    assert counted(ORDER, -1) == (Counted("coup_1", -1), Counted("coup_1", -1, None, "bob"))
    assert counted(replace(ORDER, customer=""), 1, COUPON) == (Counted("coup_1", 1, 10),)
    assert counted(replace(ORDER, coupon_id=""), 1, COUPON) == ()


def test_an_order_that_only_postgresql_has_is_known_to_redis_as_none() -> None:
    assert KnownOrder(Order("o", ORDER), 0).known == Known("order", "o", 0)
    assert KnownOrder(Order("o", ORDER), 7).known == Known("order", "o", 7)
