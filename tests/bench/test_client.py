"""The bundled load client: what it counts, and that a server's stall cannot hide from it."""

from __future__ import annotations

from itertools import count
from socket import SHUT_RDWR

import pytest

from benchmarks.load.client import Client
from benchmarks.load.outcome import Outcome
from benchmarks.load.plan import ID, Plan, Step
from benchmarks.load.run import LoadError, run
from benchmarks.load.wire import READ_BYTES, Connection
from tests.bench.answering import answering

HOLD = Step("hold", "/holds", "{}")
COMMIT = Step("commit", f"/holds/{ID}/commit", "{}", granted=200)
STALL_S = 0.5
RATE = 400.0
SECONDS = 1.5


def plan(url: str, **options: object) -> Plan:
    told = {"steps": (HOLD,), "connections": 4, "seconds": 0.3, **options}
    return Plan(url=url, prefix="run", **told)  # type: ignore[arg-type]


def stalled(**options: object) -> Outcome:
    with answering() as server:
        stall = server.stall(after_s=0.5, for_s=STALL_S)
        outcome = Client(plan(server.url, seconds=SECONDS, **options)).run()
        stall.join()
    return outcome


def test_a_stall_is_counted_for_every_request_that_was_due_in_it() -> None:
    outcome = stalled(rate=RATE)
    assert outcome.granted == [int(RATE * SECONDS)]
    # A third of all were due within the stall, each with the rest of it to wait.
    assert outcome.percentile_ms(99) > STALL_S * 900
    assert outcome.percentile_ms(85) > STALL_S * 300
    assert outcome.percentile_ms(50) < STALL_S * 200


def test_a_closed_loop_would_have_hidden_that_stall() -> None:
    assert stalled().percentile_ms(99) < STALL_S * 200


def test_an_open_loop_sends_what_its_schedule_says_and_not_sooner() -> None:
    with answering() as server:
        outcome = Client(plan(server.url, rate=200.0, seconds=0.5)).run()
    assert outcome.granted == [100]
    assert 0.49 <= outcome.times_s[0][1] <= 0.7
    assert outcome.times_s[0][0] <= 0.1


def test_each_granted_answer_leads_to_the_next_step() -> None:
    lines: list[bytes] = []

    def judge(number: int, line: bytes) -> tuple[int, str]:
        lines.append(line)
        is_commit = b"/commit" in line
        return (200 if is_commit else 201), f'{{"id":"hold_{number}"}}'

    with answering(judge) as server:
        outcome = Client(plan(server.url, steps=(HOLD, COMMIT), connections=1, limit=2)).run()
    assert outcome.granted == [2, 2]
    assert [line.split()[1] for line in lines] == [
        b"/holds",
        b"/holds/hold_1/commit",
        b"/holds",
        b"/holds/hold_3/commit",
    ]


def test_chains_begin_with_what_is_in_the_pool_until_it_is_empty() -> None:
    with answering(lambda number, line: (200 if b"commit" in line else 201, f'{{"id":"hold_{number}"}}')) as server:
        pool = ("hold_a", "hold_b")
        outcome = Client(plan(server.url, steps=(HOLD, COMMIT), pool=pool, connections=1, limit=3)).run()
    assert outcome.granted == [1, 3]


def test_refusals_are_counted_by_status_and_lead_nowhere() -> None:
    with answering(lambda number, _: (201 if number == 1 else 409, '{"id":"hold_1"}')) as server:
        outcome = Client(plan(server.url, limit=10)).run()
    assert (outcome.granted, outcome.refused, outcome.statuses) == ([1], 9, {409: 9})


def test_ids_are_told_where_they_are_collected() -> None:
    with answering() as server:
        outcome = Client(plan(server.url, limit=3, collect=True)).run()
    assert sorted(outcome.ids) == ["hold_1", "hold_2", "hold_3"]


def test_an_answer_may_come_in_parts() -> None:
    more = "x" * 5 * READ_BYTES
    with answering(lambda number, _: (201, f'{{"id":"hold_{number}","more":"{more}"}}')) as server:
        outcome = Client(plan(server.url, limit=20, collect=True)).run()
    assert (outcome.granted, outcome.faults) == ([20], 0)
    assert sorted(outcome.ids) == sorted(f"hold_{number}" for number in range(1, 21))


def test_a_connection_that_the_server_closes_is_a_fault() -> None:
    numbers = count(1)

    def judge(number: int, _line: bytes) -> tuple[int, str]:
        if next(numbers) == 5:
            raise ConnectionResetError
        return 201, f'{{"id":"hold_{number}"}}'

    with answering(judge) as server:
        server.handle_error = lambda *_: None  # type: ignore[method-assign]
        outcome = Client(plan(server.url, limit=10, connections=2)).run()
    assert outcome.faults == 1
    assert outcome.granted == [9]


def test_a_connection_that_is_closed_while_nothing_is_due_on_it_is_left_and_no_fault() -> None:
    with answering() as server:
        server.hangs_up_after = 3
        outcome = Client(plan(server.url, rate=50.0, seconds=0.4)).run()
    assert (outcome.granted, outcome.faults) == ([20], 0)
    assert outcome.seconds < 1


def test_a_request_on_a_connection_that_was_just_closed_is_a_fault_and_the_others_go_on() -> None:
    with answering() as server:
        client = Client(plan(server.url, rate=50.0, seconds=0.4))
        start, number = client._start_chain, count(1)

        def start_on_a_closed_one(connection: Connection, due_s: float) -> bool:
            if next(number) == 3:
                connection.socket.shutdown(SHUT_RDWR)
            return start(connection, due_s)

        client._start_chain = start_on_a_closed_one  # type: ignore[method-assign]
        outcome = client.run()
    assert (outcome.granted, outcome.faults) == ([19], 1)
    assert outcome.seconds < 1


def test_a_client_runs_as_a_process_of_its_own_and_says_how_busy_it_was() -> None:
    with answering() as server:
        outcome = run(plan(server.url, limit=20), bundled=True)
    assert (outcome.client, outcome.granted) == ("bundled", [20])
    assert 0 < outcome.busy <= 1.1


def test_a_server_that_is_not_there_is_an_error_in_one_piece() -> None:
    with pytest.raises(LoadError, match="refused"):
        run(plan("http://127.0.0.1:9"), bundled=True)
