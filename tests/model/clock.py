"""A clock that tests move, on the real server: the scripts read it in the place of TIME."""

from __future__ import annotations

from typing import Any

from engine.scripts import VERBS, Script
from engine.shard import Shard

CLOCK = ("HMGET", "{s0}:meta", "test_s", "test_us")
TIME_CALL = "redis.call('TIME')"


class ClockedScript(Script):
    """A verb's script that asks the tests' clock."""

    def __init__(self, verb: str, *, with_flags: bool = True) -> None:
        super().__init__(verb, with_flags=with_flags)
        assert self.text.count(TIME_CALL) == 1
        self.replace_text(self.text.replace(TIME_CALL, "redis.call('HMGET', META, 'test_s', 'test_us')"))


class ClockedShard(Shard):
    """A shard whose readers ask the tests' clock too."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, scripts={verb: ClockedScript(verb) for verb in VERBS}, **options)

    async def set_clock(self, now_ms: int) -> None:
        fields: dict[Any, Any] = {"test_s": now_ms // 1000, "test_us": now_ms % 1000 * 1000}
        await self.pipe.client.hset(self.keys.meta, mapping=fields)

    async def _read_all(self, *commands: tuple[Any, ...]) -> list[Any]:
        return await super()._read_all(*(CLOCK if command == ("TIME",) else command for command in commands))
