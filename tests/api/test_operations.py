"""Operations: liveness, readiness, metrics, the fence, a database that is away, and leaving."""

from __future__ import annotations

import asyncio
import math
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import redis
from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families

from cli.embedded import EmbeddedPostgres
from engine.keys import Keys
from engine.settings import Settings
from engine.stock import StockLevel, row_of_level
from jobs.reconcile import run as reconcile
from persistence.flush import drain_once
from persistence.pool import connect
from persistence.sql import queries
from tests.api.process import ROOT, Api, assert_problem, running_api
from tests.databases import run_statements
from tests.own_postgres import own_postgres


def _body(sku: str) -> dict[str, list[dict[str, object]]]:
    return {"lines": [{"sku": sku, "quantity": 1}]}


async def _flush(settings: Settings) -> None:
    pool = await connect(settings.require_database_url(), 1)
    raw = redis.asyncio.Redis.from_url(settings.require_redis_url(), decode_responses=True)
    async with pool.acquire() as connection:
        while (await drain_once(connection, raw, Keys(), 5_000)).events:
            pass
    await raw.aclose()
    await pool.close()


def _metrics(api: Api) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    response = api.client.get("/metrics")
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


def test_a_running_system_is_alive_and_ready(api: Api) -> None:
    assert api.client.get("/livez").json() == {"status": "alive"}
    found = api.client.get("/readyz").json()
    assert found["status"] == "ready"
    assert {name: part["status"] for name, part in found["components"].items()} == {
        "redis": "up", "postgresql": "up", "fence": "up", "backlog": "up",
    }  # fmt: skip
    assert found["components"]["backlog"]["high_water_events"] == 1_000_000


def test_the_metrics_count_requests_holds_batches_and_components(api: Api) -> None:
    sku = api.create(1)
    api.hold(sku)
    api.client.post("/api/v1/holds", json=_body(sku))
    found = _metrics(api)
    holds = (("method", "POST"), ("route", "/api/v1/holds"))
    assert found["holdfast_http_requests_total", (*holds, ("status", "201"))] >= 1
    assert found["holdfast_http_requests_total", (*holds, ("status", "409"))] >= 1
    assert found["holdfast_http_request_duration_seconds_count", holds] >= 2
    assert found["holdfast_holds_total", (("outcome", "held"), ("verb", "reserve"))] >= 1
    assert found["holdfast_holds_total", (("outcome", "insufficient-stock"), ("verb", "reserve"))] >= 1
    assert found["holdfast_batch_size_count", (("verb", "reserve"),)] >= 2
    assert found["holdfast_redis_round_trip_seconds_count", (("verb", "reserve"),)] >= 2
    assert found["holdfast_up", (("component", "postgresql"),)] == 1
    for name in ("holdfast_flush_lag_events", "holdfast_flush_lag_seconds", "holdfast_backlog_operations"):
        assert (name, ()) in found


def test_the_metrics_tell_what_the_last_audit_found_and_when(own_api: Api) -> None:
    settings = own_api.settings
    assert all(math.isnan(number) for number in _books(own_api))
    skus = [own_api.create(10) for _ in range(2)]
    asyncio.run(_flush(settings))
    before_ms = int(time.time() * 1_000)
    asyncio.run(reconcile(settings, fix=False))
    _wait_for(lambda: _books(own_api)[:3] == (0, 0, 0))
    compared = _books(own_api)[3]
    assert before_ms <= compared * 1_000 <= time.time() * 1_000
    with redis.Redis.from_url(settings.require_redis_url()) as raw:
        for sku in skus:
            raw.hset(Keys().stock, sku, row_of_level(StockLevel(sku, 11, 0, 0, 11, None)))
        raw.sadd(Keys().orphans, "ghost")
    asyncio.run(reconcile(settings, fix=False))
    _wait_for(lambda: _books(own_api)[:3] == (2, 0, 1))
    assert _books(own_api)[3] > compared


def _books(api: Api) -> tuple[float, ...]:
    """Differences, events set aside, orphans that nothing proves, and when they were counted."""
    found = _metrics(api)
    return (
        found["holdfast_books_differences", ()],
        found["holdfast_quarantined_events", ()],
        found["holdfast_orphans_unproven", ()],
        found["holdfast_books_compared_timestamp_seconds", ()],
    )


