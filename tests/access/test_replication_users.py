"""The users of deploy/redis/replication.acl: a replica and Sentinels can do their work as them, and nothing else."""

from __future__ import annotations

import os
import re
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import aclosing, suppress

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoPermissionError

from engine.connection import connect
from engine.settings import Settings
from tests.access.redis_server import ADMIN, DEPLOY, USERS_FILE, WITH_PASSWORD, password_variable
from tests.failover.servers import SERVICE, Replicated, replicated
from tests.jobs.processes import until

pytestmark = pytest.mark.anyio

REPLICATION_FILE = DEPLOY / "replication.acl"
THEIRS = ("replica", "sentinel")
PROMOTED_WITHIN_S = 8.0
DENIED = [
    "GET {s0}:stock",
    "HGETALL {s0}:stock",
    "SET {s0}:stock x",
    "EVAL return(1) 0",
    "FLUSHALL",
    "KEYS *",
    "CONFIG GET *",
    "CONFIG SET appendonly no",
    "ACL LIST",
    "SHUTDOWN NOSAVE",
    "MONITOR",
    "PUBLISH {s0}:meta x",
    "SUBSCRIBE {s0}:meta",
]
OTHERS = {
    "replica": ["SLAVEOF no one", "INFO", "CLIENT KILL TYPE normal"],
    "sentinel": ["PSYNC ? -1", "REPLCONF ack 1"],
}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def passwords() -> dict[str, str]:
    return {user: secrets.token_hex(16) for user in (*WITH_PASSWORD, *THEIRS, ADMIN)}


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory, passwords: dict[str, str]) -> Iterator[Replicated]:
    """A master with both files' users, its replica, which is one of them, and Sentinels, which are another."""
    place = tmp_path_factory.mktemp("replication")
    template = place / "all.acl"
    admin = f"user {ADMIN} on #{password_variable(ADMIN)} ~* &* +@all\n"
    template.write_text(USERS_FILE.read_text() + REPLICATION_FILE.read_text() + admin)
    given = {password_variable(user): password for user, password in passwords.items()}
    environment = {"PATH": os.environ["PATH"], "HOLDFAST_RUN_DIR": str(place / "run"), **given}
    subprocess.run(["sh", str(DEPLOY / "start.sh"), str(template), "true"], env=environment, check=True, timeout=10)  # noqa: S607 - the system's own
    options = {
        "aclfile": str(place / "run" / "users.acl"),
        "masteruser": "replica",
        "masterauth": passwords["replica"],
    }
    watching = (
        f"sentinel auth-user {SERVICE} sentinel",
        f"sentinel auth-pass {SERVICE} {passwords['sentinel']}",
    )
    login = f"{ADMIN}:{passwords[ADMIN]}@"
    with replicated(place / "servers", login=login, options=options, watching=watching) as started:
        yield started


@pytest.mark.parametrize(
    ("user", "command"), [(user, command) for user in THEIRS for command in [*DENIED, *OTHERS[user]]]
)
def test_what_is_not_their_work_is_denied(
    servers: Replicated, passwords: dict[str, str], user: str, command: str
) -> None:
    with as_user(servers, user, passwords) as client, pytest.raises(NoPermissionError):
        client.execute_command(*command.split(" "))


async def test_a_master_that_dies_is_followed_by_its_replica_and_nobody_was_denied_anything(
    servers: Replicated, passwords: dict[str, str]
) -> None:
    for node in (servers.master, servers.replica):
        node.ask("ACL", "LOG", "RESET")
    servers.master.ask("SET", "{s0}:x", "kept")
    servers.watch()
    servers.master.kill()
    servers.wait_promoted(PROMOTED_WITHIN_S)
    url = servers.url.replace("://", f"://api:{passwords['api']}@")
    async with aclosing(connect(Settings(redis_url=url))) as client:

        async def is_kept() -> bool:
            with suppress(RedisConnectionError):  # the Sentinels tell each other a moment later
                return bool(await client.get("{s0}:x") == "kept")
            return False

        await until(is_kept, "what the master had is on who followed it", PROMOTED_WITHIN_S)
    assert servers.replica.ask("ACL", "LOG") == []


def test_every_command_of_theirs_is_one_by_itself_and_no_key_is_theirs() -> None:
    rules = re.sub(r"\\\n", " ", REPLICATION_FILE.read_text())
    found = re.findall(r"^user (\S+) (.*)$", rules, re.MULTILINE)
    assert [user for user, _ in found] == list(THEIRS)
    for _, told in found:
        words = told.split()
        assert {"on", "resetkeys", "resetchannels", "-@all"} <= set(words)
        assert not [word for word in words if word[0] == "~" or word.startswith("+@") or word == "nopass"]


def as_user(servers: Replicated, user: str, passwords: dict[str, str]) -> Redis:
    login = servers.master.url.replace(f"{ADMIN}:{passwords[ADMIN]}@", f"{user}:{passwords[user]}@")
    return Redis.from_url(login, decode_responses=True, protocol=2)
