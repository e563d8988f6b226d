"""Faults of the network: between the processes of one role and one server it is cut, slow, or swallows everything."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from tests.faults.proxy import Weather
from tests.faults.stage import Stage

ROLES = ("api", "jobs")
SERVERS = ("redis", "postgres")
LASTS_S = {Weather.SLOW: 2.0, Weather.BLACK_HOLE: 3.5, Weather.CUT: 1.5}


def bad_weather(server: str, role: str, weather: Weather) -> Callable[[Stage], Awaitable[None]]:
    """The fault of this weather between one role and one server."""

    async def inject(stage: Stage) -> None:
        proxy = stage.proxies[server]
        proxy.set_weather(weather, role)
        try:
            await asyncio.sleep(LASTS_S[weather])
        finally:
            proxy.set_weather(Weather.FAIR)
        stage.expect(proxy.touched > 0, f"nothing went between {role} and {server} while it was {weather.value}")

    return inject
