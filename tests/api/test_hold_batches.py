"""Batches of holds over HTTP."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from tests.api.process import Api, assert_problem

URL = "/api/v1/holds/batch"


def _hold(sku: str, quantity: Any = 1) -> dict[str, Any]:
    return {"lines": [{"sku": sku, "quantity": quantity}]}


def test_each_hold_of_a_batch_stands_for_itself(api: Api) -> None:
    plenty, scarce = api.create(10), api.create(1)
    holds = [_hold(plenty, 2), _hold(scarce, 2), _hold(plenty, 0), _hold("nobody-made-this"), _hold(scarce), "?", None]
    response = api.client.post(URL, json={"holds": holds})
    assert response.status_code == 200
    results = response.json()["results"]
    assert [result["status"] for result in results] == [201, 409, 400, 404, 201, 400, 400]
    assert results[0]["hold"]["lines"] == [{"sku": plenty, "quantity": 2}]
    assert results[1]["problem"]["lines"] == [{"sku": scarce, "requested": 2, "available": 1}]
    assert results[2]["problem"]["errors"][0]["field"] == "lines[0].quantity"
    assert results[3]["problem"]["code"] == "unknown-sku"
    assert all(set(result) in ({"status", "hold"}, {"status", "problem"}) for result in results)
    assert (api.stock(plenty)["reserved"], api.stock(scarce)["reserved"]) == (2, 1)


@pytest.mark.parametrize("place", [0, 1, 9, 17, 499])
def test_a_retried_batch_answers_the_same_wherever_its_bad_holds_stand(api: Api, place: int) -> None:
    sku, headers = api.create(4), {"Idempotency-Key": uuid4().hex}
    holds = [_hold(sku, "bad")] * place + [_hold(sku, 3), _hold(sku, 0), _hold(sku, 3), _hold(sku)]
    first, again = (api.client.post(URL, json={"holds": holds[:500]}, headers=headers) for _ in range(2))
    assert first.status_code == 200, first.text
    assert first.json() == again.json()
    assert first.headers.get("Idempotent-Replayed") is None
    assert again.headers["Idempotent-Replayed"] == "true"
    assert api.stock(sku)["reserved"] == (4 if place < 499 else 3)


def test_a_batch_with_another_payload_under_the_same_key_is_refused_whole(api: Api) -> None:
    sku, headers = api.create(10), {"Idempotency-Key": uuid4().hex}
    api.client.post(URL, json={"holds": [_hold(sku)]}, headers=headers)
    response = api.client.post(URL, json={"holds": [_hold(sku), _hold(sku)]}, headers=headers)
    assert_problem(response, 422, "idempotency-key-reused")
    assert api.stock(sku)["reserved"] == 1


def test_a_batch_that_only_met_refusals_is_judged_afresh(api: Api) -> None:
    sku, headers = api.create(0), {"Idempotency-Key": uuid4().hex}
    body = {"holds": [_hold(sku)]}
    assert api.client.post(URL, json=body, headers=headers).json()["results"][0]["status"] == 409
    arrived = {"delta": 1, "reason": "delivery"}
    api.client.post(f"/api/v1/stock/{sku}/adjustments", json=arrived, headers={"Idempotency-Key": uuid4().hex})
    assert api.client.post(URL, json=body, headers=headers).json()["results"][0]["status"] == 201


@pytest.mark.parametrize("holds", [[], None, {}, "x", 1, [{"lines": []}] * 501])
def test_a_batch_has_1_to_500_holds(api: Api, holds: object) -> None:
    assert_problem(api.client.post(URL, json={"holds": holds}), 400, "validation-failed")


def test_a_batch_of_500_is_one_call(api: Api) -> None:
    sku = api.create(499)
    results = api.client.post(URL, json={"holds": [_hold(sku)] * 500}).json()["results"]
    assert [result["status"] for result in results] == [201] * 499 + [409]
    assert api.stock(sku)["available"] == 0
