"""The documentation page: one HTML file made from the OpenAPI document, with everything it needs inside."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html import escape
from pathlib import Path
from typing import Any

from api.messages.errors import KINDS

STATIC = Path(__file__).parent / "static"
_CODE = re.compile(r"`([^`]+)`")
_STRONG = re.compile(r"\*\*([^*]+)\*\*")


def _read(name: str) -> str:
    return (STATIC / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def content_security_policy() -> str:
    """Nothing from elsewhere: this very script and style, and calls to this very server."""
    return (
        f"default-src 'none'; script-src {_hash(_read('docs.js'))}; style-src {_hash(_read('docs.css'))}; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def render_page(document: dict[str, Any]) -> bytes:
    """The page."""
    schemas = document["components"]["schemas"]
    groups = [(tag, _operations_of(document, tag["name"])) for tag in document["tags"]]
    navigation = "".join(
        f"<b>{escape(tag['name'])}</b>"
        + "".join(f'<a href="#{escape(o["operationId"])}">{escape(o["summary"])}</a>' for _, _, o in operations)
        for tag, operations in groups
    )
    sections = "".join(
        f"<h2>{escape(tag['name'])}</h2><p>{_text(tag['description'])}</p>"
        + "".join(_operation(path, method, operation, schemas) for path, method, operation in operations)
        for tag, operations in groups
    )
    parts = {
        "title": escape(document["info"]["title"]),
        "style": _read("docs.css"),
        "script": _read("docs.js"),
        "navigation": navigation
        + "<b>More</b><a href='#problems'>Problems</a><a href='/openapi.json'>openapi.json</a>",
        "introduction": "".join(f"<p>{_text(part)}</p>" for part in document["info"]["description"].split("\n\n")),
        "sections": sections,
        "problems": _problems(),
    }
    page = re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], _read("docs.html"))
    return page.encode()


def _operations_of(document: dict[str, Any], tag: str) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (path, method.upper(), operation)
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if tag in operation.get("tags", [])
    ]


def _text(text: str) -> str:
    return _STRONG.sub(r"<strong>\1</strong>", _CODE.sub(r"<code>\1</code>", escape(text.strip())))


def _operation(path: str, method: str, operation: dict[str, Any], schemas: dict[str, Any]) -> str:
    name = escape(operation["operationId"])
    paragraphs = "".join(f"<p>{_text(part)}</p>" for part in operation.get("description", "").split("\n\n"))
    body = operation.get("requestBody", {}).get("content", {}).get("application/json")
    heading = (
        f'<span class="method {method.lower()}">{method}</span> <code>{escape(path)}</code> '
        f"<span>{escape(operation['summary'])}</span>"
    )
    parts = [
        f'<details class="operation" id="{name}"><summary>{heading}</summary>',
        paragraphs,
        _parameters(operation.get("parameters", [])),
    ]
    if body is not None:
        parts += ["<h4>Body</h4>", _fields(body["schema"], schemas), _json(body["example"])]
    parts += ["<h4>Answers</h4>", *(_response(s, r, schemas) for s, r in sorted(operation["responses"].items()))]
    parts += ["<h4>Try it</h4>", f"<pre>{escape(_curl(path, method, operation))}</pre>", _form(path, method, operation)]
    return "".join(parts) + "</details>"


def _parameters(parameters: list[dict[str, Any]]) -> str:
    rows = "".join(
        _row(p["name"], p["in"] + (", required" if p.get("required") else ""), p["schema"], p.get("description", ""))
        for p in parameters
    )
    return f"<h4>Parameters</h4><table>{rows}</table>" if rows else ""


def _fields(schema: dict[str, Any], schemas: dict[str, Any], prefix: str = "") -> str:
    rows = "".join(_rows(schema, schemas, prefix))
    return f"<table>{rows}</table>" if rows else ""


def _rows(schema: dict[str, Any], schemas: dict[str, Any], prefix: str) -> list[str]:
    schema = _resolve(schema, schemas)
    rows: list[str] = []
    for name, part in schema.get("properties", {}).items():
        required = "required" if name in schema.get("required", ()) else "optional"
        rows.append(_row(prefix + name, required, part, _described(part)))
        nested = _resolve(part.get("items", part), schemas)
        if nested.get("type") == "object" and prefix.count(".") < 3:  # noqa: PLR2004 - deep enough to read
            rows += _rows(nested, schemas, f"{prefix}{name}{'[]' if 'items' in part else ''}.")
    return rows


def _row(name: str, place: str, schema: dict[str, Any], description: str) -> str:
    return (
        f"<tr><td><code>{escape(name)}</code></td><td>{escape(place)}</td><td>{_constraints(schema)}</td>"
        f"<td>{_text(description)}</td></tr>"
    )


def _resolve(schema: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = schemas[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    return found


def _described(schema: dict[str, Any]) -> str:
    told = [schema.get("description"), *(part.get("description") for part in schema.get("anyOf", ()))]
    return next((text for text in told if text), "")


def _constraints(schema: dict[str, Any]) -> str:
    if "anyOf" in schema or "oneOf" in schema:
        return " or ".join(_constraints(part) for part in schema.get("anyOf") or schema["oneOf"])
    if "$ref" in schema:
        return escape(schema["$ref"].rpartition("/")[2])
    kind = schema.get("type", "any")
    words = [" or ".join(kind) if isinstance(kind, list) else kind]
    for low, high, unit in (
        ("minimum", "maximum", ""),
        ("minLength", "maxLength", " characters"),
        ("minItems", "maxItems", " items"),
    ):
        if low in schema or high in schema:
            words.append(
                f"{schema.get(low, 0):,} to {schema[high]:,}{unit}"
                if high in schema
                else f"at least {schema[low]:,}{unit}"
            )
    if "enum" in schema:
        words.append(" | ".join(map(str, schema["enum"])))
    if "default" in schema:
        words.append(f"default {json.dumps(schema['default'])}")
    return escape(", ".join(words))


def _response(status: str, response: dict[str, Any], schemas: dict[str, Any]) -> str:
    parts = [f'<details><summary><b class="s{status[0]}">{status}</b> {_text(response["description"])}</summary>']
    for name, header in response.get("headers", {}).items():
        parts.append(f"<p><code>{escape(name)}</code>: {_text(header.get('description', ''))}</p>")
    for content in response.get("content", {}).values():
        if status.startswith("2"):
            parts.append(_fields(content["schema"], schemas))
        if "example" in content:
            parts.append(_json(content["example"]))
        parts += [_json(example["value"]) for example in content.get("examples", {}).values()]
    return "".join(parts) + "</details>"


def _json(value: Any) -> str:
    return f"<pre>{escape(json.dumps(value, indent=2, ensure_ascii=False))}</pre>"


def _example_path(path: str, operation: dict[str, Any]) -> str:
    for parameter in operation.get("parameters", []):
        if parameter["in"] == "path":
            path = path.replace(f"{{{parameter['name']}}}", parameter["example"])
    return path


def _example_body(operation: dict[str, Any]) -> str | None:
    content = operation.get("requestBody", {}).get("content", {}).get("application/json")
    return None if content is None else json.dumps(content["example"])


def _has_key(operation: dict[str, Any]) -> bool:
    return any(parameter["name"] == "Idempotency-Key" for parameter in operation.get("parameters", []))


def _curl(path: str, method: str, operation: dict[str, Any]) -> str:
    words = [f"curl -X {method} http://127.0.0.1:8000{_example_path(path, operation)}"]
    if operation["security"]:
        words.append('-H "Authorization: Bearer $HOLDFAST_KEY"')
    if _has_key(operation):
        words.append('-H "Idempotency-Key: $(uuidgen)"')
    body = _example_body(operation)
    if body is not None:
        words += ['-H "Content-Type: application/json"', f"-d '{body}'"]
    return " \\\n  ".join(words)


def _form(path: str, method: str, operation: dict[str, Any]) -> str:
    body = _example_body(operation)
    area = "" if body is None else f'<textarea rows="4" aria-label="Body">{escape(body)}</textarea>'
    return (
        f'<form data-method="{method}" data-key="{"yes" if _has_key(operation) else "no"}">'
        f'<input aria-label="Path" value="{escape(_example_path(path, operation))}">{area}'
        "<button>Send</button><pre hidden></pre></form>"
    )


def _problems() -> str:
    rows = "".join(
        f'<tr id="problem-{code}"><td><code>{code}</code></td><td>{kind.status}</td><td>{escape(kind.title)}</td>'
        f"<td>{_text(kind.when)}</td></tr>"
        for code, kind in KINDS.items()
    )
    return f"<table>{rows}</table>"
