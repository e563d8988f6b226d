"""Strategies for what a client should not send: bodies, headers, paths and framings, each almost right."""

from __future__ import annotations

import json
import re
from typing import Any

from hypothesis import strategies as st
from msgspec import Struct


class Known(Struct, frozen=True):
    """What exists in the system that is asked: so that odd requests come close to an effect."""

    sku: str
    hold: str
    cart: str
    order: str
    product: str


NUMBERS = (
    "0", "-0", "-1", "1.0", "1e0", "1E400", "-1e-400", "NaN", "Infinity", "-Infinity", "01", "+1", "0x1", "1_0", "٣",
    "9" * 19, "9" * 400, str(2**31), str(2**53 + 1), str(2**63), str(-(2**63) - 1), str(2**64), "1" + "0" * 4_000,
    "10001", "86401", "true", "null", '""', '"1"', "[]", "{}", "[1]",
)  # fmt: skip
TEXTS = (
    '"\\ud800"', '"\\udc00\\ud800"', '"\\u0000"', '"a\\u0000b"', '"\x00"', '"\\x00"', '"\\u00"', '"\\', '"\n"',
    '"\\u202e"', '"\\ufeff"', '"\\uffff"', '"' + "x" * 5_000 + '"', '"' + "\\u00e9" * 1_000 + '"', '"../../x"',
    '"%00"', '"{s0}:stock"', '"\'; DROP TABLE holds; --"', '"a|b"', "'a'", "a", '"\U0001f600"', "null", "1", "[]",
)  # fmt: skip
NESTS = ("[" * 900, "[" * 60_000, '{"a":' * 900, '{"a":' * 9_000, "[" * 900 + "]" * 900, '[{"a":' * 5_000)
RAW = (
    b"\xff",
    b"\xed\xa0\x80",
    b"\xc0\x80",
    b"\xef\xbb\xbf",
    b"\x00",
    b"\x1f\x8b",
    b"\xf8\x88\x80\x80\x80",
    b"/*",
    b"//",
)
VALUE = re.compile(rb'"[^"]*"|-?\d+|true|false|null')


@st.composite
def bodies(draw: st.DrawFn, good: dict[str, Any]) -> bytes:
    """A good body after one to three mishaps; now and then it is still good."""
    body = json.dumps(good).encode()
    for _ in range(draw(st.integers(1, 3))):
        body = draw(st.sampled_from(_MISHAPS))(draw, body)
    return body


def _replace_value(draw: st.DrawFn, body: bytes) -> bytes:
    places = list(VALUE.finditer(body))
    if not places:
        return body
    place = draw(st.sampled_from(places))
    odd = draw(st.sampled_from(NUMBERS + TEXTS + NESTS) | st.text(max_size=20).map(json.dumps))
    return body[: place.start()] + odd.encode("utf-8", "surrogatepass") + body[place.end() :]


def _repeat_field(draw: st.DrawFn, body: bytes) -> bytes:
    fields = list(re.finditer(rb'"\w+": ("[^"]*"|-?\d+)', body))
    if not fields:
        return body
    field = draw(st.sampled_from(fields))
    again = draw(st.sampled_from((field[0], re.sub(rb": .*", b": 1", field[0]), re.sub(rb": .*", b": null", field[0]))))
    return body[: field.end()] + b", " + again + body[field.end() :]


def _add_field(draw: st.DrawFn, body: bytes) -> bytes:
    name = draw(st.sampled_from(("x", "", "__proto__", "$ref", "sku ", "SKU", "\\u0073ku", "lines\\u0000")))
    return body.replace(b"{", b'{"%s": %s, ' % (name.encode(), draw(st.sampled_from((b"1", b"null", b"[]")))), 1)


def _cut(draw: st.DrawFn, body: bytes) -> bytes:
    return body[: draw(st.integers(0, len(body)))]


def _flip(draw: st.DrawFn, body: bytes) -> bytes:
    at = draw(st.integers(0, max(len(body) - 1, 0)))
    return body[:at] + bytes([draw(st.integers(0, 255))]) + body[at + 1 :]


