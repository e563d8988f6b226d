"""The table at the end of a replay, for people and, as JSON, for scripts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct, field

from benchmarks.baskets import SALES, Invoice
from benchmarks.books import Counts
from benchmarks.carts import Cart
from benchmarks.order_lines import OrderLine
from benchmarks.prices import amount_text, is_rounded
from benchmarks.traffic import Traffic

SHOWN = 20


class Rows(Struct):
    """What became of the file's rows: how many got each treatment, and what else is worth knowing of them."""

    treatments: dict[str, int]
    total: int
    not_taken: int
    repeated_lines: int
    split_baskets: int
    skus_at_several_prices: int
    rounded_prices: int


class Latency(Struct):
    """Of requests, in ms, from the first attempt to the answer."""

    requests: int
    p50_ms: float
    p99_ms: float


class Sales(Struct):
    """What was sold through carts; revenue in pennies, by who says so. `made` is what the catalogue lacked before."""

    carts: int
    orders: int
    order_items: int
    currency: str
    revenue: dict[str, int]
    made: dict[str, int]
    catalogue_s: float


class Report(Struct):
    """What a replay did and whether the books balance; `mismatches` is cut off, `mismatch_count` is not."""

    file: str
    run: str
    rows: Rows
    invoices: int
    baskets: int
    skus: int
    units: dict[str, int]
    units_of_the_file: dict[str, int]
    refusals: dict[str, int]
    refused_baskets: list[str]
    unanswered: list[str]
    retries: dict[str, int]
    elapsed_s: float
    baskets_per_s: float
    requests_per_s: float
    latency: dict[str, Latency]
    totals: dict[str, Counts]
    mismatch_count: int
    mismatches: list[str] = field(default_factory=list)
    sales: Sales | None = None

    @property
    def balances(self) -> bool:
        """Whether everything was granted and every count is what the file says."""
        return not (self.mismatch_count or self.refusals or self.refused_baskets or self.unanswered)


def describe_rows(
    treatments: dict[str, int],
    not_taken: int,
    taken: Sequence[OrderLine],
    invoices: Sequence[Invoice],
    carts: Mapping[str, Sequence[Cart]],
) -> Rows:
    """Count what became of the rows; the order of `treatments` is kept. `carts` are empty where there are none."""
    prices: dict[str, set[object]] = {}
    for line in taken:
        prices.setdefault(line.sku, set()).add(line.price)
    parts: Iterable[Sequence[object]] = carts.values() if carts else (invoice.holds() for invoice in invoices)
    return Rows(
        treatments=treatments,
        total=sum(treatments.values()) + not_taken,
        not_taken=not_taken,
        repeated_lines=sum(invoice.repeated_lines for invoice in invoices),
        split_baskets=sum(len(found) > 1 for found in parts),
        skus_at_several_prices=sum(len(found) > 1 for found in prices.values()),
        rounded_prices=sum(line.kind in SALES and is_rounded(line.price) for line in taken),
    )


def latencies(traffic: Traffic) -> dict[str, Latency]:
    """p50 and p99 by what was asked for."""
    return {name: latency(times) for name, times in traffic.times_s.items()}


def latency(times_s: Sequence[float]) -> Latency:
    """p50 and p99 of these."""
    return Latency(len(times_s), percentile_ms(times_s, 50), percentile_ms(times_s, 99))


def percentile_ms(times_s: Sequence[float], percent: int) -> float:
    """The time that `percent` of all stay within (nearest rank), in ms; 0 of none."""
    if not times_s:
        return 0.0
    rank = -(-len(times_s) * percent // 100)
    return round(sorted(times_s)[max(rank, 1) - 1] * 1000, 2)


def sum_counts(counts: Iterable[Counts]) -> Counts:
    """Units of all SKUs together."""
    return sum(counts, Counts())


def render(report: Report) -> str:
    """The table."""
    out = [f"Replay of {report.file} (run {report.run})", "", *_rows(report), ""]
    out += [
        f"{report.baskets:>10,}  baskets of {report.invoices:,} invoices, {report.skus:,} SKUs",
        *(f"{count:>10,}  units {name}, of {report.units_of_the_file[name]:,}" for name, count in report.units.items()),
        *(() if report.sales is None else _sales(report.sales)),
        f"{sum(report.refusals.values()):>10,}  refusals",
        *(f"{count:>10,}    {reason}" for reason, count in report.refusals.items()),
        f"{sum(report.retries.values()):>10,}  attempts made again",
        *(f"{count:>10,}    after {reason}" for reason, count in report.retries.items()),
        "",
        f"{report.elapsed_s:>10,.1f}  seconds",
        f"{report.baskets_per_s:>10,.1f}  baskets a second",
        f"{report.requests_per_s:>10,.1f}  requests a second",
    ]
    out += [
        f"{found.p50_ms:>10,.1f}  ms p50 of {name}s, {found.p99_ms:,.1f} ms p99"
        for name, found in report.latency.items()
        if found.requests
    ]
    out += ["", f"{'':10}  {'available':>12} {'reserved':>12} {'sold':>12}"]
    out += [
        f"{name:>10}  {counts.available:>12,} {counts.reserved:>12,} {counts.sold:>12,}"
        for name, counts in report.totals.items()
    ]
    return "\n".join([*out, "", *_verdict(report)])


def _rows(report: Report) -> list[str]:
    rows = report.rows
    several, split = "no matter to stock", "baskets over 100 SKUs or 10,000 units of one: held in several holds"
    if report.sales is not None:
        several = "each row at its own"
        split = "baskets over 100 SKUs, 10,000 units of one, or with one at two prices: in several carts"
    out = [f"{rows.total:>10,}  rows", *(f"{count:>10,}    {name}" for name, count in rows.treatments.items())]
    out += [
        f"{rows.not_taken:>10,}    left out by --limit",
        f"{rows.repeated_lines:>10,}  rows with a SKU that its invoice had before: summed",
        f"{rows.skus_at_several_prices:>10,}  SKUs at several prices: {several}",
        f"{rows.split_baskets:>10,}  {split}",
    ]
    if report.sales is not None:
        out.append(f"{rows.rounded_prices:>10,}  prices of parts of a penny: rounded to the penny, half to even")
    return out


def _sales(sales: Sales) -> list[str]:
    made = ", ".join(f"{count:,} {name}" for name, count in sales.made.items())
    return [
        f"{sales.orders:>10,}  orders of {sales.carts:,} carts, {sales.order_items:,} lines",
        *(f"{amount_text(amount):>20}  revenue, says {name}" for name, amount in sales.revenue.items()),
        f"{sales.catalogue_s:>10,.1f}  seconds to make the catalogue: {made}",
    ]


def _verdict(report: Report) -> list[str]:
    out = [f"refused: basket {number}" for number in report.refused_baskets[:SHOWN]]
    out += [f"unanswered: invoice {text}" for text in report.unanswered[:SHOWN]]
    out += report.mismatches
    if report.mismatch_count > len(report.mismatches):
        out.append(f"… and {report.mismatch_count - len(report.mismatches):,} more")
    if report.balances:
        out.append(f"The books balance: API = PostgreSQL = ledger = file, for each of {report.skus:,} SKUs.")
        if report.sales is not None:
            out.append(
                f"So does the money: API = PostgreSQL = file, for each of {report.baskets:,} baskets, to the penny."
            )
    else:
        out.append(
            f"The books do NOT balance: {report.mismatch_count:,} mismatches, {len(report.refused_baskets):,} baskets "
            f"refused, {len(report.unanswered):,} invoices unanswered."
        )
    return out
