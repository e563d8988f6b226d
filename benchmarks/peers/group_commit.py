"""`group_commit`: `noop`, but an answer waits until Redis has its request in the synced log: what that alone costs.

One connection and one SET for all requests that wait together; nothing is judged and nothing is kept. Less than this no
design can do that is on this Redis with `appendfsync always`, on this disk.
"""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import urlsplit

import hiredis

from benchmarks.peers.noop import Noop, Receive, Send, messages_of, read
from benchmarks.peers.serving import arguments, serve

KEY = "{peer}:kept"
DONE = b"+OK\r\n"


class GroupCommit(Noop):
    """The application."""

    def __init__(self, redis_url: str) -> None:
        super().__init__()
        self._url = urlsplit(redis_url)
        self._waiting: list[tuple[bytes, asyncio.Future[None]]] = []
        self._at_work: asyncio.Task[None] | None = None

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._open_redis()
            await self.live(receive, send)
            self._writer.close()
            return
        content = await read(receive)
        status, body = self.answer(scope["path"], content)
        await self._kept(content)
        for message in messages_of(status, body):
            await send(message)

    def _kept(self, content: bytes) -> asyncio.Future[None]:
        """Done once this content is in the synced log, with all that came while the contents before it went there."""
        kept: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((content, kept))
        if self._at_work is None or self._at_work.done():
            self._at_work = asyncio.create_task(self._write_out())
        return kept

    async def _write_out(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            try:
                await self._ask("SET", KEY, b"".join([content for content, _ in batch]))
            except (OSError, EOFError) as error:
                for _, kept in batch:
                    kept.cancel(f"Redis does not answer: {error}")
                continue
            for _, kept in batch:
                if not kept.done():
                    kept.set_result(None)

    async def _open_redis(self) -> None:
        url = self._url
        self._reader, self._writer = await asyncio.open_connection(url.hostname, url.port)
        if url.password:
            await self._ask("AUTH", url.username or "default", url.password)
        await self._ask("SELECT", url.path.lstrip("/") or "0")

    async def _ask(self, *command: str | bytes) -> None:
        self._writer.write(hiredis.pack_command(command))  # type: ignore[arg-type]
        said = await self._reader.readexactly(len(DONE))
        if said != DONE:
            raise ConnectionError(f"Redis refused {command[0]!r}")


if __name__ == "__main__":
    told = arguments(redis_url=str)
    serve(GroupCommit(told.redis_url), told.fd)
