"""The server: uvicorn in this process, on a socket of its own or an inherited one, that leaves without a scratch."""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
from collections.abc import Generator
from contextlib import contextmanager, suppress
from types import FrameType

import uvicorn

from api.app import create_server_app
from api.health import Health
from engine.settings import Settings

BACKLOG = 4_096
GC_THRESHOLDS = (25_000, 20, 50)
KEEP_ALIVE_S = 75  # longer than the 60 s of common load balancers, so that it is they who hang up
LAME_DUCK_S = 0.5
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Server(uvicorn.Server):
    """On SIGTERM: first not ready, for half a second; then no new connections and in-flight requests finish; then stop.

    A second signal stops at once. The exit status is 0 either way.
    """

    def __init__(self, config: uvicorn.Config, health: Health) -> None:
        super().__init__(config)
        self._health = health

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


def serve(settings: Settings, fd: int | None) -> None:
    """Serve until told to stop; on the listening socket `fd` where it is given, else on the settings' host and port."""
    app, resources = create_server_app(settings)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http="httptools",
        ws="none",
        interface="asgi3",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=settings.drain_timeout_s,
    )
    sockets = None if fd is None else [socket.socket(fileno=fd)]
    Server(config, resources.health).run(sockets)
