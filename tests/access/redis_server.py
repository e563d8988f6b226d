"""A real server that deploy/redis/start.sh starts with the users of deploy/redis/users.acl, as the deployment does."""

from __future__ import annotations

import os
import re
import secrets
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from cli.embedded import redis_binary
from cli.embedded_server import LOOPBACK, choose_port
from cli.processes import end, spawn, wait_until

DEPLOY = Path(__file__).resolve().parents[2] / "deploy" / "redis"
USERS_FILE = DEPLOY / "users.acl"
WITH_PASSWORD = ("api", "worker", "scheduler", "operator")
ADMIN = "tester"
READY_S = 20.0


def password_variable(user: str) -> str:
    return f"REDIS_{user.upper()}_PASSWORD"


def granted_commands() -> dict[str, set[str]]:
    """What each user of the file may run."""
    text = USERS_FILE.read_text().replace("\\\n", " ")
    return {
        user: set(re.findall(r" \+(\S+)", rules))
        for user, rules in re.findall(r"^user (\S+) (.*)$", text, re.MULTILINE)
    }


class AccessRedis:
    """The server, and a further user of the tests' own that may do everything."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.run_dir = directory / "run"
        self.log_path = directory / "redis.log"
        self.passwords = {user: secrets.token_hex(16) for user in (*WITH_PASSWORD, ADMIN)}
        self._template = directory / "users.acl"
        admin = f"user {ADMIN} on #{password_variable(ADMIN)} ~* &* +@all\n"
        self._template.write_text(USERS_FILE.read_text() + admin)
        self._port = choose_port()
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        environment = {password_variable(user): password for user, password in self.passwords.items()}
        self.process = self.spawn({**os.environ, **environment})
        if not wait_until(self._answers, READY_S):
            raise RuntimeError(self.log_path.read_text())

    def spawn(self, environment: dict[str, str]) -> subprocess.Popen[bytes]:
        """start.sh with these variables."""
        options = ["--bind", LOOPBACK, "--port", str(self._port), "--dir", str(self.directory), "--save", ""]
        durable = ["--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction"]
        command = ["sh", str(DEPLOY / "start.sh"), str(self._template), str(redis_binary()), *options, *durable]
        return spawn(
            command, log_path=self.log_path, environment={**environment, "HOLDFAST_RUN_DIR": str(self.run_dir)}
        )

    def stop(self) -> None:
        if self.process is not None:
            end(self.process, signal.SIGTERM, READY_S)

    def url(self, user: str) -> str:
        return f"redis://{user}:{self.passwords[user]}@{LOOPBACK}:{self._port}/0"

    def client(self, user: str) -> redis.Redis:
        return self.anonymous(username=user, password=self.passwords.get(user, ""))

    def anonymous(self, **credentials: Any) -> redis.Redis:
        """A connection with these credentials, or none; it asks once."""
        once = Retry(NoBackoff(), 0)
        return redis.Redis(host=LOOPBACK, port=self._port, decode_responses=True, protocol=2, retry=once, **credentials)

    def denials(self) -> list[str]:
        """What anybody was denied since the start or the last `forget_denials`."""
        with self.client(ADMIN) as admin:
            entries = admin.acl_log(count=100)
        return sorted(
            {f"{entry['username']}: {entry['context']} {entry['reason']} {entry['object']}" for entry in entries}
        )

    def commands_called(self) -> set[str]:
        """Every command that ran since the server's start, in a script or not."""
        with self.client(ADMIN) as admin:
            stats = admin.info("commandstats")
        return {name.removeprefix("cmdstat_") for name, stat in stats.items() if stat["calls"]}

    def forget_denials(self) -> None:
        with self.client(ADMIN) as admin:
            admin.acl_log_reset()

    def _answers(self) -> bool:
        with suppress(redis.RedisError), self.anonymous(username="health", password="") as client:
            return bool(client.ping())
        return False
