"""The address of a Redis that Sentinels watch over.

`redis+sentinel://[user:password@]host[:port],host[:port]…/service[?db=0&sentinel_username=…&sentinel_password=…]`
names the Sentinels, and the service whose master is meant; `rediss+sentinel://` is the same with TLS to the servers.
User and password are the servers', those of the Sentinels are told apart.
"""

from __future__ import annotations

from urllib.parse import parse_qs, unquote

from msgspec import Struct

SCHEMES = ("redis+sentinel", "rediss+sentinel")
DEFAULT_PORT = 26_379
OPTIONS = frozenset({"db", "sentinel_username", "sentinel_password"})
EXPECTED = "expected redis+sentinel://host:26379,host:26379/service"


class SentinelUrl(Struct, frozen=True):
    """Where the Sentinels are, and what to ask them for."""

    nodes: tuple[tuple[str, int], ...]
    service: str
    db: int = 0
    is_tls: bool = False
    username: str | None = None
    password: str | None = None
    sentinel_username: str | None = None
    sentinel_password: str | None = None


def is_of_sentinels(url: str) -> bool:
    """Whether this is the address of Sentinels, not of a server."""
    return url.partition("://")[0] in SCHEMES


def read_sentinel_url(url: str) -> SentinelUrl:
    """Read such an address. Raises ValueError, whose text holds nothing of it."""
    # By hand, since urlsplit knows one host.
    scheme, _, rest = url.partition("://")
    place, _, query = rest.partition("?")
    netloc, _, service = place.partition("/")
    user, _, hosts = netloc.rpartition("@")
    username, _, password = user.partition(":")
    options = {name: values[-1] for name, values in parse_qs(query).items()}
    service, db = unquote(service.removesuffix("/")), options.get("db", "0")
    if not service or not hosts or "/" in service:
        raise ValueError(EXPECTED)
    if options.keys() - OPTIONS or not db.isdecimal():
        raise ValueError(f"{EXPECTED}, and of options only {', '.join(sorted(OPTIONS))}")
    return SentinelUrl(
        nodes=tuple(_node(host) for host in hosts.split(",")),
        service=service,
        db=int(db),
        is_tls=scheme == SCHEMES[1],
        username=unquote(username) or None,
        password=unquote(password) or None,
        sentinel_username=options.get("sentinel_username"),
        sentinel_password=options.get("sentinel_password"),
    )


def _node(text: str) -> tuple[str, int]:
    """A host and its port; an IPv6 address stands in brackets."""
    host, colon, port = text.rpartition(":")
    if not colon or port.endswith("]"):
        host, port = text, str(DEFAULT_PORT)
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise ValueError(EXPECTED)
    return host, int(port)
