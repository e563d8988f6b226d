"""Categories over HTTP."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest

from tests.api.catalogue import CONTROLS, NOT_TEXTS, made, make_category, make_product, name, walk
from tests.api.process import Api, assert_problem

URL = "/api/v1/categories"


def test_a_category_is_made_read_replaced_and_deleted(api: Api) -> None:
    slug = name("home")
    response = api.client.post(URL, json={"name": "Home", "slug": slug})
    category = made(response)
    assert category["id"].startswith("cat_")
    assert (category["name"], category["slug"], category["parent_id"]) == ("Home", slug, None)
    read = api.client.get(f"{URL}/{category['id']}")
    assert (read.json(), read.headers["ETag"]) == (category, response.headers["ETag"])
    child = make_category(api, parent_id=category["id"])
    assert child["parent_id"] == category["id"]
    changed = made(api.client.put(f"{URL}/{child['id']}", json={"name": "Bäume 🌳", "slug": child["slug"]}), 200)
    assert (changed["name"], changed["parent_id"], changed["created_at"]) == ("Bäume 🌳", None, child["created_at"])
    assert api.client.get(f"{URL}/{child['id']}").json() == changed
    gone = api.client.delete(f"{URL}/{child['id']}")
    assert (gone.status_code, gone.content) == (204, b"")
    assert_problem(api.client.get(f"{URL}/{child['id']}"), 404, "unknown-category")


def test_a_slug_is_taken_once_and_free_again_after_its_category(api: Api) -> None:
    category, other = make_category(api), make_category(api)
    body = {"name": "Other", "slug": category["slug"]}
    assert_problem(api.client.post(URL, json=body), 409, "slug-exists")
    assert_problem(api.client.put(f"{URL}/{other['id']}", json=body), 409, "slug-exists")
    assert api.client.put(f"{URL}/{category['id']}", json=body).status_code == 200
    assert api.client.delete(f"{URL}/{category['id']}").status_code == 204
    assert api.client.post(URL, json=body).status_code == 201


def test_of_concurrent_creations_with_one_slug_one_succeeds(api: Api) -> None:
    body = {"name": "Race", "slug": name("race")}
    with ThreadPoolExecutor(10) as crowd:
        answers = list(crowd.map(lambda _: api.client.post(URL, json=body).status_code, range(10)))
    assert sorted(answers) == [201] + [409] * 9


def test_a_category_is_never_below_itself(api: Api) -> None:
    top = make_category(api)
    middle = make_category(api, parent_id=top["id"])
    bottom = make_category(api, parent_id=middle["id"])
    for parent in (top, middle, bottom):
        response = api.client.put(
            f"{URL}/{top['id']}", json={"name": "Top", "slug": top["slug"], "parent_id": parent["id"]}
        )
        assert assert_problem(response, 400, "validation-failed")["errors"][0]["field"] == "parent_id"
    assert api.client.get(f"{URL}/{top['id']}").json() == top


def test_a_tree_has_at_most_sixteen_levels_however_it_is_put_together(api: Api) -> None:
    chains: list[list[dict[str, Any]]] = []
    for length in (10, 7):
        chain: list[dict[str, Any]] = []
        for _ in range(length):
            chain.append(make_category(api, parent_id=chain[-1]["id"] if chain else None))
        chains.append(chain)
    root = chains[1][0]
    body = {"name": "x", "slug": root["slug"]}
    response = api.client.put(f"{URL}/{root['id']}", json={**body, "parent_id": chains[0][-1]["id"]})
    assert_problem(response, 400, "validation-failed")
    assert api.client.put(f"{URL}/{root['id']}", json={**body, "parent_id": chains[0][-2]["id"]}).status_code == 200


def test_a_category_with_something_in_it_is_not_deleted(api: Api) -> None:
    parent = make_category(api)
    child = make_category(api, parent_id=parent["id"])
    product = make_product(api, category_id=child["id"])
    for category in (parent, child):
        assert_problem(api.client.delete(f"{URL}/{category['id']}"), 409, "category-in-use")
    assert api.client.delete(f"/api/v1/products/{product['id']}").status_code == 204
    assert api.client.delete(f"{URL}/{child['id']}").status_code == 204
    assert api.client.delete(f"{URL}/{parent['id']}").status_code == 204


BAD: list[tuple[dict[str, Any], str]] = [
    *(({"name": text}, "name") for text in (*NOT_TEXTS, None, "", " ", "x" * 201, "line\nbreak")),
    *(({"slug": text}, "slug") for text in (*NOT_TEXTS, None, "", "Home", "a b", "ä", "a/b", "a\n", "x" * 65)),
    *(({"parent_id": text}, "parent_id") for text in (1, True, [], "", "a b", "x" * 65, *CONTROLS)),
    ({"unknown": 1}, "unknown"),
    ({"id": "cat_x"}, "id"),
]


@pytest.mark.parametrize(("change", "field"), BAD, ids=[repr(change)[:50] for change, _ in BAD])
def test_a_category_that_is_not_valid_names_its_field(api: Api, change: dict[str, Any], field: str) -> None:
    body = {"name": "Fine", "slug": name("fine"), **change}
    found = assert_problem(api.client.post(URL, json=body), 400, "validation-failed")
    assert found["errors"][0]["field"] == field


@pytest.mark.parametrize("missing", ["name", "slug"])
def test_what_a_category_needs_must_be_there(api: Api, missing: str) -> None:
    body = {"name": "Fine", "slug": name("fine")}
    del body[missing]
    found = assert_problem(api.client.post(URL, json=body), 400, "validation-failed")
    assert found["errors"][0]["field"] == missing


def test_a_parent_that_does_not_exist_is_404(api: Api) -> None:
    body = {"name": "Orphan", "slug": name("orphan"), "parent_id": "cat_none"}
    assert_problem(api.client.post(URL, json=body), 404, "unknown-category")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
@pytest.mark.parametrize("odd", ["cat_none", "x", "%00", "x" * 300, "a%20b", "prod_x"])
def test_an_unknown_category_is_404_however_odd_its_id(api: Api, method: str, odd: str) -> None:
    body = {"name": "x", "slug": name("x")} if method == "PUT" else None
    assert_problem(api.client.request(method, f"{URL}/{odd}", json=body), 404, "unknown-category")


def test_a_change_under_if_match_happens_in_the_state_that_was_read_only(api: Api) -> None:
    category = make_category(api)
    url = f"{URL}/{category['id']}"
    first = api.client.get(url).headers["ETag"]
    body = {"name": "Two", "slug": category["slug"]}
    changed = api.client.put(url, json=body, headers={"If-Match": first})
    assert changed.status_code == 200
    assert changed.headers["ETag"] == api.client.get(url).headers["ETag"] != first
    for stale in (first, f"W/{changed.headers['ETag']}", '"nonsense"', "nonsense"):
        for method in ("PUT", "DELETE"):
            sent = {"json": body} if method == "PUT" else {}
            response = api.client.request(method, url, headers={"If-Match": stale}, **sent)  # type: ignore[arg-type]
            assert_problem(response, 412, "precondition-failed")
    assert api.client.put(url, json=body, headers={"If-Match": "*"}).status_code == 200
    current = api.client.get(url).headers["ETag"]
    assert api.client.delete(url, headers={"If-Match": f"{first}, {current}"}).status_code == 204
    assert_problem(api.client.put(url, json=body, headers={"If-Match": "*"}), 404, "unknown-category")


def test_the_list_walks_every_category_once_while_others_are_added(api: Api) -> None:
    before = [make_category(api)["id"] for _ in range(5)]
    first = made(api.client.get(URL, params={"limit": 1}), 200)
    seen, cursor = [first["items"][0]["id"]], first["next_cursor"]
    while cursor is not None and len(seen) < 500:
        if len(seen) < 20:
            make_category(api)
        page = made(api.client.get(URL, params={"limit": 2, "cursor": cursor}), 200)
        seen += [item["id"] for item in page["items"]]
        cursor = page["next_cursor"]
    assert len(seen) == len(set(seen))
    assert [found for found in seen if found in before] == before
    assert [item["id"] for item in walk(api, URL, 500)] == seen


@pytest.mark.parametrize("cursor", ["*", "YWI", "LTE", "MA", "A" * 300])
def test_what_is_no_cursor_is_refused(api: Api, cursor: str) -> None:
    found = assert_problem(api.client.get(URL, params={"cursor": cursor}), 400, "validation-failed")
    assert found["errors"][0]["field"] == "cursor"


def test_asking_twice_with_one_key_is_asking_once(api: Api) -> None:
    body, headers = {"name": "Once", "slug": name("once")}, {"Idempotency-Key": uuid4().hex}
    with ThreadPoolExecutor(8) as crowd:
        answers = list(crowd.map(lambda _: api.client.post(URL, json=body, headers=headers), range(8)))
    assert {(answer.status_code, answer.text, answer.headers["ETag"]) for answer in answers} == {
        (201, answers[0].text, answers[0].headers["ETag"])
    }
    assert sorted(answer.headers.get("Idempotent-Replayed", "") for answer in answers) == [""] + ["true"] * 7
    other = api.client.post(URL, json={**body, "name": "Twice"}, headers=headers)
    assert_problem(other, 422, "idempotency-key-reused")


def test_a_refusal_is_not_remembered(api: Api) -> None:
    taken = make_category(api)
    body, headers = {"name": "Later", "slug": taken["slug"]}, {"Idempotency-Key": uuid4().hex}
    assert_problem(api.client.post(URL, json=body, headers=headers), 409, "slug-exists")
    assert api.client.delete(f"{URL}/{taken['id']}").status_code == 204
    assert api.client.post(URL, json=body, headers=headers).status_code == 201
