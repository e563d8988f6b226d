"""A storefront's client of the API: every change keyed, so that what a restart leaves unanswered is asked again."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any, Generic, Protocol, TypeVar
from urllib.parse import quote

import msgspec
from msgspec import Struct

from benchmarks.books import Counts
from benchmarks.connections import FAULTS, Answer, Connections

PAGE = 500
MAX_PAGES = 20_000
FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 2.0
TRY_AGAIN = frozenset({429, 502, 503, 504})
NOT_ALLOWED = frozenset({401, 403})

Row = TypeVar("Row")


class ReplayError(RuntimeError):
    """The replay cannot start or go on; the message is one line."""


class UnansweredError(RuntimeError):
    """No answer within the patience; whether it happened is unknown."""


class Asks(Protocol):
    """What a storefront needs of a connection: one request, one answer, or one of FAULTS."""

    async def ask(self, method: str, path: str, headers: Mapping[str, str], body: bytes | None) -> Answer: ...


class Reply(Struct, frozen=True):
    """An answer, and the seconds that it took from the first attempt on."""

    status: int
    body: dict[str, Any]
    elapsed_s: float

    @property
    def is_granted(self) -> bool:
        return self.status in (HTTPStatus.OK, HTTPStatus.CREATED)

    @property
    def code(self) -> str:
        return str(self.body.get("code", self.status))


class StockRow(Struct, frozen=True):
    """One SKU in a page of the API's stock."""

    sku: str
    available: int
    reserved: int
    sold: int


class Page(Struct, Generic[Row], frozen=True):
    """A page of one of the API's lists."""

    items: list[Row]
    next_cursor: str | None


class Storefront:
    """Speaks to one API. An attempt that ends in 503, or in no answer, is made again with the same key, for a while."""

    def __init__(self, connections: Asks, patience_s: float) -> None:
        self._connections = connections
        self._patience_s = patience_s
        self.retries: Counter[str] = Counter()

    async def hold(self, lines: list[tuple[str, int]], customer_id: str | None, key: str) -> Reply:
        body: dict[str, Any] = {"lines": [{"sku": sku, "quantity": units} for sku, units in lines]}
        if customer_id is not None:
            body["customer_id"] = customer_id
        return await self.change("POST", "/holds", body, key)

    async def commit(self, hold_id: str, reference: str, key: str) -> Reply:
        return await self.change("POST", f"/holds/{hold_id}/commit", {"reference": reference}, key)

    async def release(self, hold_id: str) -> Reply:
        return await self.change("DELETE", f"/holds/{hold_id}", None, None)

    async def adjust(self, sku: str, delta: int, reason: str, reference: str, key: str) -> Reply:
        body = {"delta": delta, "reason": reason, "reference": reference}
        return await self.change("POST", f"/stock/{sku}/adjustments", body, key)

    async def create(self, sku: str) -> None:
        """Make sure that the SKU exists; a new one has no units. Raises ReplayError when it is refused."""
        reply = await self.change("PUT", f"/stock/{sku}", {"on_hand": 0}, None)
        if reply.status != HTTPStatus.CREATED and reply.code != "sku-exists":
            raise ReplayError(f"the API does not create the SKU {sku}: {reply.status} {reply.code}")

    async def stock(self) -> dict[str, Counts]:
        """The counts of every SKU."""
        rows = await self.pages("/stock", StockRow)
        return {row.sku: Counts(row.available, row.reserved, row.sold) for row in rows}

    async def pages(self, path: str, kind: type[Row]) -> list[Row]:
        """Everything in a list, page by page. Raises ReplayError when it is refused, or too long to be true."""
        rows: list[Row] = []
        page_path = f"{path}?limit={PAGE}"
        for _ in range(MAX_PAGES):
            answer = await self._answer("GET", page_path, None, {})
            if answer.status != HTTPStatus.OK:
                raise ReplayError(_explain(answer))
            page: Page[Row] = msgspec.json.decode(answer.content, type=Page[kind])  # type: ignore[valid-type]
            rows += page.items
            if page.next_cursor is None:
                return rows
            page_path = f"{path}?limit={PAGE}&cursor={quote(page.next_cursor, safe='')}"
        raise ReplayError(f"the API's list {path} is longer than {PAGE * MAX_PAGES:,}")

    async def change(self, method: str, path: str, body: dict[str, Any] | None, key: str | None) -> Reply:
        """Ask for a change under a key. Raises ReplayError for a missing key of the API, UnansweredError."""
        headers = {} if key is None else {"Idempotency-Key": key}
        started = time.perf_counter()
        answer = await self._answer(method, path, body, headers)
        elapsed_s = time.perf_counter() - started
        if answer.status in NOT_ALLOWED:
            raise ReplayError(_explain(answer))
        try:
            return Reply(answer.status, msgspec.json.decode(answer.content, type=dict[str, Any]), elapsed_s)
        except msgspec.DecodeError:
            return Reply(answer.status, {}, elapsed_s)

    async def _answer(self, method: str, path: str, body: dict[str, Any] | None, headers: Mapping[str, str]) -> Answer:
        content = None if body is None else msgspec.json.encode(body)
        deadline = time.monotonic() + self._patience_s
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                answer = await self._connections.ask(method, path, headers, content)
                if answer.status not in TRY_AGAIN and not _is_running(answer):
                    return answer
                reason, detail = str(answer.status), _explain(answer)
            except FAULTS as error:
                reason, detail = "no answer", f"no answer: {str(error) or type(error).__name__}"
            if time.monotonic() + pause_s > deadline:
                raise UnansweredError(f"{method} {path}: {detail}")
            self.retries[reason] += 1
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)


def _is_running(answer: Answer) -> bool:
    return answer.status == HTTPStatus.CONFLICT and b'"request-in-progress"' in answer.content


def _explain(answer: Answer) -> str:
    if answer.status in NOT_ALLOWED:
        return f"the API answers {answer.status}: give an operator's key with --api-key"
    return f"the API answers {answer.status}: {answer.content[:200].decode(errors='replace')}"


@asynccontextmanager
async def open_storefront(api_url: str, *, api_key: str | None, patience_s: float) -> AsyncIterator[Storefront]:
    """Connect to the API at `api_url`. Raises ReplayError for what is no URL."""
    headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
    try:
        connections = Connections(f"{api_url.rstrip('/')}/api/v1", headers)
    except ValueError as error:
        raise ReplayError(str(error)) from None
    try:
        yield Storefront(connections, patience_s)
    finally:
        await connections.close()
