"""What two rooms must tell alike, where neither asks the other: scripts and restoring, `up` and what it starts."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

from api.serving import server
from cli import stack
from engine import restore
from jobs import timetable

LUA = Path(__file__).resolve().parents[2] / "lua"


@pytest.mark.parametrize(("file", "name"), [("prelude.lua", "LIVE_GRACE_MS"), ("holds.lua", "SWEEP_GRACE_MS")])
def test_a_hold_that_is_put_back_is_kept_as_long_as_one_that_a_script_kept(file: str, name: str) -> None:
    (product,) = re.findall(rf"^local {name} = ([\d *]+)", (LUA / file).read_text(encoding="utf-8"), re.MULTILINE)
    assert math.prod(int(factor) for factor in product.split("*")) == getattr(restore, name)


def test_each_queue_of_the_timetable_has_a_worker() -> None:
    assert stack.QUEUES == timetable.QUEUES


def test_as_many_connections_wait_before_the_api_is_there_as_afterwards() -> None:
    assert stack.BACKLOG == server.BACKLOG
