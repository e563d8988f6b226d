"""The key watch: hears from PostgreSQL of every key that is revoked, as it is revoked."""

from __future__ import annotations

import asyncio
import logging

import asyncpg

from api.access.authentication import Authenticator
from persistence.api_keys import hear_revocations
from persistence.pool import FAULTS

log = logging.getLogger("holdfast.keys")

FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 1.0


class KeyWatch:
    """One task and one connection a process. While it cannot listen, keys are asked for again every few seconds."""

    def __init__(self, database_url: str, authenticator: Authenticator) -> None:
        self._database_url = database_url
        self._authenticator = authenticator
        self._pause_s = FIRST_PAUSE_S
        self._is_told = False

    async def run(self) -> None:
        """Listen for ever."""
        while True:
            try:
                await hear_revocations(self._database_url, self._listening, self._authenticator.revoke)
            except (*FAULTS, asyncpg.PostgresError) as error:
                self._tell(repr(error))
            except Exception:  # the next attempt may succeed
                log.exception("the key watch failed")
            else:
                self._tell("the connection was lost")
            await asyncio.sleep(self._pause_s)
            self._pause_s = min(self._pause_s * 2, LONGEST_PAUSE_S)

    def _listening(self) -> None:
        """What was revoked before this moment was not heard of, so everything is asked for again."""
        self._authenticator.doubt()
        self._pause_s = FIRST_PAUSE_S
        if self._is_told:
            log.info("revocations of keys are heard of again")
            self._is_told = False

    def _tell(self, reason: str) -> None:
        if not self._is_told:
            log.warning("revocations of keys are not heard of at once: %s", reason)
            self._is_told = True
