"""The fence of one process: open for one Redis process and one epoch, or closed for a reason."""

from __future__ import annotations

import pytest

from engine.connection import run_id_of
from engine.errors import Unavailable
from engine.fence import Fence, Fenced


def test_a_new_fence_is_closed_and_admits_nobody() -> None:
    fence = Fence()
    assert not fence.is_open
    with pytest.raises(Unavailable, match="not verified yet"):
        _ = fence.epoch
    with pytest.raises(Fenced, match="not verified yet"):
        fence.admit("run-1")


def test_an_open_fence_admits_its_own_server_process_and_carries_its_epoch() -> None:
    fence = Fence()
    fence.open("run-1", 7)
    fence.admit("run-1")
    assert (fence.is_open, fence.epoch) == (True, 7)


def test_a_connection_to_another_server_process_closes_the_fence_for_all() -> None:
    fence, closings = Fence(), []
    fence.on_close = lambda: closings.append(fence.reason)
    fence.open("run-1", 7)
    with pytest.raises(Fenced, match="restarted or was replaced"):
        fence.admit("run-2")
    assert not fence.is_open
    with pytest.raises(Fenced):
        fence.admit("run-1")
    with pytest.raises(Unavailable):
        _ = fence.epoch
    assert closings == [fence.reason]


def test_a_closed_fence_says_why_until_it_is_opened_again() -> None:
    fence = Fence()
    fence.open("run-1", 7)
    fence.close("another epoch")
    with pytest.raises(Unavailable, match="another epoch"):
        _ = fence.epoch
    fence.open("run-2", 8)
    assert (fence.epoch, fence.reason) == (8, "")


def test_what_is_being_done_is_told_only_while_the_fence_is_closed() -> None:
    fence = Fence()
    fence.explain("being rebuilt")
    assert fence.reason == "being rebuilt"
    fence.open("run-1", 7)
    fence.explain("being rebuilt")
    assert fence.reason == ""


def test_the_run_id_is_found_in_what_a_server_says_of_itself() -> None:
    assert run_id_of(b"# Server\r\nredis_version:7.2\r\nrun_id:abc123\r\n") == "abc123"
    assert run_id_of("run_id:x\n") == "x"
    with pytest.raises(ValueError, match="no Redis"):
        run_id_of("# Server\r\nprevious_run_id:abc\r\n")
