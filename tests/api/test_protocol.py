"""The bounds of the protocol that tests of hostile clients leave out."""

from __future__ import annotations

import json

from tests.api.process import Api
from tests.hostile.wire import request, say

WISH = [("Connection", "Upgrade"), ("Upgrade", "h2c"), ("Content-Type", "application/json")]


def test_a_wish_for_another_protocol_with_a_body_in_chunks_is_refused_and_does_nothing(api: Api) -> None:
    hold = api.hold(api.create(1))["id"]
    body = json.dumps({"reference": "order-1"}).encode()
    chunks = f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n"
    for end in ("", "/"):
        path = f"/api/v1/holds/{hold}/commit{end}"
        talk = say(api.settings.port, request("POST", path, [*WISH, ("Transfer-Encoding", "chunked")]) + chunks)
        assert talk.is_ended
        assert [answer.problem["code"] for answer in talk.answers] == ["validation-failed"]
    assert api.client.get(f"/api/v1/holds/{hold}").json()["status"] == "held"


def test_the_heads_of_one_connection_are_not_counted_together(api: Api) -> None:
    head = request("GET", "/livez", [(f"X-{i}", "a" * 290) for i in range(90)])
    pieces = [head[start : start + 9_000] for start in range(0, len(head), 9_000)]
    count = 2 * api.settings.head_limit_bytes // (len(head) - 18_000)
    talk = say(api.settings.port, *pieces * count, pause_s=0.005, is_half_closed=True)
    assert [answer.status for answer in talk.answers] == [200] * count


def test_a_body_that_is_larger_than_a_head_may_be_is_no_head(api: Api) -> None:
    hold = json.dumps({"holds": [{"lines": [{"sku": api.create(1), "quantity": 1}]}]}).encode()
    body = hold.ljust(3 * api.settings.head_limit_bytes)
    raw = request("POST", "/api/v1/holds/batch", [("Content-Type", "application/json")], body)
    pieces = [raw[start : start + 9_000] for start in range(0, len(raw), 9_000)]
    talk = say(api.settings.port, *pieces, pause_s=0.002, is_half_closed=True)
    assert [answer.status for answer in talk.answers] == [200]
