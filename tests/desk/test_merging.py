"""A guest's cart is put into another at login: what fits is kept, what does not is told, and nothing fails for it."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from engine.carts import Cart, NotMerged
from engine.catalogue import Variant
from engine.idempotency import Keyed
from engine.plans import Answer
from engine.refusals import Refusal, Refused
from tests.desk.shop import BULK, HALF_PRICE, MUG, TEE, TENTH_OFF, Shop, another_process, lines_of

pytestmark = pytest.mark.anyio


async def two(shop: Shop, customer: str | None = "bob") -> tuple[Cart, Cart]:
    """A customer's cart and a guest's."""
    return await shop.open(customer), await shop.open()


async def test_a_merge_sums_the_lines_and_closes_the_guests_cart(shop: Shop) -> None:
    await shop.stock_up(A=9, B=9, C=9)
    bobs, guests = await two(shop)
    await shop.add(bobs, "A", 2)
    await shop.add(bobs, "B", 1)
    await shop.add(guests, "A", 3)
    await shop.add(guests, "C", 4)
    merged = await shop.merge(bobs, guests)
    assert (merged.token, merged.customer_id, merged.not_merged) == (bobs.token, "bob", ())
    assert lines_of(merged) == {"A": (5, "held"), "B": (1, "held"), "C": (4, "held")}
    assert [await shop.counts(sku) for sku in "ABC"] == [(4, 5, 0), (8, 1, 0), (5, 4, 0)]
    assert (await shop.show(guests)).status == "merged"
    assert await shop.try_merge(bobs, guests) == Refused(Refusal.CART_MERGED)
    assert (await shop.show(bobs)).items == merged.items
    assert (await shop.check_out(bobs)).record.total == 5_000 + 1_250 + 2_000


async def test_a_guest_cart_may_be_merged_into_another_guest_cart(shop: Shop) -> None:
    await shop.stock_up(A=9)
    first, second = await two(shop, None)
    await shop.add(second, "A", 3)
    assert lines_of(await shop.merge(first, second)) == {"A": (3, "held")}


async def test_what_does_not_fit_is_told_and_the_rest_is_kept(shop: Shop) -> None:
    """The guest's line had expired, and most of its units were taken meanwhile."""
    await shop.stock_up(A=6, B=3)
    bobs, guests = await two(shop)
    await shop.add(guests, "A", 5)
    await shop.add(guests, "B", 3)
    await shop.pass_s(900)
    await shop.add(await shop.open("eve"), "A", 3)
    await shop.add(bobs, "A", 1)
    merged = await shop.merge(bobs, guests)
    assert lines_of(merged) == {"A": (3, "held"), "B": (3, "held")}
    assert merged.not_merged == (NotMerged("A", 5, 2, "insufficient-stock"),)
    assert await shop.counts("A") == (0, 6, 0)


async def test_nothing_that_fits_is_no_failure_either(shop: Shop) -> None:
    await shop.stock_up(A=3)
    bobs, guests = await two(shop)
    await shop.add(guests, "A", 2)
    await shop.pass_s(900)
    await shop.add(await shop.open("eve"), "A", 3)
    merged = await shop.merge(bobs, guests)
    assert (merged.items, merged.currency) == ((), None)
    assert merged.not_merged == (NotMerged("A", 2, 0, "insufficient-stock"),)
    await shop.stock_up(E=1)
    assert lines_of(await shop.add(bobs, "E")) == {"E": (1, "held")}


async def test_the_customers_limit_bounds_what_a_guest_brings(shop: Shop) -> None:
    await shop.stock_up(A=20, limit=5)
    await shop.ordered("A", 1, "bob")
    bobs, guests = await two(shop)
    await shop.add(bobs, "A", 2)
    await shop.add(guests, "A", 5)
    merged = await shop.merge(bobs, guests)
    assert lines_of(merged) == {"A": (4, "held")}
    assert merged.not_merged == (NotMerged("A", 5, 2, "customer-limit-exceeded"),)
    assert await shop.counts("A") == (15, 4, 1)


