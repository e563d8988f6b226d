"""docker-compose.yml and Dockerfile, checked as far as they can be without Docker."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
import yaml

from cli.embedded import AOF_REWRITE_FROM
from engine.settings import PREFIX, Settings, read_settings

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docker-compose.yml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
OURS = ["migrate", "api", "worker-flush", "worker-housekeeping", "scheduler", "operator"]
ONCE = ["roles", "migrate", "grants", "operator"]
PASSWORD = re.compile(r"\$\{((?:REDIS|POSTGRES)\w*_PASSWORD)([^}]*)\}")

# The user of Redis and the role of PostgreSQL of each service.
USERS = {
    "migrate": (None, "holdfast_owner"),
    "api": ("api", "holdfast_api"),
    "worker-flush": ("worker", "holdfast_worker"),
    "worker-housekeeping": ("worker", "holdfast_worker"),
    "scheduler": ("scheduler", None),
    "operator": ("operator", "holdfast_operator"),
}


def test_every_process_of_the_system_is_a_service() -> None:
    assert set(SERVICES) == {"redis", "postgres", "roles", "grants", *OURS}


@pytest.mark.parametrize("name", OURS)
def test_a_services_command_exists(name: str) -> None:
    command = SERVICES[name].get("entrypoint", SERVICES[name]["command"])
    if command[:2] == ["python", "-m"]:
        module = command[2]
        found = importlib.util.find_spec(module)
        assert found is not None
        if found.submodule_search_locations is not None:
            assert importlib.util.find_spec(f"{module}.__main__") is not None
    else:
        assert command[0] in PROJECT["project"]["scripts"]


@pytest.mark.parametrize("name", OURS)
def test_a_services_variables_are_settings_and_their_values_are_accepted(name: str) -> None:
    variables = {variable: filled(value) for variable, value in SERVICES[name]["environment"].items()}
    fields = {PREFIX + field.name.upper() for field in msgspec.structs.fields(Settings)}
    assert set(variables) <= fields
    settings = read_settings(variables)
    user, role = USERS[name]
    places = {"redis_url": (user, "redis", 6379), "database_url": (role, "postgres", 5432)}
    for field, (login, host, port) in places.items():
        url = getattr(settings, field)
        assert (url is None) == (login is None)
        if login is not None:
            parts = urlsplit(url)
            assert (parts.username, parts.password, parts.hostname, parts.port) == (login, "secret", host, port)
            variable = f"{host.upper()}_{login.removeprefix('holdfast_').upper()}_PASSWORD"
            assert variable in SERVICES[name]["environment"][PREFIX + field.upper()]


def filled(value: str) -> str:
    """A value with every password and every default in its place."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", PASSWORD.sub("secret", value))


def test_the_api_asks_for_keys() -> None:
    assert SERVICES["api"]["environment"]["HOLDFAST_AUTH"] == "keys"


def test_a_service_is_given_no_password_but_its_own() -> None:
    servers = {"redis", "postgres", "roles", "grants"}
    for name in set(SERVICES) - servers:
        found = {match[0] for value in SERVICES[name]["environment"].values() for match in PASSWORD.findall(value)}
        assert len(found) == sum(login is not None for login in USERS[name]), name


def test_no_password_has_a_default_and_a_missing_one_is_refused_with_what_to_do() -> None:
    given = PASSWORD.findall(TEXT)
    assert len(given) == TEXT.count("PASSWORD:?")
    assert {rest for _, rest in given} == {":?make .env with deploy/secrets.sh"}


