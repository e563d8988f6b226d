"""Logs: one JSON object a line on standard output; never a body, a secret or a customer's id."""

from __future__ import annotations

import logging
import sys
import time

import msgspec

from engine.logs import describe_exception
from engine.settings import Settings

FIELDS = "fields"


class JsonLines(logging.Formatter):
    """A record as one JSON line: time, level, logger, message, and the `fields` given with it."""

    def format(self, record: logging.LogRecord) -> str:
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03}Z"
        line = {"at": at, "level": record.levelname.lower(), "logger": record.name, "message": record.getMessage()}
        line.update(getattr(record, FIELDS, {}))
        if record.exc_info and record.exc_info[1] is not None:
            line["error"] = describe_exception(record.exc_info[1])
        return msgspec.json.encode(line, enc_hook=str).decode()


def set_up_logging(settings: Settings) -> None:
    """Send everything that this process logs to standard output, in this form."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler], force=True)