async def test_a_customer_at_the_limit_keeps_what_was_there(shop: Shop) -> None:
    await shop.stock_up(A=20, limit=3)
    bobs, guests = await two(shop)
    before = await shop.add(bobs, "A", 3)
    await shop.add(guests, "A", 2)
    merged = await shop.merge(bobs, guests)
    assert merged.items == before.items
    assert merged.not_merged == (NotMerged("A", 2, 0, "customer-limit-exceeded"),)
    assert await shop.counts("A") == (17, 3, 0)


async def test_a_customer_at_the_limit_still_gets_the_longer_lived_hold(shop: Shop) -> None:
    await shop.stock_up(A=20, limit=3)
    bobs, guests = await two(shop)
    await shop.add(bobs, "A", 3)
    await shop.pass_s(100)
    until_ms = (await shop.add(guests, "A", 2)).items[0].reserved_until_ms
    merged = await shop.merge(bobs, guests)
    assert (lines_of(merged), merged.items[0].reserved_until_ms) == ({"A": (3, "held")}, until_ms)
    assert merged.not_merged == (NotMerged("A", 2, 0, "customer-limit-exceeded"),)
    assert await shop.counts("A") == (17, 3, 0)


async def test_a_limit_bounds_a_guests_line_too(shop: Shop) -> None:
    await shop.stock_up(A=20, limit=3)
    first, second = await two(shop, None)
    await shop.add(first, "A", 2)
    await shop.add(second, "A", 2)
    merged = await shop.merge(first, second)
    assert lines_of(merged) == {"A": (3, "held")}
    assert merged.not_merged == (NotMerged("A", 2, 1, "customer-limit-exceeded"),)


@pytest.mark.parametrize("guest_is_later", [True, False])
async def test_the_longer_lived_hold_is_kept(shop: Shop, guest_is_later: bool) -> None:  # noqa: FBT001
    await shop.stock_up(A=9)
    bobs, guests = await two(shop)
    first, second = (bobs, guests) if guest_is_later else (guests, bobs)
    await shop.add(first, "A", 1)
    await shop.pass_s(100)
    until_ms = (await shop.add(second, "A", 1)).items[0].reserved_until_ms
    await shop.pass_s(100)
    assert (await shop.merge(bobs, guests)).items[0].reserved_until_ms == until_ms
    await shop.pass_s(800)
    assert lines_of(await shop.show(bobs)) == {"A": (2, "expired")}


async def test_an_expired_line_is_reserved_again_by_a_merge_that_touches_it(shop: Shop) -> None:
    await shop.stock_up(A=9)
    bobs, guests = await two(shop)
    await shop.add(bobs, "A", 2)
    await shop.pass_s(900)
    await shop.add(guests, "A", 3)
    assert lines_of(await shop.merge(bobs, guests)) == {"A": (5, "held")}
    assert await shop.counts("A") == (4, 5, 0)


async def test_an_expired_line_that_nothing_is_left_for_stays_expired(shop: Shop) -> None:
    await shop.stock_up(A=4)
    bobs, guests = await two(shop)
    await shop.add(bobs, "A", 2)
    await shop.add(guests, "A", 2)
    await shop.pass_s(900)
    await shop.add(await shop.open("eve"), "A", 4)
    merged = await shop.merge(bobs, guests)
    assert lines_of(merged) == {"A": (2, "expired")}
    assert merged.not_merged == (NotMerged("A", 2, 0, "insufficient-stock"),)


async def test_a_discontinued_product_is_not_merged_and_an_expired_line_of_it_not_reserved(shop: Shop) -> None:
    await shop.stock_up(C=4, A=4)
    bobs, guests = await two(shop)
    await shop.add(bobs, "C", 2)
    await shop.pass_s(900)
    await shop.add(guests, "C", 1)
    await shop.add(guests, "A", 1)
    shop.discontinue(MUG)
    await shop.add(await shop.open("eve"), "A", 1)
    merged = await shop.merge(bobs, guests)
    assert lines_of(merged) == {"C": (2, "expired"), "A": (1, "held")}
    assert merged.not_merged == (NotMerged("C", 1, 0, "product-discontinued"),)
    assert await shop.counts("C") == (4, 0, 0)


