"""Baskets and books: rows become traffic, and whatever differs from the file afterwards is found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.baskets import MAX_LINES, MAX_QUANTITY, invoices_in_order, stock_needed
from benchmarks.books import (
    Counts,
    Entry,
    Evidence,
    Movement,
    audit,
    expected_counts,
    file_entries,
    stocking_entries,
)
from benchmarks.order_lines import Kind, OrderLine
from benchmarks.report import percentile_ms
from tests.replay.lines import START, line

RUN = "replay-1"

LINES = [
    line("1", "A", 3),
    line("1", "A", 2),
    line("1", "B", 4),
    line("2", "A", 1, minute=5),
    line("C3", "A", 2, Kind.RETURN, minute=6),
    line("4", "B", 3, Kind.WRITE_OFF, minute=7),
    line("C5", "Z", 1, Kind.RETURN, minute=8),
]


def honest(lines: list[OrderLine], before: Mapping[str, Counts]) -> tuple[dict[Entry, Movement], Evidence]:
    """What a system that did all right would say."""
    entries = file_entries(lines) | stocking_entries(RUN, lines)
    counts = expected_counts(before, entries)
    moved = {entry: movement for entry, movement in entries.items() if movement != Movement()}
    return entries, Evidence(before, counts, counts, counts, moved)


# Baskets


def test_a_sku_that_comes_twice_in_a_basket_is_summed_and_counted() -> None:
    first = invoices_in_order(LINES)[0]
    assert first.holds() == [(("A", 5), ("B", 4))]
    assert first.repeated_lines == 1


def test_invoices_start_in_the_order_of_their_times_whatever_the_order_of_rows() -> None:
    ordered = invoices_in_order(reversed(LINES))
    assert [invoice.number for invoice in ordered] == ["1", "2", "C3", "4", "C5"]


def test_an_invoice_that_crosses_a_minute_or_lacks_a_customer_in_one_row_is_one_basket() -> None:
    lines = [line("1", "A", 1, minute=1), line("1", "B", 1, minute=0, customer="c")]
    (invoice,) = invoices_in_order(lines)
    assert (invoice.at, invoice.customer_id) == (START, "c")


def test_a_limit_counts_baskets_and_takes_the_other_invoices_up_to_there() -> None:
    lines = [line("C0", "A", 1, Kind.RETURN), *LINES[:4], *LINES[4:], line("6", "A", 1, minute=9)]
    assert [invoice.number for invoice in invoices_in_order(lines, 2)] == ["C0", "1", "2", "C3", "4", "C5"]


@given(st.dictionaries(st.text("abc", min_size=1, max_size=5), st.integers(1, 3 * MAX_QUANTITY + 1), max_size=250))
def test_the_holds_of_a_basket_are_the_basket_and_each_is_one_that_may_be_asked_for(sold: dict[str, int]) -> None:
    lines = [line("1", sku, units) for sku, units in sold.items()]
    holds = invoices_in_order(lines)[0].holds() if lines else []
    total: Counter[str] = Counter()
    for hold in holds:
        assert 1 <= len(hold) <= MAX_LINES
        assert len({sku for sku, _ in hold}) == len(hold)
        assert all(1 <= units <= MAX_QUANTITY for _, units in hold)
        total.update(dict(hold))
    assert total == Counter(sold)


def test_stock_is_enough_for_every_order_of_events() -> None:
    assert stock_needed(invoices_in_order(LINES)) == {"A": 6, "B": 7, "Z": 0}


# Books


def test_the_file_alone_says_what_every_count_must_be() -> None:
    entries = file_entries(LINES) | stocking_entries(RUN, LINES)
    assert expected_counts({"A": Counts(10, 1, 5)}, entries) == {
        "A": Counts(12, 1, 11),
        "B": Counts(0, 0, 4),
        "Z": Counts(1, 0, 0),
    }


order_lines = st.builds(
    line,
    invoice=st.sampled_from(["1", "2", "3", "C4"]),
    sku=st.sampled_from(["A", "B", "C"]),
    units=st.integers(1, 20_000),
    kind=st.sampled_from(Kind),
)


@given(st.lists(order_lines, min_size=1), st.integers(0, 9), st.integers(0, 9))
def test_books_of_a_system_that_did_all_right_balance(lines: list[OrderLine], available: int, sold: int) -> None:
    assert list(audit(*honest(lines, {"A": Counts(available, 0, sold)}))) == []


@given(st.lists(order_lines, min_size=1), st.data())
def test_a_single_unit_that_is_anywhere_else_is_found(lines: list[OrderLine], data: st.DataObject) -> None:
    entries, said = honest(lines, {})
    witness = data.draw(st.sampled_from(["api", "database", "ledger"]))
    counts: dict[str, Counts] = dict(getattr(said, witness))
    sku = data.draw(st.sampled_from(sorted(counts)))
    place = data.draw(st.sampled_from(["available", "reserved", "sold"]))
    wrong = getattr(counts[sku], place) + data.draw(st.sampled_from([-1, 1]))
    counts[sku] = msgspec.structs.replace(counts[sku], **{place: wrong})
    found = list(audit(entries, msgspec.structs.replace(said, **{witness: counts})))
    assert len(found) == 1
    assert found[0].startswith(f"{sku}: ")


@pytest.mark.parametrize(
    ("entry", "movement", "expected"),
    [
        (("1", "A"), None, "A: 1 moved +0 received, 0 sold in the ledger, +0 and 5 in the file"),
        (("1", "A"), Movement(sold=10), "A: 1 moved +0 received, 10 sold in the ledger, +0 and 5 in the file"),
        (("9", "A"), Movement(sold=5), "A: 9 moved +0 received, 5 sold in the ledger, +0 and 0 in the file"),
        (("C3", "A"), Movement(-2), "A: C3 moved -2 received, 0 sold in the ledger, +2 and 0 in the file"),
    ],
)
def test_a_sale_that_is_missing_doubled_foreign_or_reversed_is_found_even_if_the_counts_are_right(
    entry: Entry, movement: Movement | None, expected: str
) -> None:
    entries, said = honest(LINES, {})
    moved = dict(said.entries)
    if movement is None:
        del moved[entry]
    else:
        moved[entry] = movement
    assert list(audit(entries, msgspec.structs.replace(said, entries=moved))) == [expected]


def test_a_sku_that_one_side_does_not_know_is_found() -> None:
    entries, said = honest(LINES, {})
    database = {sku: counts for sku, counts in said.database.items() if sku != "B"}
    found = list(audit(entries, msgspec.structs.replace(said, database=database)))
    assert found == ["B: unknown to PostgreSQL"]


def test_an_event_that_is_there_twice_or_in_quarantine_is_found() -> None:
    entries, said = honest(LINES, {})
    bad = msgspec.structs.replace(said, repeated=("A",), quarantined=2)
    assert list(audit(entries, bad)) == [
        "A: the ledger has an event twice",
        "2 events of this run are in quarantine",
    ]


@given(st.lists(st.floats(0, 10), min_size=1), st.integers(1, 100))
def test_a_percentile_is_one_of_the_times_and_that_many_stay_within_it(times: list[float], percent: int) -> None:
    found = percentile_ms(times, percent)
    assert sum(round(time * 1000, 2) <= found for time in times) * 100 >= percent * len(times)
    assert found in [round(time * 1000, 2) for time in times]
