"""Plans: every client sends the same requests, each under a key of its own."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from benchmarks.load import wrk
from benchmarks.load.plan import CHOICE, ID, KEY, Plan, Step, composers

HOLD = Step("hold", "/holds", f'{{"sku":"{CHOICE}","customer_id":"{KEY}"}}')
COMMIT = Step("commit", f"/holds/{ID}/commit", "{}", granted=200)


def plan(**options: object) -> Plan:
    told = {"steps": (HOLD,), "choices": ("sku-1", "sku-2"), "headers": {"X-100%": "a%b"}, **options}
    return Plan(url="http://127.0.0.1:8000", prefix="run", **told)  # type: ignore[arg-type]


def test_each_request_has_a_key_of_its_own_and_the_next_choice() -> None:
    (compose,) = composers(plan())
    first, second, third = compose(""), compose(""), compose("")
    assert b"Idempotency-Key: run-0000000001\r\n" in first
    assert first.endswith(b'\r\n\r\n{"sku":"sku-1","customer_id":"run-0000000001"}')
    assert second.endswith(b'{"sku":"sku-2","customer_id":"run-0000000002"}')
    assert b'"sku":"sku-1"' in third


def test_the_content_length_is_that_of_the_body_as_it_is_sent() -> None:
    head, _, body = composers(plan())[0]("").partition(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}\r\n".encode() in head + b"\r\n"


def test_a_step_names_what_the_one_before_made() -> None:
    commit = composers(plan(steps=(HOLD, COMMIT)))[1]
    assert commit("hold_1").startswith(b"POST /holds/hold_1/commit HTTP/1.1\r\n")


def test_a_percent_sign_is_sent_as_it_is() -> None:
    assert b"X-100%: a%b\r\n" in composers(plan())[0]("")


def test_choices_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match="differ in length"):
        plan(choices=("a", "bb"))


def test_wrk_is_asked_only_for_what_it_can_do() -> None:
    assert wrk.takes(plan())
    assert not wrk.takes(plan(rate=10.0))
    assert not wrk.takes(plan(limit=10))


def test_an_output_of_wrk_without_the_last_line_is_an_error() -> None:
    with pytest.raises(wrk.WrkError, match="unable to connect"):
        wrk.read_output(plan(), "unable to connect to 127.0.0.1", 0.0)


def test_what_wrk_found_is_read_with_its_refusals() -> None:
    line = (
        'DONE {"us":2000000,"requests":100,"not_2xx":60,"faults":1,"granted":[40],"latency_us":[[50,1500],[99,9000]]}'
    )
    outcome = wrk.read_output(plan(), f"Running 2s test\n{line}\n", 1.0)
    assert (outcome.granted, outcome.refused, outcome.faults, outcome.answered) == ([40], 60, 1, 100)
    assert (outcome.seconds, outcome.busy, outcome.percentile_ms(99)) == (2.0, 0.5, 9.0)


def test_the_script_of_wrk_finds_all_parts_of_a_plan(tmp_path: Path) -> None:
    command = wrk.command("wrk", plan(steps=(HOLD, COMMIT), pool=("hold_1",), connections=8), tmp_path)
    assert command[-3:] == [str(tmp_path), "run", "10"]
    assert (tmp_path / "steps").read_text() == "201 hold_\n200 hold_\n"
    assert (tmp_path / "choices").read_text() == "sku-1\nsku-2\n"
    assert (tmp_path / "pool").read_text() == "hold_1\n"
    assert KEY in (tmp_path / "step-1").read_text()
    assert Path(command[command.index("-s") + 1]).exists()


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
def test_wrk_tells_its_version() -> None:
    assert wrk.version("wrk").startswith("wrk")