async def test_a_discontinued_product_whose_units_are_gone_is_no_failure(shop: Shop) -> None:
    await shop.stock_up(C=2)
    bobs, guests = await two(shop)
    await shop.add(bobs, "C", 2)
    await shop.pass_s(900)
    await shop.add(guests, "C", 1)
    await shop.add(await shop.open("eve"), "C", 1)
    shop.discontinue(MUG)
    merged = await shop.merge(bobs, guests)
    assert lines_of(merged) == {"C": (2, "expired")}


async def test_a_sum_beyond_what_a_line_may_have_is_cut(shop: Shop) -> None:
    await shop.stock_up(A=30_000)
    bobs, guests = await two(shop)
    await shop.add(bobs, "A", 6_000)
    await shop.add(guests, "A", 6_000)
    merged = await shop.merge(bobs, guests)
    assert lines_of(merged) == {"A": (10_000, "held")}
    assert merged.not_merged == (NotMerged("A", 6_000, 4_000, "quantity-too-large"),)


async def test_a_sum_that_is_too_large_and_more_than_there_is_fits_as_far_as_there_is(shop: Shop) -> None:
    await shop.stock_up(A=7_000)
    bobs, guests = await two(shop)
    await shop.add(guests, "A", 6_000)
    await shop.pass_s(900)
    await shop.add(bobs, "A", 6_000)
    merged = await shop.merge(bobs, guests)
    assert lines_of(merged) == {"A": (7_000, "held")}
    assert merged.not_merged == (NotMerged("A", 6_000, 1_000, "insufficient-stock"),)


async def test_a_merge_into_a_full_cart_sums_what_is_there_and_tells_the_rest(shop: Shop) -> None:
    skus = [f"S{i}" for i in range(101)]
    await asyncio.gather(*(shop.stock_up(**{sku: 2}) for sku in skus))
    shop.put(*(Variant(id=f"var_{sku}", product_id=TEE.id, sku=sku, position=10 + i) for i, sku in enumerate(skus)))
    bobs, guests = await two(shop)
    for sku in skus[:100]:
        await shop.add(bobs, sku)
    for sku in skus[99:]:
        await shop.add(guests, sku)
    merged = await shop.merge(bobs, guests)
    assert len(merged.items) == 100
    assert lines_of(merged)["S99"] == (2, "held")
    assert merged.not_merged == (NotMerged("S100", 1, 0, "cart-full"),)
    assert await shop.counts("S100") == (2, 0, 0)


async def test_another_currency_is_told_and_given_back(shop: Shop) -> None:
    await shop.stock_up(A=2, E=2)
    bobs, guests = await two(shop)
    await shop.add(bobs, "A")
    await shop.add(guests, "E")
    merged = await shop.merge(bobs, guests)
    assert (lines_of(merged), merged.currency) == ({"A": (1, "held")}, "GBP")
    assert merged.not_merged == (NotMerged("E", 1, 0, "currency-mismatch"),)
    assert await shop.counts("E") == (2, 0, 0)


async def test_an_empty_cart_takes_the_currency_and_the_coupon_of_the_guest(shop: Shop) -> None:
    await shop.stock_up(E=2)
    bobs, guests = await two(shop)
    await shop.add(guests, "E")
    await shop.coupon(guests, "tenth")
    merged = await shop.merge(bobs, guests)
    assert (merged.currency, merged.coupon, merged.discount) == ("EUR", "TENTH", 990)


async def test_the_targets_coupon_is_kept(shop: Shop) -> None:
    await shop.stock_up(A=9)
    shop.put(replace(TENTH_OFF, id="coup_fifth", code="FIFTH", value=20))
    bobs, guests = await two(shop)
    for cart, code in ((bobs, "FIFTH"), (guests, "TENTH")):
        await shop.add(cart, "A")
        await shop.coupon(cart, code)
    merged = await shop.merge(bobs, guests)
    assert (merged.coupon, merged.subtotal, merged.discount) == ("FIFTH", 2_000, 400)


