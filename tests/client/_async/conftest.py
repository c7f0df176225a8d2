"""A client of the server, and a catalog and a dataset of each test's own."""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator

import pytest

from measurand.client import AsyncCatalog, AsyncClient, AsyncDataset


@pytest.fixture
async def client(address: str) -> AsyncGenerator[AsyncClient, None]:
    async with AsyncClient(address) as client:
        yield client


@pytest.fixture
async def lab(client: AsyncClient) -> AsyncCatalog:
    return await client.create_catalog(f"lab-{uuid.uuid4()}")


@pytest.fixture
async def run(lab: AsyncCatalog) -> AsyncDataset:
    return await lab.create("a run")
