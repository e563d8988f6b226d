"""What `holdfast up` is made of: the listening socket and the processes around it."""

from __future__ import annotations

import ipaddress
import os
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil

from cli.embedded import EmbeddedPostgres, EmbeddedRedis
from cli.embedded_server import EmbeddedServer
from cli.processes import kill_family, spawn, wait_until
from cli.runtime import Pids, read_started, remove_runtime
from cli.supervisor import ProcessSpec
from engine.settings import Settings, SettingsError

PROJECT_DIR = Path(__file__).resolve().parent.parent
BACKLOG = 4_096
LISTEN_ATTEMPTS = 10
LISTEN_PAUSE_S = 0.1
QUEUES = ("flush", "housekeeping")
API_GRACE_S = 5.0  # beyond the drain that it was given
WORKER_STOP_S = 20.0
SCHEDULER_STOP_S = 5.0
SERVER_STOP_S = 60.0  # a last checkpoint may be long
LEFTOVER_STOP_S = 15.0
RANKS = {"scheduler": 0, "api": 1, "worker": 2, "redis": 3, "postgres": 4}


def check_exposure(settings: Settings) -> None:
    """Refuse to serve without keys to anybody but this machine. Raises SettingsError."""
    if settings.auth == "keys":
        return
    try:
        is_loopback = ipaddress.ip_address(settings.host).is_loopback
    except ValueError:
        is_loopback = settings.host == "localhost"
    if not is_loopback:
        raise SettingsError(
            f"HOLDFAST_HOST={settings.host} would let anybody in without a key: set HOLDFAST_AUTH=keys or use 127.0.0.1"
        )


def listen(settings: Settings) -> socket.socket:
    """The socket that all API processes accept from, so that a restart of one refuses nobody. Raises SettingsError."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[
            0
        ]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise SettingsError(f"HOLDFAST_HOST={settings.host} cannot be used: {error.strerror}") from None
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reason: str | None = None
    for _ in range(LISTEN_ATTEMPTS):  # an API process of a killed `up` may be about to let go of it
        try:
            listener.bind(address)
            listener.listen(BACKLOG)
        except OSError as error:
            reason = error.strerror
            time.sleep(LISTEN_PAUSE_S)
        else:
            return listener
    listener.close()
    raise SettingsError(
        f"port {settings.port} on {settings.host} cannot be used ({reason}): set HOLDFAST_PORT to another"
    )


def servers(settings: Settings, notice: Callable[[str], None]) -> list[EmbeddedServer]:
    """The servers that no URL was given for."""
    data_dir = Path(settings.data_dir)
    logs = data_dir / "logs"
    needed: list[EmbeddedServer] = []
    if settings.redis_url is None:
        needed.append(EmbeddedRedis(data_dir / "redis", log_path=logs / "redis.log"))
    if settings.database_url is None:
        needed.append(EmbeddedPostgres(data_dir / "postgres", log_path=logs / "postgres.log", notice=notice))
    return needed


def server_spec(server: EmbeddedServer) -> ProcessSpec:
    return ProcessSpec(
        name=server.name,
        start=server.start,
        stop_rank=RANKS[server.name],
        stop_signal=server.stop_signal,
        stop_timeout_s=SERVER_STOP_S,
    )


def process_specs(settings: Settings, listener: socket.socket) -> list[ProcessSpec]:
    """API, workers and scheduler, in the order in which they start."""
    fd = listener.fileno()
    api = [
        _module(
            settings, f"api-{number}", "api", "--fd", str(fd), fds=(fd,), stop_s=settings.drain_timeout_s + API_GRACE_S
        )
        for number in range(1, settings.workers + 1)
    ]
    workers = [_module(settings, f"worker-{queue}", "jobs.worker", queue, stop_s=WORKER_STOP_S) for queue in QUEUES]
    return [*api, *workers, _module(settings, "scheduler", "jobs.scheduler", stop_s=SCHEDULER_STOP_S)]


def _module(
    settings: Settings, name: str, module: str, *arguments: str, stop_s: float, fds: tuple[int, ...] = ()
) -> ProcessSpec:
    environment = {**os.environ, **settings.to_environment(), "PYTHONUNBUFFERED": "1"}
    return ProcessSpec(
        name=name,
        start=lambda: spawn(
            [sys.executable, "-m", module, *arguments],
            log_path=Path(settings.data_dir) / "logs" / f"{name}.log",
            environment=environment,
            pass_fds=fds,
            directory=PROJECT_DIR,  # `-m` looks here first: not into whatever directory `up` was typed in
        ),
        stop_rank=RANKS[name.partition("-")[0]],
        stop_timeout_s=stop_s,
    )


def pids_of(running: dict[str, int]) -> Pids:
    """The supervisor's names as runtime.json groups them."""

    def group(prefix: str) -> list[int]:
        return [pid for name, pid in running.items() if name.startswith(prefix)]

    return Pids(
        supervisor=os.getpid(),
        api=group("api-"),
        redis=running.get("redis"),
        postgres=running.get("postgres"),
        worker=group("worker-"),
        scheduler=running.get("scheduler"),
    )


def end_leftovers(data_dir: Path) -> None:
    """Stop what an `up` that was killed left running on this data, its servers excepted: they see to themselves.

    Call it with the lock of the directory held.
    """
    left = read_started(data_dir)
    if left is None:
        return
    candidates = [*left.pids.api, *left.pids.worker, *([left.pids.scheduler] if left.pids.scheduler else [])]
    found = [process for pid in candidates if (process := _ours(pid, data_dir)) is not None]
    for process in found:
        with suppress(psutil.Error):
            process.terminate()
    if not wait_until(lambda: all(_is_gone(process) for process in found), LEFTOVER_STOP_S):
        for process in found:
            if not _is_gone(process):
                kill_family(process.pid)
    remove_runtime(data_dir)


def _ours(pid: int, data_dir: Path) -> psutil.Process | None:
    """The process, if it is one that was started for this data and not a stranger with its number."""
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        if "-m" in process.cmdline() and process.environ().get("HOLDFAST_DATA_DIR") == str(data_dir):
            return process
    return None


def _is_gone(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.Error:
        return True