def test_the_script_makes_every_password_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    (tmp_path / "deploy").mkdir()
    script = shutil.copy(ROOT / "deploy" / "secrets.sh", tmp_path / "deploy")
    made = subprocess.run(["sh", script], capture_output=True, text=True, check=True)  # noqa: S607 - the system's own
    path = tmp_path / ".env"
    assert (made.stdout, made.stderr, path.stat().st_mode & 0o777) == ("", "", 0o600)
    found = dict(line.split("=") for line in path.read_text().splitlines())
    assert set(found) == {name for name, _ in PASSWORD.findall(TEXT)}
    assert all(re.fullmatch(r"[0-9a-f]{64}", password) for password in found.values())
    assert len(set(found.values())) == len(found)
    again = subprocess.run(["sh", script], capture_output=True, check=False)  # noqa: S607 - as above
    assert again.returncode == 1
    assert dict(line.split("=") for line in path.read_text().splitlines()) == found
    assert ".env" in (ROOT / ".gitignore").read_text().split()


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_waits_only_for_services_that_can_tell_that_they_are_there(name: str) -> None:
    for other, waiting in SERVICES[name].get("depends_on", {}).items():
        if waiting["condition"] == "service_healthy":
            assert "healthcheck" in SERVICES[other]
        else:
            assert waiting["condition"] == "service_completed_successfully"
            assert SERVICES[other]["restart"] == "no"


@pytest.mark.parametrize("name", sorted(set(SERVICES) - set(ONCE)))
def test_what_dies_is_started_again(name: str) -> None:
    assert SERVICES[name]["restart"] == "unless-stopped"


@pytest.mark.parametrize("name", ["redis", "postgres"])
def test_data_lives_in_a_named_volume(name: str) -> None:
    assert SERVICES[name]["volumes"][0].partition(":")[0] in COMPOSE["volumes"]


@pytest.mark.parametrize("name", ["redis", "roles", "grants"])
def test_files_of_the_deployment_are_there_and_are_mounted_for_reading(name: str) -> None:
    (folder, mount, mode) = SERVICES[name]["volumes"][-1].split(":")
    assert (mount, mode) == ("/deploy", "ro")
    named = [part.partition("=")[2] or part for part in SERVICES[name]["command"] if mount in part]
    assert named
    assert all((ROOT / folder / Path(path).name).is_file() for path in named)


def test_the_roles_come_before_the_tables_and_the_grants_after_them() -> None:
    waits = {name: set(SERVICES[name].get("depends_on", {})) for name in SERVICES}
    assert waits["roles"] == {"postgres"}
    assert waits["migrate"] == {"roles"}
    assert waits["grants"] == {"migrate"}
    assert all("grants" in waits[name] for name in OURS if USERS[name][1] not in (None, "holdfast_owner"))


def test_redis_keeps_what_it_acknowledged_evicts_nothing_and_starts_with_its_users() -> None:
    command = SERVICES["redis"]["command"]
    start = ["sh", "/deploy/start.sh", "/deploy/users.acl", "docker-entrypoint.sh", "redis-server"]
    assert command[: len(start)] == start
    options = command[len(start) :]
    assert dict(zip(options[::2], options[1::2], strict=True)) == {
        "--appendonly": "yes",
        "--appendfsync": "always",
        "--auto-aof-rewrite-min-size": AOF_REWRITE_FROM,
        "--maxmemory-policy": "noeviction",
        "--save": "",
    }
    users = (ROOT / "deploy" / "redis" / "users.acl").read_text()
    assert set(re.findall(r"#(REDIS_\w+)", users)) == set(SERVICES["redis"]["environment"])


def test_postgresql_keeps_rows_out_of_its_log() -> None:
    assert SERVICES["postgres"]["command"] == ["postgres", "-c", "log_error_verbosity=terse"]


def test_only_the_api_is_published_and_only_on_this_machine() -> None:
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["api"]
    assert all(port.startswith("127.0.0.1:") for port in SERVICES["api"]["ports"])


def test_the_image_holds_every_package_and_runs_as_nobody_special() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    allowed = (ROOT / ".dockerignore").read_text().split()
    packages = {package.partition(".")[0] for package in PROJECT["tool"]["setuptools"]["packages"]}
    assert {f"!{package}" for package in packages} <= set(allowed)
    copied = [name for line in re.findall(r"^COPY (.*) \./$", dockerfile, re.MULTILINE) for name in line.split()]
    assert copied
    assert all((ROOT / name).is_file() and f"!{name}" in allowed for name in copied)
    assert re.search(r"^USER (?!root)", dockerfile, re.MULTILINE)
