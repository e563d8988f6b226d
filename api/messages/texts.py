"""Texts: which characters they may have, as patterns for the schemas and in words for whoever sent another one."""

from __future__ import annotations

from engine.stock import SKU_PATTERN

# The ends are look-aheads because `$` also matches before a final newline.
WITHOUT_CONTROLS = r"^[^\x00-\x1f\x7f-\x9f]*(?![\s\S])"
PLAIN_TEXT = r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]*(?![\s\S])"
"""As WITHOUT_CONTROLS, but for tabs and line breaks."""
VISIBLE = r"^(?=[\s\S]*\S)" + WITHOUT_CONTROLS.removeprefix("^")
"""Something besides spaces."""
WORD = r"^[A-Za-z0-9_-]+(?![\s\S])"
SLUG = r"^[a-z0-9-]+(?![\s\S])"
CURRENCY = r"^[A-Z]{3}(?![\s\S])"

RULES = {
    SKU_PATTERN: "must be 1 to 64 of A-Z a-z 0-9 . _ : -",
    WITHOUT_CONTROLS: "must have no control characters and no line breaks",
    PLAIN_TEXT: "must have no control characters but tabs and line breaks",
    VISIBLE: "must have something besides spaces, and no control characters and no line breaks",
    WORD: "must be of A-Z a-z 0-9 _ -",
    SLUG: "must be of a-z 0-9 -",
    CURRENCY: "must be three capital letters, such as EUR",
}
