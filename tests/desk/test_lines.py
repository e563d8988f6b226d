"""A line of a cart is a hold with a price: added, merged, lowered, expired, touched again."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from engine.carts import Cart
from engine.catalogue import Product, Variant
from engine.idempotency import Keyed
from engine.plans import Answer
from engine.pricing import Rule
from engine.refusals import LimitReached, Refusal, Refused, Shortfall
from tests.desk.shop import BULK, HALF_PRICE, MUG, TEE, VARIANTS, Shop, lines_of

pytestmark = pytest.mark.anyio


def priced(cart: Cart) -> tuple[int, int, int, int, bool]:
    """Of the only line: unit price, discount, final price, total, and whether it changed."""
    (item,) = cart.items
    return item.unit_price, item.discount, item.final_price, item.total_price, item.price_changed


async def test_adding_reserves_for_a_quarter_of_an_hour_at_todays_price(shop: Shop) -> None:
    await shop.stock_up(A=5, B=5)
    cart = await shop.open("bob")
    await shop.add(cart, "A", 2)
    cart = await shop.add(cart, "B")
    assert lines_of(cart) == {"A": (2, "held"), "B": (1, "held")}
    assert [item.reserved_until_ms for item in cart.items] == [shop.now_ms + 900_000] * 2
    assert (cart.subtotal, cart.discount, cart.total, cart.currency) == (3_250, 0, 3_250, "GBP")
    assert await shop.show(cart) == cart
    assert await shop.counts("A") == (3, 2, 0)


async def test_the_worked_example_of_a_price_is_the_price_of_its_line(shop: Shop) -> None:
    await shop.stock_up(SPEC=20)
    product = Product(id="prod_spec", name="Worked example", base_price=50_000, currency="GBP", position=9)
    variant = Variant(id="var_spec", product_id=product.id, sku="SPEC", price_adjustment=5_000, position=9)
    tier = Rule(id="rule_tier", name="Gold", kind="tier", user_tier="GOLD", percent=5)
    shop.put(product, variant, BULK, tier)
    cart = await shop.add(await shop.open(), "SPEC", 10, user_tier="GOLD")
    assert priced(cart) == (55_000, 8_250, 46_750, 467_500, False)
    assert [(rule.rule_id, rule.discount) for rule in cart.items[0].applied_rules] == [
        ("rule_bulk", 5_500),
        ("rule_tier", 2_750),
    ]


async def test_adding_what_is_there_makes_one_line_of_the_sum(shop: Shop) -> None:
    await shop.stock_up(A=5)
    cart = await shop.open()
    await shop.add(cart, "A", 2)
    await shop.pass_s(60)
    cart = await shop.add(cart, "A", 3)
    assert lines_of(cart) == {"A": (5, "held")}
    assert cart.items[0].reserved_until_ms == shop.now_ms + 900_000
    assert await shop.counts("A") == (0, 5, 0)
    answer = await shop.try_add(cart, "A")
    assert answer == Refused(Refusal.INSUFFICIENT_STOCK, shortfalls=(Shortfall("A", 6, 5),))
    assert await shop.show(cart) == cart


async def test_a_sum_that_reaches_a_bulk_price_is_priced_so_and_below_it_again_not(shop: Shop) -> None:
    await shop.stock_up(C=20)
    shop.put(BULK)
    cart = await shop.open()
    assert priced(await shop.add(cart, "C", 4)) == (500, 0, 500, 2_000, False)
    assert priced(await shop.add(cart, "C", 1)) == (500, 50, 450, 2_250, False)
    assert priced(await shop.set(cart, "C", 6)) == (500, 50, 450, 2_700, False)
    assert priced(await shop.set(cart, "C", 2)) == (500, 0, 500, 1_000, False)


async def test_the_tier_and_the_promotion_of_a_line_stay_until_others_are_named(shop: Shop) -> None:
    await shop.stock_up(C=20)
    shop.put(
        Rule(id="rule_tier", name="Gold", kind="tier", user_tier="GOLD", percent=10),
        Rule(id="rule_promo", name="Spring", kind="promo", promo_code="SPRING", amount=20),
    )
    cart = await shop.open()
    assert priced(await shop.add(cart, "C", 1, user_tier="GOLD"))[2] == 450
    assert priced(await shop.add(cart, "C", 1, promo_code="spring"))[2] == 430
    assert priced(await shop.set(cart, "C", 3))[2] == 430
    assert priced(await shop.add(cart, "C", 1, user_tier="NONE"))[2] == 480


async def test_lowering_gives_back_at_once_and_keeps_the_deadline(shop: Shop) -> None:
    await shop.stock_up(A=5)
    cart = await shop.open()
    first = await shop.add(cart, "A", 5)
    await shop.pass_s(60)
    lowered = await shop.set(cart, "A", 2)
    assert await shop.counts("A") == (3, 2, 0)
    assert lowered.items[0].reserved_until_ms == first.items[0].reserved_until_ms


async def test_removing_gives_everything_back_and_an_empty_cart_takes_any_currency(shop: Shop) -> None:
    await shop.stock_up(A=5, E=5)
    cart = await shop.open()
    await shop.add(cart, "A", 5)
    mismatch = await shop.try_add(cart, "E")
    assert mismatch == Refused(Refusal.CURRENCY_MISMATCH, skus=("E",), reason="GBP")
    cart = await shop.set(cart, "A", 0)
    assert (cart.items, cart.currency, cart.total) == ((), None, 0)
    assert await shop.counts("A") == (5, 0, 0)
    assert (await shop.add(cart, "E")).currency == "EUR"


async def test_raising_a_line_counts_its_own_units_as_its_own(shop: Shop) -> None:
    await shop.stock_up(A=5, limit=5)
    cart = await shop.open("bob")
    await shop.add(cart, "A", 3)
    assert lines_of(await shop.set(cart, "A", 5)) == {"A": (5, "held")}
    assert await shop.counts("A") == (0, 5, 0)


async def test_a_customer_limit_holds_over_lines_orders_and_other_holds(shop: Shop) -> None:
    await shop.stock_up(A=20, limit=5)
    await shop.ordered("A", 2, "bob")
    cart = await shop.open("bob")
    await shop.add(cart, "A", 3)
    over = Refused(Refusal.CUSTOMER_LIMIT_EXCEEDED, limits=(LimitReached("A", 4, 5),))
    assert await shop.try_add(cart, "A") == over
    assert await shop.try_set(cart, "A", 4) == over
    assert lines_of(await shop.show(cart)) == {"A": (3, "held")}
    await shop.set(cart, "A", 0)
    assert lines_of(await shop.add(cart, "A", 3)) == {"A": (3, "held")}


async def test_a_cart_has_at_most_a_hundred_lines(shop: Shop) -> None:
    skus = [f"S{i}" for i in range(101)]
    await asyncio.gather(*(shop.stock_up(**{sku: 2}) for sku in skus))
    shop.put(*(Variant(id=f"var_{sku}", product_id=TEE.id, sku=sku, position=10 + i) for i, sku in enumerate(skus)))
    cart = await shop.open()
    for sku in skus[:100]:
        await shop.add(cart, sku)
    assert await shop.try_add(cart, skus[100]) == Refused(Refusal.CART_FULL)
    assert await shop.counts(skus[100]) == (2, 0, 0)
    full = await shop.add(cart, skus[0])
    assert (len(full.items), full.total) == (100, 101_000)
    order = await shop.check_out(cart)
    assert (len(order.record.items), order.record.total) == (100, 101_000)


async def test_a_line_has_at_most_as_many_units_as_a_hold(shop: Shop) -> None:
    await shop.stock_up(A=30_000)
    cart = await shop.open()
    await shop.add(cart, "A", 10_000)
    assert await shop.try_add(cart, "A") == Refused(Refusal.QUANTITY_TOO_LARGE, skus=("A",))


async def test_what_the_cart_has_not_cannot_be_set(shop: Shop) -> None:
    cart = await shop.open()
    assert await shop.try_set(cart, "A", 2) == Refused(Refusal.UNKNOWN_CART_ITEM, skus=("A",))
    assert await shop.try_set(cart, "A", 0) == Refused(Refusal.UNKNOWN_CART_ITEM, skus=("A",))


async def test_two_carts_race_for_the_last_unit_and_one_gets_it(shop: Shop, other: Shop) -> None:
    await shop.stock_up(A=1)
    carts = [await shop.open() for _ in range(10)]
    answers = await asyncio.gather(*((shop, other)[i % 2].try_add(cart, "A") for i, cart in enumerate(carts)))
    assert sum(isinstance(answer, Answer) for answer in answers) == 1
    short = Refused(Refusal.INSUFFICIENT_STOCK, shortfalls=(Shortfall("A", 1, 0),))
    assert answers.count(short) == 9
    assert await shop.counts("A") == (0, 1, 0)


async def test_a_line_whose_hold_ran_out_stays_shows_it_and_reserves_again_when_touched(shop: Shop) -> None:
    await shop.stock_up(A=5)
    cart = await shop.open("bob")
    await shop.add(cart, "A", 2)
    await shop.pass_s(899)
    assert lines_of(await shop.show(cart)) == {"A": (2, "held")}
    await shop.pass_s(1)
    assert lines_of(await shop.show(cart)) == {"A": (2, "expired")}
    assert await shop.counts("A") == (5, 0, 0)
    touched = await shop.set(cart, "A", 2)
    assert lines_of(touched) == {"A": (2, "held")}
    assert touched.items[0].reserved_until_ms == shop.now_ms + 900_000
    await shop.pass_s(900)
    assert lines_of(await shop.add(cart, "A", 1)) == {"A": (3, "held")}
    await shop.pass_s(900)
    assert lines_of(await shop.set(cart, "A", 1)) == {"A": (1, "held")}


async def test_a_line_whose_hold_ran_out_may_find_nothing_left(shop: Shop) -> None:
    await shop.stock_up(A=2)
    late, quick = await shop.open("bob"), await shop.open("eve")
    await shop.add(late, "A", 2)
    await shop.pass_s(900)
    await shop.add(quick, "A", 1)
    short = Refused(Refusal.INSUFFICIENT_STOCK, shortfalls=(Shortfall("A", 2, 1),))
    assert await shop.try_set(late, "A", 2) == short
    assert lines_of(await shop.show(late)) == {"A": (2, "expired")}
    assert lines_of(await shop.set(late, "A", 1)) == {"A": (1, "held")}
    assert lines_of(await shop.set(late, "A", 0)) == {}


async def test_no_line_is_held_longer_than_a_hold_may_live(shop: Shop) -> None:
    await shop.stock_up(A=5)
    cart = await shop.open()
    begun = shop.now_ms
    await shop.add(cart, "A")
    for _ in range(5):
        await shop.pass_s(700)
        cart = await shop.set(cart, "A", 1)
    assert cart.items[0].reserved_until_ms == begun + 3_600_000
    await shop.pass_s(100)
    assert lines_of(await shop.show(cart)) == {"A": (1, "expired")}
    assert (await shop.set(cart, "A", 1)).items[0].reserved_until_ms == shop.now_ms + 900_000


async def test_the_price_shown_is_honoured_while_the_hold_lives_and_todays_counts_afterwards(shop: Shop) -> None:
    await shop.stock_up(A=5)
    cart = await shop.open()
    await shop.add(cart, "A", 3)
    shop.put(HALF_PRICE)
    assert priced(await shop.show(cart)) == (1_000, 0, 1_000, 3_000, False)
    assert priced(await shop.set(cart, "A", 2)) == (1_000, 0, 1_000, 2_000, False)
    await shop.pass_s(900)
    assert priced(await shop.show(cart)) == (1_000, 500, 500, 1_000, True)
    assert priced(await shop.set(cart, "A", 2)) == (1_000, 500, 500, 1_000, True)
    assert priced(await shop.set(cart, "A", 2)) == (1_000, 500, 500, 1_000, False)


async def test_more_units_are_priced_by_today_and_the_line_says_so(shop: Shop) -> None:
    await shop.stock_up(A=5)
    cart = await shop.open()
    await shop.add(cart, "A", 1)
    shop.put(replace(TEE, base_price=1_100))
    assert priced(await shop.add(cart, "A", 1)) == (1_100, 0, 1_100, 2_200, True)
    assert (await shop.check_out(cart)).record.total == 2_200


async def test_an_expired_line_that_is_touched_is_sold_at_the_price_of_that_touch(shop: Shop) -> None:
    await shop.stock_up(A=5)
    cart = await shop.open()
    await shop.add(cart, "A", 1)
    shop.put(HALF_PRICE)
    await shop.pass_s(900)
    assert await shop.try_check_out(cart) == Refused(Refusal.HOLD_EXPIRED, skus=("A",))
    await shop.set(cart, "A", 1)
    assert (await shop.check_out(cart)).record.total == 500


async def test_what_is_no_longer_sold_cannot_be_added_or_raised_but_lowered_while_it_is_held(shop: Shop) -> None:
    await shop.stock_up(C=9, D=9)
    cart = await shop.open()
    await shop.add(cart, "C", 3)
    gone = Refused(Refusal.PRODUCT_DISCONTINUED, skus=("C",))
    shop.put(replace(VARIANTS[2], retired=True))
    assert await shop.try_add(cart, "C") == gone
    shop.put(VARIANTS[2])
    shop.discontinue(MUG)
    assert await shop.try_add(cart, "C") == gone
    assert await shop.try_set(cart, "C", 3) == gone
    assert await shop.try_set(cart, "C", 4) == gone
    assert lines_of(await shop.set(cart, "C", 2)) == {"C": (2, "held")}
    await shop.pass_s(900)
    assert await shop.try_set(cart, "C", 1) == gone
    assert lines_of(await shop.set(cart, "C", 0)) == {}


async def test_a_sku_without_stock_of_its_own_is_unknown(shop: Shop) -> None:
    cart = await shop.open()
    assert await shop.try_add(cart, "A") == Refused(Refusal.UNKNOWN_SKU, skus=("A",))


async def test_adding_under_a_key_adds_once_and_answers_the_same_again(shop: Shop, other: Shop) -> None:
    await shop.stock_up(A=9)
    cart = await shop.open()
    keyed = Keyed("key", "f")
    answers = await asyncio.gather(*((shop, other)[i % 2].try_add(cart, "A", 2, keyed=keyed) for i in range(10)))
    assert all(isinstance(answer, Answer) for answer in answers)
    first = next(answer.value for answer in answers if isinstance(answer, Answer) and not answer.replayed)
    assert answers.count(Answer(first, replayed=True)) == 9
    await shop.set(cart, "A", 5)
    assert await shop.try_add(cart, "A", 2, keyed=keyed) == Answer(first, replayed=True)
    assert await shop.try_add(cart, "A", 2, keyed=Keyed("key", "g")) == Refused(Refusal.KEY_REUSED)
    assert await shop.counts("A") == (4, 5, 0)


async def test_a_refused_addition_is_judged_afresh_under_its_key(shop: Shop) -> None:
    await shop.stock_up(A=1)
    cart = await shop.open()
    keyed = Keyed("key", "f")
    assert isinstance(await shop.try_add(cart, "A", 2, keyed=keyed), Refused)
    await shop.receive("A", 1)
    assert isinstance(await shop.try_add(cart, "A", 2, keyed=keyed), Answer)


@pytest.mark.parametrize("rule", [BULK, replace(HALF_PRICE, percent=10, min_quantity=5)], ids=["bulk", "seasonal"])
async def test_fewer_units_lose_a_price_that_their_number_had_made_though_its_rule_is_gone(
    shop: Shop, rule: Rule
) -> None:
    shop.put(rule)
    await shop.stock_up(A=9)
    cart = await shop.open("bob")
    assert priced(await shop.add(cart, "A", 5)) == (1_000, 100, 900, 4_500, False)
    shop.remove(rule.id)
    assert priced(await shop.set(cart, "A", 5)) == (1_000, 100, 900, 4_500, False)
    assert priced(await shop.set(cart, "A", 1)) == (1_000, 0, 1_000, 1_000, True)


async def test_fewer_units_keep_a_price_that_did_not_depend_on_their_number_though_its_rule_is_gone(shop: Shop) -> None:
    shop.put(HALF_PRICE)
    await shop.stock_up(A=9)
    cart = await shop.open("bob")
    await shop.add(cart, "A", 5)
    shop.remove(HALF_PRICE.id)
    assert priced(await shop.set(cart, "A", 1)) == (1_000, 500, 500, 500, False)