def _insert(draw: st.DrawFn, body: bytes) -> bytes:
    at = draw(st.integers(0, len(body)))
    return body[:at] + draw(st.sampled_from(RAW) | st.binary(max_size=8)) + body[at:]


def _surround(draw: st.DrawFn, body: bytes) -> bytes:
    before, after = draw(
        st.sampled_from(((b"[", b"]"), (b"", b" {}"), (b"", b","), (b"", b"\x00"), (b" " * 65_500, b""), (b'"', b'"')))
    )
    return before + body + after


_MISHAPS = (_replace_value, _replace_value, _repeat_field, _add_field, _cut, _flip, _insert, _surround)

NAMES = (
    "Idempotency-Key", "Authorization", "X-API-Key", "Content-Type", "Accept", "If-Match", "X-Request-Id", "Cookie",
    "Origin", "Expect", "Range", "X-Forwarded-For", "Accept-Encoding", "Content-Encoding", "Connection", "Host", "TE",
    "Trailer", "Upgrade", "Date", "X-HTTP-Method-Override", "Keep-Alive", "If-None-Match",
)  # fmt: skip
VALUES = (
    b"", b" ", b"\t", b'"', b'""', b'"\\"', b'"a', b"a" * 255, b"a" * 256, b"a" * 8_000, b"\xff\xfe", b"\xc3\xa9",
    b"a\tb", b"*", b'W/"1"', b'"1", "2"', b"0", b"-1", b"Bearer", b"Bearer ", b"Bearer hf_" + b"a" * 43, b"Basic Og==",
    b"close", b"application/json; charset=utf-16", b"application/json, text/plain", b"multipart/form-data", b"gzip",
    b"chunked", b"100-continue", b"200-ok", b"bytes=0-", b"a\x7fb", b"a\x01b", b"a\x00b", b"a\rb", b"\x0b", b"x;q=,;;=",
    b"h2c",
)  # fmt: skip
header_values = st.sampled_from(VALUES) | st.binary(max_size=40).map(lambda raw: raw.replace(b"\n", b""))
odd_headers = st.lists(st.tuples(st.sampled_from(NAMES), header_values), max_size=4)
idempotency_keys = header_values | st.binary(max_size=300).map(lambda raw: raw.replace(b"\n", b"").replace(b"\r", b""))

SEGMENTS = (
    "", ".", "..", "%2e%2e", "%2F", "%00", "%ff", "%ed%a0%80", "%", "%zz", "%25", "a" * 65, "a" * 3_000, "*", "hold_",
    "cart_", "ord_", "none", "null", "-", "0", "hold_" + "A" * 22, "hold_AAAAAAAAAAAAAAAAAAAAAA-zz", "{s0}", "a:b",
    "%7Bs0%7D:stock", "a;b", "a%20b", "%0d%0aX:%201", "%e2%80%ae", "ord_" + "B" * 22 + "-51b2", "\u00e9", "a?b", "a#b",
)  # fmt: skip
segments = st.sampled_from(SEGMENTS) | st.text(
    st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="/?# "), max_size=70
)


@st.composite
def chunked(draw: st.DrawFn, body: bytes) -> bytes:
    """The body in two chunks and an end, something of which may be odd."""
    at = draw(st.integers(1, len(body) - 1))
    first = b"%x\r\n" % at + body[:at] + b"\r\n"
    rest = b"%X\r\n" % (len(body) - at) + body[at:] + b"\r\n"
    end = b"0\r\n\r\n"
    whole = first + rest + end
    return draw(
        st.sampled_from((
            whole,
            first + rest,  # the end never comes
            first + b"zz\r\n" + rest,
            first + rest + b"0\r\nTrailer: x\r\n\r\n",
            whole.replace(b"\r\n", b"\n", 1),
            first + b"ffffffffffffffffff\r\n" + rest,
            b"0" * 300 + whole,
            whole.replace(b"\r\n", b';x="y"\r\n', 1),
            whole.replace(b"\r\n", b";" + b"x" * 30_000 + b"\r\n", 1),
            b"-1\r\n" + whole,
            first[:-2] + rest + end,
            first + rest + b"0\r\n" + b"T: x\r\n" * 200 + b"\r\n",
            whole + whole,
        ))
    )  # fmt: skip
