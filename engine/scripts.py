"""The Lua scripts: read once, called by hash, loaded again by themselves when the server forgot them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError

from engine.errands import in_task
from engine.errors import Unavailable
from engine.pipe import Pipe, raised
from engine.settings import Settings

LUA_FOLDER = Path(__file__).resolve().parent.parent / "lua"
VERBS = ("reserve", "commit", "release", "extend", "expire", "adjust", "trade", "acknowledge")


class Replicas(msgspec.Struct, frozen=True):
    """How many replicas must have what a script wrote before it is answered, and how long that may take."""

    count: int
    timeout_ms: int


def replicas_of(settings: Settings) -> dict[str, Replicas]:
    """The verbs that are answered after replicas confirmed them: those that sell, and those that promise units.

    The answer must come before the connection gives up waiting for it, so half of that time is the most.
    """
    counts = {"commit": settings.commit_replicas, "trade": settings.commit_replicas}
    counts |= dict.fromkeys(("reserve", "extend", "release", "adjust"), settings.reserve_replicas)
    timeout_ms = max(1, min(settings.replica_timeout_ms, int(settings.redis_timeout_s * 500)))
    return {verb: Replicas(count, timeout_ms) for verb, count in counts.items() if count}


class Operation(msgspec.Struct, frozen=True):
    """One operation on its way to a script: its own keys, and its arguments after the base index of those keys."""

    keys: tuple[str, ...]
    arguments: tuple[Any, ...]


def pack(shared: Sequence[str], operations: Sequence[Operation]) -> tuple[list[str], list[tuple[Any, ...]]]:
    """The keys of a batch, those that it shares first, and each operation's arguments behind its base among them."""
    keys, arguments = list(shared), []
    for operation in operations:
        arguments.append((len(keys) + 1, *operation.arguments))
        keys.extend(operation.keys)
    return keys, arguments


class Header(msgspec.Struct, frozen=True):
    """A script's header: each `-- Field: text` with its continuation lines."""

    fields: dict[str, str]

    @property
    def flags(self) -> tuple[str, ...]:
        return tuple(self.fields.get("Flags", "").split())

    @property
    def shared(self) -> tuple[str, ...]:
        """The files between the prelude and the verb."""
        return tuple(self.fields.get("With", "").split())

    @property
    def answers(self) -> tuple[str, ...]:
        """The statuses that an answer may begin with."""
        parts = self.fields["Answers"].split('["')[1:]
        return tuple(part.split('"', 1)[0] for part in parts)


def read_header(source: str) -> Header:
    """Parse the comment block at the top of a verb's file."""
    fields: dict[str, str] = {}
    name = ""
    for line in source.splitlines():
        if not line.startswith("-- "):
            break
        text = line[3:]
        head, colon, rest = text.partition(":")
        if colon and head.isalpha() and head.istitle() | head.isupper():
            name = head
            fields[name] = rest.strip()
        elif name:
            fields[name] += " " + text.strip()
    return Header(fields)


class Script:
    """One verb: the prelude, what its header says it comes with, and its own file, one text.

    What is no verb of the shard comes without the prelude.
    """

    def __init__(
        self, verb: str, *, with_flags: bool = True, with_prelude: bool = True, replicas: Replicas | None = None
    ) -> None:
        body = _read(verb)
        self.verb = verb
        self.replicas = replicas
        self.header = read_header(body)
        flags = self.header.flags
        shebang = f"#!lua flags={','.join(flags)}\n" if flags and with_flags else ""
        shared = [_read(name) for name in ("prelude", *self.header.shared)] if with_prelude else []
        self.replace_text(shebang + "\n".join([*shared, body]))

    def replace_text(self, text: str) -> None:
        """Run this text from now on."""
        self.text = text
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    async def run(self, pipe: Pipe, keys: list[str], argument: bytes) -> Any:
        """Run on the pipe's server; one that does not know the hash is sent the text, which it then remembers.

        Where replicas must confirm it, Unavailable is raised when too few do in time. It has happened all the same, and
        may be lost with this server: who asks again with the same key is told once they have it.
        """
        if self.replicas is not None:
            return await self._run_confirmed(pipe.client, keys, argument, self.replicas)
        (answer,) = await pipe.ask(("EVALSHA", self.sha, len(keys), *keys, argument))
        if isinstance(answer, NoScriptError):
            (answer,) = await pipe.ask(("EVAL", self.text, len(keys), *keys, argument))
        return raised(answer)

    async def _run_confirmed(self, redis: Redis, keys: list[str], argument: bytes, replicas: Replicas) -> Any:
        await in_task()
        answer = None
        for command, script in (("EVALSHA", self.sha), ("EVAL", self.text)):
            async with redis.pipeline(transaction=False) as pipeline:
                pipeline.execute_command(command, script, len(keys), *keys, argument)
                # WAIT asks after its own connection's last write, and a script that only repeats an answer writes
                # nothing. A message goes to the replicas after everything before it, and costs neither disk nor memory.
                pipeline.execute_command("PUBLISH", keys[0], "")
                pipeline.execute_command("WAIT", replicas.count, replicas.timeout_ms)
                answer, *others = await pipeline.execute(raise_on_error=False)
            if isinstance(answer, NoScriptError):
                continue
            for told in (answer, *others):
                raised(told)
            if others[-1] < replicas.count:
                raise Unavailable(
                    f"only {others[-1]} of {replicas.count} replicas confirmed it in time, so it may have happened; "
                    "ask again with the same key"
                )
            return answer
        raise RedisError(f"the server does not keep the script {self.verb}") from answer


def _read(name: str) -> str:
    return (LUA_FOLDER / f"{name}.lua").read_text(encoding="utf-8")


def load_scripts(*, with_flags: bool = True, replicas: Mapping[str, Replicas] | None = None) -> dict[str, Script]:
    """Every verb's script. `with_flags=False` leaves out the flags line for servers that do not know it (fakeredis)."""
    wanted = replicas or {}
    return {verb: Script(verb, with_flags=with_flags, replicas=wanted.get(verb)) for verb in VERBS}
