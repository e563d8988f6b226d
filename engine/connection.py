"""Connections to Redis: bounded, timed, and each one asked which server process it reached."""

from __future__ import annotations

import socket
from typing import Any

import redis
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import MasterNotFoundError, Sentinel, SentinelConnectionPool
from redis.backoff import ExponentialWithJitterBackoff, NoBackoff
from redis.sentinel import MasterNotFoundError as BlockingMasterNotFoundError
from redis.sentinel import Sentinel as BlockingSentinel

from engine.fence import Fence
from engine.sentinel_url import SentinelUrl, is_of_sentinels, read_sentinel_url
from engine.settings import Settings, SettingsError

MAX_CONNECTIONS = 16
POOL_WAIT_S = 2.0
SENTINEL_TIMEOUT_S = 0.5
"""A Sentinel that does not answer by then is passed over for the next one."""


def connect(settings: Settings, fence: Fence | None = None) -> Redis:
    """A client that decodes answers to text. With a fence, each of its connections must be admitted before any command.

    Connects on first use. A script may run twice for one call (redis-py asks again after a lost reply); every operation
    carries a token, so that is harmless. Where Sentinels watch, each connection goes to the master of its moment.
    Raises SettingsError for an address with an option that there is not.
    """

    async def ask_who_is_there(connection: Any) -> None:
        await connection.on_connect()
        if fence is not None:
            await connection.send_command("INFO", "server", check_health=False)
            fence.admit(run_id_of(await connection.read_response()))

    url = settings.require_redis_url()
    options: dict[str, Any] = {
        "max_connections": MAX_CONNECTIONS,
        "timeout": POOL_WAIT_S,
        "decode_responses": True,
        "encoding_errors": "backslashreplace",  # an entry of the log that is no text is set aside, not stumbled over
        "socket_timeout": settings.redis_timeout_s,
        "socket_connect_timeout": settings.redis_timeout_s,
        "retry": Retry(ExponentialWithJitterBackoff(base=0.02, cap=0.5), settings.redis_retries),
        "redis_connect_func": ask_who_is_there,
    }
    if not is_of_sentinels(url):
        pool = BlockingConnectionPool.from_url(url, **options)
        _refuse_unknown_options(pool)
        return Redis.from_pool(pool)
    place = read_sentinel_url(url)
    asked_once = {"retry": Retry(NoBackoff(), 0)}
    sentinel = Sentinel(place.nodes, sentinel_kwargs=_of_sentinels(place) | asked_once)  # type: ignore[no-untyped-call]
    pool = MasterPool(place.service, sentinel, **_of_servers(place), **options)  # type: ignore[no-untyped-call]
    return Redis.from_pool(pool)


class MasterPool(SentinelConnectionPool, BlockingConnectionPool):
    """As many connections as it is allowed, and then those who ask wait; all of them to the master."""

    async def aclose(self) -> None:
        """Close these, and those to the Sentinels."""
        await super().aclose()
        for node in self.sentinel_manager.sentinels:
            await node.aclose()


def connect_blocking(settings: Settings, socket_timeout_s: float | None) -> redis.Redis:
    """A client that blocks and decodes nothing, as RQ wants it; it leads to the same server as `connect`.

    No fence guards it: what it touches is the queue, never the stock. A peer that vanished without a word is noticed
    within some seconds, also while an answer is waited for without end.
    """
    url = settings.require_redis_url()
    options: dict[str, Any] = {
        "socket_timeout": socket_timeout_s,
        "socket_connect_timeout": settings.redis_timeout_s,
        "socket_keepalive": True,
        "socket_keepalive_options": _keepalive(),
    }
    if not is_of_sentinels(url):
        client: redis.Redis = redis.Redis.from_url(url, **options)
        _refuse_unknown_options(client.connection_pool)
        return client
    place = read_sentinel_url(url)
    sentinel = BlockingSentinel(place.nodes, sentinel_kwargs=_of_sentinels(place))  # type: ignore[no-untyped-call]
    return sentinel.master_for(place.service, **_of_servers(place), **options)  # type: ignore[no-any-return, no-untyped-call]


def _refuse_unknown_options(pool: Any) -> None:
    """Raise SettingsError for what an address says that no connection takes, before any connects and fails by it."""
    try:
        pool.connection_class(**pool.connection_kwargs)
    except TypeError as error:
        raise SettingsError(f"HOLDFAST_REDIS_URL has an option that there is not: {error}") from None


def reason_of(error: redis.RedisError) -> str:
    """What an error says; without redis-py's descriptions of its connections to Sentinels, a page of them."""
    if isinstance(error, MasterNotFoundError | BlockingMasterNotFoundError):
        return str(error).partition(" : ")[0]
    return str(error)


def _of_servers(place: SentinelUrl) -> dict[str, Any]:
    return {"db": place.db, "username": place.username, "password": place.password, "ssl": place.is_tls}


def _of_sentinels(place: SentinelUrl) -> dict[str, Any]:
    return {
        "username": place.sentinel_username,
        "password": place.sentinel_password,
        "socket_timeout": SENTINEL_TIMEOUT_S,
        "socket_connect_timeout": SENTINEL_TIMEOUT_S,
    }


def _keepalive() -> dict[int, int]:
    """Ask a silent peer after 5 s, three times within 6 s; on systems that name these options so."""
    wanted = {"TCP_KEEPIDLE": 5, "TCP_KEEPINTVL": 2, "TCP_KEEPCNT": 3}
    return {getattr(socket, name): value for name, value in wanted.items() if hasattr(socket, name)}


def run_id_of(info: str | bytes) -> str:
    """The `run_id` in the text of INFO server."""
    text = info.decode() if isinstance(info, bytes) else info
    for line in text.splitlines():
        if line.startswith("run_id:"):
            return line.removeprefix("run_id:").strip()
    raise ValueError("INFO server names no run_id: this is no Redis")
