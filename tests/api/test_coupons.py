"""Coupons over HTTP."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest
import redis

from engine.keys import Keys
from persistence.catalogue import load
from persistence.pool import connect
from tests.api.catalogue import CONTROLS, NOT_INTEGERS, NOT_TEXTS, made, make_product, name, walk
from tests.api.process import Api, assert_problem

COUPONS = "/api/v1/coupons"
TEN_PERCENT = {"kind": "percentage", "value": 10}


def coupon(api: Api, **fields: Any) -> dict[str, Any]:
    return made(api.client.post(COUPONS, json={"code": name("CODE"), **TEN_PERCENT, **fields}))


def id_of(api: Api, code: str) -> str:
    """The id under which a coupon's uses are counted."""

    async def read() -> str:
        pool = await connect(api.settings.require_database_url(), 1)
        try:
            async with pool.acquire() as connection:
                found = (await load(connection)).coupon(code)
        finally:
            await pool.close()
        assert found is not None
        return found.id

    return asyncio.run(read())


def use(api: Api, code: str, times: int) -> None:
    """Count uses of a coupon, as checkouts do."""
    with redis.Redis.from_url(api.settings.require_redis_url()) as client:
        client.hincrby(Keys(0).coupons, id_of(api, code), times)


def test_a_coupon_for_a_product_that_is_gone_can_be_changed_but_not_be_for_another_that_is(api: Api) -> None:
    gone = [make_product(api)["id"] for _ in range(2)]
    found = coupon(api, applicable_products=gone[:1])
    for product_id in gone:
        assert api.client.delete(f"/api/v1/products/{product_id}").status_code == 204
    url, body = f"{COUPONS}/{found['code']}", {"code": found["code"], **TEN_PERCENT}
    assert api.client.put(url, json={**body, "applicable_products": gone[:1], "value": 5}).json()["value"] == 5
    refused = api.client.put(url, json={**body, "applicable_products": gone})
    assert assert_problem(refused, 400, "validation-failed")["errors"][0]["field"] == "applicable_products[1]"


def test_a_coupon_is_answered_with_everything_that_was_said_of_it(api: Api) -> None:
    product = make_product(api)
    body = {
        "code": name("Summer_"),
        "kind": "fixed_amount",
        "value": 1_500,
        "min_order_value": 3_000,
        "usage_limit": 100,
        "per_customer_limit": 1,
        "applicable_products": [product["id"]],
        "valid_from": "2026-11-27T00:00:00+01:00",
        "valid_until": "2026-11-28T00:00:00.5Z",
    }
    answer = api.client.post(COUPONS, json=body)
    found = made(answer)
    assert found == {
        **body,
        "valid_from": "2026-11-26T23:00:00.000Z",
        "valid_until": "2026-11-28T00:00:00.500Z",
        "times_used": 0,
        "created_at": found["created_at"],
        "updated_at": found["updated_at"],
    }
    again = api.client.get(f"{COUPONS}/{body['code']}")
    assert (again.json(), again.headers["etag"]) == (found, answer.headers["etag"])


def test_a_coupon_of_which_little_is_said_has_no_limits(api: Api) -> None:
    found = coupon(api)
    unsaid = ("min_order_value", "usage_limit", "per_customer_limit", "applicable_products", "valid_from")
    assert [found[field] for field in (*unsaid, "valid_until")] == [None] * 6


def test_a_code_is_found_and_taken_in_any_case_of_letters(api: Api) -> None:
    found = coupon(api, code=name("Mixed"))
    code = found["code"]
    for spelling in (code.lower(), code.upper(), code):
        assert made(api.client.get(f"{COUPONS}/{spelling}"), 200) == found
        taken = api.client.post(COUPONS, json={**TEN_PERCENT, "code": spelling})
        assert_problem(taken, 409, "coupon-exists")


def test_of_many_who_make_one_code_at_once_one_does(api: Api) -> None:
    code = name("race")
    bodies = [{**TEN_PERCENT, "code": code.upper() if i % 2 else code} for i in range(12)]
    with ThreadPoolExecutor(12) as threads:
        answers = list(threads.map(lambda body: api.client.post(COUPONS, json=body), bodies))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 11


