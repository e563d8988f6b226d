"""What is wrong with a field, in words: msgspec quotes patterns, and does not name the choices that there are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from msgspec import inspect

from api.messages.texts import RULES

MAX_QUOTED_LENGTH = 60

_CHOICE = re.compile(r"^Invalid enum value '?(?P<value>.*?)'?$", re.DOTALL)
_PATTERN = "Expected `str` matching regex "
_IN_WORDS = {f"{_PATTERN}{pattern!r}": rule for pattern, rule in RULES.items()}
_STEP = re.compile(r"\[[^\]]*\]|[^.\[]+")


def in_words(message: str, kind: Any, path: str = "") -> str:
    """Msgspec's message about what is at `path`, such as `lines[0].sku`, in a `kind`: no patterns, but the choices."""
    if message.startswith(_PATTERN):
        return _IN_WORDS.get(message, "has a character that it may not have")
    if found := _CHOICE.match(message):
        choices = ", ".join(dict.fromkeys(_choices(_types_at(_type_of(kind), _STEP.findall(path)))))
        value = found["value"]
        quoted = value if len(value) <= MAX_QUOTED_LENGTH else value[:MAX_QUOTED_LENGTH] + "…"
        return f"'{quoted}' is none of {choices}" if choices else message
    return message


@cache
def _type_of(kind: Any) -> inspect.Type:
    return inspect.type_info(kind)


def _types_at(kind: inspect.Type, steps: list[str]) -> Iterator[inspect.Type]:
    """Each type that a value may have after these steps into a `kind`."""
    match kind:
        case inspect.Metadata():
            yield from _types_at(kind.type, steps)
        case inspect.UnionType():
            for one in kind.types:
                yield from _types_at(one, steps)
        case _ if not steps:
            yield kind
        case inspect.StructType():
            for field in kind.fields:
                if field.encode_name == steps[0]:
                    yield from _types_at(field.type, steps[1:])
        case inspect.CollectionType():
            yield from _types_at(kind.item_type, steps[1:])
        case inspect.DictType():
            yield from _types_at(kind.value_type, steps[1:])


def _choices(types: Iterator[inspect.Type]) -> Iterator[str]:
    for kind in types:
        match kind:
            case inspect.EnumType():
                yield from (str(member.value) for member in kind.cls)
            case inspect.LiteralType():
                yield from (str(value) for value in kind.values)