def test_a_postgresql_that_was_put_back_while_the_api_runs_is_noticed_and_nothing_is_sold(own_api: Api) -> None:
    settings = own_api.settings
    sku = own_api.create(10)
    asyncio.run(_flush(settings))
    with redis.Redis.from_url(settings.require_redis_url(), decode_responses=True) as raw:
        raw.hset(Keys().meta, "flushed", str(raw.hget(Keys().meta, "seq")))
    asyncio.run(run_statements(settings.require_database_url(), "UPDATE flush_offsets SET seq = seq - 1"))
    _wait_for(lambda: own_api.client.get("/readyz").status_code == 503)
    detail = own_api.client.get("/readyz").json()["components"]["fence"]["detail"]
    assert "put back to an earlier time" in detail
    body = {"lines": [{"sku": sku, "quantity": 1}]}
    assert_problem(own_api.client.post("/api/v1/holds", json=body), 503, "unavailable")
    asyncio.run(run_statements(settings.require_database_url(), "UPDATE flush_offsets SET seq = seq + 1"))
    _wait_for(lambda: own_api.client.post("/api/v1/holds", json=body).status_code == 201)


def test_an_api_whose_holds_no_replica_confirms_is_not_ready(own_settings: Settings, tmp_path: Path) -> None:
    settings = replace(own_settings, reserve_replicas=1, replica_timeout_ms=50)
    with running_api(settings, tmp_path / "alone.log", is_ready=False) as alone:
        _wait_for(lambda: _detail_of_redis(alone) == "Redis has 0 of the 1 replicas that must confirm a hold")
        assert alone.client.get("/readyz").status_code == 503


def _detail_of_redis(api: Api) -> str | None:
    try:
        detail: str | None = api.client.get("/readyz").json()["components"]["redis"]["detail"]
    except (httpx.TransportError, KeyError):
        return None
    return detail


def test_no_client_can_add_a_label(api: Api) -> None:
    for path in ("/nothing-here", "/api/v1/nothing/there", "/api/v1/stock/some-unknown-sku"):
        api.client.get(path)
    api.client.request("PROPFIND", "/livez")
    labels = {value for _, pairs in _metrics(api) for name, value in pairs if name in ("route", "method")}
    assert {"unmatched", "OTHER"} <= labels
    assert not any("nothing" in label or "unknown" in label or label == "PROPFIND" for label in labels)


def test_a_wiped_redis_is_rebuilt_without_anybody_asking(own_api: Api) -> None:
    sku = own_api.create(10)
    held, sold = own_api.hold(sku, 2, ttl_s=600), own_api.hold(sku, 3)
    own_api.client.post(f"/api/v1/holds/{sold['id']}/commit")
    before = own_api.stock(sku)
    asyncio.run(_flush(own_api.settings))
    with redis.Redis.from_url(own_api.settings.require_redis_url()) as raw:
        raw.flushall()
    deadline = time.monotonic() + 10
    while (response := own_api.client.get(f"/api/v1/stock/{sku}")).status_code != 200:
        found = assert_problem(response, 503, "unavailable")
        assert int(response.headers["Retry-After"]) >= 1
        assert "Redis" in found["detail"]
        assert time.monotonic() < deadline
    assert response.json() == before
    assert own_api.client.get(f"/api/v1/holds/{held['id']}").json() == held
    assert own_api.client.post(f"/api/v1/holds/{held['id']}/commit").json()["status"] == "committed"
    assert _metrics(own_api)["holdfast_fence_closings_total", ()] >= 1


def test_readiness_and_shoppers_hear_that_another_process_mends_redis(own_api: Api) -> None:
    sku = own_api.create(10)
    asyncio.run(_flush(own_api.settings))
    asyncio.run(_see_reasons_while_another_process_mends(own_api, sku))
    own_api.wait_ready()
    assert own_api.stock(sku)["available"] == 10


async def _see_reasons_while_another_process_mends(api: Api, sku: str) -> None:
    pool = await connect(api.settings.require_database_url(), 1)
    async with pool.acquire() as other:
        await other.execute(queries("rebuild")["lock_shard"], Keys().shard)
        with redis.Redis.from_url(api.settings.require_redis_url()) as raw:
            raw.flushall()
        _wait_for(lambda: _fence_detail(api) == "another process is verifying or mending Redis")
        found = assert_problem(api.client.post("/api/v1/holds", json=_body(sku)), 503, "unavailable")
        assert found["detail"] == "another process is verifying or mending Redis."
    await pool.close()


