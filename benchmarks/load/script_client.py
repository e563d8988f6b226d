"""`python -m benchmarks.load.script_client REDIS_URL SKU SECONDS`: the script for one hold, pipelined, many at once.

As redis-benchmark does it, which comes with no wheel: connections that each keep a pipeline of calls under way.
"""

from __future__ import annotations

import hashlib
import json
import selectors
import socket
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import redis

SCRIPT = Path(__file__).resolve().parents[1] / "peers" / "per_request.lua"
CONNECTIONS = 50
PIPELINE = 16
UNITS = 1_000_000_000
TTL_MS = 600_000
NUMBER_WIDTH = 12
READ_BYTES = 65_536
TAG = "{script}:"


def calls(sha: str, sku: str) -> str:
    """A pipeline of calls with a place for the number of each hold."""
    number = f"%0{NUMBER_WIDTH}d"
    keys = [f"{TAG}stock", f"{TAG}reserved", f"{TAG}hold:{number}", f"{TAG}deadlines", f"{TAG}events"]
    hold = json.dumps([f"customer-{number}", [[sku, 1]]], separators=(",", ":"))
    values = [sku, "1", number, hold, str(TTL_MS)]
    parts = ["EVALSHA", sha, str(len(keys)), *keys, *values]
    lines = [f"*{len(parts)}"]
    for part in parts:
        lines += [f"${len(part.replace(number, '0' * NUMBER_WIDTH))}", part]
    return ("\r\n".join(lines) + "\r\n") * PIPELINE


def measure(url: str, sku: str, seconds: float) -> dict[str, float]:
    """Holds made in that time. Raises ValueError when the script answers with an error."""
    text = SCRIPT.read_text(encoding="utf-8")
    with redis.Redis.from_url(url) as client:
        client.script_load(text)
        client.hset(f"{TAG}stock", sku, UNITS)
    form = calls(hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest(), sku)
    places = form.count("%0")
    each = places // PIPELINE
    parts = urlsplit(url)
    selector = selectors.DefaultSelector()
    left: dict[socket.socket, int] = {}
    made = time.time_ns() // 1_000 % 10**9 * 1_000  # where no earlier turn's numbers are
    done = 0

    def send(connection: socket.socket) -> None:
        nonlocal made
        numbers = tuple(made + place // each for place in range(places))
        made += PIPELINE
        connection.sendall((form % numbers).encode())
        left[connection] = PIPELINE

    for _ in range(CONNECTIONS):
        connection = socket.create_connection((parts.hostname or "", parts.port or 6379))
        connection.sendall(f"SELECT {parts.path.strip('/') or 0}\r\n".encode())
        connection.recv(READ_BYTES)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        selector.register(connection, selectors.EVENT_READ)
    began, worked = time.perf_counter(), time.process_time()
    for key in list(selector.get_map().values()):
        send(key.fileobj)  # type: ignore[arg-type]
    while (now := time.perf_counter()) < began + seconds:
        for key, _ in selector.select(began + seconds - now):
            ready: socket.socket = key.fileobj  # type: ignore[assignment]
            data = ready.recv(READ_BYTES)
            if b"-" in data:
                raise ValueError(data[:200].decode(errors="replace"))
            answered = data.count(b"\n")
            done += answered
            left[ready] -= answered
            if left[ready] == 0:
                send(ready)
    elapsed, worked = time.perf_counter() - began, time.process_time() - worked
    return {"done": done, "seconds": elapsed, "unheard": CONNECTIONS * PIPELINE, "busy": round(worked / elapsed, 3)}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure(sys.argv[1], sys.argv[2], float(sys.argv[3]))))
