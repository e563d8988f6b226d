"""The bundled load client, `python -m benchmarks.load.client PLAN`: one process, plain sockets, ready-made requests.

Closed-loop it keeps every connection busy. Open-loop each request has its moment on a schedule that waits for nobody,
and its latency is counted from that moment, whether or not a connection was free to send it then: a server that
stalls makes all wait whose moment falls into the stall, and all of them are counted (no coordinated omission).
"""

from __future__ import annotations

import gc
import select
import selectors
import sys
import time
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path

import msgspec

from benchmarks.load.histogram import Histogram
from benchmarks.load.outcome import Outcome
from benchmarks.load.plan import Plan, composers
from benchmarks.load.wire import STATUS, Connection, id_of, status_of

PATIENCE_S = 10.0
"""How long the last answers are waited for."""

NAP_S = 0.000_3
"""The least that an open loop sleeps when nothing is due: to wake for every request by itself takes a client half as
much CPU again, from the cores of what it measures. What it sends late for that has waited since it was due."""

Clock = Callable[[], float]


class Client:
    """One run of a plan."""

    def __init__(self, plan: Plan, clock: Clock = time.perf_counter) -> None:
        self._plan = plan
        self._clock = clock
        self._compose = composers(plan)
        self._pool = list(plan.pool)
        self._granted_status = [str(step.granted).encode() for step in plan.steps]
        self._granted = [0] * len(plan.steps)
        self._waits: list[list[float]] = [[] for _ in plan.steps]
        self._first_s = [0.0] * len(plan.steps)
        self._last_s = [0.0] * len(plan.steps)
        self._statuses: Counter[int] = Counter()
        self._faults = 0
        self._ids: list[str] = []
        self._started = 0
        self._began_s = 0.0
        self._selector = selectors.DefaultSelector()

    def run(self) -> Outcome:
        """Send everything. Raises ConnectionError when the server cannot be reached at all."""
        plan = self._plan
        connections = [Connection(*plan.address) for _ in range(plan.connections)]
        for connection in connections:
            self._selector.register(connection, selectors.EVENT_READ, connection)
        gc.collect()
        gc.disable()
        self._began_s = self._clock()
        worked_s = time.process_time()
        try:
            if plan.rate is None:
                self._run_closed(connections)
            else:
                self._run_open(connections, plan.rate)
            seconds = self._clock() - self._began_s
            worked_s = time.process_time() - worked_s
        finally:
            gc.enable()
            for connection in connections:
                connection.close()
            self._selector.close()
        return self._outcome(seconds, worked_s / seconds)

    # Closed loop

    def _run_closed(self, connections: list[Connection]) -> None:
        plan = self._plan
        clock = self._clock
        end_s = self._began_s + (plan.seconds if plan.limit is None else PATIENCE_S)
        busy = {connection for connection in connections if self._begin(connection, clock())}
        while busy and (now := clock()) < end_s:
            for key, _ in self._selector.select(end_s - now):
                connection: Connection = key.data
                try:
                    answer = connection.receive()
                    if answer is None:
                        continue
                    answered_s = clock()
                    if plan.limit is not None:
                        end_s = answered_s + PATIENCE_S
                    if not self._follow(connection, answer, answered_s) and not self._begin(connection, answered_s):
                        busy.discard(connection)
                except OSError:
                    self._faults += 1
                    self._leave(connection)
                    busy.discard(connection)
        if plan.limit is not None:
            self._faults += len(busy)

    def _begin(self, connection: Connection, now: float) -> bool:
        """Start another chain; False when the plan has no more."""
        if self._plan.limit is not None and self._started >= self._plan.limit:
            return False
        self._started += 1
        return self._start_chain(connection, now)

    # Open loop

    def _run_open(self, connections: list[Connection], rate: float) -> None:
        plan = self._plan
        total = int(plan.seconds * rate)
        idle = deque(connections)
        arrived = 0
        busy: set[Connection] = set()
        last_s = self._began_s + plan.seconds + PATIENCE_S
        while arrived < total or busy:
            now = self._clock()
            while idle and arrived < total and (due_s := self._began_s + arrived / rate) <= now:
                arrived += 1
                connection = idle.popleft()
                if self._start_chain(connection, due_s):
                    busy.add(connection)
            if now > last_s:
                break
            next_s = self._began_s + arrived / rate if idle and arrived < total else last_s
            for connection in self._ready(next_s):
                try:
                    answer = connection.receive()
                    if answer is None or self._follow(connection, answer, self._clock()):
                        continue
                    idle.append(connection)
                except OSError:
                    self._faults += connection in busy
                    self._leave(connection)
                    if connection not in busy:
                        idle.remove(connection)
                busy.discard(connection)
        self._give_up(connections, idle, total - arrived, rate, arrived)

    def _ready(self, until_s: float) -> list[Connection]:
        """The connections with an answer, of which there may be none by then."""
        wait_s = until_s - self._clock()
        if wait_s > 0:  # epoll would wait whole milliseconds; select() of the epoll does not
            select.select([self._selector], [], [], max(wait_s, NAP_S))
        return [key.data for key, _ in self._selector.select(0)]

    def _give_up(
        self, connections: list[Connection], idle: deque[Connection], unsent: int, rate: float, arrived: int
    ) -> None:
        """Count what was never answered with the wait that it has had so far."""
        now = self._clock()
        free = set(idle)
        for connection in connections:
            if connection not in free and connection.socket.fileno() >= 0:
                self._faults += 1
                self._waits[connection.step].append(now - connection.due_s)
        for number in range(arrived, arrived + unsent):
            self._faults += 1
            self._waits[0].append(now - (self._began_s + number / rate))

    # Both

    def _start_chain(self, connection: Connection, due_s: float) -> bool:
        """Send the first request of a chain; False when the connection is lost."""
        made = ""
        connection.step = 0
        if self._pool:
            made = self._pool.pop()
            connection.step = 1
        connection.due_s = due_s
        try:
            connection.send(self._compose[connection.step](made))
        except OSError:
            self._faults += 1
            self._leave(connection)
            return False
        return True

    def _follow(self, connection: Connection, answer: bytes, now: float) -> bool:
        """Note an answer that came just now; send what follows from it, if anything does."""
        step = connection.step
        self._waits[step].append(now - connection.due_s)
        if answer[STATUS] != self._granted_status[step]:
            self._statuses[status_of(answer)] += 1
            return False
        if not self._granted[step]:
            self._first_s[step] = now
        self._last_s[step] = now
        self._granted[step] += 1
        if step + 1 == len(self._granted):
            if self._plan.collect:
                self._ids.append(id_of(answer))
            return False
        connection.step = step + 1
        connection.due_s = now
        connection.send(self._compose[step + 1](id_of(answer)))
        return True

    def _leave(self, connection: Connection) -> None:
        self._selector.unregister(connection)
        connection.close()

    def _outcome(self, seconds: float, busy: float) -> Outcome:
        latency = []
        for waits in self._waits:
            histogram = Histogram()
            histogram.add_seconds(waits)
            latency.append(histogram)
        return Outcome(
            client="bundled",
            seconds=seconds,
            granted=self._granted,
            refused=self._statuses.total(),
            faults=self._faults,
            statuses=dict(self._statuses),
            latency=latency,
            ids=self._ids,
            times_s=[
                (first - self._began_s, last - self._began_s) if granted else (0.0, 0.0)
                for granted, first, last in zip(self._granted, self._first_s, self._last_s, strict=True)
            ],
            busy=round(busy, 3),
        )


def main() -> None:
    """Run the plan in the file that is named, and print the outcome."""
    plan = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Plan)
    sys.stdout.buffer.write(msgspec.json.encode(Client(plan).run()))


if __name__ == "__main__":
    main()
