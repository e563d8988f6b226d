"""Lanes: what rides together, what is bounded, and that no caller can harm another."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Sequence

import pytest

from engine.errands import in_task
from engine.errors import Unavailable
from engine.lanes import WORTH_A_BATCH, Lane

pytestmark = pytest.mark.anyio


class Wire:
    """A server under the test's hand: each batch stays on the wire until the test lets it go. It answers ten times."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self._gates: list[asyncio.Future[None]] = []

    async def send(self, operations: list[int]) -> Sequence[int]:
        gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.batches.append(list(operations))
        self._gates.append(gate)
        await gate
        return [operation * 10 for operation in operations]

    async def answer(self, batch: int) -> None:
        self._gates[batch].set_result(None)
        await turns()

    async def fail(self, batch: int, error: Exception) -> None:
        self._gates[batch].set_exception(error)
        await turns()

    def give_up(self, batch: int) -> None:
        self._gates[batch].cancel()

    async def answer_everything(self) -> None:
        while open_gates := [gate for gate in self._gates if not gate.done()]:
            for gate in open_gates:
                gate.set_result(None)
            await turns()

    def lane(self, max_batch: int = 100, max_pending: int = 1_000, in_flight: int = 1) -> Lane[int, int]:
        return Lane(self.send, max_batch=max_batch, max_pending=max_pending, in_flight=in_flight)


@pytest.fixture
def wire() -> Wire:
    return Wire()


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def submitted(lane: Lane[int, int], *operations: int) -> list[asyncio.Future[int]]:
    """Callers of their own, one an operation, each as far as it gets."""
    tasks = [asyncio.ensure_future(lane.submit(operation)) for operation in operations]
    await turns()
    return tasks


async def test_operations_of_one_loop_turn_ride_in_one_batch(wire: Wire) -> None:
    callers = await submitted(wire.lane(), 1, 2, 3)
    assert wire.batches == [[1, 2, 3]]
    await wire.answer(0)
    assert await asyncio.gather(*callers) == [10, 20, 30]


async def test_a_lone_operation_is_sent_in_the_next_loop_turn_without_any_timer(wire: Wire) -> None:
    loop = asyncio.get_running_loop()
    caller = asyncio.ensure_future(wire.lane().submit(7))
    started = loop.time()
    await turns(4)
    assert wire.batches == [[7]]
    assert loop.time() - started < 0.5
    await wire.answer(0)
    assert await caller == 70


async def test_batches_grow_while_one_is_on_the_wire(wire: Wire) -> None:
    lane = wire.lane()
    callers = [*await submitted(lane, 1), *await submitted(lane, 2), *await submitted(lane, 3, 4)]
    assert (wire.batches, lane.waiting) == ([[1]], 3)
    await wire.answer(0)
    assert (wire.batches, lane.waiting) == ([[1], [2, 3, 4]], 0)
    await wire.answer(1)
    assert await asyncio.gather(*callers) == [10, 20, 30, 40]


async def test_no_more_batches_are_on_the_wire_than_allowed_and_each_end_frees_one(wire: Wire) -> None:
    lane = wire.lane(in_flight=2, max_batch=2)
    callers = [task for pair in ((0, 1), (2, 3), (4, 5), (6,)) for task in await submitted(lane, *pair)]
    assert wire.batches == [[0, 1], [2, 3]]
    await wire.answer(1)
    assert wire.batches == [[0, 1], [2, 3], [4, 5]]
    await wire.fail(0, Unavailable("broken"))
    assert len(wire.batches) == 3
    callers += await submitted(lane, 7)
    assert wire.batches[3:] == [[6, 7]]
    await wire.answer_everything()
    answers = await asyncio.gather(*callers, return_exceptions=True)
    assert [isinstance(answer, Unavailable) for answer in answers[:2]] == [True, True]
    assert answers[2:] == [20, 30, 40, 50, 60, 70]


async def test_a_second_batch_leaves_beside_one_on_the_wire_only_when_it_is_worth_it(wire: Wire) -> None:
    lane = wire.lane(in_flight=2)
    callers = await submitted(lane, 0)
    callers += await submitted(lane, *range(1, WORTH_A_BATCH))
    assert (len(wire.batches), lane.waiting) == (1, WORTH_A_BATCH - 1)
    callers += await submitted(lane, WORTH_A_BATCH)
    assert (wire.batches[1:], lane.waiting) == ([list(range(1, WORTH_A_BATCH + 1))], 0)
    callers += await submitted(lane, 99)
    await wire.answer(0)
    assert (len(wire.batches), lane.waiting) == (2, 1)
    await wire.answer(1)
    assert wire.batches[2:] == [[99]]
    await wire.answer_everything()
    assert await asyncio.gather(*callers) == [operation * 10 for operation in (*range(WORTH_A_BATCH + 1), 99)]


async def test_a_batch_is_never_larger_than_allowed_and_keeps_the_order(wire: Wire) -> None:
    callers = await submitted(wire.lane(max_batch=3), *range(8))
    assert wire.batches == [[0, 1, 2]]
    await wire.answer_everything()
    assert wire.batches == [[0, 1, 2], [3, 4, 5], [6, 7]]
    assert await asyncio.gather(*callers) == [operation * 10 for operation in range(8)]


