"""A TCP proxy before a server; it can cut, slow down or swallow what goes between it and the processes of one role."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable
from contextlib import suppress

import psutil

READ_BYTES = 65_536
SLOW_S = 0.15


class Weather(enum.Enum):
    """What becomes of the bytes."""

    FAIR = "fair"
    SLOW = "slow"
    BLACK_HOLE = "black hole"
    CUT = "cut"


class Proxy:
    """Listens on 127.0.0.1 and relays to one port. `role_of` names the role of a process by its pid."""

    def __init__(self, target_port: int, pids_of: Callable[[str], list[int]]) -> None:
        self._target_port = target_port
        self._pids_of = pids_of
        self._server: asyncio.Server | None = None
        self._links: dict[asyncio.Task[None], tuple[int, list[asyncio.StreamWriter]]] = {}
        self._weather = Weather.FAIR
        self._role = ""
        self._changed = asyncio.Event()
        self.touched = 0

    async def start(self) -> int:
        """Begin; returns the port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for _, (_, writers) in list(self._links.items()):
            for writer in writers:
                writer.transport.abort()
        await asyncio.gather(*self._links, return_exceptions=True)

    def set_weather(self, weather: Weather, role: str = "") -> None:
        """From now on, for the processes of `role` ("" for all)."""
        self._weather, self._role = weather, role
        self.touched = 0 if weather is not Weather.FAIR else self.touched
        self._changed.set()
        self._changed = asyncio.Event()
        if weather is Weather.CUT:
            ports = self._ports()
            for peer_port, writers in list(self._links.values()):
                if ports is None or peer_port in ports:
                    self.touched += 1
                    for writer in writers:
                        writer.transport.abort()

    def _ports(self) -> set[int] | None:
        """The client ports of the role that the weather is for; None for all."""
        if not self._role:
            return None
        found: set[int] = set()
        for pid in self._pids_of(self._role):
            with suppress(psutil.Error):
                for connection in psutil.Process(pid).net_connections("tcp4"):
                    found.add(connection.laddr.port)
        return found

    def _weather_for(self, peer_port: int) -> Weather:
        if self._weather is Weather.FAIR:
            return Weather.FAIR
        ports = self._ports()
        return self._weather if ports is None or peer_port in ports else Weather.FAIR

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer_port = int(writer.get_extra_info("peername")[1])
        task = asyncio.current_task()
        assert task is not None
        writers = [writer]
        self._links[task] = (peer_port, writers)
        try:
            with suppress(OSError):
                if self._weather_for(peer_port) is Weather.CUT:
                    return
                far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
                writers.append(far_writer)
                there = asyncio.create_task(self._relay(reader, far_writer, peer_port))
                back = asyncio.create_task(self._relay(far_reader, writer, peer_port))
                await asyncio.wait({there, back}, return_when=asyncio.FIRST_COMPLETED)
                for direction in (there, back):
                    direction.cancel()
                await asyncio.gather(there, back, return_exceptions=True)
        finally:
            for each in writers:
                each.transport.abort()
            del self._links[task]

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer_port: int) -> None:
        """Bytes one way, until one end is gone; what a black hole swallowed comes out when the weather is fair."""
        weather, seen = Weather.FAIR, self._changed
        with suppress(OSError):
            while data := await reader.read(READ_BYTES):
                if self._weather is not Weather.FAIR:
                    weather, seen = self._weather_for(peer_port), self._changed
                    self.touched += weather is not Weather.FAIR
                    if weather is Weather.SLOW:
                        await asyncio.sleep(SLOW_S)
                    while weather is Weather.BLACK_HOLE:
                        await seen.wait()
                        weather, seen = self._weather_for(peer_port), self._changed
                writer.write(data)
                await writer.drain()
