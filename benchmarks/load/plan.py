"""Plans: what a load client sends, told once for every client and every system that is measured with it.

A request's path and body may hold three marks. `<key>` becomes the request's own idempotency key, `<choice>` the next
of the plan's choices, `<id>` the id in the answer of the step before. Keys and choices have a fixed width, so that
every request of a step has one Content-Length and a client only has to put parts together.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from urllib.parse import urlsplit

from msgspec import Struct
from msgspec.structs import replace

KEY, CHOICE, ID = "<key>", "<choice>", "<id>"
NUMBER_WIDTH = 10
MAX_CONNECTIONS = 1_000  # what select() can watch


class Step(Struct, frozen=True):
    """One request of a chain; the answer that goes on has the status `granted` and an id that begins with `prefix`."""

    name: str
    path: str
    body: str
    granted: int = 201
    prefix: str = "hold_"
    method: str = "POST"


class Plan(Struct, frozen=True):
    """A load: each chain begins with the first step, and a granted answer leads to the next one on its connection.

    Closed-loop for `seconds`, as fast as `connections` allow; with `rate` open-loop, so many chains a second on a
    schedule that waits for nobody; with `limit` as many chains as that, until all are answered. Chains may begin at the
    second step with an id from `pool`. With `collect` the ids of the last step are told.
    """

    url: str
    steps: tuple[Step, ...]
    prefix: str
    headers: dict[str, str] = {}
    choices: tuple[str, ...] = ()
    pool: tuple[str, ...] = ()
    connections: int = 64
    seconds: float = 2.0
    rate: float | None = None
    limit: int | None = None
    collect: bool = False

    def __post_init__(self) -> None:
        if not self.steps or not 1 <= self.connections <= MAX_CONNECTIONS:
            raise ValueError(f"a plan has steps, and 1 to {MAX_CONNECTIONS} connections")
        if len({len(choice) for choice in self.choices}) > 1:
            raise ValueError("choices differ in length, so Content-Length would")

    @property
    def address(self) -> tuple[str, int]:
        parts = urlsplit(self.url)
        return parts.hostname or "127.0.0.1", parts.port or 80

    def against(self, url: str, prefix: str, headers: Mapping[str, str]) -> Plan:
        """The same load for another system, under keys of its own."""
        return replace(self, url=url, prefix=prefix, headers=dict(headers))

    def text(self, step: Step) -> str:
        """A step's whole request, its marks still in it."""
        host, port = self.address
        lines = [
            f"{step.method} {step.path} HTTP/1.1",
            f"Host: {host}:{port}",
            *(f"{name}: {value}" for name, value in self.headers.items()),
            f"Idempotency-Key: {KEY}",
            "Content-Type: application/json",
            f"Content-Length: {len(self._filled(step.body))}",
        ]
        return "\r\n".join([*lines, "", ""]) + step.body

    def _filled(self, text: str) -> str:
        sample = self.choices[0] if self.choices else ""
        return text.replace(KEY, key_of(self.prefix, 0)).replace(CHOICE, sample)


def key_of(prefix: str, number: int) -> str:
    """The idempotency key of a plan's request with this number."""
    return f"{prefix}-{number:0{NUMBER_WIDTH}d}"


Compose = Callable[[str], bytes]
"""Makes the next request of a step, for an id ("" where the step needs none)."""


def composers(plan: Plan) -> list[Compose]:
    """What makes the requests of each step; all share one count of keys and one round of choices."""
    numbers = itertools.count(1)
    choices = itertools.cycle([choice.encode() for choice in plan.choices or ("",)])
    return [_composer(plan.text(step), plan.prefix, numbers, choices) for step in plan.steps]


def _composer(text: str, prefix: str, numbers: Iterator[int], choices: Iterator[bytes]) -> Compose:
    parts = text.encode().split(KEY.encode())
    key = f"{prefix.replace('%', '%%')}-%0{NUMBER_WIDTH}d".encode()
    choice_mark, id_mark = CHOICE.encode(), ID.encode()

    def compose(made: str) -> bytes:
        request = (key % next(numbers)).join(parts)
        return request.replace(choice_mark, next(choices)).replace(id_mark, made.encode())

    return compose
