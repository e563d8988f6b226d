"""The pipe: one connection on which questions follow each other without waiting for answers.

The client's pool opens it, with all that it knows of addresses, passwords and the fence; from then on its socket is
read and written here. redis-py's own way of asking starts a task for every write and two timers for every answer, which
costs a batch of few operations more than its script does.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, TypeAlias

import hiredis
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ReadOnlyError, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from engine.errands import in_task

_NOT_YET = object()

Command: TypeAlias = tuple[str | bytes | int | float, ...]


class _NotOpenedError(Exception):
    """Carries past the retries of a question why no connection was opened: the client tried that often enough."""

    def __init__(self, why: RedisError) -> None:
        super().__init__(why)
        self.why = why


class Line(asyncio.Protocol):
    """An open connection and the questions on it. Each has one future, for the answers to all of its commands."""

    def __init__(self, connection: Any, transport: asyncio.Transport, timeout_s: float) -> None:
        self.connection = connection
        self._transport = transport
        self._opener = transport.get_protocol()
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        encoder = connection.encoder
        decoding = {"encoding": encoder.encoding, "errors": encoder.encoding_errors} if encoder.decode_responses else {}
        self._reader = hiredis.Reader(
            protocolError=RedisConnectionError,
            replyError=connection._parser.parse_error,  # noqa: SLF001 - redis-py's classes of errors
            notEnoughData=_NOT_YET,
            **decoding,
        )
        self._asked: deque[tuple[asyncio.Future[list[Any]], int, float]] = deque()
        self._answers: list[Any] = []
        self._timer: asyncio.TimerHandle | None = None
        transport.set_protocol(self)

    @property
    def is_open(self) -> bool:
        """Whether it can be asked: a transport that lost its peer tells us a turn later than it knows."""
        return not self._transport.is_closing()

    def ask(self, commands: tuple[Command, ...]) -> asyncio.Future[list[Any]]:
        """Send these commands; the future is for their answers, of which an error is one like any other."""
        # First, for what it refuses was never asked.
        packed = b"".join([hiredis.pack_command(command) for command in commands])  # type: ignore[arg-type]
        future: asyncio.Future[list[Any]] = self._loop.create_future()
        self._asked.append((future, len(commands), self._loop.time() + self._timeout_s))
        if self._timer is None:
            self._timer = self._loop.call_later(self._timeout_s, self._look_at_clock)
        self._transport.write(packed)
        return future

    def data_received(self, data: bytes) -> None:
        """Hand out the answers that are complete."""
        reader, answers = self._reader, self._answers
        try:
            reader.feed(data)
            while (answer := reader.gets()) is not _NOT_YET:
                if isinstance(answer, hiredis.PushNotification):
                    continue
                answers.append(answer)
                future, count, _ = self._asked[0]
                if len(answers) == count:
                    self._asked.popleft()
                    self._answers = []
                    if not future.done():
                        future.set_result(answers)
                    answers = self._answers
        except (RedisConnectionError, IndexError, UnicodeDecodeError) as error:
            self.end(RedisConnectionError(f"the server does not speak Redis' protocol: {error}"))

    def connection_lost(self, error: Exception | None) -> None:
        """Tell whoever still waits, and the stream that opened this connection."""
        self._opener.connection_lost(error)
        self.end(RedisConnectionError("the connection to Redis was lost"))

    def end(self, error: Exception) -> None:
        """Ask nothing more here; whoever waits gets the error."""
        self._transport.abort()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._asked:
            future, _, _ = self._asked.popleft()
            if not future.done():
                future.set_exception(error)

    def _look_at_clock(self) -> None:
        self._timer = None
        if not self._asked:
            return
        left = self._asked[0][2] - self._loop.time()
        if left <= 0:
            self.end(RedisTimeoutError(f"Redis did not answer within {self._timeout_s:g} s"))
        else:
            self._timer = self._loop.call_later(left, self._look_at_clock)


class Pipe:
    """Asks a server over one connection, any number of questions at once, in order.

    As with the client, what was asked is asked again after a lost answer, as often as the client's settings say.
    """

    def __init__(self, client: Redis) -> None:
        self.client = client
        self._retry = client.get_retry() or Retry(NoBackoff(), 0)
        self._line: Line | None = None
        self._opening = asyncio.Lock()
        self._failure: RedisError | None = None
        self._is_possible = True

    async def ask(self, *commands: Command) -> list[Any]:
        """The answers of these commands, each an error where it is one. Raises redis-py's errors of the connection."""
        line: Line | None = None

        async def attempt() -> list[Any]:
            nonlocal line
            line = self._line
            if line is None or not line.is_open:
                try:
                    line = await self._opened()
                except RedisError as error:
                    raise _NotOpenedError(error) from error
            if line is None:
                return await self._ask_client(commands)
            answers = await line.ask(commands)
            for answer in answers:
                if isinstance(answer, ReadOnlyError):
                    raise RedisConnectionError("the master became a replica") from answer
            return answers

        async def fail(error: Exception) -> None:
            if line is not None:
                line.end(error)

        try:
            return await self._retry.call_with_retry(attempt, fail)
        except _NotOpenedError as error:
            raise error.why from None

    async def close(self) -> None:
        """Give the connection back, closed. It is opened again when something is asked."""
        line, self._line = self._line, None
        if line is not None:
            line.end(RedisConnectionError("the connection to Redis was closed"))
            await line.connection.disconnect(nowait=True)
            await self.client.connection_pool.release(line.connection)

    async def _opened(self) -> Line | None:
        await in_task()
        earlier = self._failure
        async with self._opening:
            if self._line is not None and self._line.is_open:
                return self._line
            if self._failure is not None and self._failure is not earlier:
                raise self._failure  # who waited meanwhile shares what came of it
            await self.close()
            if self._is_possible:
                pool = self.client.connection_pool
                try:
                    connection = await pool.get_connection()  # type: ignore[no-untyped-call]
                except RedisError as error:
                    self._failure = error
                    raise
                self._line = await self._line_of(connection)
            return self._line

    async def _line_of(self, connection: Any) -> Line | None:
        transport: Any = getattr(connection._writer, "transport", None)  # noqa: SLF001 - it is told in no other way
        if hasattr(transport, "set_protocol"):
            return Line(connection, transport, connection.socket_timeout)
        self._is_possible = False
        await self.client.connection_pool.release(connection)
        return None

    async def _ask_client(self, commands: tuple[Command, ...]) -> list[Any]:
        async with self.client.pipeline(transaction=False) as pipeline:
            for command in commands:
                pipeline.execute_command(*command)
            return list(await pipeline.execute(raise_on_error=False))


def raised(answer: Any) -> Any:
    """The answer, unless it is an error: that is raised."""
    if isinstance(answer, Exception):
        raise answer
    return answer
