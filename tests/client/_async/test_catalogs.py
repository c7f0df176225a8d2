from __future__ import annotations

from datetime import timedelta

import pytest

from measurand.client import AsyncCatalog, AsyncClient, NewDataset, errors
from measurand.client.errors import MeasurandError


async def test_a_catalog_is_made_once(client: AsyncClient, lab: AsyncCatalog) -> None:
    with pytest.raises(errors.AlreadyExists) as caught:
        await client.create_catalog(lab.id)
    assert lab.id in str(caught.value)
    again = await client.create_catalog(lab.id, title="not taken", exist_ok=True)
    assert (again.name, again.title) == (lab.name, "")


async def test_what_is_said_about_a_catalog_is_kept_and_can_be_changed(client: AsyncClient, lab: AsyncCatalog) -> None:
    await lab.update(title="Low T", labels={"site": "gbg"}, undelete_window=timedelta(hours=1))
    await lab.update(description="the cold lab")
    found = await client.catalog(lab.id)
    assert (found.title, found.description, found.labels) == ("Low T", "the cold lab", {"site": "gbg"})
    assert found.undelete_window == timedelta(hours=1)


async def test_a_catalog_that_is_not_there_is_named(client: AsyncClient) -> None:
    with pytest.raises(errors.NotFound) as caught:
        await client.catalog("nowhere")
    assert caught.value.reason == "RESOURCE_NOT_FOUND"
    assert "nowhere" in str(caught.value)


async def test_a_malformed_id_is_invalid_and_named(client: AsyncClient) -> None:
    with pytest.raises(errors.InvalidArgument) as caught:
        await client.create_catalog("Not An Id")
    assert "Not An Id" in str(caught.value)


async def test_catalogs_are_listed(client: AsyncClient, lab: AsyncCatalog) -> None:
    assert lab.id in [catalog.id for catalog in await client.catalogs()]
    assert [catalog.id for catalog in await client.catalogs(filter=f'id = "{lab.id}"')] == [lab.id]


async def test_a_full_catalog_is_deleted_by_force_only_and_comes_back(client: AsyncClient, lab: AsyncCatalog) -> None:
    made = await lab.create("x")
    with pytest.raises(errors.ResourceInUse):
        await lab.delete()
    await client.delete_catalog(lab.id, force=True)
    with pytest.raises(errors.NotFound):
        await lab.get(made.id)
    await client.undelete_catalog(lab.id)
    assert (await lab.get(made.id)).title == "x"


async def test_many_datasets_are_made_in_order(lab: AsyncCatalog) -> None:
    made = await lab.create_many(NewDataset(f"run {number}", {"n": number}) for number in range(230))
    assert len(made) == 230
    assert [dataset.metadata["n"] async for dataset in lab.find()] == list(range(230))


async def test_of_many_datasets_each_fails_by_itself(lab: AsyncCatalog) -> None:
    await lab.create("there", id="taken")
    wanted = [{"title": "a"}, {"title": "b", "id": "taken"}, {"title": "c"}]
    made = await lab.create_many(wanted, errors="return")
    assert [isinstance(item, MeasurandError) for item in made] == [False, True, False]
    with pytest.raises(errors.AlreadyExists):
        await lab.create_many([{"title": "d"}, {"title": "e", "id": "taken"}])
    assert await lab.count('title = "d"') == 1


async def test_many_are_got_in_the_order_asked_for(lab: AsyncCatalog) -> None:
    ids = [(await lab.create(str(number))).id for number in range(4)]
    wanted = [ids[2], ids[0], ids[3]]
    assert [dataset.id for dataset in await lab.get_many(wanted)] == wanted
    assert [dataset.id for dataset in await lab.get_many(["gone", ids[1]], missing="skip")] == [ids[1]]
    with pytest.raises(errors.NotFound, match="gone"):
        await lab.get_many(["gone", ids[1]])


async def test_documents_larger_than_a_message_together_are_all_got(lab: AsyncCatalog) -> None:
    ids = [(await lab.create("large", {"text": "x" * 3_000_000})).id for _ in range(5)]
    found = await lab.get_many(ids)
    assert [len(dataset.metadata["text"]) for dataset in found] == [3_000_000] * 5


async def test_tags_are_counted(lab: AsyncCatalog) -> None:
    await lab.create("a", tags=["t1", "good"])
    await lab.create("b", tags=["t1"])
    assert await lab.tags() == {"good": 1, "t1": 2}
    assert await lab.tags("go") == {"good": 1}


async def test_the_server_tells_about_itself(client: AsyncClient) -> None:
    assert {"server_version", "instance_id", "features"} <= (await client.server()).keys()