def test_readiness_and_shoppers_hear_that_the_log_misses_events_and_no_more_of_it(own_api: Api) -> None:
    sku = own_api.create(10)
    own_api.hold(sku)
    own_api.hold(sku)
    with redis.Redis.from_url(own_api.settings.require_redis_url(), decode_responses=True) as raw:
        raw.xdel(Keys().events, raw.xrange(Keys().events)[1][0])
        raw.hdel(Keys().meta, "epoch")  # as a rebuild that broke off leaves it
    _wait_for(lambda: _fence_detail(own_api) == "events are missing in the log")
    _wait_for(lambda: _hold_detail(own_api, sku) == "events are missing in the log.")
    assert "events are missing in the log: shard 0 expected event 1-2, found 1-3" in own_api.log_path.read_text()


def _fence_detail(api: Api) -> str | None:
    found: str | None = api.client.get("/readyz").json()["components"]["fence"]["detail"]
    return found


def _hold_detail(api: Api, sku: str) -> str:
    detail: str = assert_problem(api.client.post("/api/v1/holds", json=_body(sku)), 503, "unavailable")["detail"]
    return detail


def test_a_hold_that_redis_let_go_of_is_answered_from_postgresql(own_api: Api) -> None:
    sku = own_api.create(10)
    holds = {name: own_api.hold(sku) for name in ("committed", "released")}
    own_api.client.post(f"/api/v1/holds/{holds['committed']['id']}/commit")
    own_api.client.delete(f"/api/v1/holds/{holds['released']['id']}")
    asyncio.run(_flush(own_api.settings))
    with redis.Redis.from_url(own_api.settings.require_redis_url()) as raw:
        for hold in holds.values():
            assert raw.delete(Keys().hold(hold["id"].removeprefix("hold_"))) == 1
    for status, hold in holds.items():
        url = f"/api/v1/holds/{hold['id']}"
        assert own_api.client.get(url).json() == {**hold, "status": status}
        answers = {
            "committed": own_api.client.post(f"{url}/commit"),
            "released": own_api.client.delete(url),
        }
        assert answers.pop(status).json()["status"] == status
        assert assert_problem(answers.popitem()[1], 409, "hold-not-live")["hold_status"] == status
        extended = own_api.client.post(f"{url}/extend", json={"ttl_s": 5})
        assert assert_problem(extended, 409, "hold-not-live")["hold_status"] == status


@pytest.fixture
def postgres() -> Iterator[EmbeddedPostgres]:
    with own_postgres() as server:
        yield server


def test_holds_are_served_while_postgresql_is_away_and_the_start_waits_for_it(
    postgres: EmbeddedPostgres, clean_redis_url: str, tmp_path: Path
) -> None:
    settings = Settings(redis_url=clean_redis_url, database_url=postgres.url, auth="off")
    with running_api(settings, tmp_path / "first.log") as api:
        sku = api.create(5)
        postgres.stop()
        hold = api.hold(sku)
        assert api.client.post(f"/api/v1/holds/{hold['id']}/commit").status_code == 200
        ledger = api.client.get(f"/api/v1/stock/{sku}/ledger")
        assert assert_problem(ledger, 503, "unavailable")["detail"] == "PostgreSQL is unavailable."
        assert_problem(api.client.get("/api/v1/holds/hold_AAAAAAAAAAAAAAAAAAAAAA"), 503, "unavailable")
        _wait_for(lambda: api.client.get("/readyz").json()["status"] == "degraded")
        assert api.client.get("/readyz").status_code == 200
    with running_api(settings, tmp_path / "second.log", is_ready=False) as api:
        api.wait_status(503)
        found = api.client.get("/readyz").json()
        assert (found["status"], found["components"]["fence"]["status"]) == ("not-ready", "down")
        assert api.client.get("/livez").status_code == 200
        assert_problem(api.client.post("/api/v1/holds", json=_body(sku)), 503, "unavailable")
        postgres.start()
        postgres.wait_ready()
        api.wait_ready()
        assert api.stock(sku)["sold"] == 1


