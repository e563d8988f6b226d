"""Shoppers who hold one unit and pay for it, and who ask again with the same key until they are answered."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Any
from uuid import uuid4

import httpx

SHOPPERS = 12
PAUSE_S = 0.03
ANSWER_TIMEOUT_S = 3.0


class Load:
    """What was acknowledged, when, and what it came to."""

    def __init__(self, url: str, sku: str) -> None:
        self.held: dict[str, float] = {}
        self.sold: dict[str, float] = {}
        self.lost: dict[str, float] = {}
        self.came_to: Counter[int] = Counter()
        self._client = httpx.AsyncClient(base_url=url, timeout=ANSWER_TIMEOUT_S)
        self._sku = sku
        self._is_over = False
        self._tasks = [asyncio.create_task(self._shop()) for _ in range(SHOPPERS)]

    async def end(self, timeout_s: float) -> None:
        """Let every shopper get the answers that are still owed, and begin nothing new."""
        self._is_over = True
        async with asyncio.timeout(timeout_s):
            await asyncio.gather(*self._tasks)
        await self._client.aclose()

    async def cancel(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._client.aclose()

    async def is_ready(self) -> bool:
        try:
            return (await self._client.get("/readyz")).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    async def _shop(self) -> None:
        while not self._is_over:
            response = await self._ask("/api/v1/holds", {"lines": [{"sku": self._sku, "quantity": 1}]})
            assert response.status_code == httpx.codes.CREATED, response.text
            hold = response.json()["id"]
            self.held[hold] = time.time()
            response = await self._ask(f"/api/v1/holds/{hold}/commit", {})
            if response.status_code == httpx.codes.OK:
                self.sold[hold] = time.time()
            else:
                assert response.status_code == httpx.codes.NOT_FOUND, response.text
                self.lost[hold] = self.held[hold]

    async def _ask(self, path: str, body: dict[str, Any]) -> httpx.Response:
        key = uuid4().hex
        while True:
            try:
                response = await self._client.post(path, json=body, headers={"Idempotency-Key": key})
            except httpx.TransportError:
                continue
            self.came_to[response.status_code] += 1
            if response.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                return response
            await asyncio.sleep(PAUSE_S)
