"""Bodies: JSON into the frozen structs of a route, strictly; what does not fit names its field.

Litestar's own way would turn "3" into 3; so the routes' typed `data` is decoded here, through its extension point.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from functools import cache
from typing import Any, TypeVar

import msgspec
from litestar.dto import AbstractDTO
from litestar.dto.data_structures import DTOFieldDefinition
from litestar.openapi.spec import Reference, Schema
from litestar.typing import FieldDefinition

from api.messages.body_limits import RawHeaders
from api.messages.errors import EMPTY_BODY, MAX_MESSAGE_LENGTH, ProblemRaised, invalid
from api.messages.field_messages import in_words

T = TypeVar("T")

_AT_PATH = re.compile(r" - at (?:`key` in )?`\$(?P<path>[^`]*)`$")
_NAMED_FIELD = re.compile(r"^Object (?:contains unknown|missing required) field `(?P<name>.*)`$", re.DOTALL)


def check_content_type(headers: RawHeaders) -> None:
    """Refuse what says that it is no JSON; a request that says nothing is taken at its body. Raises ProblemRaised."""
    for name, value in headers:
        if name == b"content-type":
            kind = value.partition(b";")[0].strip().lower()
            if kind != b"application/json" and not (kind.startswith(b"application/") and kind.endswith(b"+json")):
                raise ProblemRaised(invalid("", "the content type must be application/json"))


def decode_body(kind: type[T], body: bytes | bytearray | msgspec.Raw) -> T:
    """Decode into `kind`, coercing nothing. Raises ProblemRaised."""
    if not body:
        raise ProblemRaised(invalid("", EMPTY_BODY))
    try:
        decoder: msgspec.json.Decoder[T] = _decoder(kind)  # type: ignore[arg-type]
        decoded = decoder.decode(body)
    except msgspec.ValidationError as error:
        raise ProblemRaised(invalid(*_place(str(error), kind))) from None
    except UnicodeDecodeError:
        raise ProblemRaised(invalid("", "the body is not UTF-8")) from None
    except msgspec.DecodeError as error:
        raise ProblemRaised(invalid("", str(error)[:MAX_MESSAGE_LENGTH])) from None
    except RecursionError:
        raise ProblemRaised(invalid("", "the body is nested too deeply")) from None
    return decoded


@cache
def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)


def _place(message: str, kind: Any) -> tuple[str, str]:
    """Msgspec's message about a `kind` as the field's path and what is wrong with it."""
    path = ""
    if at := _AT_PATH.search(message):
        path, message = at["path"].removeprefix("."), message[: at.start()]
    if named := _NAMED_FIELD.match(message):
        path = f"{path}.{named['name']}" if path else named["name"]
        message = "unknown field" if "unknown" in message[:24] else "required field is missing"
    return path[:MAX_MESSAGE_LENGTH], in_words(message, kind, path)[:MAX_MESSAGE_LENGTH]


class JsonBody(AbstractDTO[Any]):
    """What Litestar asks for the `data` of a route: the body, decoded into the annotated struct by `decode_body`."""

    def decode_bytes(self, value: bytes) -> Any:
        data_field = self.asgi_connection.route_handler.parsed_data_field
        return decode_body(data_field.annotation, value)

    @classmethod
    def create_openapi_schema(
        cls,
        field_definition: FieldDefinition,
        handler_id: str,  # noqa: ARG003 - Litestar's signature
        schema_creator: Any,
    ) -> Reference | Schema:
        found: Reference | Schema = schema_creator.for_field_definition(field_definition)
        return found

    @classmethod
    def create_for_field_definition(cls, *_: Any, **__: Any) -> None:
        """No backend is needed: the structs are their own schema."""

    @classmethod
    def is_supported_model_type_field(cls, field_definition: FieldDefinition) -> bool:  # noqa: ARG003 - as above
        """Answers are encoded elsewhere (api/messages/replies.py)."""
        return False

    @classmethod
    def generate_field_definitions(cls, model_type: type[Any]) -> Generator[DTOFieldDefinition, None, None]:  # noqa: ARG003
        yield from ()

    @classmethod
    def detect_nested_field(cls, field_definition: FieldDefinition) -> bool:  # noqa: ARG003 - as above
        return False
