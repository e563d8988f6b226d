"""Connections to Redis: bounded, timed, and each one asked which server process it reached."""

from __future__ import annotations

from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff

from engine.fence import Fence
from engine.settings import Settings

MAX_CONNECTIONS = 16
POOL_WAIT_S = 2.0


def connect(settings: Settings, fence: Fence | None = None) -> Redis:
    """A client that decodes answers to text. With a fence, each of its connections must be admitted before any command.

    Connects on first use. A script may run twice for one call (redis-py asks again after a lost reply); every operation
    carries a token, so that is harmless.
    """

    async def ask_who_is_there(connection: Any) -> None:
        await connection.on_connect()
        if fence is not None:
            await connection.send_command("INFO", "server", check_health=False)
            fence.admit(run_id_of(await connection.read_response()))

    pool = BlockingConnectionPool.from_url(
        settings.require_redis_url(),
        max_connections=MAX_CONNECTIONS,
        timeout=POOL_WAIT_S,
        decode_responses=True,
        socket_timeout=settings.redis_timeout_s,
        socket_connect_timeout=settings.redis_timeout_s,
        retry=Retry(ExponentialWithJitterBackoff(base=0.02, cap=0.5), settings.redis_retries),
        redis_connect_func=ask_who_is_there,
    )
    return Redis.from_pool(pool)


def run_id_of(info: str | bytes) -> str:
    """The `run_id` in the text of INFO server."""
    text = info.decode() if isinstance(info, bytes) else info
    for line in text.splitlines():
        if line.startswith("run_id:"):
            return line.removeprefix("run_id:").strip()
    raise ValueError("INFO server names no run_id: this is no Redis")
