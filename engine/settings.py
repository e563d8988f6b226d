"""Settings: the one reader of the environment. Everything else is handed a `Settings`.

Each variable is `HOLDFAST_` and the field's name in capitals, so `high_water_events` is read from
`HOLDFAST_HIGH_WATER_EVENTS`.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, get_args, get_origin
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from engine.sentinel_url import SCHEMES as SENTINEL_SCHEMES
from engine.sentinel_url import is_of_sentinels, read_sentinel_url

PREFIX = "HOLDFAST_"

Port = Annotated[int, Meta(ge=1, le=65_535)]


class SettingsError(ValueError):
    """The environment holds a value that Holdfast cannot run with; the message names the variable and the mend."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything an operator may set. Units are the last word of a name: `_s`, `_ms`, `_bytes`, `_events`."""

    host: str = "127.0.0.1"
    port: Port = 8000
    data_dir: str = ".holdfast"
    redis_url: str | None = None
    database_url: str | None = None
    workers: Annotated[int, Meta(ge=1, le=64)] = 1
    auth: Literal["keys", "off"] = "keys"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    access_log: bool = True

    # How long a hold lives that is made without a ttl_s; with one it is 1 to 86,400 s
    default_hold_ttl_s: Annotated[int, Meta(ge=1, le=86_400)] = 600
    # The most that extensions, and carts with their lines, may make of a hold's life
    max_hold_life_s: Annotated[int, Meta(ge=1, le=604_800)] = 3_600
    # How long Redis remembers the answers of idempotency keys, and holds, carts and orders that ended. Less than a day
    # is for tests: a retry that comes later is a new request, and so is each whose key was used before this was changed
    retention_s: Annotated[int, Meta(ge=1, le=2_592_000)] = 86_400

    # Carts and checkout: when stock is claimed, and which price holds
    reserve_on: Literal["cart", "checkout"] = "cart"
    price_policy: Literal["locked", "dynamic", "notify"] = "locked"
    cart_hold_ttl_s: Annotated[int, Meta(ge=1, le=86_400)] = 900
    cart_life_s: Annotated[int, Meta(ge=60, le=31_536_000)] = 2_592_000
    payment_window_s: Annotated[int, Meta(ge=1, le=86_400)] = 120

    # The most operations of one script call, which nothing else in Redis can interrupt; more than these wait to be sent
    # are refused with 503; and so many script calls of a verb may be on their way at once
    max_batch: Annotated[int, Meta(ge=1, le=1_000)] = 500
    max_pending: Annotated[int, Meta(ge=1_000, le=1_000_000)] = 20_000
    batches_in_flight: Annotated[int, Meta(ge=1, le=16)] = 2

    # Overload: past this many unflushed events a reserve is refused with 503
    high_water_events: Annotated[int, Meta(ge=1, le=1_000_000_000)] = 1_000_000
    # …and past this share of Redis' maxmemory, so that commits, the flush and its queue keep room to finish
    high_water_memory_percent: Annotated[int, Meta(ge=1, le=100)] = 90

    # Requests a second of one API key, and for one customer; 0: no limit. A burst may come at once; 0: a second's worth
    rate_limit_key: Annotated[int, Meta(ge=0, le=100_000)] = 0
    rate_limit_key_burst: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    rate_limit_customer: Annotated[int, Meta(ge=0, le=100_000)] = 0
    rate_limit_customer_burst: Annotated[int, Meta(ge=0, le=1_000_000)] = 0

    # Connections
    redis_timeout_s: Annotated[float, Meta(gt=0, le=60)] = 2.0
    redis_retries: Annotated[int, Meta(ge=0, le=10)] = 2
    database_pool: Annotated[int, Meta(ge=2, le=200)] = 5

    # Replicas that must confirm what is sold (commits, carts and orders) or held before it is answered; 0 is none
    commit_replicas: Annotated[int, Meta(ge=0, le=16)] = 0
    reserve_replicas: Annotated[int, Meta(ge=0, le=16)] = 0
    replica_timeout_ms: Annotated[int, Meta(ge=1, le=10_000)] = 500

    # Periods of the timetable, and the size of a flush
    flush_every_s: Annotated[int, Meta(ge=1, le=3_600)] = 5
    expire_every_s: Annotated[int, Meta(ge=1, le=3_600)] = 5
    reconcile_every_s: Annotated[int, Meta(ge=1, le=86_400)] = 60
    trim_every_s: Annotated[int, Meta(ge=1, le=86_400)] = 60
    flush_batch_events: Annotated[int, Meta(ge=1, le=100_000)] = 5_000

    # Bounds of a request
    body_limit_bytes: Annotated[int, Meta(ge=1_024)] = 64 * 1024
    batch_body_limit_bytes: Annotated[int, Meta(ge=1_024)] = 1024 * 1024
    head_limit_bytes: Annotated[int, Meta(ge=1_024, le=1024 * 1024)] = 32 * 1024
    head_timeout_s: Annotated[int, Meta(ge=1, le=600)] = 10
    request_timeout_s: Annotated[int, Meta(ge=1, le=3_600)] = 30
    max_connections: Annotated[int, Meta(ge=1, le=1_000_000)] = 16_384
    drain_timeout_s: Annotated[int, Meta(ge=0, le=600)] = 10

    def with_urls(self, redis_url: str, database_url: str) -> Settings:
        """The same settings, pointed at these two servers."""
        return msgspec.structs.replace(self, redis_url=redis_url, database_url=database_url)

    def require_redis_url(self) -> str:
        if self.redis_url is None:
            raise SettingsError(f"{PREFIX}REDIS_URL is not set: point it at a Redis, such as redis://127.0.0.1:6379/0")
        return self.redis_url

    def require_database_url(self) -> str:
        if self.database_url is None:
            raise SettingsError(
                f"{PREFIX}DATABASE_URL is not set: point it at a PostgreSQL, such as postgresql://user@127.0.0.1/holdfast"
            )
        return self.database_url

    def to_environment(self) -> dict[str, str]:
        """The variables that make another process read these same settings."""
        values = msgspec.to_builtins(self)
        return {
            PREFIX + name.upper(): str(value).lower() if isinstance(value, bool) else str(value)
            for name, value in values.items()
            if value is not None
        }


