"""How every peer is served: uvicorn as Holdfast's API runs it, in one process, on a socket that is handed down."""

from __future__ import annotations

import gc
import socket
from argparse import ArgumentParser, Namespace
from typing import Any

import uvicorn

BACKLOG = 4_096
GC_THRESHOLDS = (25_000, 20, 50)
KEEP_ALIVE_S = 75


class Server(uvicorn.Server):
    """Spares its collector what was there at the start, as Holdfast does."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start."""
        await super().startup(sockets)
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)


def arguments(**needed: type) -> Namespace:
    """The command line of a peer: `--fd`, and what else it needs."""
    parser = ArgumentParser()
    for name, kind in {"fd": int, **needed}.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, required=True)
    return parser.parse_args()


def serve(app: Any, fd: int) -> None:
    """Serve `app` on the listening socket `fd` until told to stop."""
    config = uvicorn.Config(
        app,
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
    )
    Server(config).run([socket.socket(fileno=fd)])
