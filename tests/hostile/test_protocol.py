"""Requests that are wrong as HTTP: what is answered, in which order, and that nothing is done for them."""

from __future__ import annotations

import json
import time

import pytest

from tests.api.process import Api
from tests.hostile.books import read_books
from tests.hostile.wire import connect, request, say

ALIVE = request("GET", "/livez")
CHUNKED = (("Content-Type", "application/json"), ("Transfer-Encoding", "chunked"))


def _port(api: Api) -> int:
    return api.settings.port


def _hold(api: Api) -> bytes:
    return json.dumps({"lines": [{"sku": api.create(5), "quantity": 1}]}).encode()


@pytest.mark.parametrize(
    "raw",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET livez HTTP/1.1\r\nHost: x\r\n\r\n",
        b"BREW /livez HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nX : 1\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nX: a\x00b\r\n\r\n",
        b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /api/v1/holds HTTP/1.1\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /api/v1/holds HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        b"POST /api/v1/holds HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /api/v1/holds HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"POST /api/v1/holds HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST /api/v1/holds/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST /api/v1/holds HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n{}",
    ],
    ids=lambda raw: repr(raw[:60]),
)
def test_what_is_no_http_is_answered_with_a_problem_and_the_connection_ends(api: Api, raw: bytes) -> None:
    before = read_books(api.settings.require_redis_url())
    talk = say(_port(api), raw)
    assert talk.is_ended
    assert [answer.problem["code"] for answer in talk.answers] == ["validation-failed"]
    assert talk.answers[0].headers["connection"] == "close"
    assert read_books(api.settings.require_redis_url()) == before


def test_what_follows_a_good_request_does_not_take_its_answer_away(api: Api) -> None:
    body = _hold(api)
    hold = request("POST", "/api/v1/holds", [("Content-Type", "application/json")], body)
    for good in (ALIVE, hold, hold.replace(b"/holds", b"/holds/")):
        talk = say(_port(api), good + b"rubbish\r\n\r\n")
        assert talk.is_ended
        assert [answer.status for answer in talk.answers] in ([200, 400], [201, 400])
        assert talk.answers[1].problem["code"] == "validation-failed"


def test_a_request_whose_chunks_break_holds_nothing(api: Api) -> None:
    body = _hold(api)
    sku = json.loads(body)["lines"][0]["sku"]
    chunk = f"{len(body):x}\r\n".encode() + body + b"\r\n"
    for path in ("/api/v1/holds", "/api/v1/holds/", "/api/v1/holds/batch"):
        talk = say(_port(api), request("POST", path, CHUNKED) + chunk + b"zz\r\n")
        assert talk.is_ended
        assert [answer.status for answer in talk.answers] == [400]
    assert api.stock(sku)["available"] == 5


def test_a_route_that_reads_no_body_answers_what_it_did_however_the_body_breaks(api: Api) -> None:
    hold = api.hold(api.create(5))["id"]
    talk = say(_port(api), request("DELETE", f"/api/v1/holds/{hold}", CHUNKED) + b"zz\r\n")
    assert talk.is_ended
    assert [answer.status for answer in talk.answers] == [200]
    assert json.loads(talk.answers[0].body)["status"] == "released"


def test_a_request_that_was_answered_early_is_not_answered_again_when_its_body_breaks(api: Api) -> None:
    raw = request("DELETE", "/api/v1/holds/hold_none", CHUNKED)
    talk = say(_port(api), raw, b"zz\r\n", pause_s=0.5)
    assert talk.is_ended
    assert [answer.status for answer in talk.answers] == [404]


@pytest.mark.parametrize("path", ["/api/v1/holds", "/api/v1/holds/"])
def test_a_request_that_breaks_while_it_waits_is_refused_in_its_turn(api: Api, path: str) -> None:
    talk = say(_port(api), request("GET", "/api/v1/stock") + request("POST", path, CHUNKED) + b"zz\r\n")
    assert talk.is_ended
    assert [answer.status for answer in talk.answers] == [200, 400]


def test_a_client_that_closed_its_half_gets_its_answer(api: Api) -> None:
    hold = request("POST", "/api/v1/holds", [("Content-Type", "application/json")], _hold(api))
    for whole, status in ((ALIVE, 200), (hold, 201), (hold.replace(b"/holds", b"/holds/"), 201), (ALIVE + hold, 200)):
        talk = say(_port(api), whole, is_half_closed=True)
        assert talk.is_ended
        assert talk.answers[0].status == status
        assert len(talk.answers) == (2 if whole.startswith(ALIVE) and whole != ALIVE else 1)


@pytest.mark.parametrize("path", ["/api/v1/holds", "/api/v1/holds/"])
def test_a_client_that_closed_its_half_too_early_is_told_so_and_holds_nothing(api: Api, path: str) -> None:
    body = _hold(api)
    whole = request("POST", path, [("Content-Type", "application/json")], body)
    for part in (whole[:20], whole[: -len(body)], whole[:-1]):
        talk = say(_port(api), part, is_half_closed=True)
        assert talk.is_ended
        assert [answer.problem["code"] for answer in talk.answers] == ["validation-failed"]
    assert api.stock(json.loads(body)["lines"][0]["sku"])["available"] == 5