def read_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """Read and check `HOLDFAST_*`; an empty value counts as unset. Raises SettingsError for what cannot be used."""
    source = os.environ if environment is None else environment
    fields = {field.name: field for field in msgspec.structs.fields(Settings)}
    given: dict[str, object] = {}
    for variable, value in source.items():
        if not variable.startswith(PREFIX) or value == "":
            continue
        name = variable.removeprefix(PREFIX).lower()
        if name not in fields:
            raise SettingsError(_unknown(variable, name, fields))
        try:
            given[name] = msgspec.convert(value, fields[name].type, strict=False)
        except msgspec.ValidationError as error:
            raise SettingsError(f"{variable}={value!r} cannot be used: {_rule(fields[name].type, error)}") from None
    settings = Settings(**given)  # type: ignore[arg-type]
    if settings.redis_url is not None and is_of_sentinels(settings.redis_url):
        try:
            read_sentinel_url(settings.redis_url)
        except ValueError as error:
            raise SettingsError(f"{PREFIX}REDIS_URL: {error}") from None
    else:
        _check_url("REDIS_URL", settings.redis_url, ("redis", "rediss", "unix", *SENTINEL_SCHEMES))
    _check_url("DATABASE_URL", settings.database_url, ("postgres", "postgresql"))
    return settings


def _unknown(variable: str, name: str, names: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, names, n=1)
    meant = f", did you mean {PREFIX}{close[0].upper()}?" if close else ";"
    return f"{variable} is not a setting of Holdfast{meant} engine/settings.py lists them all"


def _rule(kind: Any, error: msgspec.ValidationError) -> str:
    """What a value of this kind must be, where msgspec does not say it."""
    if get_origin(kind) is Literal:
        return f"must be one of {', '.join(sorted(get_args(kind)))}"
    return "must be true or false" if kind is bool else str(error)


def _check_url(name: str, url: str | None, schemes: tuple[str, ...]) -> None:
    if url is None:
        return
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:  # whose text may hold a part of the password
        raise SettingsError(f"{PREFIX}{name} is not a URL: percent-encode its password, and check its port") from None
    if parts.scheme not in schemes:
        expected = " or ".join(f"{scheme}://" for scheme in schemes)
        raise SettingsError(f"{PREFIX}{name} must start with {expected}")