async def test_a_group_rides_unsplit_and_waits_for_a_batch_that_has_room_for_it(wire: Wire) -> None:
    lane = wire.lane(max_batch=4)
    first = asyncio.ensure_future(lane.submit(1))
    group = asyncio.ensure_future(lane.submit_together([2, 3, 4, 5]))
    last = asyncio.ensure_future(lane.submit(6))
    await turns()
    await wire.answer_everything()
    assert wire.batches == [[1], [2, 3, 4, 5], [6]]
    assert (await first, await group, await last) == (10, [20, 30, 40, 50], 60)


async def test_each_caller_of_a_batch_gets_just_its_own_answers_groups_among_them(wire: Wire) -> None:
    lane = wire.lane()
    groups = [asyncio.ensure_future(lane.submit_together(operations)) for operations in ([1, 2], [3], [4, 5, 6], [7])]
    await turns()
    await wire.answer_everything()
    assert wire.batches == [[1, 2, 3, 4, 5, 6, 7]]
    assert await asyncio.gather(*groups) == [[10, 20], [30], [40, 50, 60], [70]]


async def test_a_group_larger_than_a_batch_goes_alone_and_whole(wire: Wire) -> None:
    lane = wire.lane(max_batch=2)
    small = asyncio.ensure_future(lane.submit(1))
    large = asyncio.ensure_future(lane.submit_together([2, 3, 4, 5, 6]))
    after = asyncio.ensure_future(lane.submit(7))
    await turns()
    await wire.answer_everything()
    assert wire.batches == [[1], [2, 3, 4, 5, 6], [7]]
    assert (await small, await large, await after) == (10, [20, 30, 40, 50, 60], 70)


async def test_past_the_bound_of_waiting_operations_one_is_refused_and_nothing_that_waits_is_lost(wire: Wire) -> None:
    lane = wire.lane(max_pending=3)
    callers = [*await submitted(lane, 0), *await submitted(lane, 1, 2, 3)]
    with pytest.raises(Unavailable, match="more than 3 operations are waiting"):
        await lane.submit(4)
    assert lane.waiting == 3
    await wire.answer(0)
    assert lane.waiting == 0
    callers += await submitted(lane, 5)
    await wire.answer_everything()
    assert await asyncio.gather(*callers) == [0, 10, 20, 30, 50]
    assert wire.batches == [[0], [1, 2, 3], [5]]


async def test_a_group_that_does_not_fit_the_bound_is_refused_as_a_whole(wire: Wire) -> None:
    lane = wire.lane(max_pending=3)
    callers = [*await submitted(lane, 0), *await submitted(lane, 1, 2)]
    with pytest.raises(Unavailable):
        await lane.submit_together([3, 4])
    callers += await submitted(lane, 5)
    await wire.answer_everything()
    assert wire.batches == [[0], [1, 2, 5]]
    assert await asyncio.gather(*callers) == [0, 10, 20, 50]


async def test_a_group_larger_than_the_bound_is_taken_while_nothing_waits(wire: Wire) -> None:
    lane = wire.lane(max_pending=3)
    group = asyncio.ensure_future(lane.submit_together([1, 2, 3, 4, 5]))
    await turns()
    await wire.answer_everything()
    assert await group == [10, 20, 30, 40, 50]


async def test_each_operation_of_a_group_counts_as_one_that_waits(wire: Wire) -> None:
    lane = wire.lane(max_pending=3)
    callers = await submitted(lane, 0)
    group = asyncio.ensure_future(lane.submit_together([1, 2, 3]))
    await turns()
    assert lane.waiting == 3
    with pytest.raises(Unavailable):
        await lane.submit(4)
    await wire.answer_everything()
    assert lane.waiting == 0
    assert await asyncio.gather(*callers, group) == [0, [10, 20, 30]]


async def test_a_caller_that_goes_away_before_the_wire_is_dropped_and_crosses_no_answers(wire: Wire) -> None:
    lane = wire.lane()
    first = await submitted(lane, 0)
    callers = await submitted(lane, 1, 2, 3)
    callers[1].cancel()
    await turns()
    await wire.answer_everything()
    assert wire.batches == [[0], [1, 3]]
    assert [await first[0], await callers[0], await callers[2]] == [0, 10, 30]
    assert callers[1].cancelled()
    assert lane.waiting == 0


async def test_a_caller_that_goes_away_while_on_the_wire_loses_only_its_own_answer(wire: Wire) -> None:
    lane = wire.lane()
    callers = await submitted(lane, 1, 2, 3)
    group = asyncio.ensure_future(lane.submit_together([4, 5]))
    await turns()
    callers[0].cancel()
    await turns()
    await wire.answer_everything()
    assert wire.batches == [[1, 2, 3], [4, 5]]
    assert callers[0].cancelled()
    assert (await callers[1], await callers[2], await group) == (20, 30, [40, 50])