def test_a_connection_that_says_nothing_and_ends_is_answered_with_nothing(api: Api) -> None:
    talk = say(_port(api), is_half_closed=True)
    assert talk.is_ended
    assert talk.answers == ()


@pytest.mark.parametrize(
    "head", [b"X: " + b"a" * 70_000, b"A: b\r\n" * 150_000, b"A: b\r\n" * 1_000, b"A: b\r\n" * 101]
)
def test_a_head_beyond_its_limits_is_refused(api: Api, head: bytes) -> None:
    talk = say(_port(api), b"GET /livez HTTP/1.1\r\n" + head + b"\r\n\r\n")
    assert talk.is_ended
    assert [answer.status for answer in talk.answers] == [431]
    assert talk.answers[0].problem["code"] == "head-too-large"


def test_a_request_line_beyond_the_limit_is_refused(api: Api) -> None:
    talk = say(_port(api), b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n")
    assert [answer.status for answer in talk.answers] == [431]


def test_a_head_may_not_be_half_as_large_again_as_its_limit(api: Api) -> None:
    size = api.settings.head_limit_bytes + api.settings.head_limit_bytes // 3
    head = request("GET", "/livez", [(f"X-{i}", "a" * 490) for i in range(size // 500)])
    pieces = [head[start : start + 9_000] for start in range(0, len(head), 9_000)]
    for sent in ([head], pieces):
        assert [answer.status for answer in say(_port(api), *sent, is_half_closed=True).answers] == [431]


def test_a_head_within_its_limits_is_served_however_it_is_cut(api: Api) -> None:
    head = (
        b"GET /livez HTTP/1.1\r\n" + b"".join(b"X-%d: %s\r\n" % (i, b"a" * 300) for i in range(99)) + b"Host: x\r\n\r\n"
    )
    assert 30_000 < len(head) <= api.settings.head_limit_bytes
    pieces = [head[i : i + 1_000] for i in range(0, len(head), 1_000)]
    assert [answer.status for answer in say(_port(api), head, is_half_closed=True).answers] == [200]
    assert [answer.status for answer in say(_port(api), *pieces, is_half_closed=True).answers] == [200]


def test_the_end_of_one_request_is_not_counted_as_the_next_ones_head(api: Api) -> None:
    hold = request("POST", "/api/v1/holds", [("Content-Type", "application/json")], b" " * 16_000 + _hold(api))
    headed = request("GET", "/livez", [(f"X-{i}", "a" * 290) for i in range(90)])
    pieces = [headed[i : i + 500] for i in range(10, len(headed), 500)]
    talk = say(_port(api), hold + headed[:10], *pieces, pause_s=0.005, is_half_closed=True)
    assert [answer.status for answer in talk.answers] == [201, 200]


def test_a_client_that_is_still_sending_is_not_cut_off_before_it_can_read_its_refusal(api: Api) -> None:
    with connect(_port(api)) as client:
        client.sendall(b"GET /livez HTTP/1.1\r\nX: " + b"a" * 70_000)
        assert client.recv(1 << 16).startswith(b"HTTP/1.1 431 ")
        for _ in range(3):  # a closed connection would answer the first with a reset, and the next would fail
            client.sendall(b"a" * 1_000)
            time.sleep(0.1)
        assert client.recv(1 << 16) == b""


def test_of_many_requests_at_once_a_bounded_number_is_answered_in_order_before_the_connection_ends(api: Api) -> None:
    sku = api.create(1_000)
    body = json.dumps({"lines": [{"sku": sku, "quantity": 1}]}).encode()
    hold = request("POST", "/api/v1/holds/", [("Content-Type", "application/json")], body)
    talk = say(_port(api), hold * 500)
    assert talk.is_ended
    assert {answer.status for answer in talk.answers} == {201}
    assert 10 < len(talk.answers) < 100
    assert talk.answers[-1].headers["connection"] == "close"
    assert api.stock(sku)["reserved"] == len(talk.answers)


def test_refusals_of_many_requests_at_once_do_not_pile_up(api: Api) -> None:
    bad = request("POST", "/api/v1/holds", [("Content-Type", "application/json")], b"{}")
    talk = say(_port(api), bad * 3_000, patience_s=3)
    assert {answer.status for answer in talk.answers} == {400}
    assert len(talk.answers) in (3_000, 33)


def test_a_wish_for_another_protocol_is_passed_over_unless_there_is_a_body_behind_it(api: Api) -> None:
    wish = [("Connection", "Upgrade"), ("Upgrade", "h2c"), ("Content-Type", "application/json")]
    talk = say(_port(api), request("GET", "/livez", wish))
    assert talk.is_ended
    assert [answer.status for answer in talk.answers] == [200]
    hold = api.hold(api.create(1))["id"]
    talk = say(_port(api), request("POST", f"/api/v1/holds/{hold}/commit", wish, b'{"reference": "order-1"}'))
    assert talk.is_ended
    assert [answer.problem["code"] for answer in talk.answers] == ["validation-failed"]
    assert api.client.get(f"/api/v1/holds/{hold}").json()["status"] == "held"
