from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from cli.runtime import (
    AlreadyRunningError,
    Pids,
    Runtime,
    find_running,
    is_running,
    lock_data_dir,
    read_runtime,
    runtime_path,
    settings_for_command,
    write_runtime,
)
from engine.settings import Settings, SettingsError

RUNTIME = Runtime(
    api_url="http://127.0.0.1:8000",
    redis_url="redis://127.0.0.1:1/0",
    database_url="postgresql://postgres@127.0.0.1:2/holdfast",
    pids=Pids(supervisor=1, api=[2], redis=3, postgres=4, worker=[5, 6], scheduler=7),
)


def test_the_file_is_whole_and_its_owners_alone(tmp_path: Path) -> None:
    write_runtime(tmp_path, RUNTIME)
    assert read_runtime(tmp_path) == RUNTIME
    assert stat.S_IMODE(runtime_path(tmp_path).stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["runtime.json"]


def test_a_directory_can_be_claimed_once_at_a_time(tmp_path: Path) -> None:
    lock = lock_data_dir(tmp_path)
    assert is_running(tmp_path)
    with pytest.raises(AlreadyRunningError, match="another `holdfast up` is running"):
        lock_data_dir(tmp_path)
    os.close(lock)
    assert not is_running(tmp_path)
    os.close(lock_data_dir(tmp_path))


@pytest.mark.parametrize("name", ["file", "file/below"])
def test_a_directory_that_cannot_be_used_is_named_with_its_variable(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match=rf"HOLDFAST_DATA_DIR={tmp_path / name} cannot be used \(Not a directory\)"):
        lock_data_dir(tmp_path / name)


def test_a_command_without_urls_uses_those_of_the_running_system(tmp_path: Path) -> None:
    lock = lock_data_dir(tmp_path)
    write_runtime(tmp_path, RUNTIME)
    settings = settings_for_command(Settings(data_dir=str(tmp_path), redis_url="redis://elsewhere/0"))
    assert settings.redis_url == "redis://elsewhere/0"
    assert settings.database_url == RUNTIME.database_url
    os.close(lock)


def test_a_command_finds_a_system_that_is_not_ready_yet_for_it_may_be_what_makes_it_so(tmp_path: Path) -> None:
    lock = lock_data_dir(tmp_path)
    write_runtime(tmp_path, RUNTIME, is_ready=False)
    assert read_runtime(tmp_path) is None
    settings = settings_for_command(Settings(data_dir=str(tmp_path)))
    assert (settings.redis_url, settings.database_url) == (RUNTIME.redis_url, RUNTIME.database_url)
    write_runtime(tmp_path, RUNTIME)
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".json"] == ["runtime.json"]
    os.close(lock)


def test_what_a_killed_system_left_behind_is_not_taken_for_a_running_one(tmp_path: Path) -> None:
    os.close(lock_data_dir(tmp_path))
    write_runtime(tmp_path, RUNTIME)
    settings = Settings(data_dir=str(tmp_path))
    assert find_running(settings) is None
    with pytest.raises(SettingsError, match=r"start one, .* or set HOLDFAST_REDIS_URL and HOLDFAST_DATABASE_URL"):
        settings_for_command(settings)


def test_a_file_that_is_no_runtime_counts_as_none(tmp_path: Path) -> None:
    runtime_path(tmp_path).write_text("{")
    assert read_runtime(tmp_path) is None