async def test_a_lane_whose_callers_all_went_away_sends_nothing_and_goes_on(wire: Wire) -> None:
    lane = wire.lane()
    first = await submitted(lane, 0)
    gone = await submitted(lane, 1, 2)
    for caller in gone:
        caller.cancel()
    await turns()
    await wire.answer(0)
    assert wire.batches == [[0]]
    later = await submitted(lane, 3)
    await wire.answer_everything()
    assert wire.batches == [[0], [3]]
    assert (await first[0], await later[0]) == (0, 30)


async def test_an_error_reaches_every_caller_of_its_batch_and_no_other(wire: Wire) -> None:
    lane = wire.lane(in_flight=2)
    broken, fine = await submitted(lane, 1, 2), await submitted(lane, 3, 4)
    await wire.fail(0, Unavailable("Redis is away"))
    await wire.answer(1)
    assert await asyncio.gather(*fine) == [30, 40]
    for caller in broken:
        with pytest.raises(Unavailable, match="Redis is away"):
            await caller
    again = await submitted(lane, 5)
    await wire.answer_everything()
    assert await again[0] == 50


async def test_random_traffic_with_cancellations_and_errors_crosses_no_answers() -> None:
    async def send(operations: list[int]) -> list[int]:
        assert len(operations) <= 16
        await asyncio.sleep(0)
        if operations[0] % 7 == 0:
            raise Unavailable("now and then")
        return [-operation for operation in operations]

    lane: Lane[int, int] = Lane(send, max_batch=16, max_pending=10_000, in_flight=3)
    callers = []
    for operation in range(2_000):
        callers.append(asyncio.ensure_future(lane.submit(operation)))
        if operation % 5 == 0:
            await asyncio.sleep(0)
        if operation % 11 == 0:
            callers[operation // 2].cancel()
    answers = await asyncio.gather(*callers, return_exceptions=True)
    for operation, answer in enumerate(answers):
        assert answer == -operation or isinstance(answer, Unavailable | asyncio.CancelledError)
    assert sum(isinstance(answer, int) for answer in answers) > 500
    await lane.close()
    assert lane.waiting == 0


async def test_closing_waits_for_the_wire_and_for_what_came_before(wire: Wire) -> None:
    lane = wire.lane(max_batch=2)
    callers = await submitted(lane, 1, 2, 3)
    closing = asyncio.create_task(lane.close())
    await turns()
    assert not closing.done()
    await wire.answer_everything()
    await asyncio.wait_for(closing, 5)
    assert await asyncio.gather(*callers) == [10, 20, 30]


async def test_closing_refuses_what_has_not_reached_the_wire_and_leaves_nobody_waiting(wire: Wire) -> None:
    lane = wire.lane()

    async def submit_and_close() -> int:
        caller = asyncio.ensure_future(lane.submit(1))
        await lane.close()
        return await caller

    with pytest.raises(Unavailable, match="shutting down"):
        await asyncio.wait_for(submit_and_close(), 5)
    await turns()
    assert (wire.batches, lane.waiting) == ([], 0)


async def test_what_is_sent_while_a_lane_closes_times_out_for_itself_and_not_for_who_closes() -> None:
    gate = asyncio.get_running_loop().create_future()

    async def send(operations: list[int]) -> Sequence[int]:
        await in_task()
        async with asyncio.timeout(0.05):
            await (gate if operations == [1] else asyncio.sleep(60))
        return operations

    lane: Lane[int, int] = Lane(send, max_batch=1, max_pending=10, in_flight=1)
    callers = await submitted(lane, 1, 2)
    closing = asyncio.create_task(lane.close())
    await turns()
    gate.set_result(None)
    await asyncio.wait_for(closing, 5)
    assert not closing.cancelled()
    assert await callers[0] == 1
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(callers[1], 1)


async def test_a_lane_may_be_closed_by_several(wire: Wire) -> None:
    lane = wire.lane()
    (caller,) = await submitted(lane, 1)
    closing = [asyncio.create_task(lane.close()) for _ in range(3)]
    await turns()
    await wire.answer_everything()
    await asyncio.wait_for(asyncio.gather(*closing), 5)
    assert await caller == 10


def test_a_loop_that_ends_with_a_batch_on_the_wire_ends_in_peace(monkeypatch: pytest.MonkeyPatch) -> None:
    complaints: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", complaints.append)
    wire = Wire()

    async def submit() -> None:
        await submitted(wire.lane(), 1)

    loop = asyncio.new_event_loop()
    loop.run_until_complete(submit())
    loop.close()
    wire._gates.clear()
    gc.collect()
    assert complaints == []


async def test_closing_an_idle_lane_is_done_at_once(wire: Wire) -> None:
    await asyncio.wait_for(wire.lane().close(), 5)


async def test_a_batch_that_is_cancelled_on_the_wire_leaves_no_caller_waiting(wire: Wire) -> None:
    callers = await submitted(wire.lane(), 1, 2)
    wire.give_up(0)
    await turns()
    assert all(caller.cancelled() for caller in callers)
