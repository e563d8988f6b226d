"""The stage: what scenarios share, made when the first of them needs it and removed at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import redis
from msgspec import Struct

from benchmarks.findings.figures import Result, Turn, spread
from benchmarks.harness.holdfast import Holdfast, fresh_prefix
from benchmarks.harness.peer import Peer
from benchmarks.harness.turns import Contender, Count, in_turns, take_turn
from benchmarks.load.outcome import Outcome
from benchmarks.load.plan import KEY, Plan, Step

UNITS = 1_000_000_000
PEER_UNITS = {"row_lock": UNITS, "unit_rows": 200_000, "per_request_lua": UNITS}
HOT = "hot"
LIMITED_BUSY = 0.95


class Options(Struct, frozen=True, kw_only=True):
    """How long and how much; `against` are the peers that are measured, `within` where systems keep their data."""

    rounds: int = 4
    seconds: float = 1.5
    connections: int = 256
    skus: int = 100_000
    holds: int = 100_000
    growth: int = 50_000
    arrivals: float = 5_000.0
    against: tuple[str, ...] = ("noop", "row_lock", "unit_rows", "per_request_lua")
    bundled: bool = False
    within: Path | None = None


def hold_step(sku: str) -> Step:
    """A shopper's hold of one unit."""
    return Step("hold", "/api/v1/holds", f'{{"lines":[{{"sku":"{sku}","quantity":1}}],"customer_id":"{KEY}"}}')


def sku_name(group: str, number: int = 0) -> str:
    """The SKUs of a group have a fixed width, up to a hundred thousand of them."""
    return f"{group}-{number:05d}"


