"""How many cases the tests of this room try: a few thousand in all, or as many as `HOLDFAST_HOSTILE_EXAMPLES` asks for.

The few are the same ones every time; the many are other ones each time.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

EXAMPLES = int(os.environ.get("HOLDFAST_HOSTILE_EXAMPLES", "0"))
LONG_TIMEOUT_S = 3_600
FACTOR = 10
"""A case of Hypothesis is so much quicker than one of Schemathesis, whose number the variable is, by operation."""


def cases(few: int) -> settings:
    """Settings for a test that tries this many cases, unless more are asked for."""
    return settings(
        max_examples=EXAMPLES * FACTOR or few,
        derandomize=not EXAMPLES,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
