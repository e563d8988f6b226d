"""The fault run in short: `make faults` and `make soak` go on for longer, with all faults, in any order."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.faults import faults
from tests.faults.run import Runner
from tests.faults.sites import directory, up_site

SEED = 2_026

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.timeout(300)
async def test_under_load_and_faults_nothing_acknowledged_is_lost_or_doubled_and_nothing_is_oversold() -> None:
    chosen = [fault for fault in faults.UP if fault.is_quick]
    with directory() as path:
        data_dir = Path(path) / "up"
        data_dir.mkdir()
        said: list[str] = []
        async with up_site(data_dir) as place:
            runner = Runner(place, "q", random.Random(SEED), said.append, path)
            await runner.prepare()
            done = await runner.round(chosen)
            assert done.is_right, "\n".join([*said, f"the history is kept in {path}"])
            assert done.granted > 200, said
            await place.system.reconcile()
