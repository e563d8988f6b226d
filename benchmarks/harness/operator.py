"""What the harness does as an operator of Holdfast, over HTTP: a product to sell, and the counts of everything."""

from __future__ import annotations

import http.client
import json
import time
from contextlib import closing
from typing import Any
from urllib.parse import quote, urlsplit

from benchmarks.books import Counts
from benchmarks.harness.children import HarnessError

TIMEOUT_S = 30.0
PATIENCE_S = 20.0
PAUSE_S = 0.2
PAGE = 500


class Operator:
    """One caller with an operator's key. Raises HarnessError for any answer but success."""

    def __init__(self, api_url: str, key: str) -> None:
        parts = urlsplit(api_url)
        self._address = parts.hostname or "", parts.port
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None, key: str | None = None) -> dict[str, Any]:
        """One call below /api/v1; the answer's body. A 503 is asked again: the API may just have lost its Redis."""
        content = None if body is None else json.dumps(body).encode()
        headers = self._headers if key is None else {**self._headers, "Idempotency-Key": key}
        deadline = time.monotonic() + PATIENCE_S
        while True:
            with closing(http.client.HTTPConnection(*self._address, timeout=TIMEOUT_S)) as connection:
                connection.request(method, f"/api/v1{path}", content, headers)
                answer = connection.getresponse()
                said = answer.read()
            if http.client.OK <= answer.status < http.client.MULTIPLE_CHOICES:
                return dict(json.loads(said)) if said else {}
            if answer.status != http.client.SERVICE_UNAVAILABLE or time.monotonic() > deadline:
                raise HarnessError(f"{method} {path}: {answer.status} {said[:300].decode(errors='replace')}")
            time.sleep(PAUSE_S)

    def counts(self) -> dict[str, Counts]:
        """The counts of every SKU."""
        found: dict[str, Counts] = {}
        cursor = ""
        while True:
            page = self.ask("GET", f"/stock?limit={PAGE}{cursor}")
            for row in page["items"]:
                found[row["sku"]] = Counts(row["available"], row["reserved"], row["sold"])
            if page["next_cursor"] is None:
                return found
            cursor = f"&cursor={quote(page['next_cursor'])}"

    def sell(self, sku: str, units: int) -> None:
        """Put a SKU into the catalogue, with its first stock."""
        product = {"name": f"Benchmark {sku}", "base_price": 2_900, "currency": "EUR", "status": "active"}
        product_id = self.ask("POST", "/products", product, f"{sku}-product")["id"]
        variant = {"product_id": product_id, "sku": sku, "price_adjustment": 0, "stock_quantity": units}
        self.ask("POST", "/variants", variant, f"{sku}-variant")
