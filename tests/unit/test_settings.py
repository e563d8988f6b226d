"""Settings: one reader, and one clear line for whatever cannot be used."""

from __future__ import annotations

import typing
from typing import Annotated, Any, get_args, get_origin

import msgspec
import pytest

from engine.settings import PREFIX, Settings, SettingsError, read_settings

REDIS = f"{PREFIX}REDIS_URL"
DATABASE = f"{PREFIX}DATABASE_URL"
TYPES = typing.get_type_hints(Settings, include_extras=True)


def bounds_of(name: str) -> dict[str, float]:
    """The bounds in a field's annotation, by their msgspec names."""
    marks = [mark for mark in get_args(TYPES[name])[1:] if isinstance(mark, msgspec.Meta)]
    return {
        bound: value for mark in marks for bound in ("ge", "gt", "le") if (value := getattr(mark, bound)) is not None
    }


NUMBERS = [name for name, kind in TYPES.items() if get_origin(kind) is Annotated]
CHOICES = [name for name, kind in TYPES.items() if get_origin(kind) is typing.Literal]
SWITCHES = [name for name, kind in TYPES.items() if kind is bool]


def complaint(variable: str, value: str) -> str:
    with pytest.raises(SettingsError) as caught:
        read_settings({variable: value})
    message = str(caught.value)
    assert variable in message
    assert "\n" not in message
    return message


def test_without_any_variable_everything_has_a_default() -> None:
    assert read_settings({}) == Settings()
    assert read_settings({"PATH": "/bin", "HOLDFASTER": "1"}) == Settings()


def test_every_field_is_a_number_a_choice_a_switch_or_a_text_that_is_checked_elsewhere() -> None:
    texts = {"host", "data_dir", "redis_url", "database_url"}
    assert {*NUMBERS, *CHOICES, *SWITCHES} | texts == set(Settings.__struct_fields__)


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", ["many", "-1", "0x10", "1,5", "nan", "inf", " 5", "5 s", "1e400", "٣"])
def test_what_is_no_number_is_refused_with_the_name_of_its_variable(name: str, value: str) -> None:
    assert value in complaint(PREFIX + name.upper(), value) or not value.isascii()


@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_beyond_its_bounds_is_refused_and_its_bounds_are_accepted(name: str) -> None:
    variable, bounds = PREFIX + name.upper(), bounds_of(name)
    assert bounds.keys() & {"ge", "gt"}
    for bound, value in bounds.items():
        beyond = {"ge": value - 1, "gt": value, "le": value + 1}[bound]
        complaint(variable, str(beyond))
        if bound != "gt":
            assert getattr(read_settings({variable: str(value)}), name) == value


@pytest.mark.parametrize("name", [name for name in NUMBERS if name != "redis_timeout_s"])
def test_a_whole_number_is_asked_for_where_there_are_no_halves(name: str) -> None:
    complaint(PREFIX + name.upper(), "1.5")


@pytest.mark.parametrize("name", CHOICES)
def test_a_choice_that_does_not_exist_is_refused_and_each_that_does_is_taken(name: str) -> None:
    variable = PREFIX + name.upper()
    assert f"must be one of {', '.join(sorted(get_args(TYPES[name])))}" in complaint(variable, "maybe")
    for choice in get_args(TYPES[name]):
        assert getattr(read_settings({variable: choice}), name) == choice


@pytest.mark.parametrize("name", SWITCHES)
def test_a_switch_is_true_or_false(name: str) -> None:
    variable = PREFIX + name.upper()
    for value, meaning in {"true": True, "1": True, "false": False, "0": False}.items():
        assert getattr(read_settings({variable: value}), name) is meaning
    for value in ("perhaps", "2", "-1", "on "):
        assert "must be true or false" in complaint(variable, value)


@pytest.mark.parametrize("name", ["REDIS_ULR", "PORTS", "", "__CLASS__", "WITH_URLS"])
def test_a_misspelt_variable_is_named_not_passed_over(name: str) -> None:
    assert "is not a setting" in complaint(PREFIX + name, "1")


def test_the_nearest_name_and_the_list_of_all_are_told() -> None:
    assert f"did you mean {REDIS}? engine/settings.py lists" in complaint(f"{PREFIX}REDIS_ULR", "1")
    assert "Holdfast; engine/settings.py lists them all" in complaint(f"{PREFIX}NONSENSE", "1")


def test_every_kind_of_redis_url_is_named_to_who_gave_another() -> None:
    for scheme in ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel"):
        assert f"{scheme}://" in complaint(REDIS, "http://h/0")


def test_an_empty_value_counts_as_unset() -> None:
    given = {f"{PREFIX}{name.upper()}": "" for name in Settings.__struct_fields__}
    assert read_settings(given) == Settings()


@pytest.mark.parametrize(
    "url", ["redis://127.0.0.1:6379/0", "rediss://user:pass@cache.example:6380/1", "unix:///run/redis.sock?db=2"]
)
def test_redis_urls_of_every_kind_are_taken(url: str) -> None:
    assert read_settings({REDIS: url}).require_redis_url() == url


@pytest.mark.parametrize("url", ["postgresql://user@127.0.0.1/holdfast", "postgres://u:p@h:5432/d?sslmode=require"])
def test_database_urls_of_both_spellings_are_taken(url: str) -> None:
    assert read_settings({DATABASE: url}).require_database_url() == url


@pytest.mark.parametrize("variable", [REDIS, DATABASE])
@pytest.mark.parametrize(
    "url", ["localhost", "http://h/0", "//h", "mysql://u@h/d", "redis//h", "redis://h:port", "postgresql://h:70000/d"]
)
def test_a_url_that_leads_nowhere_is_refused(variable: str, url: str) -> None:
    complaint(variable, url)


@pytest.mark.parametrize("variable", [REDIS, DATABASE])
@pytest.mark.parametrize(
    "url", ["{}://user:s3cr/et@host:1/0", "{}://user:s3cr\N{ACCOUNT OF}@host/0", "{}://[user:s3cr@host", "s3cr://{}"]
)
def test_a_complaint_about_a_url_never_repeats_its_password(variable: str, url: str) -> None:
    scheme = "redis" if variable == REDIS else "postgresql"
    assert "s3cr" not in complaint(variable, url.format(scheme))


def test_a_url_that_is_needed_but_missing_is_named() -> None:
    with pytest.raises(SettingsError, match=REDIS):
        Settings().require_redis_url()
    with pytest.raises(SettingsError, match=DATABASE):
        Settings().require_database_url()


def test_a_process_that_is_handed_the_environment_reads_the_same_settings() -> None:
    changed: dict[str, Any] = {
        "redis_timeout_s": 0.25,
        "auth": "off",
        "log_level": "warning",
        "access_log": False,
        "host": "::1",
        "data_dir": "/some where/ünïcode",
    }
    for name in NUMBERS:
        changed.setdefault(name, bounds_of(name).get("le", 4_096))
    settings = Settings(**changed).with_urls("redis://h/0", "postgresql://h/d")
    for each in (Settings(), settings):
        environment = each.to_environment()
        assert all(name.startswith(PREFIX) and value for name, value in environment.items())
        assert read_settings(environment) == each


def test_the_process_environment_is_read_when_none_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{PREFIX}PORT", "8123")
    assert read_settings().port == 8123
