"""Memories of answers as text: what is long is compressed, since a cart's answers repeat it at each of its lines."""

from __future__ import annotations

import base64
import zlib

MIN_PACKED_BYTES = 512
LEVEL = 1
MARK = b"z"
"""What a compressed memory begins with; no JSON does."""


def pack(answer: bytes) -> bytes:
    """JSON as it is remembered: ASCII where it was compressed."""
    if len(answer) < MIN_PACKED_BYTES:
        return answer
    return MARK + base64.b85encode(zlib.compress(answer, LEVEL))


def unpack(text: bytes) -> bytes:
    """The JSON that was packed."""
    return zlib.decompress(base64.b85decode(text[1:])) if text.startswith(MARK) else text