def test_coupons_are_listed_in_order_of_creation_a_page_at_a_time(api: Api) -> None:
    some = [coupon(api) for _ in range(5)]
    assert walk(api, COUPONS, limit=2)[-5:] == some
    assert_problem(api.client.get(COUPONS, params={"cursor": "nonsense"}), 400, "validation-failed")


def test_a_coupon_is_replaced_in_the_state_that_was_read(api: Api) -> None:
    first = coupon(api, usage_limit=5, valid_until="2026-12-01T00:00:00Z")
    url = f"{COUPONS}/{first['code'].lower()}"
    read = api.client.get(url)
    body = {"code": first["code"].upper(), "kind": "fixed_amount", "value": 500, "per_customer_limit": 2}
    assert_problem(api.client.put(url, json=body, headers={"If-Match": '"1"'}), 412, "precondition-failed")
    replaced = api.client.put(url, json=body, headers={"If-Match": read.headers["etag"]})
    found = made(replaced, 200)
    assert {field: found[field] for field in body} == body
    assert (found["usage_limit"], found["valid_until"], found["created_at"]) == (None, None, first["created_at"])
    late = api.client.put(url, json=body, headers={"If-Match": read.headers["etag"]})
    assert_problem(late, 412, "precondition-failed")
    seen = api.client.get(url)
    assert (seen.json(), seen.headers["etag"]) == (found, replaced.headers["etag"])


def test_a_coupon_keeps_its_code(api: Api) -> None:
    code = coupon(api)["code"]
    refused = api.client.put(f"{COUPONS}/{code}", json={**TEN_PERCENT, "code": code + "x"})
    assert assert_problem(refused, 400, "validation-failed")["errors"][0]["field"] == "code"


def test_a_deleted_coupon_is_gone_and_its_code_is_free(api: Api) -> None:
    answer = api.client.post(COUPONS, json={**TEN_PERCENT, "code": name("gone")})
    code = made(answer)["code"]
    url = f"{COUPONS}/{code}"
    assert_problem(api.client.delete(url, headers={"If-Match": '"1"'}), 412, "precondition-failed")
    deleted = api.client.delete(url, headers={"If-Match": answer.headers["etag"]})
    assert (deleted.status_code, deleted.content) == (204, b"")
    body = {**TEN_PERCENT, "code": code}
    for again in (api.client.get(url), api.client.put(url, json=body), api.client.delete(url)):
        assert_problem(again, 404, "unknown-coupon")
    assert made(api.client.post(COUPONS, json={**body, "code": code.upper()}))["code"] == code.upper()


def test_a_coupon_shows_how_often_it_was_used_and_one_made_again_begins_at_none(api: Api) -> None:
    code, other = coupon(api)["code"], coupon(api)["code"]
    use(api, code, 3)
    url = f"{COUPONS}/{code}"
    assert made(api.client.get(url), 200)["times_used"] == 3
    assert made(api.client.get(f"{COUPONS}/{other}"), 200)["times_used"] == 0
    listed = {each["code"]: each["times_used"] for each in walk(api, COUPONS)}
    assert (listed[code], listed[other]) == (3, 0)
    replaced = api.client.put(url, json={**TEN_PERCENT, "code": code, "usage_limit": 2})
    assert made(replaced, 200)["times_used"] == 3
    assert api.client.delete(url).status_code == 204
    assert coupon(api, code=code)["times_used"] == 0
    assert made(api.client.get(url), 200)["times_used"] == 0


def test_a_coupon_asked_for_twice_is_made_once(api: Api) -> None:
    headers = {"Idempotency-Key": uuid4().hex}
    body = {**TEN_PERCENT, "code": name("once")}
    first, again = (api.client.post(COUPONS, json=body, headers=headers) for _ in range(2))
    assert (first.status_code, again.status_code, again.json()) == (201, 201, first.json())
    assert again.headers["idempotent-replayed"] == "true"
    assert again.headers["etag"] == first.headers["etag"]
    other = api.client.post(COUPONS, json={**body, "value": 20}, headers=headers)
    assert_problem(other, 422, "idempotency-key-reused")


