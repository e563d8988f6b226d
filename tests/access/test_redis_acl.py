"""The users of deploy/redis/users.acl: what each may do, and what it is denied, on a real server."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
import redis
from redis.exceptions import NoPermissionError

from engine.scripts import LUA_FOLDER, VERBS, Script
from tests.access.redis_server import (
    DEPLOY,
    USERS_FILE,
    WITH_PASSWORD,
    AccessRedis,
    granted_commands,
    password_variable,
)

USERS = (*WITH_PASSWORD, "health")
SHARD, JOB, FOREIGN = "{s0}:stock", "rq:job:flush", "session:1"

# The scripts that each user runs; the scheduler and the health check run none.
VERBS_OF = {
    "api": {"reserve", "commit", "release", "extend", "expire", "adjust", "trade"},
    "worker": {"expire", "trade", "acknowledge"},
    "operator": {"expire", "adjust"},
}

# What nobody may: it loses or shows everything, stops the server, or changes who may do what.
NOBODYS = [
    "FLUSHALL",
    "FLUSHDB",
    "KEYS *",
    "CONFIG GET *",
    "CONFIG SET appendonly no",
    "CONFIG REWRITE",
    "SHUTDOWN NOSAVE",
    "MONITOR",
    "ACL LIST",
    "ACL SETUSER api on nopass +@all",
    "ACL LOAD",
    "REPLICAOF no one",
    "CLIENT KILL TYPE normal",
    "CLIENT PAUSE 1",
    "SCRIPT FLUSH",
    "SCRIPT KILL",
    "FUNCTION LOAD x",
    "MODULE LIST",
    "SLOWLOG GET",
    "SWAPDB 0 1",
    "SELECT 1",
    "SAVE",
    "BGREWRITEAOF",
    "RANDOMKEY",
    "RENAME {s0}:stock {s0}:x",
    "MIGRATE 127.0.0.1 1 {s0}:stock 0 1",
    "DUMP {s0}:stock",
    "PUBLISH channel text",
    f"GET {FOREIGN}",
    f"SET {FOREIGN} x",
    "GET {s1}:meta",
    "SET {s1}:meta x",
]

# What somebody else may: the others' keys, the others' part of the work.
OTHERS = {
    "api": [
        f"GET {JOB}",
        f"HSET {JOB} data x",
        f"SADD {JOB} x",
        "XTRIM {s0}:events MAXLEN 0",
        f"UNLINK {SHARD}",
        "SCAN 0",
        "XREAD STREAMS {s0}:events 0",
        "CLIENT LIST",
        "ACL LOG",
        "SUBSCRIBE rq:pubsub:x",
        "PUBLISH rq:pubsub:x {}",
    ],
    "worker": ["ACL LOG", "SUBSCRIBE __keyspace@0__", "PSUBSCRIBE *"],
    "scheduler": [f"HGETALL {SHARD}", f"DEL {SHARD}", "SCAN 0", "EVAL return 0", "CLIENT LIST", "ACL LOG"],
    "operator": [f"HGETALL {JOB}", f"HSET {JOB} data x", f"DEL {SHARD}", "XTRIM {s0}:events MAXLEN 0", "CLIENT LIST"],
    "health": [f"HGETALL {SHARD}", "INFO", "EVAL return 0", "ACL LOG", "CLIENT LIST", "SCAN 0"],
}


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("command", NOBODYS)
def test_what_would_lose_show_or_stop_everything_is_denied(users: AccessRedis, user: str, command: str) -> None:
    assert_denied(users, user, command)


@pytest.mark.parametrize(("user", "command"), [(user, command) for user, given in OTHERS.items() for command in given])
def test_what_is_the_others_part_is_denied(users: AccessRedis, user: str, command: str) -> None:
    assert_denied(users, user, command)


@pytest.mark.parametrize("user", sorted(VERBS_OF))
@pytest.mark.parametrize(
    "text",
    [
        "return redis.call('FLUSHALL')",
        "return redis.call('CONFIG', 'SET', 'appendonly', 'no')",
        f"return redis.call('GET', '{FOREIGN}')",
        "return redis.call('SET', KEYS[1], 'x')",
        "return redis.call('KEYS', '*')",
    ],
)
def test_a_script_of_somebodys_own_can_do_no_more_than_its_user(users: AccessRedis, user: str, text: str) -> None:
    with users.client(user) as client, pytest.raises(redis.ResponseError, match=r"ACL failure|No permissions"):
        client.eval(text, 1, FOREIGN)


@pytest.mark.parametrize("user", sorted(VERBS_OF))
@pytest.mark.parametrize("command", ["PUBLISH {s0}:meta x", "WAIT 0 1"])
def test_who_runs_scripts_may_wait_for_replicas(users: AccessRedis, user: str, command: str) -> None:
    with users.client(user) as client:
        assert client.execute_command(*command.split(" ")) == 0


def test_nobody_comes_in_without_a_name_and_a_password(users: AccessRedis) -> None:
    for credentials in (
        {},
        {"password": ""},
        {"username": "default", "password": ""},
        {"username": "api", "password": ""},
    ):
        with users.anonymous(**credentials) as client, pytest.raises(redis.AuthenticationError):
            client.ping()


def test_the_health_check_needs_no_password_and_sees_nothing_but_an_answer(users: AccessRedis) -> None:
    with users.anonymous(username="health", password="") as client:
        assert client.ping()
        with pytest.raises(NoPermissionError):
            client.execute_command("INFO")


@pytest.mark.parametrize("user", sorted(VERBS_OF))
def test_a_user_may_run_every_command_of_its_scripts(user: str) -> None:
    verbs = VERBS_OF[user]
    files = {"prelude", *verbs, *(name for verb in verbs for name in Script(verb).header.shared)}
    called = {command for name in files for command in commands_of(name)}
    assert called - granted_commands()[user] == set()


def test_every_script_has_somebody_who_runs_it() -> None:
    assert set().union(*VERBS_OF.values()) == set(VERBS)


def test_only_commands_are_granted_never_a_category_and_only_the_keys_of_the_shard_and_of_the_queue() -> None:
    rules = re.sub(r"\\\n", " ", USERS_FILE.read_text())
    for user, told in re.findall(r"^user (\S+) (.*)$", rules, re.MULTILINE):
        words = told.split()
        assert "-@all" in words
        for word in words:
            assert (
                word[:2] in ("on", "-@") or word[0] in "+~&#" or word in ("off", "nopass", "resetkeys", "resetchannels")
            )
            assert not word.startswith("+@")
            assert word[0] != "~" or word in ("~{s0}:*", "~rq:*"), (user, word)
            assert word[0] != "&" or word == "&{s0}:meta" or (user, word) == ("worker", "&rq:pubsub:*")
        assert user != "default" or told == "off resetkeys resetchannels -@all"
        assert ("nopass" in words) == (user == "health")
        assert words.count("on") == (user != "default")


def test_what_the_server_reads_holds_no_password_and_only_the_server_may_read_it(users: AccessRedis) -> None:
    rendered = users.run_dir / "users.acl"
    text = rendered.read_text()
    assert not any(password in text for password in users.passwords.values())
    assert len(re.findall(r"#[0-9a-f]{64}", text)) == len(users.passwords)
    assert rendered.stat().st_mode & 0o077 == 0


def test_the_servers_environment_has_no_password(tmp_path: Path) -> None:
    passwords = {password_variable(name): "0123456789abcdef" for name in WITH_PASSWORD}
    started = start(tmp_path, passwords, "sh", "-c", "env")
    assert started.returncode == 0, started.stderr
    assert "HOLDFAST_RUN_DIR=" in started.stdout
    assert "PASSWORD" not in started.stdout


@pytest.mark.parametrize("user", WITH_PASSWORD)
@pytest.mark.parametrize("password", [None, "", "holdfast", "fifteen letters"])
def test_the_server_does_not_start_without_a_password_of_some_length_for_everybody(
    tmp_path: Path, user: str, password: str | None
) -> None:
    given = {password_variable(name): "0123456789abcdef" for name in WITH_PASSWORD}
    del given[password_variable(user)]
    if password is not None:
        given[password_variable(user)] = password
    started = start(tmp_path, given)
    assert (started.returncode, started.stdout) == (1, "")
    assert started.stderr == f"start.sh: {password_variable(user)} must have at least 16 characters\n"


def test_the_server_starts_with_a_password_for_everybody(tmp_path: Path) -> None:
    started = start(tmp_path, {password_variable(name): "0123456789abcdef" for name in WITH_PASSWORD})
    assert (started.returncode, started.stdout) == (0, f"--port 0 --aclfile {tmp_path}/users.acl\n"), started.stderr


def start(run_dir: Path, passwords: dict[str, str], *server: str) -> subprocess.CompletedProcess[str]:
    """start.sh with another command as the server."""
    return subprocess.run(
        ["sh", str(DEPLOY / "start.sh"), str(USERS_FILE), *(server or ("echo", "--port", "0"))],  # noqa: S607 - the system's own
        env={"PATH": os.environ["PATH"], "HOLDFAST_RUN_DIR": str(run_dir), **passwords},
        capture_output=True,
        text=True,
        check=False,
        timeout=10,
    )


def commands_of(name: str) -> set[str]:
    """The commands in the text of a script's file."""
    text = (LUA_FOLDER / f"{name}.lua").read_text()
    found = re.findall(r"(?:redis\.p?call|call_in_parts)\(\s*['\"](\w+)", text)
    dynamic = re.findall(r"redis\.p?call\(\s*(\w+)\s*,", text)
    assert set(dynamic) <= {"command"}, f"{name}.lua calls what its text does not name"
    return {command.lower() for command in found}


def assert_denied(users: AccessRedis, user: str, command: str) -> None:
    with users.client(user) as client, pytest.raises(NoPermissionError):
        client.execute_command(*command.split(" "))
