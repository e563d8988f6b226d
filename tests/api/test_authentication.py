"""API keys: how they are shown, remembered and kept out of the log."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from uuid import uuid4

import httpx
import msgspec
import pytest

from api.access import authentication
from api.access.authentication import FRESH_S, Authenticator, Caller, LastSecret
from api.messages.errors import ProblemRaised
from engine.errors import Unavailable
from persistence.api_keys import ApiKey, hash_secret
from tests.api.keys import make_key
from tests.api.process import Api, assert_problem, running_api


@pytest.fixture(scope="module")
def guarded(api: Api, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A process that asks for keys."""
    settings = msgspec.structs.replace(api.settings, auth="keys")
    with running_api(settings, tmp_path_factory.mktemp("guarded") / "api.log") as running:
        yield running


@pytest.fixture(scope="module")
def secrets(guarded: Api) -> dict[str, str]:
    return {scope: make_key(guarded.settings, scope)[1] for scope in ("storefront", "operator")}


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer nonsense"},
        {"Authorization": "Basic aGY6eA=="},
        {"Authorization": "Bearer hf_" + "A" * 43},
        {"X-API-Key": "hf_" + "A" * 43},
        {"X-API-Key": "hf_" + "A" * 5_000},
        {"X-API-Key": "hf_" + "\xff" * 43},
        {"X-API-Key": "' OR 1=1 --"},
    ],
)
def test_what_is_no_key_opens_nothing(guarded: Api, headers: dict[str, str]) -> None:
    raw = {name: value.encode("latin-1") for name, value in headers.items()}
    assert_problem(guarded.client.get("/api/v1/stock", headers=raw), 401, "unauthenticated")  # type: ignore[arg-type]


def test_two_different_keys_at_once_open_nothing(guarded: Api, secrets: dict[str, str]) -> None:
    headers = {"Authorization": f"Bearer {secrets['storefront']}", "X-API-Key": secrets["operator"]}
    assert_problem(guarded.client.get("/api/v1/stock", headers=headers), 401, "unauthenticated")
    # Each is known by now, so that the short way knows it at once.
    for name, value in headers.items():
        assert guarded.client.post("/api/v1/holds", json={}, headers={name: value}).status_code == 400
    assert_problem(guarded.client.post("/api/v1/holds", json={}, headers=headers), 401, "unauthenticated")


def test_options_needs_no_key(guarded: Api) -> None:
    assert guarded.client.options("/api/v1/holds").status_code == 204


def test_one_callers_idempotency_keys_are_not_anothers(guarded: Api, secrets: dict[str, str]) -> None:
    operator = {"X-API-Key": secrets["operator"]}
    sku, key = f"S-{uuid4().hex[:8]}", uuid4().hex
    guarded.client.put(f"/api/v1/stock/{sku}", json={"on_hand": 5}, headers=operator)
    body = {"lines": [{"sku": sku, "quantity": 1}]}
    answers = [
        guarded.client.post("/api/v1/holds", json=body, headers={"X-API-Key": secret, "Idempotency-Key": key})
        for secret in secrets.values()
    ]
    assert len({answer.json()["id"] for answer in answers}) == 2


def test_no_secret_nor_customer_nor_body_is_in_the_log(guarded: Api, secrets: dict[str, str]) -> None:
    headers = {"X-API-Key": secrets["operator"], "X-Request-Id": "seen-in-the-log"}
    body = {"lines": [{"sku": "who-knows", "quantity": 1}], "customer_id": "customer-of-note"}
    guarded.client.get("/api/v1/stock?cursor=query-of-note", headers=headers | {"X-Request-Id": "seen-before"})
    guarded.client.post("/api/v1/holds", json=body, headers=headers)
    deadline = time.monotonic() + 5  # the answer may be here before its line is written
    while '"seen-in-the-log"' not in (log := guarded.log_path.read_text()):
        assert time.monotonic() < deadline
    lines = [json.loads(line) for line in log.splitlines()]
    line = next(line for line in lines if line.get("request_id") == "seen-in-the-log")
    assert (line["method"], line["route"], line["status"]) == ("POST", "/api/v1/holds", 404)
    assert line["duration_ms"] > 0
    for secret in (*secrets.values(), "customer-of-note", "who-knows", "query-of-note"):
        assert secret not in log