def test_a_product_named_twice_is_one(api: Api) -> None:
    some = [make_product(api)["id"] for _ in range(2)]
    assert coupon(api, applicable_products=[*some, some[0]])["applicable_products"] == some


def test_a_product_that_was_deleted_is_refused_and_the_coupon_that_names_it_stays(api: Api) -> None:
    product = make_product(api)
    first = coupon(api, applicable_products=[product["id"]])
    assert api.client.delete(f"/api/v1/products/{product['id']}").status_code == 204
    assert made(api.client.get(f"{COUPONS}/{first['code']}"), 200)["applicable_products"] == [product["id"]]
    body = {**TEN_PERCENT, "code": name("CODE"), "applicable_products": [product["id"]]}
    refused = assert_problem(api.client.post(COUPONS, json=body), 400, "validation-failed")
    assert refused["errors"][0]["field"] == "applicable_products[0]"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("more", 1),
        *(("code", value) for value in [*NOT_TEXTS, None, "", "x" * 65, "a b", "a.b", "Ä", "A\n", "%"]),
        *(("kind", value) for value in ["free", "", None, 1]),
        *(("value", value) for value in [*NOT_INTEGERS, 0, -1, 101]),
        *(("min_order_value", value) for value in [1.5, "1", -1, 10**12 + 1]),
        *(("usage_limit", value) for value in [1.5, "1", 0, -1, 10**9 + 1]),
        *(("per_customer_limit", value) for value in [1.5, "1", 0, -1, 10**9 + 1]),
        *(("applicable_products", value) for value in ["prod_1", {}, [], ["prod_1"] * 501]),
        *(("applicable_products[0]", [value]) for value in [1, "", "prod_none", *CONTROLS]),
        *(("valid_from", value) for value in ["soon", 1, "2026-01-01", "2026-01-01T00:00:00"]),
        *(("valid_until", value) for value in ["soon", 1, "2026-13-01T00:00:00Z"]),
        ("valid_from", "0001-01-01T00:00:00+14:00"),
        ("valid_until", "9999-12-31T23:59:59-12:00"),
    ],
)
def test_a_coupon_that_makes_no_sense_is_refused_by_its_field(api: Api, field: str, value: object) -> None:
    body = {**TEN_PERCENT, "code": name("bad"), field.partition("[")[0]: value}
    found = assert_problem(api.client.post(COUPONS, json=body), 400, "validation-failed")
    assert found["errors"][0]["field"] == field


@pytest.mark.parametrize("until", ["2026-01-01T00:00:00Z", "2025-12-31T23:59:59Z", "2026-01-01T00:00:00.0001Z"])
def test_a_coupon_ends_at_least_a_millisecond_after_it_begins(api: Api, until: str) -> None:
    body = {**TEN_PERCENT, "code": name("bad"), "valid_from": "2026-01-01T00:00:00Z", "valid_until": until}
    found = assert_problem(api.client.post(COUPONS, json=body), 400, "validation-failed")
    assert found["errors"][0]["field"] == "valid_until"


def test_a_fixed_amount_may_pass_a_hundred(api: Api) -> None:
    assert coupon(api, kind="fixed_amount", value=10**12)["value"] == 10**12
    too_large = {"code": name("bad"), "kind": "fixed_amount", "value": 10**12 + 1}
    assert_problem(api.client.post(COUPONS, json=too_large), 400, "validation-failed")


@pytest.mark.parametrize("code", ["none", "%20", "%00", "a%0Ab", "x" * 2_000, "K%E2%84%AA"])
def test_a_code_that_no_coupon_has_is_unknown(api: Api, code: str) -> None:
    assert_problem(api.client.get(f"{COUPONS}/{code}"), 404, "unknown-coupon")