class Stage:
    """Systems and peers, and the books of what is done to them."""

    def __init__(self, options: Options, told: Callable[[str], None] = lambda _: None) -> None:
        self.options = options
        self.told = told
        self.maximum: float | None = None
        """Holds a second on one hot SKU, as `hot` or `measured_maximum` found it."""
        self._systems: dict[str, Holdfast] = {}
        self._touched: set[str] = set()
        self._peers: dict[tuple[str, str], Peer] = {}

    # What is on it

    def system(self, name: str = "main", settings: Mapping[str, str] | None = None) -> Holdfast:
        """A running Holdfast of this name."""
        self._touched.add(name)
        found = self._systems.get(name)
        if found is None:
            found = self._systems[name] = Holdfast(settings, self.options.within)
            self.told(f"starting {'Holdfast' if name == 'main' else f'another Holdfast: {name}'}")
            found.start()
        return found

    def any_system(self) -> Holdfast:
        """A running Holdfast, whichever there is."""
        return next(iter(self._systems.values())) if self._systems else self.system()

    def stocked(self, group: str, skus: int = 1, units: int = UNITS, system: str = "main") -> Holdfast:
        """A running Holdfast that has the SKUs of this group."""
        found = self.system(system)
        found.receive_once(group, [sku_name(group, number) for number in range(skus)], units)
        return found

    def peer(self, name: str, group: str = HOT, skus: int = 1) -> Peer:
        """A running peer that has these SKUs, beside the main system."""
        key = (name, group if name in PEER_UNITS else "")
        if key not in self._peers:
            self.told(f"starting {name}")
            units = PEER_UNITS.get(name, 1)
            self._peers[key] = Peer(name, self.system(), group, skus, units)
        return self._peers[key]

    def remove_peers(self, *names: str) -> None:
        """End peers that nobody needs any more."""
        for key in [key for key in self._peers if key[0] in names]:
            self._peers.pop(key).remove()

    def remove_system(self, name: str) -> None:
        """End a system that nobody needs any more, and delete its data."""
        if name in self._systems:
            self._systems.pop(name).remove()

    def leave_only(self, name: str | None) -> None:
        """End every other system, and the peers, which are beside the main one: what is on it works on by itself.

        None ends all, so that the next one begins with nothing to vacuum and no checkpoint under way.
        """
        self.remove_peers(*{peer for peer, _ in self._peers})
        for other in [other for other in self._systems if other != name]:
            self.remove_system(other)

    def close(self) -> None:
        """End everything."""
        for peer in self._peers.values():
            with suppress(OSError, redis.RedisError):
                peer.remove()
        for system in self._systems.values():
            with suppress(OSError):
                system.remove()
        self._peers.clear()
        self._systems.clear()

    def broken_promises(self) -> list[str]:
        """Of every system that was used since they were asked for last, each with its name."""
        touched, self._touched = self._touched & self._systems.keys(), set()
        return [f"{name}: {told}" for name in sorted(touched) for told in self._systems[name].broken_promises()]

    # What is done on it

    def plan(self, *steps: Step, **options: object) -> Plan:
        """A closed-loop load, not yet against anybody."""
        told = {"connections": self.options.connections, "seconds": self.options.seconds, **options}
        return Plan(url="http://127.0.0.1", steps=steps, prefix="", **told)  # type: ignore[arg-type]

    def turn(
        self, contender: Contender, plan: Plan, group: str, count: Count = lambda outcome: outcome.done, units: int = 1
    ) -> tuple[Turn, Outcome]:
        """One turn; what Holdfast granted goes into its books, `units` for an answer of the first step."""

        def finished(_: Contender, outcome: Outcome) -> None:
            if isinstance(contender, Holdfast):
                sold = outcome.done * units if len(plan.steps) > 1 else 0
                first = outcome.granted[1] if plan.steps[0].prefix == "cart_" else outcome.granted[0]
                contender.books.note(group, granted=first * units, sold=sold, unheard=plan.connections * units)

        ready = plan.against(contender.url, fresh_prefix(), contender.headers)
        return take_turn(contender, ready, count, finished, bundled=self.options.bundled)

    def duel(
        self,
        result: Result,
        contenders: Sequence[Contender],
        plan: Plan,
        group: str,
        count: Count = lambda outcome: outcome.done,
        units: int = 1,
    ) -> None:
        """All contenders in turns with the same load, into the result."""

        def take(contender: Contender) -> Turn:
            turn, _ = self.turn(contender, plan, group, count, units)
            self.told(f"  {turn.contender:<16} {turn.rate:>10,.0f} {result.counted}/s")
            return turn

        result.turns += in_turns([partial(take, contender) for contender in contenders], self.options.rounds)
        note_limits(result)

    def measured_maximum(self) -> float:
        """Holds a second on one hot SKU."""
        if self.maximum is None:
            holdfast = self.stocked(HOT)
            plan = self.plan(hold_step(sku_name(HOT)))
            rates = [self.turn(holdfast, plan, HOT)[0].rate for _ in range(2)]
            self.maximum = rates[-1]
        return self.maximum

    def keep_maximum(self, result: Result) -> None:
        """Take the maximum from a result with turns on the hot SKU."""
        self.maximum = spread(result.rates(Holdfast.name)).value


def note_limits(result: Result) -> None:
    """Say where a figure is the load client's and not the contender's, and where answers were not as they must be."""
    for name in dict.fromkeys(turn.contender for turn in result.turns):
        turns = [turn for turn in result.turns if turn.contender == name]
        if any(turn.client_busy >= LIMITED_BUSY for turn in turns):
            busy = max(turn.client_busy for turn in turns)
            result.notes.append(
                f"{name} may be faster than this: the load client ({turns[0].client}) worked {busy:.0%} of the time"
            )
        faults = sum(turn.faults for turn in turns)
        if faults:
            result.broken.append(f"{faults} requests to {name} had no answer")


def note_refusals(result: Result) -> None:
    """Where there is enough for all, a refusal is no answer."""
    if any(turn.refused for turn in result.turns):
        result.broken.append("holds were refused although there was enough of everything")


@contextmanager
def open_stage(options: Options, told: Callable[[str], None]) -> Iterator[Stage]:
    """A stage that is empty again afterwards, whatever happens."""
    stage = Stage(options, told)
    try:
        yield stage
    finally:
        stage.close()
