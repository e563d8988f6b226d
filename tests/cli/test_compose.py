"""docker-compose.yml and Dockerfile, checked as far as they can be without Docker."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from engine.settings import PREFIX, Settings, read_settings

ROOT = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
OURS = ["migrate", "api", "worker-flush", "worker-housekeeping", "scheduler"]


def test_every_process_of_the_system_is_a_service() -> None:
    assert set(SERVICES) == {"redis", "postgres", *OURS}


@pytest.mark.parametrize("name", OURS)
def test_a_services_command_exists(name: str) -> None:
    command = SERVICES[name]["command"]
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
    variables = {
        variable: re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value)
        for variable, value in SERVICES[name]["environment"].items()
    }
    fields = {PREFIX + field.name.upper() for field in msgspec.structs.fields(Settings)}
    assert set(variables) <= fields
    settings = read_settings(variables)
    assert settings.auth == "keys"
    assert "@postgres:" in settings.require_database_url()
    assert "//redis:" in settings.require_redis_url()


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_waits_only_for_services_that_can_tell_that_they_are_there(name: str) -> None:
    for other, waiting in SERVICES[name].get("depends_on", {}).items():
        if waiting["condition"] == "service_healthy":
            assert "healthcheck" in SERVICES[other]
        else:
            assert waiting["condition"] == "service_completed_successfully"
            assert SERVICES[other]["restart"] == "no"


@pytest.mark.parametrize("name", sorted(set(SERVICES) - {"migrate"}))
def test_what_dies_is_started_again(name: str) -> None:
    assert SERVICES[name]["restart"] == "unless-stopped"


@pytest.mark.parametrize("name", ["redis", "postgres"])
def test_data_lives_in_a_named_volume(name: str) -> None:
    (volume,) = SERVICES[name]["volumes"]
    assert volume.partition(":")[0] in COMPOSE["volumes"]


def test_redis_keeps_what_it_acknowledged_and_evicts_nothing() -> None:
    command = SERVICES["redis"]["command"]
    options = dict(zip(command[1::2], command[2::2], strict=True))
    assert options == {
        "--appendonly": "yes",
        "--appendfsync": "always",
        "--maxmemory-policy": "noeviction",
        "--save": "",
    }


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
