"""The address of a Redis that Sentinels watch over: read whole, or refused in one line that tells no password."""

from __future__ import annotations

from typing import Any

import pytest

from engine.connection import MasterPool, connect, connect_blocking
from engine.sentinel_url import SentinelUrl, is_of_sentinels, read_sentinel_url
from engine.settings import Settings, SettingsError, read_settings

PLAIN = "redis+sentinel://one:26380,two/holdfast"


def test_sentinels_and_their_service_are_named_and_have_the_usual_port() -> None:
    assert read_sentinel_url(PLAIN) == SentinelUrl((("one", 26380), ("two", 26379)), "holdfast")


def test_passwords_of_servers_and_of_sentinels_are_told_apart() -> None:
    found = read_sentinel_url(
        "rediss+sentinel://api:p%40ss@[::1]:1,[::2]/my%2Dservice?db=3&sentinel_username=watch&sentinel_password=s%26t"
    )
    nodes = (("::1", 1), ("::2", 26379))
    servers: dict[str, Any] = {"db": 3, "is_tls": True, "username": "api", "password": "p@ss"}
    assert found == SentinelUrl(
        nodes,
        "my-service",
        **servers,
        sentinel_username="watch",
        sentinel_password="s&t",
    )


@pytest.mark.parametrize("url", ["redis://one/0", "rediss://one", "unix:///run/redis", "sentinel://one/x"])
def test_every_other_address_is_of_a_server(url: str) -> None:
    assert not is_of_sentinels(url)


@pytest.mark.parametrize(
    "rest",
    [
        "one",
        "one/",
        "/service",
        "secret@/service",
        "one:x/s",
        "one:0/s",
        "one:65536/s",
        ":26379/s",
        "one,/s",
        "one/a/b",
    ],
)
def test_what_names_no_sentinel_or_no_service_is_refused_without_its_secret(rest: str) -> None:
    with pytest.raises(SettingsError, match="HOLDFAST_REDIS_URL: expected redis\\+sentinel://host:26379") as caught:
        read_settings({"HOLDFAST_REDIS_URL": f"redis+sentinel://{rest}"})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("options", ["db=x", "db=-1", "database=1", "db=1&password=secret"])
def test_options_that_nobody_knows_are_refused(options: str) -> None:
    with pytest.raises(SettingsError, match="of options only db, sentinel_password, sentinel_username") as caught:
        read_settings({"HOLDFAST_REDIS_URL": f"{PLAIN}?{options}"})
    assert "secret" not in str(caught.value)


@pytest.mark.anyio
async def test_both_kinds_of_clients_ask_the_sentinels_for_the_master_with_the_servers_password() -> None:
    settings = read_settings({"HOLDFAST_REDIS_URL": "redis+sentinel://api:pass@one,two/holdfast?db=2"})
    client, blocking = connect(settings), connect_blocking(settings, None)
    assert isinstance(client.connection_pool, MasterPool)
    pools: tuple[Any, Any] = (client.connection_pool, blocking.connection_pool)
    for pool in pools:
        assert pool.is_master and pool.service_name == "holdfast"
        wanted = {"username": "api", "password": "pass", "db": 2}
        assert {name: pool.connection_kwargs[name] for name in wanted} == wanted
    await client.aclose()
    blocking.close()


@pytest.mark.anyio
async def test_a_server_of_its_own_is_asked_for_nothing_else() -> None:
    settings = Settings(redis_url="redis://127.0.0.1:1/0")
    assert not isinstance(connect(settings).connection_pool, MasterPool)
    assert connect_blocking(settings, 1).connection_pool.connection_kwargs["socket_timeout"] == 1
