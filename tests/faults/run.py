"""A run: rounds of faults under load on each site, the history of every round checked, and a table of what was seen."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from benchmarks.connections import FAULTS
from tests.faults.checker import check
from tests.faults.faults import Fault
from tests.faults.final import Excuse
from tests.faults.findings import Verdict
from tests.faults.history import History, Operation
from tests.faults.load import Asker, Load, Shop, ask_again
from tests.faults.observe import SQL, read_final
from tests.faults.sites import Place
from tests.faults.stage import CANARY, Ready, Stage, Watch
from tests.faults.system import NotThereError

WARM_UP_S = (0.5, 1.0)
SHOPPERS = 20
THINK_S = 0.06
PATIENCE_S = 40.0
SAMPLE = 0.1
MAX_ATTEMPTS = 300
SCARCE, PLENTY = 60, 100_000
CUSTOMER_LIMIT = 3


class Seen(Struct, frozen=True):
    """One fault, how long it took until all was well again, and how many operations were lost by it, all excused."""

    fault: str
    ready: Ready
    excuses: tuple[Excuse, ...] = ()
    lost: int = 0

    def with_lost(self, lost: Sequence[Operation]) -> Seen:
        """Counting those of the lost operations that were acknowledged in a time that this fault's loss excuses."""
        count = sum(any(each.covers(op.began_s, op.granted_s) for each in self.excuses) for op in lost)
        return msgspec.structs.replace(self, lost=count)


class Round(Struct, frozen=True):
    """What came of a round."""

    number: int
    faults: tuple[Seen, ...]
    operations: int
    granted: int
    asked_again: int
    verdict: Verdict
    complaints: tuple[str, ...]

    @property
    def is_right(self) -> bool:
        return not self.verdict.violations and not self.complaints


Say = Callable[[str], None]


class Runner:
    """Rounds on one place. What a round found wrong is kept in `keep_dir`."""

    def __init__(self, place: Place, name: str, dice: random.Random, say: Say, keep_dir: Path) -> None:
        self._place = place
        self._name = name
        self._dice = dice
        self._say = say
        self._keep_dir = keep_dir
        self._number = 0

    async def prepare(self) -> None:
        """Stock for the canary, which tells when a system is ready again."""
        await self._create(CANARY, PLENTY)

    async def round(self, faults: Sequence[Fault], shoppers: int = SHOPPERS) -> Round:
        """Inject some faults under load, one after the other, and check everything. Raises NotThereError."""
        self._number += 1
        history = History()
        shop = await self._open_shop(f"{self._name}{self._number}")
        asker = Asker(self._place.system.api_url, history, random.Random(self._dice.random()))
        load = Load(asker, shop, shoppers, THINK_S, str(self._dice.random()))
        place, watch = self._place, Watch(self._place.site)
        stage = Stage(place.system, place.site, asker, shop, load, watch, self._dice, place.proxies)
        await self._stock(stage)
        watch.start()
        load.start()
        try:
            seen = [await self._inject(fault, stage) for fault in faults]
        finally:
            await load.finish()
            await watch.stop()
        await stage.ready()
        again = await ask_again(asker, history, self._dice, SAMPLE, PATIENCE_S)
        final = await read_final(place.site, history, shop.skus, PATIENCE_S)
        await asker.close()
        final = msgspec.structs.replace(final, expected_quarantine=stage.forged, clock_ahead_s=stage.clock_ahead_s)
        verdict = check(history, final, stage.excuses)
        await place.site.query(lambda connection: connection.execute(SQL["discard_quarantined"]))
        lost = [operation for operation in history.operations if operation.number in verdict.lost]
        done = Round(
            self._number,
            tuple(each.with_lost(lost) for each in seen),
            len(history.operations),
            sum(1 for operation in history.operations if operation.granted is not None),
            again,
            verdict,
            tuple(stage.complaints),
        )
        self._tell(done)
        if not done.is_right:
            kept = {"history": history.operations, "final": final, "excuses": stage.excuses, "round": done}
            (self._keep_dir / f"{self._name}{self._number}.json").write_bytes(msgspec.json.encode(kept))
        return done

    async def _inject(self, fault: Fault, stage: Stage) -> Seen:
        await asyncio.sleep(self._dice.uniform(*WARM_UP_S))
        excused = len(stage.excuses)
        try:
            await fault.inject(stage)
            ready = await stage.ready()
        except NotThereError as error:
            raise NotThereError(f"{fault.name}: {error}") from error
        self._say(f"  {fault.name}: answers after {ready.answers_s:.2f} s, applies after {ready.applied_s:.2f} s")
        return Seen(fault.name, ready, tuple(stage.excuses[excused:]))

    def _tell(self, done: Round) -> None:
        self._say(
            f"round {self._name}{done.number}: {done.operations} operations, {done.granted} granted, "
            f"{done.asked_again} asked again, {len(done.verdict.lost)} lost where that is excused, "
            f"{len(done.verdict.violations)} violations"
        )
        for text in (*done.complaints, *map(str, done.verdict.violations[:20])):
            self._say(f"  WRONG: {text}")

    async def _open_shop(self, name: str) -> Shop:
        """Fresh SKUs, so that a round is judged by itself."""
        shop = Shop(name, (f"{name}-scarce", f"{name}-plenty"), f"{name}-limited", (f"{name}-vs", f"{name}-vp"))
        for sku in shop.plain:
            await self._create(sku, 0)
        await self._create(shop.limited, 0, customer_limit=CUSTOMER_LIMIT)
        product = await self._post("/products", {"name": name, "base_price": 1_995, "currency": "EUR"})
        for sku in shop.variants:
            await self._post("/variants", {"product_id": product["id"], "sku": sku, "stock_quantity": 0})
        return shop

    async def _stock(self, stage: Stage) -> None:
        """The first units of each SKU, as operations of the history."""
        shop = stage.shop
        counts = (SCARCE, PLENTY, PLENTY, SCARCE, PLENTY)
        shopper = stage.load.shoppers[0]
        for sku, count in zip((*shop.plain, shop.limited, *shop.variants), counts, strict=True):
            operation = shopper.adjustment(sku, count, f"{sku}-first")
            while operation.granted is None:
                operation = await stage.asker.ask(operation)

    async def _create(self, sku: str, on_hand: int, **members: Any) -> None:
        await self._ask("PUT", f"/stock/{sku}", {"on_hand": on_hand, **members})

    async def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        return await self._ask("POST", path, body)

    async def _ask(self, method: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Ask until it is granted, under one key."""
        headers = {"Idempotency-Key": f"{self._name}-{self._number}-{method}-{path}-{self._dice.random()}"}
        told = "nothing"
        for _ in range(MAX_ATTEMPTS):
            try:
                answer = await self._place.site.api.ask(method, path, headers, msgspec.json.encode(body))
            except FAULTS:
                await asyncio.sleep(0.1)
                continue
            if answer.status in (200, 201):
                return dict(msgspec.json.decode(answer.content))
            told = f"{answer.status} {answer.content!r}"
            await asyncio.sleep(0.1)
        raise NotThereError(f"{method} {path}: {told}")
