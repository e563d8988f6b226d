"""Exceptions as logs show them: their kinds and places, and of their messages only what cannot be a value.

An error of a library or of a server may repeat what it was given: a customer's id, a row, a body.
"""

from __future__ import annotations

import logging
import re
import traceback
from types import TracebackType
from typing import TypeAlias

MAX_MESSAGE_LENGTH = 300
MAX_CHAIN = 10

ExcInfo: TypeAlias = (
    "tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]"  # as logging has it
)

_QUOTED = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|`[^`]*`|\((?:[^()]*)\)=\(.*\)""")


def describe_exception(error: BaseException) -> str:
    """Its traceback and those of what led to it, the oldest first, with messages as `describe_message` leaves them."""
    chain: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in chain and len(chain) < MAX_CHAIN:
        chain.append(cause)
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return "\n".join(
        "".join(traceback.format_tb(each.__traceback__)) + f"{type(each).__qualname__}: {describe_message(each)}"
        for each in reversed(chain)
    )


def describe_message(error: BaseException) -> str:
    """The first line of its message, without what stands in quotes: further lines are details, which name rows."""
    first, *_ = str(error).splitlines() or [""]
    return _QUOTED.sub("…", first)[:MAX_MESSAGE_LENGTH]


class PlainLines(logging.Formatter):
    """Records as lines of text, with exceptions as `describe_exception` has them."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s")

    def formatException(self, ei: ExcInfo) -> str:  # noqa: N802 - logging's name
        return "" if ei[1] is None else describe_exception(ei[1])


def set_up_plain_logging(level: str) -> None:
    """Send everything that this process logs to standard error, as plain lines."""
    handler = logging.StreamHandler()
    handler.setFormatter(PlainLines())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
