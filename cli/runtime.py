"""What a running `holdfast up` tells other commands: its lock, and `runtime.json` in the data directory."""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path

import msgspec

from engine.errors import HoldfastError
from engine.settings import Settings, SettingsError

LOCK_ATTEMPTS = 5
LOCK_PAUSE_S = 0.1


class Pids(msgspec.Struct, frozen=True, kw_only=True):
    """The processes of a running system; a server that is not ours has no pid."""

    supervisor: int
    api: list[int]
    redis: int | None
    postgres: int | None
    worker: list[int]
    scheduler: int | None


class Runtime(msgspec.Struct, frozen=True, kw_only=True):
    """Where a running system can be reached."""

    api_url: str
    redis_url: str
    database_url: str
    pids: Pids


class AlreadyRunningError(HoldfastError):
    """Another `up` works on this data directory."""


def runtime_path(data_dir: Path) -> Path:
    return data_dir / "runtime.json"


def starting_path(data_dir: Path) -> Path:
    """The same while the servers run and the system is not ready: it may need `rebuild` or `reconcile` for that."""
    return data_dir / "starting.json"


def lock_data_dir(data_dir: Path) -> int:
    """Claim the directory until this process ends, however it ends. Raises AlreadyRunningError, SettingsError."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        reason = "Not a directory" if isinstance(error, FileExistsError) else error.strerror
        raise SettingsError(
            f"HOLDFAST_DATA_DIR={data_dir} cannot be used ({reason}): name a directory that can be made and written to"
        ) from None
    for _ in range(LOCK_ATTEMPTS):  # a command that asks `is_running` holds it for an instant
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        time.sleep(LOCK_PAUSE_S)
    os.close(descriptor)
    raise AlreadyRunningError(f"another `holdfast up` is running on {data_dir}; stop it, or set HOLDFAST_DATA_DIR")


def is_running(data_dir: Path) -> bool:
    """Whether some `up` holds the directory now."""
    try:
        descriptor = os.open(data_dir / "lock", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def write_runtime(data_dir: Path, runtime: Runtime, *, is_ready: bool = True) -> None:
    """Replace the file at once; URLs may hold passwords, so only its owner may read it."""
    path = runtime_path(data_dir) if is_ready else starting_path(data_dir)
    fresh = path.with_suffix(".json.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(runtime)) + b"\n")
    fresh.replace(path)
    if is_ready:
        starting_path(data_dir).unlink(missing_ok=True)


def read_runtime(data_dir: Path) -> Runtime | None:
    """What is said of a system that was ready, whether or not it still runs."""
    return _read(runtime_path(data_dir))


def read_started(data_dir: Path) -> Runtime | None:
    """What is said of a system whose servers were started, whether or not it was ready, and still runs."""
    return _read(runtime_path(data_dir)) or _read(starting_path(data_dir))


def _read(path: Path) -> Runtime | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Runtime)
    except (OSError, msgspec.DecodeError):
        return None


def remove_runtime(data_dir: Path) -> None:
    for path in (runtime_path(data_dir), starting_path(data_dir)):
        path.unlink(missing_ok=True)


def find_running(settings: Settings) -> Runtime | None:
    """The system that `up` runs on this data directory, as soon as its servers do."""
    data_dir = Path(settings.data_dir)
    return read_started(data_dir) if is_running(data_dir) else None


def settings_for_command(settings: Settings) -> Settings:
    """Settings with both servers' URLs: those given, otherwise those of the running `up`.

    Raises SettingsError with what to do when there is neither.
    """
    if settings.redis_url is not None and settings.database_url is not None:
        return settings
    running = find_running(settings)
    if running is None:
        raise SettingsError(
            f"no ready `holdfast up` was found on {settings.data_dir}: start one, point HOLDFAST_DATA_DIR at its data,"
            " or set HOLDFAST_REDIS_URL and HOLDFAST_DATABASE_URL"
        )
    return settings.with_urls(settings.redis_url or running.redis_url, settings.database_url or running.database_url)
