"""A campaign: rounds on both sites by turns, the faults dealt from a shuffled deck, until the time is over."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from tests.faults.faults import Fault
from tests.faults.run import Round, Runner, Say
from tests.faults.sites import Place, proxied_site, up_site

Open = Callable[[Path], AbstractAsyncContextManager[Place]]
FAULTS_A_ROUND = 3
ROUND_S = 12.0
"""What a round takes at least, so that none is begun that would end much too late."""

TURN_S = 150.0
"""A system is thrown away after about so long, and the next one begins with nothing."""


class Campaign:
    """`seconds` of rounds. `rounds` and `skipped` (what this machine cannot do) are what came of it so far."""

    def __init__(self, chosen: Sequence[Fault], seconds: float, seed: int, path: Path, say: Say) -> None:
        self.rounds: list[Round] = []
        self.skipped: set[str] = set()
        self._seconds = seconds
        self._dice = random.Random(seed)
        self._path = path
        self._say = say
        sites: tuple[tuple[str, Open, list[Fault]], ...] = (
            ("up", up_site, [fault for fault in chosen if fault.site == "up"]),
            ("proxies", proxied_site, [fault for fault in chosen if fault.site != "up"]),
        )
        self._sites = [site for site in sites if site[2]]
        self._decks: dict[str, list[Fault]] = {name: [] for name, _, _ in self._sites}

    async def run(self) -> None:
        """All of it. Raises NotThereError when a system does not come back."""
        end_s = time.monotonic() + self._seconds
        weight = sum(len(faults) for _, _, faults in self._sites)
        turn = 0
        while turn == 0 or end_s - time.monotonic() > ROUND_S:
            turn, left_s = turn + 1, end_s - time.monotonic()
            turn_s = left_s if left_s < TURN_S * 1.5 else TURN_S
            for name, open_site, faults in self._sites:
                until_s = time.monotonic() + turn_s * len(faults) / weight
                data_dir = self._path / f"{turn}-{name}"
                data_dir.mkdir()
                await self._visit(open_site, data_dir, name, faults, until_s)

    async def _visit(self, open_site: Open, data_dir: Path, name: str, faults: list[Fault], until_s: float) -> None:
        """Rounds on one system, one at least; at its end its own audit must agree."""
        async with open_site(data_dir) as place:
            runner = Runner(place, data_dir.name.replace("-", ""), self._dice, self._say, self._path)
            await runner.prepare()
            possible = [fault for fault in faults if fault.site in place.kinds]
            self.skipped.update(fault.name for fault in faults if fault not in possible)
            is_first = True
            while is_first or time.monotonic() + ROUND_S < until_s:
                is_first = False
                self.rounds.append(await runner.round(self._deal(self._decks[name], possible)))
            await place.system.reconcile()

    def _deal(self, deck: list[Fault], possible: list[Fault]) -> list[Fault]:
        """The next faults of the deck, which is shuffled anew when it is used up."""
        dealt: list[Fault] = []
        while len(dealt) < min(FAULTS_A_ROUND, len(possible)):
            if not deck:
                deck += self._dice.sample(possible, len(possible))
            dealt.append(deck.pop())
        return dealt