def _wait_for(condition: Callable[[], bool], timeout_s: float = 10) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_past_the_high_water_mark_reserves_are_refused_and_commits_are_not(
    own_settings: Settings, tmp_path: Path
) -> None:
    with running_api(replace(own_settings, high_water_events=5), tmp_path / "api.log") as api:
        sku = api.create(20)
        holds = [api.hold(sku) for _ in range(4)]
        response = api.client.post("/api/v1/holds", json=_body(sku))
        assert_problem(response, 503, "unavailable")
        assert int(response.headers["Retry-After"]) >= 1
        assert api.client.post(f"/api/v1/holds/{holds[0]['id']}/commit").status_code == 200
        _wait_for(lambda: api.client.get("/readyz").status_code == 503)
        assert api.client.get("/readyz").json()["components"]["backlog"]["status"] == "down"


def test_on_sigterm_it_says_so_then_finishes_what_is_in_flight_then_leaves_with_0(own_api: Api) -> None:
    sku = own_api.create(1_000)
    answers: list[int] = []
    is_over = threading.Event()

    def buy() -> None:
        with httpx.Client(base_url=own_api.url, timeout=10) as client:
            while not is_over.is_set():
                try:
                    answers.append(client.post("/api/v1/holds", json=_body(sku)).status_code)
                except httpx.TransportError:
                    return

    buyers = [threading.Thread(target=buy) for _ in range(4)]
    for buyer in buyers:
        buyer.start()
    _wait_for(lambda: len(answers) > 10)
    own_api.process.send_signal(signal.SIGTERM)
    _wait_for(lambda: own_api.client.get("/readyz").json()["detail"] == "shutting down")
    for path in ("/api/v1/holds", "/api/v1/holds/"):
        assert own_api.client.post(path, json=_body(sku)).headers["connection"] == "close"
    assert own_api.process.wait(10) == 0
    is_over.set()
    for buyer in buyers:
        buyer.join()
    assert set(answers) <= {201, 409}
    assert len(answers) > 10


def test_a_request_half_sent_does_not_hold_up_the_leaving(own_settings: Settings, tmp_path: Path) -> None:
    with (
        running_api(replace(own_settings, drain_timeout_s=1), tmp_path / "api.log") as api,
        socket.create_connection(("127.0.0.1", api.settings.port)) as slow,
    ):
        slow.sendall(b"POST /api/v1/holds HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        time.sleep(0.1)
        started = time.monotonic()
        api.process.send_signal(signal.SIGTERM)
        assert api.process.wait(10) == 0
        assert time.monotonic() - started < 5


def test_it_serves_on_an_inherited_socket_which_outlives_it(own_settings: Settings, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        for _ in range(2):
            with (tmp_path / "api.log").open("ab") as log:
                process = subprocess.Popen(
                    [sys.executable, "-m", "api", "--fd", str(listener.fileno())],
                    cwd=ROOT,
                    env={"PATH": "", **own_settings.to_environment()},
                    pass_fds=[listener.fileno()],
                    stdout=log,
                    stderr=log,
                )
            # Whoever connects before it serves waits in the socket's queue.
            assert httpx.get(f"{url}/livez", timeout=15).status_code == 200
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"HOLDFAST_REDIS_URL": ""}, "HOLDFAST_REDIS_URL"),
        ({"HOLDFAST_PORT": "none"}, "HOLDFAST_PORT"),
        ({"HOLDFAST_UNHEARD": "1"}, "HOLDFAST_UNHEARD"),
    ],
)
def test_settings_that_cannot_be_used_end_it_with_one_line(changes: dict[str, str], told: str) -> None:
    environment = {
        "HOLDFAST_REDIS_URL": "redis://127.0.0.1:1",
        "HOLDFAST_DATABASE_URL": "postgresql://x@127.0.0.1:1/x",
        **changes,
    }
    ended = subprocess.run(
        [sys.executable, "-m", "api"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert ended.returncode == 2
    assert told in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_a_port_that_is_taken_ends_it(own_settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        environment = {**own_settings.to_environment(), "HOLDFAST_PORT": str(taken.getsockname()[1])}
        ended = subprocess.run(
            [sys.executable, "-m", "api"], cwd=ROOT, env=environment, capture_output=True, timeout=20, check=False
        )
    assert ended.returncode not in (0, -9)