class Clockwork:
    """A clock, and a database of keys that may be down."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.is_down = False
        self.asked = 0
        self.key: ApiKey | None = ApiKey("key_1", "n", "storefront", None, None)  # type: ignore[arg-type]

    async def find(self, _: bytes) -> ApiKey | None:
        self.asked += 1
        await asyncio.sleep(0)
        if self.is_down:
            raise Unavailable("down")
        return self.key

    async def admit(self, authenticator: Authenticator) -> str:
        headers = [(b"x-api-key", b"hf_" + b"A" * 43)]
        return (await authenticator.admit(headers, "storefront")).client


@pytest.fixture
def clockwork() -> Clockwork:
    return Clockwork()


@pytest.fixture
def authenticator(clockwork: Clockwork) -> Authenticator:
    return Authenticator("keys", clockwork.find, lambda: clockwork.now)


KEY = b"hf_" + b"A" * 43


@pytest.mark.anyio
@pytest.mark.parametrize("named", [{b"x-api-key": KEY}, {b"authorization": b"Bearer " + KEY}])
async def test_a_caller_is_known_at_once_as_long_as_the_key_need_not_be_asked_for(
    clockwork: Clockwork, authenticator: Authenticator, named: dict[bytes, bytes]
) -> None:
    last = LastSecret()
    assert authenticator.recognize(named, last) is None
    await clockwork.admit(authenticator)
    assert authenticator.recognize(named, last) == Caller("key_1", "storefront")
    clockwork.now += 3.1
    assert authenticator.recognize(named, last) is None
    await clockwork.admit(authenticator)
    assert authenticator.recognize(named, last) is not None
    authenticator.doubt()
    assert authenticator.recognize(named, last) is None
    await clockwork.admit(authenticator)
    authenticator.revoke("key_1")
    assert authenticator.recognize(named, last) is None


@pytest.mark.anyio
@pytest.mark.parametrize(
    "named",
    [
        {},
        {b"x-api-key": KEY, b"authorization": b"Bearer " + KEY},
        {b"authorization": KEY},
        {b"authorization": b"Basic " + KEY},
        {b"x-api-key": KEY + b"A"},
        {b"x-api-key": b""},
    ],
)
async def test_whatever_is_not_one_known_key_is_not_known_at_once(
    clockwork: Clockwork, authenticator: Authenticator, named: dict[bytes, bytes]
) -> None:
    await clockwork.admit(authenticator)
    last = LastSecret()
    for _ in range(2):
        assert authenticator.recognize({b"x-api-key": KEY}, last) is not None
        assert authenticator.recognize(named, last) is None


def test_whatever_a_connection_sends_in_turns_has_the_hash_of_just_that() -> None:
    last = LastSecret()
    for secret in (b"", KEY, KEY, KEY + b"A", KEY[:-1] + b"B", b"hf_\xff", b"", KEY):
        assert last.hash_of(secret) == hash_secret(secret.decode("latin-1"))


@pytest.mark.anyio
async def test_a_crowd_with_one_key_asks_the_database_once(clockwork: Clockwork, authenticator: Authenticator) -> None:
    assert set(await asyncio.gather(*(clockwork.admit(authenticator) for _ in range(100)))) == {"key_1"}
    assert clockwork.asked == 1


@pytest.mark.anyio
async def test_a_known_key_is_trusted_five_minutes_without_a_database_and_no_longer(
    clockwork: Clockwork, authenticator: Authenticator
) -> None:
    await clockwork.admit(authenticator)
    clockwork.is_down = True
    for _ in range(29):
        clockwork.now += 10
        assert await clockwork.admit(authenticator) == "key_1"
        await asyncio.sleep(0.001)
    clockwork.now += 20
    with pytest.raises(Unavailable):
        await clockwork.admit(authenticator)
    clockwork.is_down = False
    assert await clockwork.admit(authenticator) == "key_1"


@pytest.mark.anyio
async def test_an_unknown_key_is_remembered_as_such_for_seconds(
    clockwork: Clockwork, authenticator: Authenticator
) -> None:
    clockwork.key = None
    for _ in range(5):
        with pytest.raises(ProblemRaised):
            await clockwork.admit(authenticator)
    assert clockwork.asked == 1


@pytest.mark.anyio
async def test_one_who_stops_waiting_does_not_end_the_others_question(
    clockwork: Clockwork, authenticator: Authenticator
) -> None:
    impatient = asyncio.create_task(clockwork.admit(authenticator))
    patient = asyncio.create_task(clockwork.admit(authenticator))
    await asyncio.sleep(0)
    impatient.cancel()
    assert await patient == "key_1"


@pytest.mark.anyio
async def test_a_revoked_key_is_refused_whatever_is_remembered_of_it(
    clockwork: Clockwork, authenticator: Authenticator
) -> None:
    await clockwork.admit(authenticator)
    authenticator.revoke("key_2")
    assert await clockwork.admit(authenticator) == "key_1"
    authenticator.revoke("key_1")
    with pytest.raises(ProblemRaised):
        await clockwork.admit(authenticator)
    clockwork.is_down = True
    clockwork.now += 100
    with pytest.raises(ProblemRaised):
        await clockwork.admit(authenticator)


@pytest.mark.anyio
async def test_a_key_that_is_revoked_while_it_is_asked_for_is_refused(
    clockwork: Clockwork, authenticator: Authenticator
) -> None:
    asking = asyncio.create_task(clockwork.admit(authenticator))
    await asyncio.sleep(0)
    authenticator.revoke("key_1")
    with pytest.raises(ProblemRaised):
        await asking


@pytest.mark.anyio
async def test_after_a_doubt_every_key_is_asked_for_once_more(
    clockwork: Clockwork, authenticator: Authenticator
) -> None:
    await clockwork.admit(authenticator)
    authenticator.doubt()
    await clockwork.admit(authenticator)
    await clockwork.admit(authenticator)
    assert clockwork.asked == 2
    clockwork.now += 3.1
    asking = asyncio.create_task(clockwork.admit(authenticator))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert clockwork.asked == 3
    authenticator.doubt()
    await asking
    await clockwork.admit(authenticator)
    assert clockwork.asked == 4


@pytest.mark.anyio
async def test_a_doubt_waits_for_an_answer_where_a_failure_was_passed_over(
    clockwork: Clockwork, authenticator: Authenticator
) -> None:
    await clockwork.admit(authenticator)
    clockwork.now += 10
    clockwork.is_down = True
    assert await clockwork.admit(authenticator) == "key_1"
    clockwork.is_down, clockwork.key = False, None
    authenticator.doubt()
    with pytest.raises(ProblemRaised):
        await clockwork.admit(authenticator)


@pytest.mark.anyio
async def test_while_postgresql_is_away_a_key_is_asked_for_once_a_second_and_nobody_waits_for_it(
    clockwork: Clockwork, authenticator: Authenticator
) -> None:
    await clockwork.admit(authenticator)
    clockwork.now += 10
    clockwork.is_down = True
    await clockwork.admit(authenticator)
    assert clockwork.asked == 2
    for _ in range(5):
        await clockwork.admit(authenticator)
        await asyncio.sleep(0.001)
    assert clockwork.asked == 2
    clockwork.now += 1.1
    for _ in range(5):
        await clockwork.admit(authenticator)
        await asyncio.sleep(0.001)
    assert clockwork.asked == 3
    clockwork.now += 1.1
    clockwork.is_down = False
    await clockwork.admit(authenticator)
    await asyncio.sleep(0.001)
    for _ in range(5):
        await clockwork.admit(authenticator)
    assert clockwork.asked == 4


@pytest.mark.anyio
async def test_an_unknown_key_that_is_made_meanwhile_is_known_after_seconds(
    clockwork: Clockwork, authenticator: Authenticator
) -> None:
    made, clockwork.key = clockwork.key, None
    with pytest.raises(ProblemRaised):
        await clockwork.admit(authenticator)
    clockwork.key = made
    clockwork.now += FRESH_S + 0.1
    assert await clockwork.admit(authenticator) == "key_1"


def headers_of(letter: str) -> list[tuple[bytes, bytes]]:
    return [(b"x-api-key", b"hf_" + letter.encode() * 43)]


@pytest.mark.anyio
async def test_of_more_keys_than_are_remembered_those_asked_for_last_stay(
    clockwork: Clockwork, authenticator: Authenticator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authentication, "MAX_REMEMBERED", 3)
    for letter in "ABC":
        await authenticator.admit(headers_of(letter), "storefront")
    clockwork.now += FRESH_S + 0.1
    await authenticator.admit(headers_of("B"), "storefront")
    assert len(authenticator._known) == 3
    await authenticator.admit(headers_of("D"), "storefront")
    await authenticator.admit(headers_of("E"), "storefront")
    assert len(authenticator._known) == 3
    asked = clockwork.asked
    for letter in "BDE":
        await authenticator.admit(headers_of(letter), "storefront")
    assert clockwork.asked == asked


@pytest.mark.anyio
async def test_what_cannot_be_a_secret_is_asked_of_no_database(
    clockwork: Clockwork, authenticator: Authenticator
) -> None:
    for secret in (b"nonsense", b"hf_", b"hf_" + b"A" * 5_000):
        with pytest.raises(ProblemRaised):
            await authenticator.admit([(b"x-api-key", secret)], "storefront")
    assert clockwork.asked == 0


@pytest.mark.anyio
async def test_a_key_that_was_gone_is_not_trusted_again_when_postgresql_is_away(
    clockwork: Clockwork, authenticator: Authenticator
) -> None:
    await clockwork.admit(authenticator)
    clockwork.now += FRESH_S + 0.1
    clockwork.key = None
    with pytest.raises(ProblemRaised):
        await clockwork.admit(authenticator)
    clockwork.now += FRESH_S + 0.1
    clockwork.is_down = True
    with pytest.raises(Unavailable):
        await clockwork.admit(authenticator)


def test_without_authentication_everybody_is_the_operator(api: Api) -> None:
    response = httpx.get(f"{api.url}/api/v1/stock/{api.create(1)}/ledger", timeout=10)
    assert response.status_code == 200
