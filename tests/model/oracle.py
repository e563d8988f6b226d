"""The oracle: what stock and holds must do, in plain Python, with no batching, no Redis and no PostgreSQL.

Every answer is `(status, …)`. It is written from the contract, not from the scripts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Lines = tuple[tuple[str, int], ...]
Answer = tuple[Any, ...]


@dataclass
class Stock:
    available: int
    limit: int | None
    reserved: int = 0
    sold: int = 0
    received: int = 0


@dataclass
class Claim:
    customer: str | None
    lines: Lines
    created_ms: int
    expires_ms: int
    first_expires_ms: int
    fingerprint: str
    status: str = "held"


@dataclass
class Oracle:
    now_ms: int
    max_life_ms: int
    stock: dict[str, Stock] = field(default_factory=dict)
    claims: dict[str, Claim] = field(default_factory=dict)
    memory: dict[str, tuple[str, Answer]] = field(default_factory=dict)
    groups: dict[str, tuple[str, list[Answer]]] = field(default_factory=dict)

    def adjust(self, token: str, fingerprint: str, sku: str, delta: int) -> Answer:
        def judge() -> Answer:
            if sku not in self.stock:
                return ("unknown-sku", sku)
            stock = self.stock[sku]
            if stock.available + delta < 0:
                self.expire_due()
            if stock.available + delta < 0:
                return ("insufficient-stock", ((sku, -delta, stock.available),))
            stock.available += delta
            stock.received += delta
            return ("adjusted", stock.available, stock.reserved, stock.sold)

        return self._once(token, fingerprint, judge)

    def create(self, sku: str, on_hand: int, limit: int | None) -> Answer:
        if sku in self.stock:
            return ("sku-exists", sku)
        self.stock[sku] = Stock(on_hand, limit, received=on_hand)
        return ("adjusted", on_hand, 0, 0)

    def reserve(self, token: str, fingerprint: str, customer: str | None, ttl_ms: int, lines: Lines) -> Answer:
        if token in self.claims:
            claim = self.claims[token]
            if claim.fingerprint != fingerprint:
                return ("idempotency-key-reused",)
            return ("replayed", "held", claim.created_ms, claim.first_expires_ms)
        refused = self._refusal(customer, lines)
        if refused and refused[0] != "unknown-sku":
            self.expire_due()
            refused = self._refusal(customer, lines)
        if refused:
            return refused
        expires_ms = self.now_ms + ttl_ms
        for sku, quantity in lines:
            self.stock[sku].available -= quantity
            self.stock[sku].reserved += quantity
        self.claims[token] = Claim(customer, lines, self.now_ms, expires_ms, expires_ms, fingerprint)
        return ("held", "held", self.now_ms, expires_ms)

    def reserve_group(
        self, group: str, fingerprint: str, requests: list[tuple[str, str | None, int, Lines]]
    ) -> list[Answer]:
        if group in self.groups:
            known, answers = self.groups[group]
            if known != fingerprint:
                return [("idempotency-key-reused",)] * len(requests)
            return [
                self.reserve(token, fingerprint, customer, ttl_ms, lines) if answer[0] == "held" else answer
                for answer, (token, customer, ttl_ms, lines) in zip(answers, requests, strict=True)
            ]
        self.expire_due()
        answers = [
            self.reserve(token, fingerprint, customer, ttl_ms, lines) for token, customer, ttl_ms, lines in requests
        ]
        if any(answer[0] == "held" for answer in answers):
            self.groups[group] = (fingerprint, answers)
        return answers

    def commit(self, token: str, key: str | None, fingerprint: str) -> Answer:
        def judge() -> Answer:
            refused = self._not_live(token, unless="committed")
            if refused:
                return refused
            claim = self.claims[token]
            if claim.status == "held":
                claim.status = "committed"
                for sku, quantity in claim.lines:
                    self.stock[sku].reserved -= quantity
                    self.stock[sku].sold += quantity
            return ("ok", "committed", claim.expires_ms)

        return self._once(key, fingerprint, judge)

    def release(self, token: str) -> Answer:
        refused = self._not_live(token, unless="released")
        if refused:
            return refused
        claim = self.claims[token]
        if claim.status == "held":
            self._give_back(claim, "released")
        return ("ok", "released", claim.expires_ms)

    def extend(self, token: str, ttl_ms: int, key: str | None, fingerprint: str) -> Answer:
        def judge() -> Answer:
            refused = self._not_live(token)
            if refused:
                return refused
            claim = self.claims[token]
            longest = claim.created_ms + self.max_life_ms
            claim.expires_ms = max(claim.expires_ms, min(self.now_ms + ttl_ms, longest))
            return ("ok", "held", claim.expires_ms)

        return self._once(key, fingerprint, judge)

    def expire_due(self) -> int:
        due = [c for c in self.claims.values() if c.status == "held" and self.now_ms >= c.expires_ms]
        for claim in due:
            self._give_back(claim, "expired")
        return len(due)

    def status(self, token: str) -> str | None:
        claim = self.claims.get(token)
        if claim is None:
            return None
        return "expired" if claim.status == "held" and self.now_ms >= claim.expires_ms else claim.status

    def _not_live(self, token: str, unless: str = "") -> Answer | None:
        status = self.status(token)
        if status is None:
            return ("unknown-hold",)
        if status in ("held", unless):
            return None
        return ("hold-expired",) if status == "expired" else ("hold-not-live", status)

    def _refusal(self, customer: str | None, lines: Lines) -> Answer | None:
        unknown = tuple(sku for sku, _ in lines if sku not in self.stock)
        if unknown:
            return ("unknown-sku", *unknown)
        short = tuple((s, q, self.stock[s].available) for s, q in lines if self.stock[s].available < q)
        if short:
            return ("insufficient-stock", short)
        over = tuple((s, q, limit) for s, q in lines if (limit := self._limit_passed(customer, s, q)))
        return ("customer-limit-exceeded", over) if over else None

    def _limit_passed(self, customer: str | None, sku: str, quantity: int) -> int | None:
        limit = self.stock[sku].limit
        if limit is None:
            return None
        has = sum(
            units
            for claim in self.claims.values()
            if customer is not None and claim.customer == customer and claim.status in ("held", "committed")
            for name, units in claim.lines
            if name == sku
        )
        return limit if has + quantity > limit else None

    def _give_back(self, claim: Claim, status: str) -> None:
        claim.status = status
        for sku, quantity in claim.lines:
            self.stock[sku].reserved -= quantity
            self.stock[sku].available += quantity

    def _once(self, key: str | None, fingerprint: str, judge: Any) -> Answer:
        if key is not None and key in self.memory:
            known, first = self.memory[key]
            return ("replayed", *first[1:]) if known == fingerprint else ("idempotency-key-reused",)
        answer: Answer = judge()
        if key is not None and answer[0] in ("ok", "adjusted"):
            self.memory[key] = (fingerprint, answer)
        return answer
