"""Where bytes are to be kept, as callers say it and read it back."""

from __future__ import annotations

from datetime import timedelta

import pytest

from measurand.client import AsyncCatalog, AsyncClient, Storage
from measurand.client.errors import InvalidArgument

FULL = Storage(
    "erasure:4+2",
    labels={"disk": "ssd"},
    zones=("north", "south"),
    min_zones=2,
    exclude=("old",),
    placement="two_choices",
    quorum=True,
    hot_copies=True,
)
ADAPTIVE = Storage(placement="saturation", target_reliability=0.999, retention=timedelta(days=30))


@pytest.mark.parametrize("storage", [FULL, ADAPTIVE, Storage("single"), Storage("replicate:3"), Storage("losses:2")])
async def test_a_policy_comes_back_as_it_was_said(client: AsyncClient, lab: AsyncCatalog, storage: Storage) -> None:
    await lab.update(storage=storage)
    assert (await client.catalog(lab.id)).storage == storage
    run = await lab.create("x", storage=storage)
    await run.update({"a": 1})
    assert (await lab.get(run.id)).storage == storage


async def test_a_dataset_without_one_says_so(lab: AsyncCatalog) -> None:
    assert lab.storage is None and (await lab.create("x")).storage is None


@pytest.mark.parametrize("text", ["erasure:0+2", "erasure:4", "replicate:", "raid5", "", "replicate:99", "losses:0"])
async def test_what_is_no_policy_is_refused_and_nothing_is_made(client: AsyncClient, text: str) -> None:
    with pytest.raises(InvalidArgument, match="storage"):
        await client.create_catalog("refused", storage=text)
    assert "refused" not in [catalog.id for catalog in await client.catalogs()]
