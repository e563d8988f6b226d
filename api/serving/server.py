"""The server: uvicorn in this process, on a socket of its own or an inherited one, that leaves without a scratch."""

from __future__ import annotations

import asyncio
import gc
import logging
import resource
import signal
import socket
from collections.abc import Generator
from contextlib import contextmanager, suppress
from functools import partial
from types import FrameType

import uvicorn

from api.app import create_server_app
from api.process.resources import Resources
from api.serving.protocol import BoundedProtocol, Bounds, sweep
from api.serving.short_way import ShortWayProtocol
from engine.settings import Settings

log = logging.getLogger("holdfast.server")

BACKLOG = 4_096
GC_THRESHOLDS = (25_000, 20, 50)
LAME_DUCK_S = 0.5
RESERVED_FILES = 256
"""File descriptors for Redis, PostgreSQL, the log, and connections that are turned away."""

SWEEP_EVERY_TICKS = 10  # uvicorn's ticks are 0.1 s
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Server(uvicorn.Server):
    """On SIGTERM: first not ready, for half a second; then no new connections and in-flight requests finish; then stop.

    A second signal stops at once. The exit status is 0 either way.
    """

    def __init__(self, config: uvicorn.Config, resources: Resources, bounds: Bounds) -> None:
        super().__init__(config)
        self._health = resources.health
        self._connections = resources.metrics.connections
        self._bounds = bounds

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - uvicorn's signature
        if self._health.is_draining:
            self.should_exit = self.force_exit = True
            return
        self._health.is_draining = True
        asyncio.get_running_loop().call_later(LAME_DUCK_S, setattr, self, "should_exit", True)  # noqa: FBT003

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start; what is there then stays for good, so the collector need not look at it again and again."""
        await super().startup(sockets)
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)

    async def on_tick(self, counter: int) -> bool:
        """Once a second, end the connections that take too long."""
        if counter % SWEEP_EVERY_TICKS == 0:
            self._connections.set(len(self.server_state.connections))
            sweep(self.server_state.connections, self._bounds)
        return await super().on_tick(counter)

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Handle the signals in the loop, and do not raise them again once all is done."""
        loop = asyncio.get_running_loop()
        for number in STOP_SIGNALS:
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in STOP_SIGNALS:
                with suppress(ValueError):
                    loop.remove_signal_handler(number)


class Protocol(BoundedProtocol, ShortWayProtocol):
    """The short way within bounds."""


def make_room(connections: int) -> int:
    """How many connections may be served: as many as wished, or as file descriptors allow, after asking for more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + RESERVED_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with suppress(ValueError, OSError):  # macOS allows less than it says
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    found = connections if soft == resource.RLIM_INFINITY else min(connections, max(soft - RESERVED_FILES, soft // 2))
    if found < connections:
        log.warning("%d connections at most, for want of file descriptors: raise their limit", found)
    return found


def serve(settings: Settings, fd: int | None) -> None:
    """Serve until told to stop; on the listening socket `fd` where it is given, else on the settings' host and port."""
    app, short_way, resources = create_server_app(settings)
    bounds = Bounds.of(settings, make_room(settings.max_connections), resources.metrics.count_connection_end)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http=partial(Protocol, bounds=bounds, short_way=short_way),  # type: ignore[arg-type]
        ws="none",
        interface="asgi3",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_graceful_shutdown=settings.drain_timeout_s,
    )
    sockets = None if fd is None else [socket.socket(fileno=fd)]
    Server(config, resources, bounds).run(sockets)
