"""Faults of the clock: that of Redis, as the engine reads it, steps back and forth by minutes (see clocked/)."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from tests.faults.answers import seconds_of
from tests.faults.observe import KEYS
from tests.faults.stage import Stage

STEPS_S = (180, -240, 300, 0, -300, 120, 0)
FARTHEST_S = 300
STEP_LASTS_S = 0.5
CLOCKED = Path(__file__).with_name("clocked")


async def step_clock(stage: Stage) -> None:
    """Forth and back, and in the end right again."""
    stage.clock_ahead_s = FARTHEST_S
    for step_s in STEPS_S:
        (stage.system.data_dir / "clock-step").write_text(str(step_s))
        async with stage.site.redis() as redis:
            await redis.hset(KEYS.meta, "clock_step_s", str(step_s))
        await asyncio.sleep(STEP_LASTS_S)
        shown = await stage.site.get(f"/holds/{await stage.hold()}")
        ahead_s = 0.0 if shown is None else seconds_of(shown["created_at"]) - time.time()
        stage.expect(
            abs(ahead_s - step_s) < STEP_LASTS_S * 4, f"the clock is ahead by {ahead_s:.1f} s, not by {step_s} s"
        )
