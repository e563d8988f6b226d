"""A shop for each test, whose books must balance when the test is over."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.desk.books import check_books
from tests.desk.shop import Shop, another_process, open_shop


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def shop(redis_url: str) -> AsyncIterator[Shop]:
    async with open_shop(redis_url) as opened:
        yield opened
        await check_books(opened.redis, opened.catalogue)


@pytest.fixture
async def other(shop: Shop) -> AsyncIterator[Shop]:
    """The same shop, as another process serves it."""
    async with another_process(shop.settings, shop.redis, shop.stored) as opened:
        yield opened
