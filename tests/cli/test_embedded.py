from __future__ import annotations

import asyncio
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
import redis

from cli.accounts import account_for
from cli.embedded import EmbeddedPostgres, EmbeddedRedis
from cli.embedded_server import LOOPBACK, EmbeddedError, EmbeddedServer, choose_port
from cli.processes import account_arguments


@pytest.fixture
def started() -> Iterator[list[EmbeddedServer]]:
    """Servers that the test started; they end with it."""
    servers: list[EmbeddedServer] = []
    yield servers
    for server in servers:
        server.stop()


def start_redis(data_dir: Path, started: list[EmbeddedServer]) -> EmbeddedRedis:
    server = EmbeddedRedis(data_dir / "redis")
    started.append(server)
    server.start()
    server.wait_ready()
    return server


def start_postgres(data_dir: Path, started: list[EmbeddedServer]) -> EmbeddedPostgres:
    server = EmbeddedPostgres(data_dir / "postgres")
    started.append(server)
    server.start()
    server.wait_ready()
    return server


def kill(server: EmbeddedServer) -> None:
    assert server.process is not None
    server.process.kill()
    server.process.wait()


def ask_postgres(url: str, statement: str) -> object:
    async def ask() -> object:
        connection = await asyncpg.connect(url)
        try:
            return await connection.fetchval(statement)
        finally:
            await connection.close()

    return asyncio.run(ask())


def test_what_redis_acknowledged_is_there_after_kill_9_on_the_same_port(
    data_dir: Path, started: list[EmbeddedServer]
) -> None:
    first = start_redis(data_dir, started)
    with redis.Redis.from_url(first.url) as client:
        client.set("kept", "yes")
    kill(first)
    second = start_redis(data_dir, started)
    assert second.port == first.port
    with redis.Redis.from_url(second.url, decode_responses=True) as client:
        assert client.get("kept") == "yes"


def test_redis_fsyncs_every_answer_and_never_evicts(data_dir: Path, started: list[EmbeddedServer]) -> None:
    server = start_redis(data_dir, started)
    with redis.Redis.from_url(server.url, decode_responses=True) as client:
        settings = client.config_get("appendonly", "appendfsync", "maxmemory-policy", "bind", "save")
    assert settings == {
        "appendonly": "yes",
        "appendfsync": "always",
        "maxmemory-policy": "noeviction",
        "bind": LOOPBACK,
        "save": "",
    }


def test_what_postgres_committed_is_there_after_kill_9_on_the_same_port(
    data_dir: Path, started: list[EmbeddedServer]
) -> None:
    first = start_postgres(data_dir, started)
    ask_postgres(first.url, "CREATE TABLE kept AS SELECT 42 AS answer")
    kill(first)
    second = start_postgres(data_dir, started)
    assert second.port == first.port
    assert ask_postgres(second.url, "SELECT answer FROM kept") == 42
    assert ask_postgres(second.url, "SHOW synchronous_commit") == "on"
    assert ask_postgres(second.url, "SHOW listen_addresses") == LOOPBACK


def test_a_stale_pid_file_whose_number_a_stranger_has_by_now_does_not_stop_postgres(
    data_dir: Path, started: list[EmbeddedServer]
) -> None:
    server = start_postgres(data_dir, started)
    lines = server.pid_path.read_text().splitlines()
    kill(server)
    account = account_for(server.cluster_dir)
    stranger = subprocess.Popen(["/bin/sleep", "60"], cwd="/", **account_arguments(account))
    try:
        server.pid_path.write_text("\n".join([str(stranger.pid), *lines[1:]]) + "\n")
        if account is not None:
            os.chown(server.pid_path, account.uid, account.gid)
        again = start_postgres(data_dir, started)
        assert again.is_ready()
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_servers_that_outlived_their_supervisor_are_stopped_before_their_successors_start(
    data_dir: Path, started: list[EmbeddedServer]
) -> None:
    orphans = [start_redis(data_dir, started), start_postgres(data_dir, started)]
    successors = [start_redis(data_dir, started), start_postgres(data_dir, started)]
    for orphan, successor in zip(orphans, successors, strict=True):
        assert orphan.process is not None
        assert orphan.process.poll() == 0
        assert successor.port == orphan.port


def test_an_initialisation_that_was_killed_halfway_is_begun_again(
    data_dir: Path, started: list[EmbeddedServer]
) -> None:
    half = data_dir / "postgres" / "cluster.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    server = start_postgres(data_dir, started)
    assert ask_postgres(server.url, "SELECT current_database()") == "holdfast"
    assert not half.exists()


def test_a_remembered_port_that_somebody_else_took_is_replaced(data_dir: Path, started: list[EmbeddedServer]) -> None:
    with socket.create_server((LOOPBACK, choose_port())) as taken:
        port = taken.getsockname()[1]
        (data_dir / "redis").mkdir()
        (data_dir / "redis" / "port").write_text(f"{port}\n")
        server = start_redis(data_dir, started)
        assert server.port != port
        assert int((data_dir / "redis" / "port").read_text()) == server.port


def test_a_server_that_cannot_start_says_where_to_look(data_dir: Path, started: list[EmbeddedServer]) -> None:
    server = EmbeddedRedis(data_dir / "redis", options={"maxmemory-policy": "nonsense"})
    started.append(server)
    server.start()
    with pytest.raises(EmbeddedError, match=r"did not start; see .*server\.log"):
        server.wait_ready(5)
