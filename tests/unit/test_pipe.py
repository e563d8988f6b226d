"""The pipe: answers in order to whoever asked, over one connection, whatever becomes of that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from engine.connection import connect
from engine.fence import Fence, Fenced
from engine.pipe import Pipe
from engine.settings import Settings

pytestmark = pytest.mark.anyio

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
INFO = b"run_id:abc\r\n"
GREETING = b"$%d\r\n%s\r\n" % (len(INFO), INFO)


@pytest.fixture
async def client(clean_redis_url: str) -> AsyncIterator[Redis]:
    opened = connect(Settings(redis_url=clean_redis_url))
    yield opened
    await opened.aclose()


@pytest.fixture
async def pipe(client: Redis) -> AsyncIterator[Pipe]:
    opened = Pipe(client)
    yield opened
    await opened.close()


@asynccontextmanager
async def server_that(
    answers: Callable[[int], bytes | None], *, greets: bool = True, **options: Any
) -> AsyncIterator[tuple[Pipe, list[int]]]:
    """A pipe to a server whose n-th connection answers each question so; None is silence, b"" the end. Which came."""
    came: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = len(came)
        came.append(number)
        while line := await reader.readline():
            words = []
            for _ in range(int(line[1:])):
                size = int((await reader.readline())[1:])
                words.append((await reader.readexactly(size + 2))[:-2])
            is_greeting = words[0] == b"INFO" and greets
            answer = b"+OK\r\n" if words[0] == b"CLIENT" else GREETING if is_greeting else answers(number)
            if answer == b"":
                break
            if answer is not None:
                writer.write(answer)
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"redis://127.0.0.1:{listening.sockets[0].getsockname()[1]}/0?protocol=2"
    fence = Fence()
    fence.open("abc", 1)
    redis = connect(Settings(redis_url=url, **{"redis_timeout_s": 0.2, "redis_retries": 1} | options), fence)
    pipe = Pipe(redis)
    yield pipe, came
    await pipe.close()
    await redis.aclose()
    listening.close()


async def test_questions_of_many_share_one_connection_and_each_gets_its_own_answer(pipe: Pipe) -> None:
    answers = await asyncio.gather(*(pipe.ask(("ECHO", f"a{i}"), ("ECHO", f"b{i}")) for i in range(500)))
    assert answers == [[f"a{i}", f"b{i}"] for i in range(500)]
    (told,) = await pipe.ask(("CLIENT", "LIST"))
    assert len(told.splitlines()) == 1


async def test_an_error_is_an_answer_like_any_other(pipe: Pipe) -> None:
    first, wrong, last = await pipe.ask(("SET", "a", 1), ("LPUSH", "a", "x"), ("GET", "a"))
    assert (first, last) == ("OK", "1")
    assert isinstance(wrong, ResponseError)
    assert "WRONGTYPE" in str(wrong)


async def test_an_answer_that_comes_in_pieces_is_put_together(pipe: Pipe) -> None:
    text = "é" * 300_000
    assert await pipe.ask(("SET", "long", text), ("GET", "long")) == ["OK", text]


async def test_after_a_lost_connection_the_question_is_asked_again_on_another(pipe: Pipe, client: Redis) -> None:
    assert await pipe.ask(("PING",)) == ["PONG"]
    for _ in range(40):  # more often than the pool has places
        waiting = asyncio.ensure_future(pipe.ask(("BLPOP", "nothing", 1)))
        await asyncio.sleep(0)
        await client.client_kill_filter(_type="normal", skipme=True)
        assert await pipe.ask(("PING",)) == ["PONG"]
        waiting.cancel()


async def test_a_connection_lost_while_nobody_asks_is_noticed(pipe: Pipe, client: Redis) -> None:
    assert await pipe.ask(("PING",)) == ["PONG"]
    await client.client_kill_filter(_type="normal", skipme=True)
    await asyncio.sleep(0.05)
    assert await pipe.ask(("PING",)) == ["PONG"]


async def test_the_answer_of_who_went_away_is_nobody_elses(pipe: Pipe) -> None:
    await pipe.ask(("PING",))
    gone = asyncio.ensure_future(pipe.ask(("ECHO", "gone")))
    stayed = asyncio.ensure_future(pipe.ask(("ECHO", "stayed")))
    await asyncio.sleep(0)
    gone.cancel()
    assert await stayed == ["stayed"]


async def test_a_closed_pipe_gives_its_connection_back_and_opens_another_when_asked(pipe: Pipe, client: Redis) -> None:
    for _ in range(40):
        assert await pipe.ask(("PING",)) == ["PONG"]
        await pipe.close()
    assert await client.ping()


async def test_silence_is_a_timeout_each_time_it_is_asked_again() -> None:
    async with server_that(lambda _: None) as (pipe, came):
        with pytest.raises(RedisTimeoutError, match=r"within 0\.2 s"):
            await asyncio.wait_for(pipe.ask(("PING",)), 5)
        assert came == [0, 1]


async def test_each_question_has_its_own_time(clean_redis_url: str) -> None:
    redis = connect(Settings(redis_url=clean_redis_url, redis_timeout_s=0.4, redis_retries=0))
    pipe = Pipe(redis)
    for _ in range(4):
        assert await pipe.ask(("BLPOP", "nothing", 0.25)) == [None]
    await pipe.close()
    await redis.aclose()


async def test_who_did_not_answer_in_time_is_not_kept_waiting_for_more() -> None:
    async with server_that(lambda _: None, redis_retries=0) as (pipe, _):
        with pytest.raises(RedisTimeoutError):
            await pipe.ask(("PING",))
        line = pipe._line
        assert line is not None
        assert line._transport.is_closing()


async def test_the_client_can_be_closed_before_the_pipe(clean_redis_url: str) -> None:
    redis = connect(Settings(redis_url=clean_redis_url))
    pipe = Pipe(redis)
    assert await pipe.ask(("PING",)) == ["PONG"]
    await asyncio.wait_for(redis.aclose(), 1)
    await pipe.close()


async def test_a_master_that_became_a_replica_is_left() -> None:
    async with server_that(
        lambda connection: (
            b"-READONLY You can't write against a read only replica.\r\n" if connection == 0 else b"+OK\r\n"
        )
    ) as (pipe, came):
        assert await pipe.ask(("SET", "a", "1")) == ["OK"]
        assert came == [0, 1]


async def test_a_server_that_speaks_otherwise_is_no_redis() -> None:
    async with server_that(lambda _: b"HTTP/1.1 200 OK\r\n\r\n") as (pipe, came):
        with pytest.raises(RedisConnectionError, match="does not speak"):
            await pipe.ask(("PING",))
        assert came == [0, 1]


async def test_a_connection_with_answers_that_nobody_asked_for_is_left() -> None:
    async with server_that(lambda _: b"+OK\r\n+AND\r\n+MORE\r\n") as (pipe, came):
        for _ in range(2):
            assert await pipe.ask(("PING",)) == ["OK"]
            await asyncio.sleep(0.05)
        assert came == [0, 1]


async def test_a_connection_ended_in_the_midst_of_an_answer_is_asked_again() -> None:
    async with server_that(lambda connection: b"" if connection == 0 else b"+PONG\r\n") as (pipe, came):
        assert await pipe.ask(("PING",)) == ["PONG"]
        assert came == [0, 1]


async def test_those_who_wait_for_a_connection_share_what_comes_of_it() -> None:
    """One after the other they would each wait for a server that says nothing."""
    async with server_that(lambda _: None, greets=False, redis_timeout_s=0.1, redis_retries=0) as (pipe, came):
        asked = [pipe.ask(("PING",)) for _ in range(20)]
        answers = await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), 1.5)
        assert {type(answer) for answer in answers} == {RedisTimeoutError}
        assert came == [0]
        with pytest.raises(RedisTimeoutError):
            await pipe.ask(("PING",))
        assert came == [0, 1]


async def test_connecting_is_tried_as_often_as_the_settings_say_and_not_that_often_squared() -> None:
    async with server_that(lambda _: b"", greets=False, redis_retries=2) as (pipe, came):
        with pytest.raises(RedisConnectionError):
            await pipe.ask(("PING",))
        assert len(came) == 3


async def test_what_cannot_be_said_moves_nobody_elses_answer(pipe: Pipe) -> None:
    await pipe.ask(("MSET", "a", 1, "b", 2))
    unsayable: Any = None
    first = asyncio.ensure_future(pipe.ask(("GET", "a")))
    wrong = asyncio.ensure_future(pipe.ask(("SET", "a", unsayable)))
    last = asyncio.ensure_future(pipe.ask(("GET", "b")))
    answers = await asyncio.wait_for(asyncio.gather(first, wrong, last, return_exceptions=True), 1)
    assert (answers[0], answers[2]) == (["1"], ["2"])
    assert isinstance(answers[1], Exception)


async def test_a_connection_that_is_about_to_end_is_not_asked(clean_redis_url: str) -> None:
    redis = connect(Settings(redis_url=clean_redis_url, redis_retries=0))
    pipe = Pipe(redis)
    await pipe.ask(("PING",))
    assert pipe._line is not None
    pipe._line._transport.close()
    assert await pipe.ask(("PING",)) == ["PONG"]
    await pipe.close()
    await redis.aclose()


async def test_nothing_is_asked_of_a_server_that_the_fence_does_not_know(clean_redis_url: str) -> None:
    fence = Fence()
    fence.open("another server", 1)
    redis = connect(Settings(redis_url=clean_redis_url, redis_retries=0), fence)
    with pytest.raises(Fenced):
        await Pipe(redis).ask(("SET", "a", "1"))
    await redis.aclose()


async def test_where_nobody_listens_it_is_said_after_the_retries() -> None:
    redis = connect(Settings(redis_url="redis://127.0.0.1:1/0", redis_retries=1))
    with pytest.raises(RedisConnectionError):
        await asyncio.wait_for(Pipe(redis).ask(("PING",)), 5)
    await redis.aclose()
