"""Memories of answers as text: [fingerprint, answer]. What is long is compressed, since a cart's answers repeat it."""

from __future__ import annotations

import base64
import zlib

import msgspec

MIN_PACKED_BYTES = 2_048
LEVEL = 1
PACKED = "b"
"""What a compressed answer begins with, a JSON string; one that begins otherwise holds the answer as text."""

_decode = msgspec.json.Decoder(tuple[str, msgspec.Raw]).decode
_decode_text = msgspec.json.Decoder(str).decode


def remembered(fingerprint: str, answer: bytes) -> str:
    """The memory of an answer, JSON, under the fingerprint of what was asked."""
    told: object = msgspec.Raw(answer)
    if len(answer) >= MIN_PACKED_BYTES:
        told = PACKED + base64.b64encode(zlib.compress(answer, LEVEL)).decode()
    return msgspec.json.encode((fingerprint, told)).decode()


def recalled(memory: str) -> tuple[str, bytes]:
    """The fingerprint and the answer of a memory. Raises msgspec.DecodeError."""
    fingerprint, told = _decode(memory)
    answer = bytes(told)
    if not answer.startswith(b'"'):
        return fingerprint, answer
    text = _decode_text(answer)
    return fingerprint, zlib.decompress(base64.b64decode(text[1:])) if text.startswith(PACKED) else text.encode()
