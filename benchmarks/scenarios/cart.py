"""`cart`: each shopper puts one unit into an open cart, and checks it out.

The carts are opened before each turn, and the log drained, outside of what is timed: a pair is an add and a checkout.
"""

from __future__ import annotations

from msgspec.structs import replace

from benchmarks.findings.figures import Result, Turn, paired, ratio
from benchmarks.harness.children import HarnessError
from benchmarks.harness.holdfast import Holdfast, fresh_prefix
from benchmarks.harness.stage import UNITS, Stage, note_limits, sku_name
from benchmarks.harness.turns import Contender, in_turns
from benchmarks.load.plan import ID, KEY, Plan, Step
from benchmarks.load.run import run as run_load

TITLE = "cart add + checkout pairs"
GROUP = "cart"
FIRST_CARTS = 5_000
SPARE = 1.5
"""So many times as many carts are opened as the last turn took."""

OPEN = Step("open", "/api/v1/carts", f'{{"customer_id":"{KEY}"}}', prefix="cart_")
ADD = Step(
    "add", f"/api/v1/carts/{ID}/items", f'{{"sku":"{sku_name(GROUP)}","quantity":1}}', granted=200, prefix="cart_"
)
CHECK_OUT = Step("checkout", f"/api/v1/carts/{ID}/checkout", '{"payment":"captured"}', prefix="ord_")


def run(stage: Stage) -> Result:
    """Pairs, over pairs of `noop`."""
    result = Result(scenario="cart", title=TITLE, counted="pairs")
    holdfast, noop = stage.system(), stage.peer("noop")
    if GROUP not in holdfast.books.groups:
        holdfast.operator.sell(sku_name(GROUP), UNITS)
        holdfast.books.receive(GROUP, {sku_name(GROUP): UNITS})
    plan = stage.plan(OPEN, ADD, CHECK_OUT)
    needed: dict[str, int] = {}
    opened_within = 0

    def take(contender: Contender) -> Turn:
        nonlocal opened_within
        carts = open_carts(contender, plan, needed.get(contender.name, FIRST_CARTS))
        contender.settle()
        turn, outcome = stage.turn(contender, replace(plan, pool=carts), GROUP)
        if contender.name in needed:  # the first round is thrown away
            opened_within += outcome.granted[0]
        needed[contender.name] = max(round(outcome.done * SPARE), FIRST_CARTS)
        stage.told(f"  {turn.contender:<16} {turn.rate:>10,.0f} pairs/s")
        return turn

    result.turns = in_turns([lambda: take(holdfast), lambda: take(noop)], stage.options.rounds)
    note_limits(result)
    found = paired(result.rates(Holdfast.name), result.rates("noop"))
    result.figures.append(ratio("pairs, over noop", found, "cart"))
    if opened_within:
        result.notes.append(f"{opened_within} carts had to be opened within turns, which makes those slower")
    return result


def open_carts(contender: Contender, plan: Plan, count: int) -> tuple[str, ...]:
    """Open as many carts; their ids. Raises HarnessError."""
    ready = plan.against(contender.url, fresh_prefix(), contender.headers)
    outcome = run_load(replace(ready, steps=(OPEN,), limit=count, collect=True))
    if outcome.done != count:
        raise HarnessError(f"of {count} carts only {outcome.done} were opened: {outcome.statuses}")
    return tuple(outcome.ids)
