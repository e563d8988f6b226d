"""Idempotency: an operation's token is derived from who asks and its key, so that asking twice is asking once."""

from __future__ import annotations

import binascii
import random
import secrets
import time
from functools import lru_cache
from hashlib import blake2b

import msgspec

TOKEN_BYTES = 16
NONCE_BYTES = 6
FINGERPRINT_BYTES = 8
MAX_KEY_LENGTH = 255
MAX_TOKEN_LENGTH = 64
CLOCK_SKEW_S = 600

_URL_SAFE = bytes.maketrans(b"+/", b"-_")
_EMPTY = blake2b(digest_size=FINGERPRINT_BYTES)
_encode_sorted = msgspec.json.Encoder(order="sorted").encode


class Keyed(msgspec.Struct, frozen=True, gc=False):
    """An operation that its client named: the token that its key leads to, and the fingerprint of its payload.

    The fingerprint is plain text, such as hexadecimal: it needs no escape in JSON, and is not empty.
    """

    token: str
    fingerprint: str


def fresh_token() -> str:
    """A token for an operation without a key: 128 random bits, URL-safe."""
    return _text(secrets.token_bytes(TOKEN_BYTES))


def token_in(text: str, prefix: str) -> str | None:
    """The token in an id with this prefix; None for what cannot be one."""
    token = text.removeprefix(prefix)
    if token == text or not 1 <= len(token) <= MAX_TOKEN_LENGTH or not token.isascii():
        return None
    return token if token.replace("-", "").replace("_", "").isalnum() else None


def fresh_nonce() -> str:
    """What tells two things apart that were made at once: 48 random bits, of which nothing depends on being secret."""
    return _text(random.randbytes(NONCE_BYTES))


def derive_token(client: str, verb: str, key: str, position: int = 0) -> str:
    """The token of `client`'s operation `verb` under idempotency key `key`; `position` tells apart a batch's holds.

    Keys are scoped by client and verb, so one key may name a reserve and its commit.
    """
    digest = _begun(client, verb, len(key)).copy()
    digest.update(f"{key}{position}".encode())
    return _text(digest.digest())


@lru_cache(maxsize=1_024)
def _begun(client: str, verb: str, key_length: int) -> blake2b:
    """The digest of what comes before the key, which many keys have in common.

    Lengths first, so that no two sets of parts can read the same.
    """
    text = f"{len(client)}:{len(verb)}:{key_length}:{client}{verb}"
    return blake2b(text.encode(), digest_size=TOKEN_BYTES)


def now_ms() -> int:
    """The time of this process, in ms since 1970: near enough to tell a retention period by."""
    return time.time_ns() // 1_000_000


def generations(token: str, at_ms: int, retention_s: int) -> tuple[str, tuple[str, ...]]:
    """The token that a keyed hold gets now, and those that it may have got before or on a clock that is ahead.

    A key may come again after it was forgotten, and then names another hold. So the token carries a count of retention
    periods: within one the hold's record is still there, and after two it is certainly gone. Clocks may differ by
    CLOCK_SKEW_S at most.
    """
    now, before, after = _endings(at_ms // 1000, retention_s)
    if after is None:
        return token + now, (token + before,)
    return token + now, (token + before, token + after)


@lru_cache(maxsize=4)
def _endings(at_s: int, retention_s: int) -> tuple[str, str, str | None]:
    """What tokens end with now, one period ago and, where a clock may be that far ahead, in the next one."""
    period, into_s = divmod(at_s, retention_s)
    is_soon_over = into_s >= retention_s - CLOCK_SKEW_S
    return f"-{period:x}", f"-{period - 1:x}", f"-{period + 1:x}" if is_soon_over else None


def fingerprint(payload: object) -> str:
    """A short hash of a decoded payload: equal for equal content, whatever its white space or field order was."""
    digest = _EMPTY.copy()  # half the time of making one
    digest.update(_encode_sorted(payload))
    return digest.hexdigest()


def _text(data: bytes) -> str:
    """The bytes in URL-safe base64 without its padding (RFC 4648, section 5)."""
    return binascii.b2a_base64(data).translate(_URL_SAFE, b"=\n").decode()
