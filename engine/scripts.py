"""The Lua scripts: read once, called by hash, loaded again by themselves when the server forgot them."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, Protocol

import msgspec
from redis.exceptions import NoScriptError

LUA_FOLDER = Path(__file__).resolve().parent.parent / "lua"
VERBS = ("reserve", "commit", "release", "extend", "expire", "adjust", "trade", "acknowledge")


class Evaluator(Protocol):
    """What a script needs of a Redis client."""

    def evalsha(self, sha: str, numkeys: int, *keys_and_args: Any) -> Awaitable[Any]: ...

    def eval(self, script: str, numkeys: int, *keys_and_args: Any) -> Awaitable[Any]: ...


class Header(msgspec.Struct, frozen=True):
    """A script's header: each `-- Field: text` with its continuation lines."""

    fields: dict[str, str]

    @property
    def flags(self) -> tuple[str, ...]:
        return tuple(self.fields.get("Flags", "").split())

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
    """One verb: the prelude and its own file, one text."""

    def __init__(self, verb: str, *, with_flags: bool = True) -> None:
        prelude = (LUA_FOLDER / "prelude.lua").read_text(encoding="utf-8")
        body = (LUA_FOLDER / f"{verb}.lua").read_text(encoding="utf-8")
        self.verb = verb
        self.header = read_header(body)
        flags = self.header.flags
        shebang = f"#!lua flags={','.join(flags)}\n" if flags and with_flags else ""
        self.replace_text(f"{shebang}{prelude}\n{body}")

    def replace_text(self, text: str) -> None:
        """Run this text from now on."""
        self.text = text
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    async def run(self, redis: Evaluator, keys: list[str], argument: bytes) -> Any:
        """Run on `redis`; a server that does not know the hash is sent the text, which it then remembers."""
        try:
            return await redis.evalsha(self.sha, len(keys), *keys, argument)
        except NoScriptError:
            return await redis.eval(self.text, len(keys), *keys, argument)


def load_scripts(*, with_flags: bool = True) -> dict[str, Script]:
    """Every verb's script. `with_flags=False` leaves out the flags line for servers that do not know it (fakeredis)."""
    return {verb: Script(verb, with_flags=with_flags) for verb in VERBS}
