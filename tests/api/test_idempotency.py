"""Asking twice is asking once."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from msgspec.structs import replace

from engine.settings import Settings
from tests.api.process import Api, assert_problem, running_api


def _body(sku: str, quantity: int = 1) -> dict[str, list[dict[str, object]]]:
    return {"lines": [{"sku": sku, "quantity": quantity}]}


def test_of_300_concurrent_retries_one_makes_the_hold_and_299_replay_it(api: Api) -> None:
    sku, headers = api.create(1_000), {"Idempotency-Key": uuid4().hex}

    def ask(_: int) -> httpx.Response:
        return client.post(f"{api.url}/api/v1/holds", json=_body(sku, 2), headers=headers)

    with httpx.Client(timeout=30) as client, ThreadPoolExecutor(60) as crowd:
        answers = list(crowd.map(ask, range(300)))
    assert {(answer.status_code, answer.text) for answer in answers} == {(201, answers[0].text)}
    assert sum(answer.headers.get("Idempotent-Replayed") == "true" for answer in answers) == 299
    assert api.stock(sku)["reserved"] == 2


def test_a_replay_is_the_first_answer_even_after_the_hold_went_on(api: Api) -> None:
    sku, headers = api.create(5), {"Idempotency-Key": uuid4().hex}
    first = api.client.post("/api/v1/holds", json=_body(sku), headers=headers)
    url = f"/api/v1/holds/{first.json()['id']}"
    api.client.post(f"{url}/extend", json={"ttl_s": 1_200})
    api.client.post(f"{url}/commit")
    again = api.client.post("/api/v1/holds", json=_body(sku), headers=headers)
    assert (again.status_code, again.text) == (201, first.text)


def test_a_refusal_is_not_remembered(api: Api) -> None:
    sku, headers = api.create(1), {"Idempotency-Key": uuid4().hex}
    hold = api.hold(sku)
    assert_problem(api.client.post("/api/v1/holds", json=_body(sku), headers=headers), 409, "insufficient-stock")
    api.client.delete(f"/api/v1/holds/{hold['id']}")
    response = api.client.post("/api/v1/holds", json=_body(sku), headers=headers)
    assert (response.status_code, response.headers.get("Idempotent-Replayed")) == (201, None)


@pytest.mark.parametrize(
    "change", [{"lines": [{"sku": "$", "quantity": 2}]}, {"customer_id": "someone"}, {"ttl_s": 60}]
)
def test_the_same_key_with_another_payload_is_refused(api: Api, change: dict[str, object]) -> None:
    sku, headers = api.create(9), {"Idempotency-Key": uuid4().hex}
    assert api.client.post("/api/v1/holds", json=_body(sku), headers=headers).status_code == 201
    changed = {**_body(sku), **change}
    if "lines" in change:
        changed["lines"] = [{"sku": sku, "quantity": 2}]
    assert_problem(api.client.post("/api/v1/holds", json=changed, headers=headers), 422, "idempotency-key-reused")
    assert api.stock(sku)["reserved"] == 1


def test_spelled_defaults_field_order_and_white_space_make_no_other_payload(api: Api) -> None:
    sku, headers = api.create(9), {"Idempotency-Key": uuid4().hex, "Content-Type": "application/json"}
    bodies = [
        f'{{"lines":[{{"sku":"{sku}","quantity":1}}]}}',
        f'{{ "ttl_s": 600, "customer_id": null,\n "lines": [ {{"quantity": 1, "sku": "{sku}"}} ] }}',
    ]
    answers = [api.client.post("/api/v1/holds", content=body, headers=headers) for body in bodies]
    assert answers[0].text == answers[1].text
    assert api.stock(sku)["reserved"] == 1


@pytest.mark.parametrize("verb", ["commit", "extend"])
def test_keyed_commits_and_extensions_are_replayed(api: Api, verb: str) -> None:
    holds = [api.hold(api.create(1)) for _ in range(2)]
    body = {"commit": {"reference": "o-1"}, "extend": {"ttl_s": 900}}[verb]
    headers = {"Idempotency-Key": uuid4().hex}
    url = f"/api/v1/holds/{holds[0]['id']}/{verb}"
    first, again = (api.client.post(url, json=body, headers=headers) for _ in range(2))
    assert (again.status_code, again.text) == (200, first.text)
    assert (first.headers.get("Idempotent-Replayed"), again.headers["Idempotent-Replayed"]) == (None, "true")
    other = {"commit": {"reference": "o-2"}, "extend": {"ttl_s": 901}}[verb]
    assert_problem(api.client.post(url, json=other, headers=headers), 422, "idempotency-key-reused")
    elsewhere = api.client.post(f"/api/v1/holds/{holds[1]['id']}/{verb}", json=body, headers=headers)
    assert_problem(elsewhere, 422, "idempotency-key-reused")


def test_one_key_may_name_a_hold_and_its_commit(api: Api) -> None:
    sku, headers = api.create(1), {"Idempotency-Key": uuid4().hex}
    hold = api.client.post("/api/v1/holds", json=_body(sku), headers=headers).json()
    assert api.client.post(f"/api/v1/holds/{hold['id']}/commit", headers=headers).json()["status"] == "committed"


def test_a_key_is_the_same_bare_and_quoted(api: Api) -> None:
    sku, key = api.create(9), uuid4().hex + ' "x" \\'
    escaped = key.replace("\\", "\\\\").replace('"', '\\"')
    answers = [
        api.client.post("/api/v1/holds", json=_body(sku), headers={"Idempotency-Key": sent})
        for sent in (key, f'"{escaped}"')
    ]
    assert answers[0].json() == answers[1].json()


@pytest.mark.parametrize("length", [1, 255])
def test_a_key_has_1_to_255_characters(api: Api, length: int) -> None:
    key = (uuid4().hex * 8)[:length]
    headers = {"Idempotency-Key": f'"{key}"'}
    assert api.client.post("/api/v1/holds", json=_body(api.create(1)), headers=headers).status_code in (201, 422)


@pytest.mark.parametrize("key", ["", '""', "x" * 256, f'"{"x" * 256}"', "caf\xe9", "tab\there"])
def test_a_key_that_cannot_be_used_is_refused(api: Api, key: str) -> None:
    sku = api.create(1)
    headers = [("Idempotency-Key", key.encode("latin-1"))]
    response = api.client.post("/api/v1/holds", json=_body(sku), headers=headers)  # type: ignore[arg-type]
    found = assert_problem(response, 400, "validation-failed")
    assert found["errors"][0]["field"] == "Idempotency-Key"
    assert api.stock(sku)["reserved"] == 0


def test_two_keys_at_once_are_refused(api: Api) -> None:
    headers = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    assert_problem(
        api.client.post("/api/v1/holds", json=_body(api.create(1)), headers=headers), 400, "validation-failed"
    )


def test_a_key_that_comes_again_after_it_was_forgotten_makes_a_hold_of_its_own(
    own_settings: Settings, tmp_path: Path
) -> None:
    with running_api(replace(own_settings, retention_s=1), tmp_path / "api.log") as api:
        sku, headers = api.create(10), {"Idempotency-Key": uuid4().hex}
        body = _body(sku)
        first = api.client.post("/api/v1/holds", json=body, headers=headers)
        assert api.client.delete(f"/api/v1/holds/{first.json()['id']}").status_code == 200
        time.sleep(2.2)
        second = api.client.post("/api/v1/holds", json=_body(sku, 4), headers=headers)
        assert (first.status_code, second.status_code) == (201, 201)
        assert first.json()["id"] != second.json()["id"]
        assert api.stock(sku)["reserved"] == 4