async def test_a_price_that_is_honoured_stays_and_a_sum_that_reaches_a_bulk_price_has_it(shop: Shop) -> None:
    await shop.stock_up(A=9, C=9)
    shop.put(BULK)
    bobs, guests = await two(shop)
    await shop.add(guests, "A", 2)
    await shop.add(guests, "C", 3)
    await shop.add(bobs, "C", 3)
    shop.put(replace(HALF_PRICE, product_id=TEE.id))
    merged = await shop.merge(bobs, guests)
    assert [(item.sku, item.final_price, item.price_changed) for item in merged.items] == [
        ("C", 450, False),
        ("A", 1_000, False),
    ]


async def test_a_merge_races_with_shoppers_for_the_last_units_and_never_fails(shop: Shop, other: Shop) -> None:
    await shop.stock_up(A=10)
    bobs, guests = await two(shop)
    await shop.add(guests, "A", 5)
    await shop.pass_s(900)
    rivals = [await shop.open() for _ in range(8)]
    merge, *added = await asyncio.gather(
        shop.try_merge(bobs, guests), *(other.try_add(cart, "A", 1) for cart in rivals)
    )
    assert isinstance(merge, Answer)
    taken = sum(isinstance(answer, Answer) for answer in added)
    assert lines_of(merge.value) == {"A": (10 - taken, "held")}
    assert await shop.counts("A") == (0, 10, 0)


async def test_both_ways_at_once_is_decided_once(shop: Shop, other: Shop) -> None:
    await shop.stock_up(A=9)
    first, second = await two(shop, None)
    await shop.add(first, "A", 1)
    await shop.add(second, "A", 2)
    answers = await asyncio.gather(shop.try_merge(first, second), other.try_merge(second, first))
    assert sum(isinstance(answer, Answer) for answer in answers) == 1
    assert answers.count(Refused(Refusal.CART_MERGED)) == 1
    assert await shop.counts("A") == (6, 3, 0)


async def test_merging_under_a_key_merges_once_and_answers_the_same_again(shop: Shop) -> None:
    await shop.stock_up(A=9)
    bobs, guests = await two(shop)
    await shop.add(guests, "A", 2)
    first = await shop.try_merge(bobs, guests, keyed=Keyed("key", "f"))
    assert isinstance(first, Answer)
    await shop.add(bobs, "A")
    again = await shop.try_merge(bobs, guests, keyed=Keyed("key", "f"))
    assert again == Answer(first.value, replayed=True)
    assert await shop.try_merge(bobs, guests, keyed=Keyed("key", "g")) == Refused(Refusal.KEY_REUSED)


async def test_a_cart_that_is_being_paid_is_not_merged_until_its_window_is_over(shop: Shop) -> None:
    await shop.stock_up(A=9)
    bobs, guests = await two(shop)
    await shop.add(bobs, "A", 2)
    await shop.add(guests, "A", 3)
    order = await shop.check_out(bobs, pending=True)
    assert await shop.try_merge(bobs, guests) == Refused(Refusal.PAYMENT_PENDING, order_token=order.token)
    await shop.pass_s(120)
    assert lines_of(await shop.merge(bobs, guests)) == {"A": (5, "held")}


async def test_lists_are_merged_without_regard_to_stock(shop: Shop) -> None:
    settings = replace(shop.settings, reserve_on="checkout")
    async with another_process(settings, shop.redis, shop.stored) as lists:
        await shop.stock_up(A=4)
        bobs, guests = await two(lists)
        await lists.add(bobs, "A", 3)
        await lists.add(guests, "A", 3)
        merged = await lists.merge(bobs, guests)
        assert (lines_of(merged), merged.not_merged) == ({"A": (6, "listed")}, ())
        assert await lists.counts("A") == (4, 0, 0)
